"""Which parts of a Markdown text are prose, so that an `@` in code is never taken for a reference.

Code fences, code spans and HTML comments are blanked out, character by character, so that
positions stay those of the text. As people write Markdown, not as every corner of its
specification has it: indentation alone is no code (it is usually a list). Must not change lengths.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(?:[-*+>] +|\d{1,9}[.)] +)*(`{3,}|~{3,})(.*)")
_TICKS = re.compile(r"`+")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_BLANK = re.compile(r"[^\n]")


def prose(text: str) -> str:
    """The text with everything that is code or comment replaced by spaces; as long as `text`."""
    blocks = "".join(_without_fences(text))
    blocks = _COMMENT.sub(lambda match: _blank(match.group()), blocks)
    parts = re.split(r"(\n[ \t]*\n)", blocks)
    return "".join(_without_spans(part) for part in parts)


def _without_fences(text: str) -> list[str]:
    lines: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        match = _FENCE.match(line)
        marks = match.group(1) if match else ""
        if fence:
            closes = marks.startswith(fence) and not (match and match.group(2).strip())
            fence = "" if closes else fence
            lines.append(_blank(line))
        elif marks and not (marks[0] == "`" and match and "`" in match.group(2)):
            fence = marks
            lines.append(_blank(line))
        else:
            lines.append(line)
    return lines


def _without_spans(paragraph: str) -> str:
    """Code spans end with as many backticks as they begin with; others are plain backticks."""
    if "`" not in paragraph:
        return paragraph
    runs = list(_TICKS.finditer(paragraph))
    closing: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        closing.setdefault(len(run.group()), []).append(index)
    out: list[str] = []
    done = index = 0
    while index < len(runs):
        same = closing[len(runs[index].group())]
        same.pop(0)
        if not same:
            index += 1
            continue
        last = same[0]
        out += [
            paragraph[done : runs[index].start()],
            _blank(paragraph[runs[index].start() : runs[last].end()]),
        ]
        done = runs[last].end()
        for between in range(index + 1, last + 1):
            closing[len(runs[between].group())].remove(between)
        index = last + 1
    return "".join([*out, paragraph[done:]])


def _blank(text: str) -> str:
    return _BLANK.sub(" ", text)
