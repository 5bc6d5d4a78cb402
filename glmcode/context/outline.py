"""The outline of a file: its definitions with the lines they begin on, within so many characters.

`LINE<TAB>signature`, indented by nesting. Where not all fit, what is local or least telling goes
first: constants, then the deeper levels, then what stands last, and the outline says how many
are left out. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glmcode.context.tags import Definition

_KEEP: tuple[Callable[[Definition], bool], ...] = (
    lambda d: True,
    lambda d: d.kind != "constant",
    lambda d: d.kind != "constant" and d.depth <= 2,
    lambda d: d.kind != "constant" and d.depth <= 1,
    lambda d: d.kind != "constant" and d.depth == 0,
)


def outline(definitions: Sequence[Definition], room: int) -> str:
    """The outline in at most `room` characters; "" when there is nothing to show or no room."""
    if not definitions:
        return ""
    lines: list[str] = []
    for keep in _KEEP:
        lines = [_line(definition) for definition in definitions if keep(definition)]
        left = len(definitions) - len(lines)
        text = "\n".join([*lines, *_note(left)])
        if lines and len(text) <= room:
            return text
    room -= len("".join(_note(len(definitions)))) + 1
    shown: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        shown.append(line)
    return "\n".join([*shown, *_note(len(definitions) - len(shown))]) if shown else ""


def _line(definition: Definition) -> str:
    return f"{definition.line}\t{'  ' * definition.depth}{definition.signature}"


def _note(left: int) -> list[str]:
    return [f"({left} more definitions)"] if left else []
