"""What a command with commands of its own does between its words and its exit code.

stdout is UTF-8 whatever the locale; a reader that went away and Ctrl-C end it quietly. What can go
wrong in the command itself is its own to say. Must not know a command.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from glmcode.exits import Exit

if TYPE_CHECKING:
    import argparse


def run_parsed(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """Parse `argv` and call the `run` that it leads to; returns the exit code. The command's own
    errors are raised."""
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.ERROR
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
