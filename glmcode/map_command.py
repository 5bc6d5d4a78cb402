"""`glmcode map`: the repository map on standard output, for a person who looks or a script.

The map that the model gets, or with --focus one that begins at what is named. Tokens are
counted with a profile's own tokenizer where --profile names one; otherwise a token is taken for
three bytes, which is more than code takes with GLM's tokenizer, so that a budget holds there too.
Exit code 1: the folder or the tokenizer cannot be used; 2: the command line cannot.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.context.repomap import CEILING, map_budget, repository_map
from glmcode.context.sources import source_files
from glmcode.repl.clean import for_terminal, visible

if TYPE_CHECKING:
    import argparse

BYTES_PER_TOKEN = 3


class MapError(Exception):
    """The map cannot be made: one clear sentence."""


def run_map(argv: list[str]) -> int:
    """Print a map; `argv` is what follows `map`. Returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
        text = _map(options)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    except MapError as error:
        _say(str(error))
        return 1
    return _write(text)


def estimated_tokens(text: str) -> int:
    """Tokens of a text where no tokenizer is at hand: one for every three bytes, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    import argparse

    from glmcode.arguments import Parser

    def tokens(given: str) -> int:
        if not given.isascii() or not given.isdigit() or not 0 < int(given) <= 10_000_000:
            raise argparse.ArgumentTypeError(f"{given!r} is no number of tokens (1 to 10000000)")
        return int(given)

    parser = Parser(
        prog="glmcode map",
        description="What a repository defines, the most used first, as the model is shown it.",
        epilog="Without --profile a token is counted for every three bytes of the map.",
    )
    parser.add_argument("path", nargs="?", default=".", metavar="PATH", help="a folder (.)")
    parser.add_argument(
        "--budget",
        type=tokens,
        metavar="TOKENS",
        help=f"the most that it may take; by default it grows with the files, to {CEILING} at most",
    )
    parser.add_argument(
        "--focus",
        nargs="+",
        action="extend",
        default=[],
        metavar="WORD",
        help="names, files or folders to begin with",
    )
    parser.add_argument("--profile", metavar="NAME", help="count with this profile's tokenizer")
    return parser


def _map(options: argparse.Namespace) -> str:
    root = Path(options.path)
    try:
        os.listdir(root)  # noqa: PTH208 (for its error)
    except OSError as error:
        raise MapError(f"{_shown(options.path)}: {error.strerror}") from error
    except ValueError as error:
        raise MapError(f"{_shown(options.path)} is no path") from error
    gc.disable()  # a short process that makes much and drops nothing: a tenth of its time
    count = _counter(options.profile)
    files = source_files(root)
    budget = options.budget or map_budget(len(files), 0)
    text = repository_map(root, budget, count, options.focus, files=files)
    if text:
        return f"{text}\n"
    if repository_map(root, sys.maxsize, len, files=files):
        raise MapError(f"not one line fits into a budget of {budget} tokens; give more")
    _say(f"nothing to show: no definition in any source file of {_shown(options.path)}")
    return ""


def _counter(profile: str | None) -> Callable[[str], int]:
    if profile is None:
        return estimated_tokens
    from glmcode.debug import DebugError, tokenizer_of
    from glmcode.glm.tokenizer import TokenizerError

    try:
        tokenizer = tokenizer_of(profile)
    except (DebugError, TokenizerError) as error:
        raise MapError(str(error)) from error
    return lambda text: len(tokenizer.encode_text(text))


def _shown(path: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in path)


def _write(text: str) -> int:
    data = for_terminal(text).encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        _say(f"standard output: {error.strerror}")
        return 1
    return 0


def _say(text: str) -> None:
    try:
        os.write(2, f"glmcode map: {visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
