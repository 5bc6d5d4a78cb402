"""`glmcode hook install|uninstall|list|run`: arguments and answers.

Must not know what a hook does (running.py) nor where it lies (place.py).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.exits import Exit
from glmcode.githooks.install import install, look, uninstall
from glmcode.githooks.place import NAMES, HookError, find_place
from glmcode.repl.clean import one_line, visible
from glmcode.review.git import GitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from glmcode.cli_options import Arguments

DEADLINE_S = 60.0
_STATES = {
    "ours": "glmcode's",
    "changed": "glmcode's, changed since",
    "other": "not glmcode's",
    "none": "none",
}


def run_hook_command(argv: list[str]) -> int:
    """Run one hook command; `argv` is what follows `hook`. Returns the exit code."""
    own, git = _split(argv)
    try:
        given, rest = build_parser().parse_known_args(own)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        code: int = given.run(given, rest, git)
        return code
    except GitError as error:
        return _say(str(error), Exit.ERROR)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Our words, and git's own behind `--`."""
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode hook",
        description="Hooks of git that review what is committed and pushed.",
        epilog="`install` and `run` take --fail-open (the default), --fail-closed, --deadline "
        "SECONDS (60), --start-engine and --always (`glmcode hook install --help` says what they "
        "do), and the options of the engine of `glmcode --help`. Without an engine that is up a "
        "hook passes with one line. Hooks: " + ", ".join(NAMES) + ".",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    put = add("install", _install, "put hooks into this repository; what was there still runs")
    put.add_argument("name", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    _judging_options(put)
    take = add("uninstall", _uninstall, "take hooks out again and put back what was there")
    take.add_argument("name", nargs="*", choices=(*NAMES, []), metavar="NAME", help="default: all")
    add("list", _list, "the hooks of this repository")
    run = add("run", _run, "what git calls: NAME [OPTIONS] -- GIT'S OWN ARGUMENTS")
    run.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    _judging_options(run)
    run.add_argument(
        "--block-code",
        type=int,
        default=int(Exit.ERROR),
        metavar="CODE",
        help="what it ends with to stop git (1); tells a block from a crash",
    )
    return parser


def _judging_options(parser: argparse.ArgumentParser) -> None:
    from glmcode.option_types import positive_float

    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--fail-open", action="store_true", help="what can't be judged passes (default)"
    )
    which.add_argument("--fail-closed", action="store_true", help="what can't be judged blocks")
    parser.add_argument(
        "--deadline",
        type=positive_float,
        default=DEADLINE_S,
        metavar="SECONDS",
        help=f"the longest that git waits ({DEADLINE_S:g})",
    )
    parser.add_argument(
        "--start-engine", action="store_true", help="start an engine in the background if none runs"
    )
    parser.add_argument(
        "--always", action="store_true", help="also during rebases, merges and cherry-picks"
    )


def _install(given: argparse.Namespace, rest: list[str], git: list[str]) -> int:
    from glmcode.engine.default import machine_profile

    engine = _arguments(rest).engine  # what it could not use is said now, not at the next commit
    place = find_place(Path.cwd())
    options = ["--fail-closed"] if given.fail_closed else []
    if given.deadline != DEADLINE_S:
        options += ["--deadline", f"{given.deadline:g}"]
    options += ["--start-engine"] * given.start_engine + ["--always"] * given.always + rest
    for name in given.name:
        made = install(place, name, options)
        after = ", after the one that was there" if made.chained else ""
        print(f"{name}: {one_line(str(made.path), 400)}{after}")
    if not (engine.base_url or engine.profile or machine_profile()):
        print("no engine is configured: they let all pass (--profile NAME or --base-url URL)")
    if place.tracked:
        print(f"these lie in the working tree and name {sys.executable}: keep them out of commits")
    return Exit.DONE


def _uninstall(given: argparse.Namespace, rest: list[str], git: list[str]) -> int:
    _none(rest)
    place = find_place(Path.cwd())
    found = look(place)
    ours = [one.name for one in found if one.state in ("ours", "changed")]
    code: int = Exit.DONE
    for name in given.name or ours:
        try:
            gone = uninstall(place, name)
            print(f"{name}: {'removed' if gone else 'there was none'}")
        except HookError as error:
            code = _say(str(error), Exit.ERROR)
    if not (given.name or ours):
        print("no hook of glmcode's is here")
    return code


def _list(given: argparse.Namespace, rest: list[str], git: list[str]) -> int:
    _none(rest)
    place = find_place(Path.cwd())
    manager = f" ({place.manager})" if place.manager else ""
    print(f"hooks of {one_line(str(place.root), 400)}{manager}: {one_line(str(place.hooks), 400)}")
    for one in look(place):
        words = _STATES[one.state]
        print(f"  {one.name:<20} {words}{', after the one that was there' if one.chained else ''}")
    return Exit.DONE


def _run(given: argparse.Namespace, rest: list[str], git: list[str]) -> int:
    from glmcode.githooks.running import HookRun, run_hook

    return run_hook(
        HookRun(
            name=given.name,
            words=tuple(git),
            arguments=lambda: _arguments(rest),
            deadline_s=given.deadline,
            closed=given.fail_closed,
            start=given.start_engine,
            always=given.always,
            block_code=given.block_code,
        )
    )


def _arguments(rest: list[str]) -> Arguments:
    from glmcode.cli_options import UsageError, parse_arguments

    words = ["-p", *rest] if "--queue-class" in rest else ["-p", "--queue-class", "hook", *rest]
    try:
        return parse_arguments([*words, "--", "hook"])
    except UsageError as error:
        raise HookError(str(error)) from error


def _none(rest: list[str]) -> None:
    if rest:
        raise HookError(f"unknown: {' '.join(rest)}")


def _say(text: str, code: int) -> int:
    print(f"glmcode hook: {visible(text)}", file=sys.stderr)
    return code
