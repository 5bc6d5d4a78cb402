"""`glmcode commit-message`: a message for what is staged, on stdout.

Exit code 0: printed; 1: nothing is staged, or git failed; 2: wrong use; 75: no engine answered.
Must not commit.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from glmcode.exits import Exit
from glmcode.repl.clean import visible

if TYPE_CHECKING:
    import argparse


def run_commit_message(argv: list[str]) -> int:
    """Print a message for what is staged; `argv` is what follows `commit-message`."""
    from glmcode.cli_options import UsageError, parse_arguments
    from glmcode.githooks.asking import Asking, NoAnswer
    from glmcode.githooks.messages import proposed
    from glmcode.review.diff import DiffError
    from glmcode.review.git import GitError

    try:
        given, rest = build_parser().parse_known_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        arguments = parse_arguments(["-p", *rest, "--", "message"])
        asking = Asking(arguments, time.monotonic() + given.deadline)
        text = proposed(arguments.workspace, asking)
        if not text:
            return _say("nothing is staged", Exit.ERROR)
        os.write(1, text.encode("utf-8", "replace"))
    except UsageError as error:
        return _say(str(error), Exit.USAGE)
    except NoAnswer as error:
        return _say(str(error), Exit.UNAVAILABLE)
    except (GitError, DiffError, OSError) as error:
        return _say(str(error), Exit.ERROR)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.DONE


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after `commit-message`."""
    from glmcode.arguments import Parser
    from glmcode.option_types import positive_float

    parser = Parser(
        prog="glmcode commit-message",
        description="A message for what is staged, in the style of the repository's log.",
        epilog="Options of the engine and -C are those of `glmcode --help`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--deadline", type=positive_float, default=600.0, metavar="SECONDS", help="give up then"
    )
    return parser


def _say(text: str, code: int) -> int:
    print(f"glmcode commit-message: {visible(text)}", file=sys.stderr)
    return code
