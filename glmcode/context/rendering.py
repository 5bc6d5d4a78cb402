"""The text of a map: as many of the best definitions as a budget holds, grouped by file.

A file is a line with its path; below it stand its definitions in the order of the source, each
indented by its depth, with those that it is nested in. The budget is counted by the caller's own
function on the very text that is returned, so it holds exactly. Must not read files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glmcode.context.ranking import Ranked

_BEST = 20_000
"""Definitions that are considered at most; no budget holds more."""


def render(files: Sequence[Ranked], budget: int, count: Callable[[str], int]) -> str:
    """The largest map whose count is at most the budget; "" when not one line fits.

    files come in the order in which they shall stand. The search is by the number of
    definitions: doubling, then halving, so that a text far above the budget is never made.
    """
    order = _order(files)
    best, low = "", 0
    high = min(8, len(order))
    while True:
        text = _text(files, order[:high])
        if count(text) > budget:
            break
        best, low = text, high
        if high == len(order):
            return best
        high = min(2 * high, len(order))
    while high - low > 1:
        middle = (low + high) // 2
        text = _text(files, order[:middle])
        if count(text) <= budget:
            best, low = text, middle
        else:
            high = middle
    return best


def _order(files: Sequence[Ranked]) -> list[tuple[int, int]]:
    """(file, definition) from the highest score down; -1 stands for a file's path alone."""
    scored = [
        (-score, at, number)
        for at, file in enumerate(files)
        for number, score in enumerate(file.scores)
        if file.definitions[number].name
    ]
    scored.sort()
    order = [(at, number) for _, at, number in scored[:_BEST]]
    order += [(at, -1) for at, file in enumerate(files) if not file.definitions]
    return order[:_BEST]


def _text(files: Sequence[Ranked], chosen: Sequence[tuple[int, int]]) -> str:
    by_file: dict[int, set[int]] = {}
    for at, number in chosen:
        by_file.setdefault(at, set()).add(number)
    lines: list[str] = []
    for at in sorted(by_file):
        file = files[at]
        lines.append(_printable(file.path))
        outer: list[int] = []
        needed = by_file[at]
        parents: dict[int, list[int]] = {}
        for number, definition in enumerate(file.definitions):
            while outer and file.definitions[outer[-1]].depth >= definition.depth:
                outer.pop()
            parents[number] = list(outer)
            outer.append(number)
        shown = set(needed)
        for number in needed:
            shown.update(parents.get(number, ()))
        for number in sorted(shown - {-1}):
            definition = file.definitions[number]
            lines.append(f"{' ' * (1 + len(parents[number]))}{definition.signature}")
    return "\n".join(lines)


def _printable(path: str) -> str:
    """A path on one line, whatever its bytes are."""
    clean = path.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "?" for c in clean)
