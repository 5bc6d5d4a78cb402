"""Compaction: the question that is asked of the model.

Pure: values in, values out. Must not ask a model, write a journal or count tokens.
"""

from __future__ import annotations

from glmcode.base.data import prompt_text

TOKENS_PER_WORD = 2
"""Tokens that a word of a summary takes, with its share of paths and names: on the safe side."""


def instruction(max_tokens: int, focus: str = "") -> str:
    """The user message that asks for a summary of at most max_tokens tokens.

    focus: what the person wants kept in particular, in their own words.
    """
    words = max(50, max_tokens // TOKENS_PER_WORD // 50 * 50)
    text = f"{prompt_text('compact.md')}\n\nWrite at most {words} words."
    return f"{text}\n\nThe user asks to keep in particular: {focus}" if focus.strip() else text
