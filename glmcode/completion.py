"""What can be typed after `glmcode`, read from the parsers, and its completion for a shell.

`glmcode completion bash|zsh|fish` prints a script that knows every command and option; only
names that change (profiles, sessions, settings) are asked for at a Tab. The scripts are made
here and never kept by hand, so that no option can be missing. Must not import an engine.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module

from glmcode.exits import Exit

SHELLS = ("bash", "zsh", "fish")
NAMES = ("profiles", "sessions", "settings")
"""What the scripts ask for at a Tab: `glmcode completion --names profiles`."""
FILES = ("FILE", "PATH", "DIR_OR_CONFIG")
FOLDERS = ("DIR", "FOLDER")
BY_OPTION = {
    "--profile": "profiles",
    "--resume": "sessions",
    "--set": "settings",
    "--cd": "folders",
    "--add-dir": "folders",
    "--output-last-message": "files",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option. takes: a value follows. values: the words that it may be. asks: one of NAMES,
    "files" or "folders", where values are to be looked up; "": nothing to offer."""

    names: tuple[str, ...]
    about: str
    takes: bool = False
    values: tuple[str, ...] = ()
    asks: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the command line: words is what stands before it, such as ("engine", "start").

    commands: the words that lead on, with what they are. words_ask: as Option.asks, of a plain
    word here; word_values: the words that it may be.
    """

    words: tuple[str, ...]
    options: tuple[Option, ...]
    commands: dict[str, str] = field(default_factory=dict)
    words_ask: str = ""
    word_values: tuple[str, ...] = ()


def run_completion(argv: list[str]) -> int:
    """Print a script, or the names that one asks for; returns the exit code."""
    try:
        given = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        if given.names:
            sys.stdout.write("".join(f"{name}\n" for name in _names(given.names)))
        else:
            from glmcode.completion_scripts import script

            sys.stdout.write(script(given.shell, list(nodes())))
        sys.stdout.flush()
    except BrokenPipeError:
        return Exit.ERROR
    return Exit.DONE


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode completion",
        description="Print a script that completes glmcode's commands, options and names.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='bash: eval "$(glmcode completion bash)" in ~/.bashrc\n'
        'zsh:  eval "$(glmcode completion zsh)" in ~/.zshrc, after compinit\n'
        "fish: glmcode completion fish > ~/.config/fish/completions/glmcode.fish",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("shell", nargs="?", choices=SHELLS, metavar="bash|zsh|fish")
    what.add_argument("--names", choices=NAMES, help=argparse.SUPPRESS)
    return parser


def nodes() -> Iterator[Node]:
    """Every place of the command line, the outermost first."""
    from glmcode.cli import COMMANDS
    from glmcode.cli_options import build_parser as conversation

    parsers: dict[str, argparse.ArgumentParser] = {
        name: import_module(f"glmcode.{module}").build_parser()
        for name, (module, _) in sorted(COMMANDS.items())
    }
    about = {name: _sentence(one.description or "") for name, one in parsers.items()}
    yield Node((), _node((), conversation(), _told()).options, about)
    for name, parser in parsers.items():
        yield from _below((name,), parser)


def _sentence(text: str) -> str:
    """The first sentence, as a clause."""
    first = re.split(r"[.:](?:\s|$)", text, maxsplit=1)[0]
    return first[:1].lower() + first[1:] if not first[:2].isupper() else first


def _below(words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Node]:
    yield _node(words, parser, {})
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _below((*words, name), inner)


def _node(words: tuple[str, ...], parser: argparse.ArgumentParser, told: dict[str, str]) -> Node:
    options: list[Option] = []
    commands: dict[str, str] = {}
    ask, values = "", tuple[str, ...]()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands = {one.dest: one.help or "" for one in action._choices_actions}
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            options.append(_option(action, told))
        else:
            ask = _asks(action) or ask
            values = tuple(map(str, action.choices or ())) or values
    if not any("--help" in one.names for one in options):
        options.append(Option(("-h", "--help"), told.get("--help", "print the help")))
    return Node(words, tuple(options), commands, ask, values)


def _option(action: argparse.Action, told: dict[str, str]) -> Option:
    names = tuple(action.option_strings)
    about = action.help or next((told[name] for name in names if name in told), "")
    about = about.replace("%%", "%").replace("%(default)s", str(action.default))
    values = tuple(map(str, action.choices or ()))
    return Option(names, about, action.nargs != 0, values, _asks(action))


def _asks(action: argparse.Action) -> str:
    for name in action.option_strings:
        if name in BY_OPTION:
            return BY_OPTION[name]
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    if shown == "KEY":
        return "settings"
    if shown == "ID":
        return "sessions"
    return "files" if shown in FILES else "folders" if shown in FOLDERS else ""


def _told() -> dict[str, str]:
    """What the text of --help says of each option, in its first line."""
    from glmcode.help_text import HELP

    found: dict[str, str] = {}
    lines = HELP.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        option = re.match(r" {2}(?:-\w, )?(--[\w-]+).*?(?: {2,}(\S.*))?$", line)
        if option:
            found.setdefault(option[1], (option[2] or after.strip()).rstrip(",;:"))
    return found


def _names(what: str) -> list[str]:
    """Names for a Tab: nothing that fails may be heard there."""
    try:
        if what == "settings":
            from glmcode.base.settings import definitions

            return [one.key for one in definitions()]
        if what == "profiles":
            from glmcode.engine.profile import list_profiles

            return list(list_profiles())
        from pathlib import Path

        from glmcode.sessions import list_sessions

        return [one.session_id for one in list_sessions(Path.cwd().resolve())][:50]
    except (OSError, ValueError, RuntimeError):
        return []
