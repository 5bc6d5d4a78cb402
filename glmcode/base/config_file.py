"""One setting changed in a settings file, and nothing else of it: comments and order stay.

The file is written whole and at once, only where it reads afterwards as before with that one
setting changed and where every setting in it can be used; another process that writes it
meanwhile is waited for. Must not know which files there are (config.py does).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.base.config import MOST_BYTES, ConfigError, Layers, add_layer
from glmcode.base.files import FileChanged, FileFault, FileMissing, load
from glmcode.base.paths import private_folder, state_folder
from glmcode.base.replace import replace_file
from glmcode.base.settings import Config

TRIES = 20


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file that is to be changed.

    repository: it belongs to one, which may not set everything. check: what must hold of the
    settings beyond what this module knows; raises ConfigError.
    """

    path: Path
    repository: bool
    check: Callable[[Config], None] = lambda config: None


def set_key(file: SettingsFile, key: str, value: Any) -> None:
    """Write one setting. value: as TOML has it. Raises ConfigError."""
    _change(file, key, lambda old: value)


def add_to_list(file: SettingsFile, key: str, values: list[str]) -> None:
    """Add to a list what it does not hold yet. Raises ConfigError."""

    def longer(old: Any) -> list[str]:
        held = old if isinstance(old, list) else []
        return [*held, *(value for value in values if value not in held)]

    _change(file, key, longer)


def unset_key(file: SettingsFile, key: str) -> bool:
    """Remove one setting; False: the file did not hold it. Raises ConfigError."""
    return _change(file, key, lambda old: None)


def judge(file: SettingsFile, data: bytes) -> list[str]:
    """Whether a file's whole text can be used; what is to be told about it. Raises ConfigError."""
    layers = Layers()
    add_layer(layers, data, file.path, repository=file.repository)
    file.check(layers.build())
    return layers.notices


def write_whole(file: SettingsFile, data: bytes, digest: str | None) -> None:
    """Replace a whole file. digest: of what is to stand there now, None: nothing. Raises
    ConfigError."""
    try:
        _write(file, data, digest)
    except FileChanged as error:
        raise ConfigError(f"{file.path} was changed by something else meanwhile") from error


def _change(file: SettingsFile, key: str, to: Callable[[Any], Any]) -> bool:
    """Whether anything was changed; `to` makes the new value of the old, None: without it."""
    path = file.path
    for _ in range(TRIES):
        try:
            snapshot = load(path, MOST_BYTES)
            before, digest = snapshot.data, snapshot.digest
        except FileMissing:
            before, digest = b"", None
        except FileFault as error:
            raise ConfigError(f"{path} cannot be read: it {error}") from error
        after = _changed(path, before, key, to)
        if after == before:
            return False
        if told := judge(file, after):
            raise ConfigError(told[0])
        try:
            _write(file, after, digest)
        except FileChanged:
            continue
        return True
    raise ConfigError(f"{path} is being changed by something else all the time")


def _write(file: SettingsFile, data: bytes, digest: str | None) -> None:
    path = file.path
    try:
        if file.repository:
            path.parent.mkdir(exist_ok=True)
        else:
            private_folder(path.parent)
        replace_file(path.resolve(), data, expected=digest, backups=state_folder() / "backups")
    except FileChanged:
        raise
    except FileFault as error:
        raise ConfigError(f"{path} {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def _changed(path: Path, before: bytes, key: str, to: Callable[[Any], Any]) -> bytes:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    table, _, name = key.partition(".")
    try:
        text = before.decode("utf-8")
        told = tomllib.loads(text)
        document = tomlkit.parse(text)
        held = told.setdefault(table, {})
        if not isinstance(held, dict):
            raise ConfigError(f"{path}: {table} is not a table there")
        old = held.get(name)
        new = to(old)
        if new == old:
            return before
        if new is None:
            del held[name]
            del document[table][name]
        else:
            held[name] = new
            if table not in document:
                document[table] = tomlkit.table()
            document[table][name] = new
        after = tomlkit.dumps(document)
        if tomllib.loads(after) != {k: v for k, v in told.items() if v != {} or k in document}:
            raise ConfigError(f"{path} holds {key} in a form that only an editor can change")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, TOMLKitError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return after.encode("utf-8")
