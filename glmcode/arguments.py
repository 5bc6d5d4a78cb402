"""The parser of the commands' arguments, whose messages are safe on a terminal.

argparse repeats what it does not know as it stands, and an argument may be a file's name that a
shell has put in. Imported where arguments are read, because argparse costs milliseconds.
"""

from __future__ import annotations

import argparse
from typing import Any

from glmcode.repl.clean import visible


class Parser(argparse.ArgumentParser):
    """As argparse's; its subcommands are of this class too."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(visible(message) if message else message, file)
