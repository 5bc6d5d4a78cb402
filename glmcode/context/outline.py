"""The outline of a file: its definitions with the lines they begin on, within so many characters.

`LINE<TAB>signature`, indented by nesting. Where not all fit, the outer ones are kept before the
inner, and constants come one level later; the outline says how many are left out. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from glmcode.context.tags import Definition


def outline(definitions: Sequence[Definition], room: int) -> str:
    """The outline in at most `room` characters; "" when there is nothing to show or no room."""
    lines = [_line(definition) for definition in definitions]
    if not lines:
        return ""
    whole = "\n".join(lines)
    if len(whole) <= room:
        return whole
    left = room - len(_note(len(lines)))
    chosen: list[int] = []
    for at in sorted(range(len(lines)), key=lambda at: (_level(definitions[at]), at)):
        left -= len(lines[at]) + 1
        if left < 0:
            break
        chosen.append(at)
    if not chosen:
        return ""
    shown = [lines[at] for at in sorted(chosen)]
    return "\n".join([*shown, _note(len(lines) - len(shown))])


def _level(definition: Definition) -> int:
    return definition.depth + (definition.kind == "constant")


def _line(definition: Definition) -> str:
    return f"{definition.line}\t{'  ' * definition.depth}{definition.signature}"


def _note(left: int) -> str:
    return f"({left} more definitions)"
