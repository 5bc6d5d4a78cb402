"""Asks a person, once, whether a folder's own settings and imports count (base/trust.py keeps it).

The terminal is still its own here: a line is typed and echoed. What was typed before the question
stood is thrown away, for it can't be meant as an answer, and only a yes or a no is one. Leaving
without an answer remembers nothing. Must not decide what trust means.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress
from pathlib import Path

from glmcode.base.trust import answer_for, asks_for_trust, remember

LONGEST = 4_096
MEANINGS = {"y": True, "yes": True, "n": False, "no": False, "": False}


class Unanswered(Exception):
    """The person left instead of answering; exit code 130."""


def is_trusted(workspace: Path, *, terminal: bool) -> bool:
    """Whether a folder's (real path) own settings count: as a person once said, who is asked here
    if need be, and if `terminal`. Nothing to trust is not asked about. Raises Unanswered."""
    answer = answer_for(workspace)
    if answer is not None or not terminal:
        return bool(answer)
    what = asks_for_trust(workspace)
    if not what or not (os.isatty(0) and os.isatty(2)):
        return False
    answer = _ask(workspace, what)
    try:
        remember(workspace, answer)
    except OSError as error:
        _say(f"the answer holds for this run only, it cannot be kept: {error}\n")
    return answer


def _ask(workspace: Path, what: str) -> bool:
    from glmcode.repl.clean import one_line

    _say(f"{one_line(str(workspace), LONGEST)} brings its own: {what}.\n")
    question = "Trust this folder, and those below it? It may set rules. [y/N] "
    with suppress(OSError, termios.error):
        termios.tcflush(0, termios.TCIFLUSH)
    while True:
        _say(question)
        answer = MEANINGS.get(_line().strip().lower())
        if answer is not None:
            return answer
        question = "Please answer y or n: "


def _line() -> str:
    """One line of the terminal. Raises Unanswered at the end of input."""
    try:
        typed = os.read(0, LONGEST)
    except OSError as error:
        raise Unanswered from error
    if not typed:
        raise Unanswered
    return typed.decode("utf-8", "replace")


def _say(text: str) -> None:
    from glmcode.repl.clean import visible

    with suppress(OSError):
        os.write(2, visible(text).encode("utf-8", "replace"))
