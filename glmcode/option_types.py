"""What the values of options are read as; what is wrong with one is said by argparse.

Each raises argparse.ArgumentTypeError with a sentence that quotes the value. Must not know which
option asks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from glmcode.base.thinking import parse_thinking

MOST_BYTES = 1 << 20
LONGEST_S = 1e9


def text_file(given: str) -> str:
    """The text of a file of words for the model, without the newlines at its end."""
    from glmcode.base.files import FileFault, load

    try:
        text = load(Path(given).expanduser(), MOST_BYTES).data.decode("utf-8-sig")
    except FileFault as error:
        raise argparse.ArgumentTypeError(f"{given} cannot be read: it {error}") from error
    except (RuntimeError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{given} is no text in UTF-8: {error}") from error
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{given} is empty")
    return text.replace("\0", "").rstrip("\n")


def thinking(text: str) -> str:
    """on, off, or a number of tokens, as it was written."""
    try:
        parse_thinking(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def positive_int(text: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small: at least 1")
    return number


def positive_float(text: str) -> float:
    """Seconds, more than 0."""
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from error
    if not 0 < number < LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text} is not a time: seconds, more than 0")
    return number


def key_value(text: str) -> tuple[str, str]:
    """KEY=VALUE, taken apart."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key.strip(), value
