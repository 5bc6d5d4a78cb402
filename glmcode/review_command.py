"""`glmcode review`: what is wrong with a change, before it is committed, pushed or merged.

The verdict alone decides the exit code: 0 pass or warn, 4 block; 75 where no engine answers, 1
for any other failure, 2 for wrong use. stdout carries the review, everything else goes to
stderr. A diff that was judged before is not asked about again. Must not change the repository.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.core.messages import Usage
from glmcode.core.model import ModelError
from glmcode.exits import Exit
from glmcode.notes import Notes
from glmcode.opening import OpenError, open_asker
from glmcode.repl.clean import visible
from glmcode.review.diff import DiffError, parse_diff
from glmcode.review.findings import Judged
from glmcode.review.formats import FORMATS, Told, shown
from glmcode.review.git import GitError
from glmcode.review.judging import (
    Judge,
    Review,
    keep_review,
    kept_review,
    model_key,
    review_key,
)
from glmcode.review.source import Asked, Source, get_diff

if TYPE_CHECKING:
    import argparse

    from glmcode.cli_options import Arguments


def run_review(argv: list[str]) -> int:
    """Review; `argv` is what follows `review`. Returns the exit code."""
    from glmcode.cli_options import UsageError, parse_arguments

    try:
        given, rest = build_parser().parse_known_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        arguments = parse_arguments(["-p", *rest])
        for flag, value in (("--base", given.base), ("--pr-file", given.pr_file)):
            if value == "":  # such as a variable that is not set
                raise UsageError(f"{flag} is empty")
        if (named := arguments.prompt) is not None:
            if given.staged or given.base or given.pr_file:
                raise UsageError(f"{named}: one thing is reviewed at a time")
            given.base = named
        return _run(given, arguments)
    except UsageError as error:
        said = str(error)
        said = "one revision or range, please" if said.startswith("one prompt") else said
        return _say(f"{said}\ntry: glmcode review --help", Exit.USAGE)
    except (GitError, DiffError) as error:
        return _say(str(error), Exit.ERROR)
    except OpenError as error:
        return _say(str(error), Exit.USAGE if error.usage else Exit.ERROR)
    except ModelError as error:
        code = Exit.UNAVAILABLE if error.kind == "unavailable" else Exit.ERROR
        return _say(str(error), code)
    except TimeoutError:
        return _say("the deadline was reached before anything was judged", Exit.BUDGET)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser
    from glmcode.option_types import positive_float

    parser = Parser(
        prog="glmcode review",
        usage="%(prog)s [RANGE | --staged | --base REF | --pr-file FILE] [--format FORMAT] [...]",
        description="What is wrong with a change. Without an option: what is staged, else what is "
        "changed.",
        epilog="RANGE is A..B, A...B, or a revision as with --base. Options of the "
        "engine (--profile, --base-url, -m, --set, ...) and -C are those of `glmcode --help`. Exit "
        "code 4: the verdict is block.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--staged", action="store_true", help="what would be committed now")
    what.add_argument(
        "--base", metavar="REF", help="what HEAD changed since it left REF; or a range"
    )
    what.add_argument(
        "--pr-file", metavar="FILE", help="a diff in a file, as git or diff -u make; -: on stdin"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="as what it is printed")
    parser.add_argument(
        "--deadline",
        type=positive_float,
        metavar="SECONDS",
        help="judge as much as can be judged in so long; what was left out is said",
    )
    parser.add_argument("--fresh", action="store_true", help="ask again what was judged before")
    return parser


def _run(given: argparse.Namespace, arguments: Arguments) -> int:
    began = time.monotonic()
    file = Path(given.pr_file).expanduser() if given.pr_file else None
    source = get_diff(Asked(given.staged, given.base or "", file), arguments.workspace)
    files = parse_diff(source.data)
    if not files and source.data.strip():
        raise DiffError(f"{source.what}: there is no diff in it")
    key = review_key(files, model_key(arguments.engine))
    kept = None if given.fresh or not files else kept_review(key)
    if kept is not None:
        review, known = Review(kept, len(files), 0, Usage()), True
    elif not files:
        review, known = Review(Judged("pass"), 0, 0, Usage()), False
    else:
        deadline = began + given.deadline if given.deadline else None
        review, known = asyncio.run(_judge(arguments, source, deadline)), False
        if review.judged.lasting:
            keep_review(key, review.judged)
    return _print(given.format, review, source, known=known, seconds=time.monotonic() - began)


async def _judge(arguments: Arguments, source: Source, deadline: float | None) -> Review:
    notes = Notes(verbose=arguments.ui.verbose)
    limit = None if deadline is None else max(0.1, deadline - time.monotonic())
    async with asyncio.timeout(limit):
        client = await open_asker(arguments.engine, notes.event, arguments.context, arguments.lane)
    try:
        judge = Judge(client, notes.event, deadline)
        return await judge.review(parse_diff(source.data))
    finally:
        await client.close()


def _print(form: str, review: Review, source: Source, *, known: bool, seconds: float) -> int:
    usage = review.usage
    engine = {
        "requests": review.requests,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    told = Told(review.judged, source.what, review.files, known, seconds, engine)
    data = shown(told, form).encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        return _say(f"the review could not be written to stdout: {error.strerror}", Exit.ERROR)
    return Exit.BLOCK if review.judged.verdict == "block" else Exit.DONE


def _say(text: str, code: int) -> int:
    print(f"glmcode review: {visible(text)}", file=sys.stderr)
    return code
