"""The README's pictures: what the emulator saw is what is drawn."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pyte
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "docs"))

from picture import COLOURS, Frame, Screen, frame_of, moving, still

SVG = "{http://www.w3.org/2000/svg}"


def frame(text: str) -> Frame:
    screen = Screen(20, 3)
    pyte.Stream(screen).feed(text)
    return frame_of(screen)


def drawn(svg: str) -> list[tuple[str, str | None]]:
    return [
        (node.text or "", node.get("fill"))
        for node in ET.fromstring(svg).iter(f"{SVG}text")
        if node.get("textLength")
    ]


def test_text_and_colours_are_drawn_as_the_terminal_had_them() -> None:
    svg = still(frame("\x1b[31mred\x1b[0m <plain> & \x1b[2mdim\x1b[0m"), "a title")
    assert drawn(svg) == [
        ("red", COLOURS["red"]), ("<plain> &", None), ("dim", COLOURS["brightblack"]),
    ]  # fmt: skip


def test_a_wide_character_takes_two_columns_and_what_follows_stands_behind_it() -> None:
    svg = still(frame("漢字x"), "t")
    (node,) = [one for one in ET.fromstring(svg).iter(f"{SVG}text") if one.get("textLength")]
    assert node.text == "漢字x"
    assert float(node.get("textLength", "0")) == pytest.approx(5 * 8.43, abs=0.1)


def test_a_recording_stores_a_row_once_and_shows_each_frame_from_its_second_on() -> None:
    frames = [(0.0, frame("one\x1b[?25l")), (1.0, frame("one\r\ntwo\x1b[?25l"))]
    svg = moving(frames, 4.0, "t")
    assert [text for text, _ in drawn(svg)] == ["one", "two"]
    assert re.findall(r"([\d.]+)%\{", svg) == ["0.000", "25.000"]
    uses = [len(list(group.iter(f"{SVG}use"))) for group in ET.fromstring(svg).iter(f"{SVG}g")]
    assert sorted(uses)[-2:] == [2, 3]  # the second frame; the strip of both


def test_every_picture_that_the_readme_shows_is_there_and_is_xml() -> None:
    root = Path(__file__).resolve().parent.parent
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (root / "README.md").read_text("utf-8"))
    assert shown
    for name in shown:
        ET.fromstring((root / name).read_text(encoding="utf-8"))
