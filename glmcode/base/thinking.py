"""How much a model may think before it answers: as words, and as one number.

One meaning for the flag, the setting, the Python API and the slash command. Must not know how
a model is told.
"""

from __future__ import annotations

from typing import TypeAlias

Thinking: TypeAlias = int | None
"""The most tokens of reasoning in a step. None: as it likes; 0: none at all."""

CHOICES = ("on", "off")


def parse_thinking(text: str) -> Thinking:
    """`on`, `off` or a number of tokens. Raises ValueError with a sentence."""
    word = text.strip().lower()
    if word in CHOICES:
        return None if word == "on" else 0
    digits = word.replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 9):
        raise ValueError(f"thinking is on, off or the most tokens of a step, not {text!r}")
    return int(digits)


def thinking_words(thinking: Thinking) -> str:
    """ "on", "off" or "at most 1,024 tokens a step"."""
    if thinking is None:
        return "on"
    return f"at most {thinking:,} tokens a step" if thinking else "off"
