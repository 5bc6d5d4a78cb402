"""`glmcode sessions ...`: list, show, export, rm.

The answer on stdout, everything else on stderr; one sentence for every failure. What stands
before a damaged line is printed, then the damage is said. Text from files and models is made
harmless before it reaches a terminal. The work is done in `sessions/`; this module reads
arguments and prints (session_text.py makes the texts).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.edge import run_parsed
from glmcode.exits import Exit
from glmcode.repl.clean import for_terminal, one_line
from glmcode.session_text import as_json, ledger_table, markdown_lines, plain_lines
from glmcode.sessions import (
    Journal,
    SessionError,
    Summary,
    ago,
    find_session,
    list_sessions,
    read_checked,
    summarise,
)

if TYPE_CHECKING:
    import argparse


class _Stop(Exception):
    """The command ends here; the text is said, and `code` returned."""

    def __init__(self, text: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(text)
        self.code = code


def run_sessions(argv: list[str]) -> int:
    """Run one sessions command; returns the exit code."""
    try:
        return run_parsed(build_parser(), argv)
    except _Stop as stop:
        _say(str(stop))
        return stop.code
    except (SessionError, OSError) as error:
        sys.stdout.flush()
        _say(str(error))
        return Exit.ERROR


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode sessions",
        description="The conversations that were had in this folder. An ID may be cut short.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    listed = add("list", _list, "the sessions of this folder, the one used last first")
    listed.add_argument("--all", action="store_true", help="of all folders")
    listed.add_argument("--json", action="store_true", help="as a JSON array")
    show = add("show", _show, "print a conversation")
    show.add_argument("session", metavar="ID")
    show.add_argument("--full", action="store_true", help="results and reasoning as a whole")
    show.add_argument("--ledger", action="store_true", help="what each request cost, and why")
    export = add("export", _export, "a conversation as markdown or JSON, whole")
    export.add_argument("session", metavar="ID")
    export.add_argument(
        "--format", choices=("markdown", "json"), default="markdown", help="what it is written as"
    )
    export.add_argument("-o", "--output", metavar="FILE", help="write it to FILE")
    remove = add("rm", _remove, "remove sessions for good")
    remove.add_argument("sessions", metavar="ID", nargs="+")
    remove.add_argument("--yes", action="store_true", help="without asking")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    summaries = list_sessions(None if arguments.all else _here())
    if arguments.json:
        print(json.dumps([_summary_object(one) for one in summaries], indent=2))
        return Exit.DONE
    if not summaries:
        where = "" if arguments.all else f" of {_here()}"
        _say(f"no sessions{where}")
    for one in summaries:
        folder = f"  {one_line(one.workspace)}" if arguments.all else ""
        print(f"{one.session_id}  {ago(one.used):>12}{folder}  {one_line(one.title, 80)}")
    return Exit.DONE


def _summary_object(one: Summary) -> dict[str, Any]:
    return {
        "id": one.session_id,
        "title": one.title,
        "workspace": one.workspace,
        "model": one.model,
        "protocol": one.protocol,
        "forked_from": one.forked_from or None,
        "created": one.created,
        "used": one.used,
        "bytes": one.size,
        "path": str(one.path),
        "fault": one.fault or None,
    }


def _show(arguments: argparse.Namespace) -> int:
    path = _find(arguments.session)
    if arguments.ledger:
        for line in ledger_table(read_checked(path)):
            print(one_line(line, 400))
        return Exit.DONE
    for line in plain_lines(read_checked(path), full=arguments.full):
        print(line)
    return Exit.DONE


def _export(arguments: argparse.Namespace) -> int:
    entries: list[dict[str, Any]] = []
    fault = ""
    try:
        entries.extend(read_checked(_find(arguments.session)))
    except SessionError as error:
        fault = str(error)
    if arguments.format == "json":
        text = json.dumps(as_json(entries), indent=2) + "\n"
    else:
        text = "".join(f"{line}\n" for line in markdown_lines(entries))
    data = text.encode("utf-8", "replace")
    try:
        if arguments.output is None:
            data = for_terminal(text).encode("utf-8", "replace")
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            Path(arguments.output).expanduser().write_bytes(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = arguments.output or "standard output"
        raise _Stop(f"{where} cannot be written: {error.strerror}") from error
    if fault:
        raise _Stop(fault)
    return Exit.DONE


def _remove(arguments: argparse.Namespace) -> int:
    paths = list(dict.fromkeys(_find(given) for given in arguments.sessions))
    if not arguments.yes:
        _confirm(paths)
    for path in paths:
        journal = Journal.open(path)  # nobody else may hold it, and nobody can from now on
        try:
            path.unlink()
        finally:
            journal.close()
        print(f"removed {path.stem}")
    return Exit.DONE


def _confirm(paths: list[Path]) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise _Stop("removing is for good: say --yes", Exit.USAGE)
    for path in paths:
        summary = summarise(path)
        print(f"{path.stem}  {one_line(summary.title, 80) if summary else '(nothing said)'}")
    try:
        answer = input("Remove for good? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise _Stop("nothing was removed")


def _find(given: str) -> Path:
    try:
        return find_session(_here(), given)
    except SessionError as error:
        raise _Stop(str(error), Exit.USAGE) from error


def _here() -> Path:
    try:
        return Path.cwd().resolve(strict=True)
    except OSError as error:
        raise _Stop("the working directory is gone: change to one that exists") from error


def _say(text: str) -> None:
    print(f"glmcode: {one_line(text, 1000)}", file=sys.stderr)
