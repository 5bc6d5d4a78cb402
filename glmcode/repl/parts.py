"""The parts of a command that is asked about: one line each, with the rule that would allow it.

Where no rule can, the reason stands there instead. Only a few lines: what needs an answer comes
first, the rest is counted. Must not judge.
"""

from __future__ import annotations

from glmcode.core.events import ApprovalAsked, AskedPart
from glmcode.repl.clean import one_line
from glmcode.repl.paint import Painter

PARTS = 8
TEXT_CHARS = 100
NEVER = "no rule can allow this: "


def part_lines(painter: Painter, asked: ApprovalAsked, *, whole: bool = False) -> list[str]:
    """The lines below a preview; none where the question itself says it all."""
    parts = list(asked.parts) if len(asked.parts) > 1 or not asked.rules else []
    if len(parts) > PARTS and not whole:
        parts.sort(key=lambda part: part.allowed)
    shown = parts if whole else parts[:PARTS]
    lines: list[str] = []
    for part in shown:
        text = one_line(part.text, TEXT_CHARS)
        spans = [("dim", "- "), ("", text), *_about(part)]
        lines += painter.spans(spans, indent=2, hang=4)
    if len(parts) > len(shown):
        more = f"{painter.marks[2]} {len(parts) - len(shown)} more parts"
        lines += painter.spans([("dim", more)], indent=2)
    if asked.why and not any(part.why == asked.why for part in shown):
        lines += painter.spans([("warning", f"{NEVER}{one_line(asked.why)}")], indent=2, hang=4)
    return lines


def _about(part: AskedPart) -> list[tuple[str, str]]:
    if part.allowed and not part.rule:
        return [("dim", "  needs no rule")]
    if part.allowed:
        return [("dim", f"  already allowed by {one_line(part.rule, TEXT_CHARS)}")]
    if part.rule:
        return [("dim", "  would be allowed by "), ("bold", one_line(part.rule, TEXT_CHARS))]
    return [("warning", f"  {NEVER}{one_line(part.why)}")]
