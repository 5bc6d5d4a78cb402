from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from glmcode.review.diff import DiffError, parse_diff
from glmcode.review.findings import Finding, Judged, read_answer
from glmcode.review.formats import FORMATS, Told, shown
from glmcode.review.showing import overview, pack, show_file
from tests.review.test_diff import commit, git

LONG = [f"value_{n} = {n}" for n in range(400)]
BAD = "total = 1 / 0"
Change = Callable[[Path], None]


def text(lines: list[str], end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


def planted(at: int, bad: str = BAD, lines: list[str] = LONG) -> list[str]:
    return [*lines[:at], bad, *lines[at:]]


def prepare(repo: Path, old: bytes, new: bytes, name: str, before: str = "") -> Any:
    git(repo, "init", "-q")
    (repo / (before or name)).parent.mkdir(parents=True, exist_ok=True)
    (repo / (before or name)).write_bytes(old)
    commit(repo)
    if before:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        git(repo, "mv", before, name)
    (repo / name).write_bytes(new)
    git(repo, "add", "-A")
    return parse_diff(git(repo, "diff", "--cached", "-M", "-U5"))


OLD = text(LONG)
TWICE = [*LONG[:50], "return None", *LONG[50:300], "return None", *LONG[300:]]
CASES: dict[str, tuple[bytes, bytes, str, str, dict[str, Any], int]] = {
    # what it is: (old, new, name, name before, what the model says, the right line)
    "as shown": (OLD, text(planted(100)), "a.py", "", {"line": 101, "code": BAD}, 101),
    "off by three": (OLD, text(planted(100)), "a.py", "", {"line": 104, "code": BAD}, 101),
    "far off": (OLD, text(planted(100)), "a.py", "", {"line": 7, "code": BAD}, 101),
    "old number": (
        OLD, text(planted(100, lines=["n", *LONG])), "a.py", "", {"line": 99, "code": BAD}, 101,
    ),
    "number copied": (OLD, text(planted(9)), "a.py", "", {"line": 3, "code": f"  10 +{BAD}"}, 10),
    "sign copied": (OLD, text(planted(9)), "a.py", "", {"line": 3, "code": f"+{BAD}"}, 10),
    "two lines copied": (
        OLD, text(planted(9)), "a.py", "", {"line": 3, "code": f"{BAD}\nvalue_9 = 9"}, 10,
    ),
    "part copied": (OLD, text(planted(9)), "a.py", "", {"line": 3, "code": "1 / 0"}, 10),
    "first line": (OLD, text(planted(0)), "a.py", "", {"line": 2, "code": BAD}, 1),
    "last line": (OLD, text(planted(400)), "a.py", "", {"line": 398, "code": BAD}, 401),
    "renamed": (OLD, text(planted(70)), "new/b.py", "a.py", {"line": 70, "code": BAD}, 71),
    "renamed, old name": (
        OLD, text(planted(70)), "new/b.py", "old/a.py",
        {"line": 75, "code": BAD, "file": "old/a.py"}, 71,
    ),
    "crlf": (
        text(LONG, "\r\n"), text(planted(20), "\r\n"), "a.py", "",
        {"line": 25, "code": f"{BAD}\r"}, 21,
    ),
    "crlf to lf": (text(LONG, "\r\n"), text(planted(20)), "a.py", "", {"line": 1, "code": BAD}, 21),
    "unicode": (
        OLD, text(planted(33, "größe = «1» / 0  # 数")), "a.py", "",
        {"line": 39, "code": "größe = «1» / 0  # 数"}, 34,
    ),
    "unicode name": (OLD, text(planted(33)), "größe 数.py", "", {"line": 30, "code": BAD}, 34),
    "deleted line": (
        OLD, text([*LONG[:60], *LONG[61:]]), "a.py", "", {"line": 300, "code": "value_60 = 60"}, 61,
    ),
    "deleted line, old number": (
        OLD, text([*LONG[:60], *LONG[61:]]), "a.py", "", {"line": 61, "code": "- value_60 = 60"},
        61,
    ),
    "one of two equals, exact": (
        text(TWICE), text(planted(55, "return None", TWICE)), "a.py", "",
        {"line": 51, "code": "return None"}, 51,
    ),
    "one of two equals, near": (
        OLD, text([*LONG[:50], BAD, *LONG[50:300], BAD, *LONG[300:]]), "a.py", "",
        {"line": 310, "code": BAD}, 302,
    ),
    "large file": (
        b"", text([f"v{n} = {n}" for n in range(30_000)] + [BAD]), "a.py", "",
        {"line": 29_000, "code": BAD}, 30_001,
    ),
    "no newline at the end": (
        OLD, text(planted(400)).rstrip(b"\n"), "a.py", "", {"line": 400, "code": BAD}, 401,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_planted_fault_is_found_on_its_line(name: str, tmp_path: Path) -> None:
    old, new, path, before, told, right = CASES[name]
    files = prepare(tmp_path, old, new, path, before)
    said = {"file": path, "code": "", "severity": "error", "reason": "x"} | told
    (found,) = read_answer({"findings": [said], "verdict": "block"}, files).findings
    assert (found.file, found.line) == (path, right)


SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"enum": ["2.1.0"]},
        "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
    },
    "$defs": {
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object", "required": ["driver"], "additionalProperties": False,
                    "properties": {"driver": {"$ref": "#/$defs/driver"}},
                },
                "invocations": {"type": "array", "items": {"$ref": "#/$defs/invocation"}},
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            },
        },
        "driver": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id", "shortDescription", "fullDescription", "help"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "shortDescription": {"$ref": "#/$defs/text"},
                "fullDescription": {"$ref": "#/$defs/text"},
                "help": {"$ref": "#/$defs/text"},
                "defaultConfiguration": {
                    "type": "object", "additionalProperties": False,
                    "properties": {"level": {"$ref": "#/$defs/level"}},
                },
            },
        },
        "text": {
            "type": "object", "required": ["text"], "additionalProperties": False,
            "properties": {"text": {"type": "string"}},
        },
        "level": {"enum": ["none", "note", "warning", "error"]},
        "invocation": {
            "type": "object",
            "required": ["executionSuccessful"],
            "additionalProperties": False,
            "properties": {
                "executionSuccessful": {"type": "boolean"},
                "toolExecutionNotifications": {
                    "type": "array",
                    "items": {
                        "type": "object", "required": ["message"], "additionalProperties": False,
                        "properties": {
                            "level": {"$ref": "#/$defs/level"}, "message": {"$ref": "#/$defs/text"},
                        },
                    },
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["message", "locations", "partialFingerprints"],
            "additionalProperties": False,
            "properties": {
                "partialFingerprints": {
                    "type": "object", "additionalProperties": {"type": "string"},
                },
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/text"},
                "locations": {
                    "type": "array", "minItems": 1, "items": {"$ref": "#/$defs/location"},
                },
            },
        },
        "location": {
            "type": "object",
            "required": ["physicalLocation"],
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation", "region"],
                    "additionalProperties": False,
                    "properties": {
                        "artifactLocation": {
                            "type": "object", "additionalProperties": False, "required": ["uri"],
                            "properties": {
                                "uri": {
                                    "type": "string",
                                    "pattern": r"^(?!/)(?:[A-Za-z0-9_.~/-]|%[0-9A-F]{2})+$",
                                }
                            },
                        },
                        "region": {
                            "type": "object", "additionalProperties": False,
                            "required": ["startLine"],
                            "properties": {"startLine": {"type": "integer", "minimum": 1}},
                        },
                    },
                }
            },
        },
    },
}  # fmt: skip
"""What SARIF 2.1.0 and code hosts ask of the parts that are used, and nothing else beside them:
hosts refuse a whole file for one result without a relative place and line, or a rule without
help."""

ODD = (
    "a b.py", "größe.py", "caf\udce9.py", "new\nline", "per%cent", "ha#sh?x=1", "c:/x", "\\back",
    "/abs/x", "\x1b]0;title\x07.py", "\ud800", "[x](1) {0}", "‮gnp.py", "\x9b31m",
)  # fmt: skip


def odd(form: str) -> str:
    found = tuple(Finding(name, 3, "error", f"of {name}") for name in ODD)
    none = (Finding("", None, "note", ""), Finding("a", None, "warning", "x"))
    return shown(Told(Judged("block", found + none, ODD), "what\x1b", 3, False, 0.1, {}), form)


def test_sarif_is_what_the_standard_asks_whatever_the_names_are() -> None:
    told = json.loads(odd("sarif"))
    jsonschema.Draft202012Validator(SARIF).validate(told)
    run = told["runs"][0]
    uris = [
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for one in run["results"][: len(ODD)]
    ]
    assert uris[:8] == [
        "a%20b.py", "gr%C3%B6%C3%9Fe.py", "caf%E9.py", "new%0Aline", "per%25cent",
        "ha%23sh%3Fx%3D1", "c%3A/x", "%5Cback",
    ]  # fmt: skip
    assert uris[8] == "abs/x" and len(run["results"]) == len(ODD) + 1
    said = run["invocations"][0]["toolExecutionNotifications"]
    assert len(said) == len(ODD) + 1, "what has no place is no result, yet it is said"
    assert run["results"][-1]["message"]["text"] == "Of the file as a whole: x"
    marks = [one["partialFingerprints"]["glmcodeLine/v1"] for one in run["results"]]
    assert len(set(marks)) == len(marks)
    for one in run["results"]:
        assert run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"]


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_printed_on_a_terminal_acts_on_none(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.isatty", lambda descriptor: True)
    text = odd(form)
    assert not set(text) & set("\x1b\x07\x9b\x9d‮")
    text.encode("utf-8", "replace")
    if form == "github":
        assert len(text.splitlines()) == 2 * len(ODD) + 2


def test_a_name_cannot_look_like_a_line_of_what_is_shown() -> None:
    data = b'diff --git "a/x\\n=== y" "b/x\\n=== y"\nold mode 100644\nnew mode 100755\n'
    files = parse_diff(data)
    assert files[0].path == "x\n=== y"
    assert len(overview(files).splitlines()) == len(show_file(files[0]).splitlines()) == 1


def test_a_name_that_is_no_utf8_is_shown_as_text_and_found_again() -> None:
    names = b'diff --git "a/\\351.py" "b/\\351.py"\n--- "a/\\351.py"\n+++ "b/\\351.py"\n'
    data = names + b"@@ -1 +1 @@\n-x\n+y\n"
    files = parse_diff(data)
    show_file(files[0]).encode()
    said = {"file": "\ufffd.py", "line": 1, "code": "y", "severity": "error", "reason": "x"}
    (found,) = read_answer({"findings": [said], "verdict": "block"}, files).findings
    assert (found.file, found.line) == ("\udce9.py", 1)


def large(files: int, lines: int) -> bytes:
    out = []
    for number in range(files):
        head = f"diff --git a/f{number} b/f{number}\nnew file mode 100644\n--- /dev/null\n"
        body = "".join(f"+value_{at} = {at}  # some words\n" for at in range(lines))
        out.append(f"{head}+++ b/f{number}\n@@ -0,0 +1,{lines} @@\n{body}")
    return "".join(out).encode()


@pytest.mark.parametrize(("files", "lines"), [(1, 900_000), (300, 3_000)])
def test_what_is_far_too_large_is_read_in_part_and_said(files: int, lines: int) -> None:
    found = parse_diff(large(files, lines))
    assert len(found) == files
    kept = sum(len(hunk.lines) for file in found for hunk in file.hunks)
    over = sum(file.large for file in found)
    assert over > 0 and kept + over == files * lines
    assert sum(file.added for file in found) * 10 < 16 << 20
    parts, left = pack(found, lambda text: len(text) // 3, 20_000)
    assert any("too large" in name for name in left) and parts


def test_a_large_diff_that_is_cut_off_is_still_said_to_be() -> None:
    data = large(1, 300_000)
    with pytest.raises(DiffError, match="middle of a hunk"):
        parse_diff(data[: len(data) * 3 // 4])


def test_packing_stops_when_it_is_late() -> None:
    found = parse_diff(large(20, 200))
    until = time.monotonic()
    parts, left = pack(found, lambda text: len(text) // 3, 2_000, lambda: time.monotonic() > until)
    assert parts == [] and len(left) == 20 and "no time was left" in left[0]


def test_files_that_were_merely_touched_are_no_change() -> None:
    assert parse_diff(b"diff --git a/x b/x\ndiff --git a/y b/y\n") == []
