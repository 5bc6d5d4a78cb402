"""What a review says, and to which line of which new file each of it belongs.

A model names a line as it was shown; where it is off by a few, the text that it copied tells
which one was meant, also where the file was renamed. What belongs to no line that was shown is
of the file as a whole, what belongs to no file of the diff is kept without a place and says so:
nothing is pinned to a place that was guessed. Pure values. Must not ask anybody.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from glmcode.review.diff import FileDiff, Line, one_name, readable

Severity = Literal["error", "warning", "note"]
Verdict = Literal["pass", "warn", "block"]
ORDER: Mapping[str, int] = {"error": 0, "warning": 1, "note": 2}
WORST: Mapping[str, int] = {"pass": 0, "warn": 1, "block": 2}
_SHOWN = re.compile(r"^\s*(?:\d+\s+)?[-+ ]?")
MOST = 50
MOST_CHARS = 1_000
FURTHER = "further findings"
BINARY = "(binary)"
TOO_LARGE = "too large)"
TOO_LONG = "(lines too long to be shown)"
SHORTENED = "cut at 2,000 characters)"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "findings": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer"},
                    "code": {"type": "string"},
                    "severity": {"enum": ["error", "warning", "note"]},
                    "reason": {"type": "string"},
                },
                "required": ["file", "line", "code", "severity", "reason"],
                "additionalProperties": False,
            },
        },
        "verdict": {"enum": ["pass", "warn", "block"]},
    },
    "required": ["findings", "verdict"],
    "additionalProperties": False,
}
"""Findings stand before the verdict, so that the verdict follows from them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. file: its name now, "": of none that changed; line: in the new
    file, None: of the file as a whole, or of a place that is not known. mark: the line's text as
    a hash, since it may be a secret."""

    file: str
    line: int | None
    severity: Severity
    reason: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said of a diff or of a part of it. left_out: what was not judged, and why."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all was judged that has lines to be judged."""
        return all(name.endswith((BINARY, FURTHER)) for name in self.left_out)

    @property
    def lasting(self) -> bool:
        """Whether asking again would judge no more: nothing was left out for want of time or of
        an answer."""
        never = (BINARY, FURTHER, TOO_LARGE, TOO_LONG, SHORTENED)
        return all(name.endswith(never) for name in self.left_out)


def read_answer(value: Mapping[str, Any], files: Sequence[FileDiff]) -> Judged:
    """An instance of SCHEMA, its findings put to the lines of the files."""
    found = [_placed(one, files) for one in value["findings"]]
    return Judged(value["verdict"], tuple(found))


def merge(parts: Iterable[Judged]) -> Judged:
    """All parts as one: each finding once, the worst first, the verdict the worst that has a
    reason."""
    judged = list(parts)
    verdicts: list[Verdict] = [one.verdict for one in judged]
    verdict: Verdict = max(verdicts, key=WORST.__getitem__, default="pass")
    kept: dict[tuple[Any, ...], Finding] = {}
    for one in (finding for part in judged for finding in part.findings):
        key = (one.file, one.line, " ".join(one.reason.casefold().split()))
        if key not in kept or ORDER[one.severity] < ORDER[kept[key].severity]:
            kept[key] = one
    ordered = sorted(kept.values(), key=lambda one: (ORDER[one.severity], one.file, one.line or 0))
    left = [text for part in judged for text in part.left_out]
    if len(ordered) > MOST:
        left.append(f"{len(ordered) - MOST} {FURTHER}")
    if verdict == "block" and not any(one.severity == "error" for one in ordered):
        verdict = "warn"  # nobody is stopped without being told what for
    if not ordered:
        verdict = "pass"
    return Judged(verdict, tuple(ordered[:MOST]), tuple(left))


def _placed(told: Mapping[str, Any], files: Sequence[FileDiff]) -> Finding:
    reason = " ".join(str(told["reason"]).split())[:MOST_CHARS]
    reason = reason.encode("utf-8", "replace").decode()  # a model may write half a character
    name = str(told["file"])
    file = _file_of(name, files)
    if file is None:
        named = one_name(name).strip()[:MOST_CHARS].encode("utf-8", "replace").decode()
        about = f"of {named}, which is not in the diff: " if named else ""
        return Finding("", None, told["severity"], about + reason)
    shown = _shown_lines(file)
    line = _line_of(file, shown, int(told["line"]), str(told["code"]))
    mark = "" if line is None else _mark(shown[line].text)
    return Finding(file.path, line, told["severity"], reason, mark)


def _mark(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).hexdigest()[:16]


def _file_of(name: str, files: Sequence[FileDiff]) -> FileDiff | None:
    plain = posixpath.normpath(name.strip())
    for wanted in (name, plain, plain.removeprefix("a/").removeprefix("b/")):
        for attribute in ("path", "old_path"):
            for file in files:
                name = getattr(file, attribute)
                if wanted in (name, readable(name), one_name(name)):
                    return file
    base = posixpath.basename(plain)
    named = [file for file in files if posixpath.basename(file.shown_path) == base]
    return named[0] if len(named) == 1 else None


def _shown_lines(file: FileDiff) -> dict[int, Line]:
    """The lines of the new file that the diff shows, by their numbers."""
    return {line.new: line for hunk in file.hunks for line in hunk.lines if line.new is not None}


def _line_of(file: FileDiff, shown: Mapping[int, Line], number: int, code: str) -> int | None:
    """The line that was meant: the shown one whose text was copied, the nearest first; where
    no text was found the one with that number, if it was shown."""
    for wanted in _copies(code):
        same = _same(shown, wanted)
        if number in same:
            return number
        added = [at for at in same if shown[at].kind == "+"]
        if same:
            return min(added or same, key=lambda at: (abs(at - number), at))
        gone = _gone(file, wanted)
        if gone is not None:
            return gone
    return number if number in shown else None


def _same(shown: Mapping[int, Line], wanted: str) -> list[int]:
    """The lines with that text, else those that hold it."""
    plain = {at: _plain(line.text) for at, line in shown.items()}
    same = [at for at, text in plain.items() if text == wanted]
    return same or [at for at, text in plain.items() if wanted in text]


def _copies(code: str) -> list[str]:
    """What the copied text may stand for: itself, and without the number and the sign shown
    before a line; of several lines the first."""
    line = next((one for one in code.splitlines() if one.strip()), "")
    bare = _SHOWN.sub("", line, count=1)
    return list(dict.fromkeys(one for one in (_plain(line), _plain(bare)) if one))


def _gone(file: FileDiff, wanted: str) -> int | None:
    """The line of the new file that stands where a removed line stood."""
    for hunk in file.hunks:
        for at, line in enumerate(hunk.lines):
            if line.kind == "-" and _plain(line.text) == wanted:
                after = [one.new for one in hunk.lines[at:] if one.new is not None]
                before = [one.new for one in hunk.lines[:at] if one.new is not None]
                return after[0] if after else before[-1] if before else None
    return None


def _plain(text: str) -> str:
    """Without what a copy may lose or gain: a leading sign or number, and white space."""
    return " ".join(text.split()).removeprefix("+ ").removeprefix("- ")
