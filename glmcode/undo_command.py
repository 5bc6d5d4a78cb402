"""`glmcode undo`: take back what the last turns changed in this folder, without a session.

The list of files and the diff come first; then it asks, on a terminal, or needs --yes. What
somebody changed since is named and nothing is touched, unless --force. Exit code 0: done, or
nothing to show; 1: refused, or not all could be done; 2: wrong use; 3: it needed an answer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.checkpoints.recorder import CheckpointError, Checkpoints
from glmcode.checkpoints.store import StoreError, store_folder
from glmcode.checkpoints.undo import Plan, Undo, UndoError, refusal
from glmcode.repl.clean import visible
from glmcode.undo_text import described, listed, outcome, title

if TYPE_CHECKING:
    import argparse

NOTHING = "nothing was recorded in {folder}: no session changed a file here"


def run_undo(argv: list[str]) -> int:
    """Undo; `argv` is what follows `undo`. Returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    folder = _workspace(Path(os.path.realpath(options.cd)))
    if folder is None:
        _say(NOTHING.format(folder=options.cd))
        return 0 if options.list else 1
    kept = Checkpoints(folder, "")
    try:
        return _run(Undo(kept), options)
    except (UndoError, StoreError, CheckpointError) as error:
        _say(str(error))
        return 1
    finally:
        for notice in kept.take_notices():
            _say(notice)
        kept.close()


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    import argparse

    from glmcode.arguments import Parser

    def turns(given: str) -> int:
        if not given.isascii() or not given.isdigit() or not 0 < int(given) < 10**9:
            raise argparse.ArgumentTypeError(f"{given!r} is no number of turns (1 or more)")
        return int(given)

    parser = Parser(
        prog="glmcode undo",
        description="Take back what the last turns of any session changed in this folder.",
        epilog="What was changed since is named and left, unless --force. An undo can be undone "
        "with --redo. Ignored files are covered only where Edit or Write changed them.",
    )
    parser.add_argument("count", nargs="?", type=turns, default=1, metavar="N", help="turns (1)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="the turns that changed something")
    what.add_argument("--to", type=turns, metavar="ID", help="back to before this turn")
    what.add_argument("--redo", action="store_true", help="take the last undo back")
    parser.add_argument("--dry-run", action="store_true", help="show, and change nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--force", action="store_true", help="also what was changed since; it can be redone"
    )
    parser.add_argument("-C", "--cd", default=".", metavar="DIR", help="the folder (.)")
    return parser


def _workspace(start: Path) -> Path | None:
    """The folder itself or the nearest above it in which a session recorded something."""
    for folder in (start, *start.parents):
        if (store_folder(folder) / "store.db").exists():
            return folder
    return None


def _run(undo: Undo, options: argparse.Namespace) -> int:
    if options.list:
        units = [(unit, undo.files(unit)) for unit in undo.turns()]
        return _write(f"{listed(units)}\n" if units else "no turn changed a file here\n")
    if not options.dry_run:
        finished = undo.finish()
        if finished is not None:
            _say("an undo that had been interrupted was finished first")
            if finished.failed:
                return 1
    plan = undo.plan_redo() if options.redo else undo.plan(options.count, to=options.to)
    _write(f"{title(plan)}\n{described(undo, plan)}\n")
    if plan.against and not options.force:
        _say(f"{refusal(plan)}\nnothing was changed; --force does it all the same")
        return 1
    if options.dry_run:
        return 0
    return _apply(undo, plan, options)


def _apply(undo: Undo, plan: Plan, options: argparse.Namespace) -> int:
    if not options.yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            _say("nobody can answer here: nothing was changed; --yes does it")
            return 3
        sys.stderr.write(f"{'Redo' if plan.kind == 'redo' else 'Undo'} this? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            _say("nothing was changed")
            return 1
    applied = undo.apply(plan, force=options.force)
    _say(outcome(plan, applied))
    return 1 if applied.failed else 0


def _write(text: str) -> int:
    data = visible(text).encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        return 1
    return 0


def _say(text: str) -> None:
    try:
        os.write(2, f"glmcode undo: {visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
