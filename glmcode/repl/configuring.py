"""/config: what is set and who says so; with a value, set in the person's own settings file.

A running session keeps what it began with, and the line says so. What a flag or a nearer file says
wins over the own file, and that is said, too. Must not write a file of the repository.
"""

from __future__ import annotations

import os
import shlex

from glmcode.agent import AgentOptions
from glmcode.base.config import ConfigError, fold_layers, parse_setting, settings_file
from glmcode.base.config_file import SettingsFile, set_key
from glmcode.base.settings import definitions
from glmcode.config_command import rules_parse, setting_rows, toml_text

Rows = list[tuple[str, str]]
LATER = "from the next session on; this one keeps what it began with"


def config_rows(options: AgentOptions, words: str) -> Rows:
    """Do what `/config WORDS` asks and tell it as rows. Blocks. Raises ConfigError."""
    key, _, value = words.partition(" ")
    if not value.strip():
        return _shown(options, [key] if key else [])
    file = SettingsFile(settings_file(), False, rules_parse)
    many = _is_list(key)
    set_key(file, key, _words(value) if many else parse_setting(key, value.strip(), "/config"))
    rows = [*_shown(options, [key])[:1], ("set", f"in {file.path}, {LATER}")]
    layers = fold_layers(options.workspace, os.environ, trusted=options.trusted)
    sources = layers.sources.get(key, [])
    if str(file.path) not in sources and sources:
        rows.append(("but", f"{sources[-1]} wins over it here"))
    return rows


def _shown(options: AgentOptions, keys: list[str]) -> Rows:
    found, notices = setting_rows(options.workspace, keys, trusted=options.trusted)
    rows: Rows = []
    for row in found:
        said = "not set" if row.value is None else toml_text(row.value)
        source = ", ".join(row.sources)
        rows.append((row.one.key, f"{said}   ({source})" if len(found) > 1 else said))
        if len(found) == 1:
            rows += [("from", source), ("what", row.one.about), ("kind", row.one.kind)]
    rows += [("not", notice) for notice in notices]
    if not keys:
        rows.append(("/config KEY", "what it is; /config KEY VALUE sets it"))
    return rows


def _is_list(key: str) -> bool:
    return any(one.key == key and isinstance(one.default, tuple) for one in definitions())


def _words(value: str) -> list[str]:
    """The texts of a list, quoted where they hold spaces. Raises ConfigError."""
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ConfigError(f"{value}: {error}; quote a text as 'Bash(make *)'") from error
