"""`glmcode config show|path|set|unset|edit`: what is set, by whom, and changing it.

`show` prints TOML with the source of every value behind it, so that what was meant and what
holds can be compared. Nothing is written that glmcode could not read afterwards. Exit code 0:
done; 1: it could not be done; 2: wrong use. Must not know single settings (base/settings.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.base.config import ConfigError, fold_layers, parse_setting, settings_file
from glmcode.base.config_file import SettingsFile, add_to_list, set_key, unset_key
from glmcode.base.settings import Config, Definition, definitions
from glmcode.edge import run_parsed
from glmcode.exits import Exit
from glmcode.repl.clean import for_terminal, one_line, visible

if TYPE_CHECKING:
    import argparse

UNSET = "not set"
EPILOG = (
    "KEY is a table and a name, such as tools.result_chars; `glmcode config show` lists all of "
    "them. --project and --local are files of the repository, which count once you trust the "
    "folder."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as it holds now, and who set it."""

    one: Definition
    value: Any
    sources: list[str]


def run_config(argv: list[str]) -> int:
    """Run one config command; `argv` is what follows `config`. Returns the exit code."""
    try:
        return run_parsed(build_parser(), argv)
    except ConfigError as error:
        return _say(str(error), Exit.ERROR)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode config", description="What is set, by whom, and changing it.", epilog=EPILOG
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
        command.set_defaults(run=run)
        command.add_argument("-C", "--cd", metavar="DIR", help="as if started in DIR")
        return command

    show = add("show", _show, "print the settings, and where each of them comes from")
    show.add_argument("key", nargs="*", metavar="KEY", help="only these settings or tables")
    show.add_argument("--json", action="store_true", help="as a JSON object")
    show.add_argument("--trust", action="store_true", help="as if the folder were trusted")
    path = add("path", _path, "print the path of the settings file")
    changed = [path, edit := add("edit", _edit, "open the settings file in $VISUAL or $EDITOR")]
    put = add("set", _set, "change a setting in the settings file; comments and order stay")
    put.add_argument("key", metavar="KEY")
    put.add_argument("value", nargs="+", metavar="VALUE", help="several only for a list")
    put.add_argument("--add", action="store_true", help="add to a list instead of replacing it")
    unset = add("unset", _unset, "remove a setting from the settings file")
    unset.add_argument("key", metavar="KEY")
    assert edit is not None
    for one in (*changed, put, unset):
        which = one.add_mutually_exclusive_group()
        which.add_argument(
            "--project", action="store_true", help="the repository's .glmcode/config.toml"
        )
        which.add_argument(
            "--local", action="store_true", help="its .glmcode/config.local.toml, for you alone"
        )
    return parser


def _folder(arguments: argparse.Namespace) -> Path:
    try:
        folder = Path(arguments.cd or ".").expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{arguments.cd or 'the working directory'}: no such folder") from error
    if not folder.is_dir():
        raise ConfigError(f"{arguments.cd}: not a folder")
    return folder


def _file(arguments: argparse.Namespace) -> Path:
    if not (arguments.project or arguments.local):
        return settings_file()
    name = "config.toml" if arguments.project else "config.local.toml"
    return _folder(arguments) / ".glmcode" / name


def _settings(arguments: argparse.Namespace) -> SettingsFile:
    repository = bool(arguments.project or arguments.local)
    return SettingsFile(_file(arguments), repository, rules_parse)


def rules_parse(config: Config) -> None:
    """Raises ConfigError where a rule of the settings is none."""
    from glmcode.permissions import RuleError, parse_rules

    told = config.permissions
    try:
        parse_rules((*told.allow, *told.ask, *told.deny))
    except RuleError as error:
        raise ConfigError(str(error)) from error


def _show(arguments: argparse.Namespace) -> int:
    from glmcode.trusting import is_trusted

    folder = _folder(arguments)
    trusted = arguments.trust or is_trusted(folder, terminal=False)
    rows, notices = setting_rows(folder, arguments.key, trusted=trusted)
    if arguments.json:
        _print_json(rows, notices)
        return Exit.DONE
    _print_toml(rows)
    for notice in notices:
        _say(notice, Exit.DONE)
    return Exit.DONE


def setting_rows(
    folder: Path, keys: Sequence[str], *, trusted: bool
) -> tuple[list[Row], list[str]]:
    """The settings as they hold in a folder, and what is to be said of the files.

    keys: settings or tables; none: all. Raises ConfigError.
    """
    layers = fold_layers(folder, os.environ, trusted=trusted)
    config = layers.build()
    wanted = _wanted(keys)
    rows: list[Row] = []
    for one in definitions():
        table, _, name = one.key.partition(".")
        if not wanted or one.key in wanted or table in wanted:
            sources = layers.sources.get(one.key) or ["default"]
            rows.append(Row(one, getattr(getattr(config, table), name), sources))
    return rows, layers.notices


def _print_toml(rows: list[Row]) -> None:
    lines: list[tuple[str, str]] = []
    before = ""
    for row in rows:
        table, _, name = row.one.key.partition(".")
        if table != before:
            lines += [("", "")] * bool(lines) + [(f"[{table}]", "")]
            before = table
        unset = row.value is None
        text = f"# {name}: {UNSET}" if unset else f"{name} = {toml_text(row.value)}"
        origin = ", ".join(one_line(source, 200) for source in row.sources)
        lines.append((one_line(text, 2_000), origin))
    width = min(max((len(line) for line, _ in lines), default=0), 48)
    for line, origin in lines:
        print(f"{line:<{width}}  # {origin}" if origin else line)


def _wanted(keys: Sequence[str]) -> set[str]:
    """The keys and tables that are asked for. Raises ConfigError where there is no such."""
    tables = {one.key.partition(".")[0] for one in definitions()}
    for key in keys:
        if key not in tables:
            _check_key(key)
    return set(keys)


def _check_key(key: str) -> None:
    known = {one.key for one in definitions()}
    if key not in known:
        parse_setting(key, "", "config")  # names the nearest one


def _print_json(rows: list[Row], notices: list[str]) -> None:
    import json

    settings = [
        {
            "key": row.one.key,
            "value": list(row.value) if isinstance(row.value, tuple) else row.value,
            "sources": row.sources,
            "about": row.one.about,
            "kind": row.one.kind,
        }
        for row in rows
    ]
    print(json.dumps({"settings": settings, "notices": notices}, ensure_ascii=False))


def toml_text(value: object) -> str:
    """A value as TOML has it."""
    import tomlkit

    return tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()


def _path(arguments: argparse.Namespace) -> int:
    print(for_terminal(str(_file(arguments))))
    return Exit.DONE


def _set(arguments: argparse.Namespace) -> int:
    file, source = _settings(arguments), "config set"
    values = [parse_setting(arguments.key, text, source) for text in arguments.value]
    many = isinstance(values[0], list)
    if not many and (len(values) > 1 or arguments.add):
        raise ConfigError(f"{arguments.key} is one value, not a list: got {len(values)}")
    if many and arguments.add:
        add_to_list(file, arguments.key, arguments.value)
    else:
        value = list(arguments.value) if many else values[0]
        set_key(file, arguments.key, value)
    return _hint(arguments)


def _hint(arguments: argparse.Namespace) -> int:
    """Say where something else still wins over what was just set."""
    from glmcode.trusting import is_trusted

    folder = _folder(arguments)
    trusted = is_trusted(folder, terminal=False)
    layers = fold_layers(folder, os.environ, trusted=trusted)
    sources = layers.sources.get(arguments.key, [])
    mine = str(_file(arguments))
    if mine not in sources:
        if _settings(arguments).repository and not trusted:
            _say(f"{mine} does not count before you trust the folder", Exit.DONE)
        elif sources:
            _say(f"{sources[-1]} wins over it here", Exit.DONE)
    return Exit.DONE


def _unset(arguments: argparse.Namespace) -> int:
    _check_key(arguments.key)
    file = _settings(arguments)
    if not unset_key(file, arguments.key):
        _say(f"{file.path} does not set {arguments.key}: nothing to do", Exit.DONE)
    return Exit.DONE


def _edit(arguments: argparse.Namespace) -> int:
    from glmcode.config_edit import edit_settings

    return edit_settings(_settings(arguments), _say)


def _say(text: str, code: int) -> int:
    print(f"glmcode: {visible(text)}", file=sys.stderr)
    return code
