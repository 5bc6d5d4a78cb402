"""Settings: TOML layers and environment folded into one frozen value.

Precedence: flags > GLMCODE_TABLE__KEY > .glmcode/config.local.toml > .glmcode/config.toml >
user config.toml > defaults. An unknown key is an error that names the nearest one. A
repository's files are read only when it is trusted, and never for `[engine]` or
bypassPermissions. Must not create anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from glmcode.base.files import FileFault, FileMissing, load
from glmcode.base.nested import NESTED
from glmcode.base.paths import config_folder
from glmcode.base.settings import (
    CLASSES,
    MAP,
    MODES,
    PROTOCOLS,
    REASONING,
    SANDBOXES,
    TABLES,
    Config,
    Mode,
    SandboxMode,
    UiSettings,
)
from glmcode.base.thinking import parse_thinking

MODE_ALIASES: Mapping[str, Mode] = {
    "accept-edits": "acceptEdits",
    "auto-edit": "acceptEdits",
    "dont-ask": "dontAsk",
    "bypass": "bypassPermissions",
    "yolo": "bypassPermissions",
}
GRANTS = "grants"
"""[[grants]] in the person's own file: rules that hold in one folder, as "always" writes them."""
LISTS = ("allow", "deny", "ask", "sandbox_writable", "environment")
MOST_BYTES = 1 << 20
LOOSENING = ("sandbox_writable", "sandbox_network", "sandbox_auto_allow", "environment")
"""Keys of [permissions] that a repository never sets: they would open the sandbox around it."""


class ConfigError(Exception):
    """A setting that cannot be used; the text names it and says what would be right."""


_RESERVED = ("GLMCODE_HOME", "GLMCODE_PARENT", "GLMCODE_HOOK", NESTED)


class Layers:
    """Settings on their way: what was set so far, by whom, and what is to be told.

    values: table -> key -> value. sources: "table.key" -> who set it, the last one last (of a
    list, each of them is part of the value).
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
        self.sources: dict[str, list[str]] = {}
        self.notices: list[str] = []

    def put(self, table: str, name: str, value: Any, source: str) -> None:
        """Set one, as a TOML file holds it. Raises ConfigError."""
        default = _default(table, name, source)
        told = self.sources.setdefault(f"{table}.{name}", [])
        if isinstance(default, tuple):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ConfigError(f"{source}: {table}.{name} must be a list of strings")
            if name not in LISTS:
                told.clear()
            earlier = self.values[table].get(name, ()) if name in LISTS else ()
            self.values[table][name] = (*earlier, *value)
        else:
            if isinstance(default, float) and type(value) is int:
                value = float(value)
            if type(value) is not type(default):
                kind = type(default).__name__
                raise ConfigError(f"{source}: {table}.{name} must be of type {kind}, not {value!r}")
            told.clear()
            self.values[table][name] = value
        told.append(source)

    def build(self) -> Config:
        """All of them as one value. Raises ConfigError."""
        config = Config(**{table: kind(**self.values[table]) for table, kind in TABLES.items()})
        _judge(config)
        return config


def load_config(
    repository: Path | None,
    environment: Mapping[str, str],
    flags: Iterable[tuple[str, str]] = (),
    *,
    trusted: bool = False,
) -> tuple[Config, list[str]]:
    """Fold all layers; returns the settings and notices for the person.

    repository is the folder that may hold `.glmcode/`; flags are (key, value) of --set.
    Raises ConfigError.
    """
    layers = fold_layers(repository, environment, flags, trusted=trusted)
    return layers.build(), layers.notices


def fold_layers(
    repository: Path | None,
    environment: Mapping[str, str],
    flags: Iterable[tuple[str, str]] = (),
    *,
    trusted: bool = False,
) -> Layers:
    """All layers, one over the other. Raises ConfigError."""
    layers = Layers()
    _layer(layers, settings_file(), repository=False, folder=repository)
    if repository is not None:
        for name in ("config.toml", "config.local.toml"):
            path = repository / ".glmcode" / name
            if path.is_file() and not trusted:
                text = f"{path} was not read: the folder is not trusted (use --trust)"
                layers.notices.append(text)
            elif trusted:
                _layer(layers, path, repository=True)
    for name, value in sorted(environment.items()):
        if name.startswith("GLMCODE_") and "__" in name and name not in _RESERVED:
            key = name.removeprefix("GLMCODE_").lower().replace("__", ".", 1)
            _set(layers, key, value, f"the variable {name}")
    for key, value in flags:
        _set(layers, key, value, f"--set {key}")
    return layers


def parse_setting(key: str, text: str, source: str) -> Any:
    """A setting's value from one word of a command line. Raises ConfigError."""
    table, _, name = key.partition(".")
    if table not in TABLES or not name:
        known = [f"{t}.{f.name}" for t, kind in TABLES.items() for f in fields(kind)]
        raise ConfigError(f"{source}: unknown setting {key!r}{_nearest(key, known)}")
    default = _default(table, name, source)
    if isinstance(default, bool):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise ConfigError(f"{source}: {text!r} is neither true nor false")
        return words[text.lower()]
    if isinstance(default, int | float):
        kind = "a whole number" if isinstance(default, int) else "a number"
        try:
            return type(default)(text)
        except ValueError as error:
            raise ConfigError(f"{source}: {text!r} is not {kind}") from error
    return [text] if isinstance(default, tuple) else text


def settings_file() -> Path:
    """The person's own settings."""
    return config_folder() / "config.toml"


def _layer(layers: Layers, path: Path, *, repository: bool, folder: Path | None = None) -> None:
    try:
        data = load(path, MOST_BYTES).data
    except FileMissing:
        return
    except FileFault as error:  # a repository may put a pipe or a device there
        raise ConfigError(f"{path} cannot be read: it {error}") from error
    add_layer(layers, data, path, repository=repository, folder=folder)


def add_layer(
    layers: Layers, data: bytes, path: Path, *, repository: bool, folder: Path | None = None
) -> None:
    """Lay one file's settings over what is there. path: for messages. Raises ConfigError."""
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    grants = tables.pop(GRANTS, [])
    if repository and grants:
        layers.notices.append(f"{path}: [[{GRANTS}]] is never read from a repository")
    elif rules := _granted(path, grants, folder):
        layers.put("permissions", "allow", rules, str(path))
    for table, values in tables.items():
        if table not in TABLES or not isinstance(values, dict):
            raise ConfigError(f"{path}: unknown table [{table}]{_nearest(table, TABLES)}")
        if repository and table == "engine":
            layers.notices.append(f"{path}: [engine] is never read from a repository")
            continue
        for key, value in values.items():
            if repository and (what := _loosening(table, key, value)):
                layers.notices.append(f"{path}: {what} is never read from a repository")
                continue
            layers.put(table, key, value, str(path))


def _granted(path: Path, grants: Any, folder: Path | None) -> list[str]:
    """The rules that the person's own file allows in a folder (not below it: paths in rules begin
    at the folder of the session)."""
    rules: list[str] = []
    here = folder.resolve() if folder is not None else None
    for one in grants if isinstance(grants, list) else [None]:
        where = one.get("folder") if isinstance(one, dict) else None
        allow = one.get("allow") if isinstance(one, dict) else None
        known = isinstance(one, dict) and set(one) == {"folder", "allow"}
        listed = isinstance(allow, list) and all(isinstance(rule, str) for rule in allow)
        if not known or not listed or not isinstance(where, str) or not Path(where).is_absolute():
            raise ConfigError(
                f'{path}: each [[{GRANTS}]] must be folder = "an absolute path" and '
                'allow = ["rules"]'
            )
        if here is not None and here == Path(where).resolve():
            rules += allow or []
    return rules


def _loosening(table: str, key: str, value: Any) -> str:
    """What a repository must not decide: about its own judges, and a program that is run unasked;
    "" for anything else."""
    if table == "ui" and key == "notify_command":
        return "ui.notify_command"
    if table != "permissions":
        return ""
    if value in ("bypassPermissions", "danger-full-access"):
        return str(value)
    loose = key in LOOSENING or (key == "sandbox_engine" and value is not False)
    return f"permissions.{key}" if loose else ""


def _set(layers: Layers, key: str, text: str, source: str) -> None:
    value = parse_setting(key, text, source)
    table, _, name = key.partition(".")
    layers.put(table, name, value, source)


def _default(table: str, name: str, source: str) -> Any:
    """What a setting is if nobody sets it, for its type: of a switch that may be unset, False."""
    known = {f.name: False if f.default is None else f.default for f in fields(TABLES[table])}
    if name not in known:
        near = _nearest(name, known, f"{table}.")
        raise ConfigError(f"{source}: unknown setting {table}.{name}{near}")
    return known[name]


def _judge(config: Config) -> None:
    """What types alone don't say. Raises ConfigError."""
    parse_mode(config.permissions.mode)
    if config.permissions.sandbox:
        parse_sandbox(config.permissions.sandbox)
    if config.engine.queue_class and config.engine.queue_class not in CLASSES:
        raise ConfigError(
            f"engine.queue_class: {config.engine.queue_class!r} is none of {', '.join(CLASSES)}"
        )
    if config.engine.protocol and config.engine.protocol not in PROTOCOLS:
        raise ConfigError(f"engine.protocol must be tokens or chat, not {config.engine.protocol!r}")
    try:
        parse_thinking(config.engine.thinking)
    except ValueError as error:
        raise ConfigError(f"engine.thinking: {error}") from error
    if config.context.reasoning not in REASONING:
        raise ConfigError(
            f"context.reasoning must be keep or template, not {config.context.reasoning!r}"
        )
    if config.context.map not in MAP:
        raise ConfigError(f"context.map must be on, off or auto, not {config.context.map!r}")
    if config.context.window and config.context.window < 4_096:
        raise ConfigError("context.window must be 0 (all there is) or at least 4096")
    if not 0 <= config.engine.idle_stop < 1e6:
        raise ConfigError("engine.idle_stop must be 0 (never) or minutes")
    if not 0 <= config.engine.queue_timeout < 1e9:
        raise ConfigError("engine.queue_timeout must be 0 (any wait) or seconds")
    if config.engine.stall and config.engine.stall < 5:
        raise ConfigError("engine.stall must be 0 (never) or at least 5 seconds")
    for one in fields(UiSettings):
        value, choices = getattr(config.ui, one.name), one.metadata["choices"]
        if choices and value not in choices:
            raise ConfigError(f"ui.{one.name} must be {' or '.join(choices)}, not {value!r}")
    if not 0 <= config.ui.notify_after < 1e6:
        raise ConfigError("ui.notify_after must be seconds, from 0 on")
    if config.tools.result_chars < 200:
        raise ConfigError("tools.result_chars must be at least 200")


def parse_mode(text: str) -> Mode:
    """A permission mode by its name or a known alias. Raises ConfigError."""
    for mode in MODES:
        if text == mode:
            return mode
    if text in MODE_ALIASES:
        return MODE_ALIASES[text]
    raise ConfigError(f"unknown permission mode {text!r}: one of {', '.join(MODES)}")


def sandbox_for(given: SandboxMode | None, mode: Mode) -> SandboxMode:
    """The sandbox that was asked for; None: what goes with the permission mode."""
    if given is not None:
        return given
    return "danger-full-access" if mode == "bypassPermissions" else "workspace-write"


def parse_sandbox(text: str) -> SandboxMode:
    """A mode of the sandbox by its name. Raises ConfigError."""
    for mode in SANDBOXES:
        if text == mode:
            return mode
    raise ConfigError(f"unknown sandbox {text!r}: one of {', '.join(SANDBOXES)}")


def _nearest(word: str, known: Iterable[str], before: str = "") -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {before + near[0]!r}?" if near else ""
