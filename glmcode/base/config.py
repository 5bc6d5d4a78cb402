"""Settings: TOML layers and environment folded into one frozen value.

Precedence: flags > GLMCODE_TABLE__KEY > .glmcode/config.local.toml > .glmcode/config.toml >
user config.toml > defaults. An unknown key is an error that names the nearest one. A
repository's files are read only when it is trusted, and never for `[engine]` or
bypassPermissions. Must not create anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from glmcode.base.files import FileFault, FileMissing, load
from glmcode.base.paths import config_folder

Mode: TypeAlias = Literal["plan", "default", "acceptEdits", "dontAsk", "bypassPermissions"]
MODES: tuple[Mode, ...] = get_args(Mode)
MODE_ALIASES: Mapping[str, Mode] = {
    "accept-edits": "acceptEdits",
    "auto-edit": "acceptEdits",
    "dont-ask": "dontAsk",
    "bypass": "bypassPermissions",
    "yolo": "bypassPermissions",
}
SandboxMode: TypeAlias = Literal["read-only", "workspace-write", "danger-full-access"]
SANDBOXES: tuple[SandboxMode, ...] = get_args(SandboxMode)
GRANTS = "grants"
"""[[grants]] in the person's own file: rules that hold in one folder, as "always" writes them."""
PROTOCOLS = ("tokens", "chat")
Reasoning: TypeAlias = Literal["keep", "template"]
REASONING: tuple[Reasoning, ...] = get_args(Reasoning)
MAP = ("on", "off", "auto")
LISTS = ("allow", "deny", "ask", "sandbox_writable", "environment")
MOST_BYTES = 1 << 20
LOOSENING = ("sandbox_writable", "sandbox_network", "sandbox_auto_allow", "environment")
"""Keys of [permissions] that a repository never sets: they would open the sandbox around it."""


class ConfigError(Exception):
    """A setting that cannot be used; the text names it and says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """[engine]: which engine answers. Empty strings mean "not set".

    queue_class: how urgently this run asks an engine that others use, too: interactive,
    scripted, hook or background; "": interactive on a terminal, else scripted. queue_timeout:
    the longest wait in its queue in seconds, 0: as long as it takes. warm: a session that is
    resumed or was compacted is computed ahead by an engine of ours while the person types.
    stall: seconds without a token and without progress of its scheduler after which an engine
    of ours is said to stand still, 0: never.
    """

    profile: str = ""
    base_url: str = ""
    api_key_env: str = ""
    model: str = ""
    protocol: str = ""
    tokenizer: str = ""
    python: str = ""
    idle_stop: float = 0.0
    warm: bool = True
    stall: int = 60
    queue_class: str = ""
    queue_timeout: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionSettings:
    """[permissions]: the mode, and rules in the form Tool(pattern).

    sandbox: of commands, one of SANDBOXES; "": workspace-write, or danger-full-access in the
    mode bypassPermissions. sandbox_writable: further folders that commands may write (caches).
    sandbox_network: whether they reach the network. sandbox_auto_allow: whether they run
    unasked where the sandbox is complete; None: not set. environment: variables that look
    like secrets, by name or pattern, and are handed to commands all the same.
    """

    mode: str = "default"
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    sandbox: str = ""
    sandbox_writable: tuple[str, ...] = ()
    sandbox_network: bool = False
    sandbox_auto_allow: bool | None = None
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """[context]: what the window holds, and what leaves it.

    reasoning: "keep" (verbatim until compaction) or "template" (that of earlier turns is cut
    when a new message arrives, as the model's own template does). compact: automatically,
    when the window is nearly full. instructions: whether AGENTS.md files are read. map: the
    repository map in the preamble: "on", "off", or "auto" (as the engine's profile says).
    window: use at most so many tokens; 0: all that the engine or server has (for a server that
    does not say how many, it is learned from the first prompt that is too long).
    """

    reasoning: str = "keep"
    compact: bool = True
    instructions: bool = True
    map: str = "auto"
    window: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSettings:
    """[tools]: result_chars is the most characters of one tool result; checkpoints: whether the
    workspace is recorded before it is changed, so that it can be undone."""

    result_chars: int = 30_000
    checkpoints: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UiSettings:
    """[ui]: verbose prints tokens and cache hits per step."""

    verbose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, table by table."""

    engine: EngineSettings = EngineSettings()
    permissions: PermissionSettings = PermissionSettings()
    context: ContextSettings = ContextSettings()
    tools: ToolSettings = ToolSettings()
    ui: UiSettings = UiSettings()


_TABLES: Mapping[str, type[Any]] = {
    "engine": EngineSettings,
    "permissions": PermissionSettings,
    "context": ContextSettings,
    "tools": ToolSettings,
    "ui": UiSettings,
}
_RESERVED = ("GLMCODE_HOME", "GLMCODE_PARENT", "GLMCODE_HOOK")


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
    merged: dict[str, dict[str, Any]] = {table: {} for table in _TABLES}
    notices: list[str] = []
    _layer(merged, settings_file(), notices, repository=False, folder=repository)
    if repository is not None:
        for name in ("config.toml", "config.local.toml"):
            path = repository / ".glmcode" / name
            if path.is_file() and not trusted:
                notices.append(f"{path} was not read: the folder is not trusted (use --trust)")
            elif trusted:
                _layer(merged, path, notices, repository=True)
    for name, value in sorted(environment.items()):
        if name.startswith("GLMCODE_") and "__" in name and name not in _RESERVED:
            key = name.removeprefix("GLMCODE_").lower().replace("__", ".", 1)
            _set(merged, key, value, f"the variable {name}")
    for key, value in flags:
        _set(merged, key, value, f"--set {key}")
    return _build(merged), notices


def settings_file() -> Path:
    """The person's own settings."""
    return config_folder() / "config.toml"


def _layer(
    merged: dict[str, dict[str, Any]],
    path: Path,
    notices: list[str],
    *,
    repository: bool,
    folder: Path | None = None,
) -> None:
    try:
        tables = tomllib.loads(load(path, MOST_BYTES).data.decode("utf-8"))
    except FileMissing:
        return
    except FileFault as error:  # a repository may put a pipe or a device there
        raise ConfigError(f"{path} cannot be read: it {error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    grants = tables.pop(GRANTS, [])
    if repository and grants:
        notices.append(f"{path}: [[{GRANTS}]] is never read from a repository")
    elif rules := _granted(path, grants, folder):
        _put(merged, "permissions", "allow", rules, str(path))
    for table, values in tables.items():
        if table not in _TABLES or not isinstance(values, dict):
            raise ConfigError(f"{path}: unknown table [{table}]{_nearest(table, _TABLES)}")
        if repository and table == "engine":
            notices.append(f"{path}: [engine] is never read from a repository")
            continue
        for key, value in values.items():
            if repository and table == "permissions" and (what := _loosening(key, value)):
                notices.append(f"{path}: {what} is never read from a repository")
                continue
            _put(merged, table, key, value, str(path))


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


def _loosening(key: str, value: Any) -> str:
    """What a repository must not decide about its own judges; "" for anything else."""
    if value in ("bypassPermissions", "danger-full-access"):
        return str(value)
    return f"permissions.{key}" if key in LOOSENING else ""


def _set(merged: dict[str, dict[str, Any]], key: str, text: str, source: str) -> None:
    table, _, name = key.partition(".")
    if table not in _TABLES or not name:
        known = [f"{t}.{f.name}" for t, kind in _TABLES.items() for f in fields(kind)]
        raise ConfigError(f"{source}: unknown setting {key!r}{_nearest(key, known)}")
    default = _default(table, name, source)
    value: Any = text
    if isinstance(default, bool):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise ConfigError(f"{source}: {text!r} is neither true nor false")
        value = words[text.lower()]
    elif isinstance(default, int):
        try:
            value = int(text)
        except ValueError as error:
            raise ConfigError(f"{source}: {text!r} is not a whole number") from error
    elif isinstance(default, float):
        try:
            value = float(text)
        except ValueError as error:
            raise ConfigError(f"{source}: {text!r} is not a number") from error
    elif isinstance(default, tuple):
        value = [text]
    _put(merged, table, name, value, source)


def _default(table: str, name: str, source: str) -> Any:
    """What a setting is if nobody sets it, for its type: of a switch that may be unset, False."""
    known = {f.name: False if f.default is None else f.default for f in fields(_TABLES[table])}
    if name not in known:
        raise ConfigError(f"{source}: unknown setting {table}.{name}{_nearest(name, known)}")
    return known[name]


def _put(merged: dict[str, dict[str, Any]], table: str, name: str, value: Any, source: str) -> None:
    default = _default(table, name, source)
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{source}: {table}.{name} must be a list of strings")
        earlier = merged[table].get(name, ()) if name in LISTS else ()
        merged[table][name] = (*earlier, *value)
        return
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        kind = type(default).__name__
        raise ConfigError(f"{source}: {table}.{name} must be of type {kind}, not {value!r}")
    merged[table][name] = value


def _build(merged: dict[str, dict[str, Any]]) -> Config:
    config = Config(**{table: kind(**merged[table]) for table, kind in _TABLES.items()})
    parse_mode(config.permissions.mode)
    if config.permissions.sandbox:
        parse_sandbox(config.permissions.sandbox)
    if config.engine.protocol and config.engine.protocol not in PROTOCOLS:
        raise ConfigError(f"engine.protocol must be tokens or chat, not {config.engine.protocol!r}")
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
    if config.engine.stall and config.engine.stall < 5:
        raise ConfigError("engine.stall must be 0 (never) or at least 5 seconds")
    if config.tools.result_chars < 200:
        raise ConfigError("tools.result_chars must be at least 200")
    return config


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


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
