"""Writes the measured rates into the card (README.md beside this file), between two markers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

BEGIN, END = "<!-- rates: written by card.py -->", "<!-- end of rates -->"
Rates = Mapping[str, tuple[int, Counter[int]]]


class CardError(Exception):
    """The card has no place for the rates."""


def table(rates: Rates, varied: Rates, tasks: int) -> str:
    """The rates as a table: the real head, a varied head, and where it fails."""
    lines = [
        "| kind | real head | varied head | misses by answer (real head) |",
        "|---|---|---|---|",
    ]
    for kind, (solved, missed) in rates.items():
        where = ", ".join(f"{n} in answer {step}" for step, n in sorted(missed.items()))
        lines.append(
            f"| {kind} | {solved / tasks:.0%} | {varied[kind][0] / tasks:.0%} | {where or 'none'} |"
        )
    return "\n".join(lines)


def write(folder: Path, rates: Rates, varied: Rates, tasks: int) -> None:
    """Replace what stands between the markers. Raises CardError where a marker is missing."""
    path = folder / "README.md"
    text = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise CardError(f"{path} lacks the line {BEGIN!r} or {END!r}")
    figures = f"{tasks} unseen tasks a kind, greedy, every token of every answer right:"
    body = f"\n{figures}\n\n{table(rates, varied, tasks)}\n"
    path.write_text(f"{before}{BEGIN}{body}{END}{after}")
