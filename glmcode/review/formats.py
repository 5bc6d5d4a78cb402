"""A review as text for people, JSON, SARIF 2.1.0 for code hosts, and GitHub's commands.

Paths that are no UTF-8 are shown with replacement characters, and percent-encoded byte by byte
in SARIF. Must not decide an exit code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from glmcode import __version__
from glmcode.repl.clean import escaped, for_terminal, one_line, visible
from glmcode.review.diff import name_bytes, readable
from glmcode.review.findings import Finding, Judged

FORMATS = ("text", "json", "sarif", "github")
LEVELS = {"error": "error", "warning": "warning", "note": "note"}
GITHUB = {"error": "error", "warning": "warning", "note": "notice"}
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ABOUT = {
    "error": "Does harm or breaks something",
    "warning": "Likely to bite later",
    "note": "Worth knowing",
}

HELP = "Look at the line. If it is right as it is, nothing has to be done."
NO_REASON = "(no reason was given)"
FINGERPRINT = "glmcodeLine/v1"
"""The same line of the same file is the same finding, wherever it moved and whatever words it was
given this time."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is printed. what: was reviewed; kept: nothing was asked, it was known already."""

    judged: Judged
    what: str
    files: int
    kept: bool
    seconds: float
    engine: Mapping[str, Any]


def shown(told: Told, form: str) -> str:
    """The review in one of FORMATS, with its last newline."""
    text = _FORMS[form](told)
    return escaped(text) if form in ("json", "sarif") else for_terminal(text)


def _text(told: Told) -> str:
    judged = told.judged
    count = len(judged.findings)
    files = f"{told.files} file{'s' * (told.files != 1)}"
    found = f"{count} finding{'s' * (count != 1)}" if count else "nothing was found"
    known = ", as before" if told.kept else ""
    lines = [f"{judged.verdict}: {found} in {files} ({one_line(told.what, 200)}){known}"]
    for one in judged.findings:
        lines.append(f"{_place(one)}: {one.severity}: {visible(one.reason)}")
    if judged.left_out:
        lines.append(
            "not judged: " + ", ".join(one_line(readable(name), 300) for name in judged.left_out)
        )
    return "\n".join(lines) + "\n"


def _place(one: Finding) -> str:
    name = one_line(readable(one.file), 300) or "(no file)"
    return name if one.line is None else f"{name}:{one.line}"


def _json(told: Told) -> str:
    value = {
        "verdict": told.judged.verdict,
        "findings": [
            {
                "file": readable(one.file),
                "line": one.line,
                "severity": one.severity,
                "reason": one.reason,
            }
            for one in told.judged.findings
        ],
        "left_out": [readable(name) for name in told.judged.left_out],
        "what": told.what,
        "files": told.files,
        "cached": told.kept,
        "duration_ms": round(told.seconds * 1000),
        "engine": dict(told.engine),
    }
    return json.dumps(value, ensure_ascii=False) + "\n"


def _sarif(told: Told) -> str:
    rules = [
        {
            "id": name,
            "shortDescription": {"text": text},
            "fullDescription": {"text": f"{text}, as a model judged it."},
            "help": {"text": HELP},
            "defaultConfiguration": {"level": LEVELS[name]},
        }
        for name, text in ABOUT.items()
    ]
    unplaced = [one for one in told.judged.findings if not one.file]
    said = [_notification(LEVELS[one.severity], one.reason) for one in unplaced]
    said += [
        _notification("note", f"not judged: {readable(name)}") for name in told.judged.left_out
    ]
    invocation: dict[str, Any] = {"executionSuccessful": True}
    if said:
        invocation["toolExecutionNotifications"] = said
    run = {
        "tool": {"driver": {"name": "glmcode", "version": __version__, "rules": rules}},
        "invocations": [invocation],
        "results": [_result(one) for one in told.judged.findings if one.file],
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _notification(level: str, text: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": text or NO_REASON}}


def _result(one: Finding) -> dict[str, Any]:
    """One finding with a place: code hosts refuse a whole upload for one result without file and
    line, so what is of a file as a whole is at its first line and says so."""
    reason = one.reason or NO_REASON
    uri = quote(name_bytes(one.file).lstrip(b"/"))
    place = {"artifactLocation": {"uri": uri}, "region": {"startLine": one.line or 1}}
    same = "\0".join((uri, one.mark, one.severity))
    return {
        "ruleId": one.severity,
        "ruleIndex": list(ABOUT).index(one.severity),
        "level": LEVELS[one.severity],
        "message": {"text": reason if one.line else f"Of the file as a whole: {reason}"},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {FINGERPRINT: hashlib.sha256(same.encode()).hexdigest()},
    }


def _github(told: Told) -> str:
    lines = []
    for one in told.judged.findings:
        place = {"file": readable(one.file)} | ({"line": str(one.line)} if one.line else {})
        words = ",".join(f"{key}={_property(value)}" for key, value in place.items() if value)
        lines.append(f"::{GITHUB[one.severity]} {words}::{_message(visible(one.reason))}")
    for name in told.judged.left_out:
        lines.append(f"::notice::{_message(visible(f'not judged: {readable(name)}'))}")
    return "".join(f"{line}\n" for line in lines)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


_FORMS: Mapping[str, Callable[[Told], str]] = {
    "text": _text,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
}
