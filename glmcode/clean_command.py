"""`glmcode clean`: remove what glmcode has left on the disk and nobody needs any more.

Without --sessions nothing goes that a person could want back: saved output and logs of a week
ago, checkpoints of a month ago. Exit code 0: done, or nothing to do; 1: something could not be
removed; 2: wrong use. Must not remove what a running session or engine uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glmcode.exits import Exit
from glmcode.growth import DAY_S, Waste, alone, remove, waste
from glmcode.repl.clean import one_line, visible
from glmcode.sessions import list_sessions
from glmcode.tools.spills import OUTPUT_DAYS

if TYPE_CHECKING:
    import argparse


def run_clean(argv: list[str]) -> int:
    """Clean; `argv` is what follows `clean`. Returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        return _run(options)
    except BrokenPipeError:
        return Exit.ERROR
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    import argparse

    from glmcode.arguments import Parser

    def days(given: str) -> float:
        try:
            number = float(given)
        except ValueError:
            number = -1.0
        if not 0 <= number < 100_000:
            raise argparse.ArgumentTypeError(f"{given!r} is no number of days (0 or more)")
        return number

    parser = Parser(
        prog="glmcode clean",
        description="Remove saved output and logs that are old, and checkpoints of folders in "
        "which no session changed anything for 30 days. Sessions stay, unless --sessions.",
        epilog="Saved output also goes by itself, once a day, when it is a week old or more than "
        "2 GB; checkpoints when they are 30 days old or more than 2 GB in a folder.",
    )
    parser.add_argument("--dry-run", action="store_true", help="show, and remove nothing")
    parser.add_argument(
        "--days",
        type=days,
        default=OUTPUT_DAYS,
        metavar="N",
        help=f"how old saved output and logs must be ({OUTPUT_DAYS:g})",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask about sessions")
    parser.add_argument(
        "--sessions",
        type=days,
        default=None,
        metavar="DAYS",
        help="also the conversations that were not used for so many days",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    found = waste(options.days, options.sessions)
    old = [one for one in found if one.kind == "sessions"]
    if old and not options.dry_run and not options.yes and (code := _refused(old)) is not None:
        return code
    faults: list[str] = []
    shown = found
    if not options.dry_run:
        with alone():
            shown = _removed(found, faults)
    for line in _table(shown, "would go" if options.dry_run else "removed"):
        print(line)
    if options.sessions is None:
        kept = list_sessions(None)
        size = _size(sum(one.size for one in kept))
        print(f"{_count(len(kept), 'session')} ({size}) stay: see --sessions")
    sys.stdout.flush()
    for fault in faults:
        print(f"glmcode: {visible(fault)}", file=sys.stderr)
    return Exit.ERROR if faults else Exit.DONE


def _removed(found: Sequence[Waste], faults: list[str]) -> list[Waste]:
    """Remove them; those that went by this."""
    gone = []
    for one in found:
        try:
            if remove(one):
                gone.append(one)
            else:
                faults.append(f"{one.path} is in use: it stays")
        except FileNotFoundError:
            continue  # another one was faster
        except OSError as error:
            faults.append(f"{one.path} was not removed: {error.strerror or error}")
    return gone


def _refused(old: Sequence[Waste]) -> int | None:
    """The exit code where nobody agrees that these sessions go for good; else None."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(
            "glmcode: removing sessions is for good: say --yes, or see --dry-run", file=sys.stderr
        )
        return Exit.USAGE
    for line in _table(old, "would go"):
        print(line)
    try:
        answer = input("Remove these sessions for good? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return None
    print("glmcode: nothing was removed", file=sys.stderr)
    return Exit.ERROR


def _table(found: Sequence[Waste], done: str) -> list[str]:
    if not found:
        return ["nothing to remove"]
    lines = []
    for kind in dict.fromkeys(one.kind for one in found):
        these = [one for one in found if one.kind == kind]
        oldest = max(one.age_s for one in these) / DAY_S
        size = _size(sum(one.size for one in these))
        lines.append(f"{kind:18} {len(these):6}  {size:>9}  the oldest {oldest:,.0f} days old")
        if kind == "sessions":
            lines += [f"  {one.path.stem}  {one_line(one.label, 60)}" for one in these]
    total = _size(sum(one.size for one in found))
    return [*lines, f"{done}: {total}"]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
