"""Draws what stood on a terminal as SVG: one screen, or a recording that plays by itself.

A frame is a grid of cells as the emulator (pyte) saw them, so a picture shows what a person
would have seen, not what was meant. A recording is a strip of frames that is pushed along by
one CSS animation: web pages play it inside <img>, without scripts. A row that looks the same in
several frames is stored once. Must not know what ran.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import pyte

CELL_W, CELL_H, PAD, TITLE_H = 8.43, 18, 12, 34
FOREGROUND, BACKGROUND = "#d4d7dd", "#16181d"
COLOURS = {
    "black": "#3b4048", "red": "#f07178", "green": "#8fc87a", "brown": "#e6c07b",
    "blue": "#6cb0f2", "magenta": "#c792ea", "cyan": "#5fc9d8", "white": "#d4d7dd",
    "brightblack": "#7f8794", "brightred": "#ff8b92", "brightgreen": "#a9e08f",
    "brightbrown": "#ffdb8f", "brightyellow": "#ffdb8f", "brightblue": "#8cc4ff",
    "brightmagenta": "#dcaaff", "brightcyan": "#7fe0ee", "brightwhite": "#ffffff",
}  # fmt: skip
FONT = "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True, slots=True)
class Cell:
    """One character with its looks. `text` is empty behind a wide character."""

    text: str
    fg: str
    bg: str
    bold: bool
    italics: bool
    underscore: bool


Row = tuple[Cell, ...]
Frame = tuple[Row, ...]


class Screen(pyte.HistoryScreen):
    """pyte's terminal, which has no dim letters: they are drawn in bright black."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows, history=10_000)

    def select_graphic_rendition(self, *attributes: int, **options: bool) -> None:
        super().select_graphic_rendition(*(90 if a == 2 else a for a in attributes), **options)


def frame_of(screen: pyte.Screen) -> Frame:
    """The grid as it stands, with the cursor as a reversed cell."""
    rows = []
    for y in range(screen.lines):
        line = screen.buffer[y]
        cells = []
        for x in range(screen.columns):
            char = line[x]
            at_cursor = (x, y) == (screen.cursor.x, screen.cursor.y) and not screen.cursor.hidden
            fg, bg = _colour(char.fg, FOREGROUND), _colour(char.bg, "")
            if char.reverse != at_cursor:
                fg, bg = bg or BACKGROUND, fg
            cells.append(Cell(char.data, fg, bg, char.bold, char.italics, char.underscore))
        rows.append(tuple(cells))
    return tuple(rows)


def still(frame: Frame, title: str) -> str:
    """One screen as SVG."""
    return _document(frame, title, "", _rows(frame))


def moving(frames: Sequence[tuple[float, Frame]], seconds: float, title: str) -> str:
    """A recording as SVG that plays in a loop. frames: each with the second it begins at."""
    known: dict[Row, str] = {}
    strip = []
    width = _size(frames[0][1])[0]
    for number, (_, frame) in enumerate(frames):
        uses = []
        for y, row in enumerate(frame):
            if not any(cell.text.strip() or cell.bg for cell in row):
                continue
            name = known.setdefault(row, f"r{len(known)}")
            uses.append(f'<use href="#{name}" y="{y * CELL_H}"/>')
        strip.append(f'<g transform="translate({number * width:.0f} 0)">{"".join(uses)}</g>')
    rows = "".join(f'<g id="{name}">{_row(row)}</g>' for row, name in known.items())
    steps = "".join(
        f"{100 * begin / seconds:.3f}%{{transform:translateX(-{number * width:.0f}px)}}"
        for number, (begin, _) in enumerate(frames)
    )
    style = (
        f"@keyframes play{{{steps}}}.strip{{animation:play {seconds:.2f}s steps(1,end) infinite}}"
    )
    body = f'<defs>{rows}</defs><g class="strip">{"".join(strip)}</g>'
    return _document(frames[0][1], title, style, body)


def _document(frame: Frame, title: str, style: str, body: str) -> str:
    inner_w, inner_h = _size(frame)
    width, height = inner_w + 2 * PAD, inner_h + 2 * PAD + TITLE_H
    lights = "".join(
        f'<circle cx="{20 + 18 * i}" cy="18" r="5.5" fill="{colour}"/>'
        for i, colour in enumerate(("#ec6a5e", "#f4bf4f", "#61c554"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" role="img" fill="{FOREGROUND}"><title>{escape(title)}</title>'
        f"<style>text{{font:14px {FONT};white-space:pre}}{style}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>{lights}'
        f'<text x="{width / 2:.0f}" y="23" text-anchor="middle">{escape(title)}</text>'
        f'<svg x="{PAD}" y="{TITLE_H + PAD}" width="{inner_w:.0f}" height="{inner_h}" '
        f'overflow="hidden">{body}</svg></svg>\n'
    )


def _rows(frame: Frame) -> str:
    return "".join(
        f'<g transform="translate(0 {y * CELL_H})">{drawn}</g>'
        for y, row in enumerate(frame)
        if (drawn := _row(row))
    )


def _row(row: Row) -> str:
    return "".join(_run(x, cells) for x, cells in _runs(row))


def _runs(row: Row) -> Iterator[tuple[int, list[Cell]]]:
    x = 0
    looks = lambda cell: (cell.fg, cell.bg, cell.bold, cell.italics, cell.underscore)  # noqa: E731
    for _, group in itertools.groupby(row, looks):
        cells = list(group)
        yield x, cells
        x += len(cells)


def _run(x: int, cells: list[Cell]) -> str:
    first, text = cells[0], "".join(cell.text for cell in cells)
    left, drawn = x * CELL_W, ""
    if first.bg:
        width = len(cells) * CELL_W
        drawn = f'<rect x="{left:.1f}" width="{width:.1f}" height="{CELL_H}" fill="{first.bg}"/>'
    if not text.strip():
        return drawn
    blank = len(text) - len(text.lstrip(" "))
    text, left = text.strip(" "), left + blank * CELL_W
    looks = "" if first.fg == FOREGROUND else f' fill="{first.fg}"'
    looks += ' font-weight="bold"' if first.bold else ""
    looks += ' font-style="italic"' if first.italics else ""
    looks += ' text-decoration="underline"' if first.underscore else ""
    length = sum(2 if cell.text and _wide(cell.text) else 1 for cell in cells if cell.text)
    length -= len("".join(cell.text for cell in cells)) - len(text)
    return (
        f'{drawn}<text xml:space="preserve" x="{left:.1f}" y="{CELL_H - 5}" '
        f'textLength="{length * CELL_W:.1f}"'
        f"{looks}>{escape(text)}</text>"
    )


def _wide(text: str) -> bool:
    return pyte.screens.wcwidth(text[0]) == 2


def _size(frame: Frame) -> tuple[float, int]:
    return len(frame[0]) * CELL_W, len(frame) * CELL_H


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return COLOURS.get(name, f"#{name}" if len(name) == 6 else default)
