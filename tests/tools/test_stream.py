from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from glmcode.tools import output, stream
from glmcode.tools.output import Kept, Spill
from glmcode.tools.stream import Live, Stream, drop_front


def fresh(tmp_path: Path, size: int = 1000) -> Stream:
    return Stream(Kept(Spill(tmp_path / "spill", "x"), size), size)


def test_what_is_kept_is_what_came_cleaned(tmp_path: Path) -> None:
    mine = fresh(tmp_path)
    for piece in (b"a\xe2", b"\x82\xac\x1b[3", b"1m\r\nb", b"\rc"):
        mine.hear(piece)
    mine.end()
    assert mine.kept.text(100) == "a€\nc"


def test_beyond_the_saved_part_lines_are_counted_and_the_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SPILL_LIMIT", 100_000)
    monkeypatch.setattr(stream, "TAIL_BYTES", 10_000)
    mine = fresh(tmp_path)
    lines = [f"line é {n}\n".encode() for n in range(100_000)]
    for start in range(0, len(lines), 100):
        mine.hear(b"".join(lines[start : start + 100]))
    mine.end()
    text = mine.kept.text(1000)
    assert mine.kept.newlines == 100_000
    assert text.startswith("line é 0\n") and text.endswith("line é 99998\nline é 99999\n")
    shown = text.count("line é")
    assert f"[{100_000 - shown} lines, " in text and "only the first 0 MiB" in text


def test_what_is_no_longer_saved_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SPILL_LIMIT", 1_000_000)
    mine = fresh(tmp_path)
    begun = time.process_time()
    for _ in range(200_000_000 // 65536):
        mine.hear(b"\xff\x00\x1b[3\n" * 9362)
    mine.end()
    assert time.process_time() - begun < 5


def test_a_renewed_output_starts_empty_and_goes_on_in_the_same_file(tmp_path: Path) -> None:
    mine = fresh(tmp_path)
    mine.hear(b"first\npart")
    mine.settle()
    old, mine.kept = mine.kept, mine.kept.renew()
    mine.hear(b"ial\nsecond\n")
    mine.end()
    assert (old.text(100), mine.kept.text(100)) == ("first\npart", "ial\nsecond\n")
    assert mine.kept.spill.path is not None
    assert mine.kept.spill.path.read_text() == "first\npartial\nsecond\n"


def test_live_output_comes_at_once_and_then_in_beats() -> None:
    async def main() -> list[str]:
        shown: list[str] = []
        live = Live(shown.append)
        live.hear(b"first ")
        assert shown == ["first "]
        for _ in range(50):
            live.hear(b"x")
        assert len(shown) == 1
        await asyncio.sleep(3 * stream.INTERVAL_S)
        assert shown == ["first ", "x" * 50]
        live.hear(b"half \xe2\x82")
        live.close()
        return shown

    assert asyncio.run(main())[2:] == ["half ", "\ufffd"]


def test_live_output_of_a_flood_is_its_end() -> None:
    async def main() -> str:
        shown: list[str] = []
        live = Live(shown.append)
        for n in range(100_000):
            live.hear(b"line %d\n" % n)
        live.close()
        return "".join(shown)

    text = asyncio.run(main())
    assert len(text) < 400_000 and "\n[…]\nline " in text and text.endswith("line 99999\n")


@pytest.mark.parametrize("data", [b"ab\ncd\nef" * 50, "é".encode() * 200, b"\x80" * 400])
def test_a_front_is_dropped_at_a_line_or_at_a_character(data: bytes) -> None:
    rest = bytearray(data)
    dropped = drop_front(rest, 100)
    assert dropped + rest == data
    assert len(rest) <= 100
    if data[0] != 0x80:
        rest.decode()
        assert len(rest) > 40
