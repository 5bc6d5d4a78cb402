"""What a person allowed always, in one folder: entries at the end of their own config.toml.

Text is only added, so that comments and order stay as they are, and only where the whole still
reads as before with the entry added. Several processes may write at once. A folder's own settings
are not the place: they belong to the repository. Must not judge rules.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmcode.base.config import GRANTS, settings_file
from glmcode.base.files import FileChanged, FileFault, FileMissing, load
from glmcode.base.paths import private_folder, state_folder
from glmcode.base.replace import replace_file

TRIES = 20


class GrantFault(Exception):
    """The rules cannot be kept; the text names the file and says why."""


def keep_rules(folder: Path, rules: Sequence[str]) -> Path:
    """Allow rules in sessions that run in a folder, from now on; the file that says so.

    Rules that it holds already are not written again. Raises GrantFault.
    """
    place = settings_file()
    try:
        private_folder(place.parent)
        real = place.resolve()
    except OSError as error:
        raise GrantFault(f"{place} cannot be written: {error.strerror or error}") from error
    for _ in range(TRIES):
        try:
            _add(real, str(folder.resolve()), rules)
            return place
        except FileChanged:
            continue  # another process wrote it meanwhile
        except FileFault as error:
            raise GrantFault(f"{place} {error}") from error
    raise GrantFault(f"{place} is being changed by something else all the time")


def _add(path: Path, folder: str, rules: Sequence[str]) -> None:
    """Add what is missing. Raises FileFault, GrantFault."""
    try:
        snapshot = load(path)
        before, digest = snapshot.data, snapshot.digest
    except FileMissing:
        before, digest = b"", None
    settings = _read(path, before)
    held = settings.get(GRANTS, [])
    known = [
        rule
        for one in (held if isinstance(held, list) else [])
        if isinstance(one, dict) and one.get("folder") == folder
        for rule in one.get("allow", [])
    ]
    wanted = [rule for rule in rules if rule not in known]
    if not wanted:
        return
    entry = {"folder": folder, "allow": wanted}
    listed = ", ".join(_quoted(rule) for rule in wanted)
    text = f"[[{GRANTS}]]\nfolder = {_quoted(folder)}\nallow = [{listed}]\n"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise GrantFault(f"{path} can't hold a name that is no text: {folder!r}")
    apart = "" if not before else "\n" if before.endswith(b"\n") else "\n\n"
    after = before + (apart + text).encode("utf-8")
    if not isinstance(held, list) or not _holds(after, {**settings, GRANTS: [*held, entry]}):
        raise GrantFault(f"{path} holds {GRANTS} in a form that nothing can be added to")
    replace_file(path, after, expected=digest, backups=state_folder() / "backups")


def _read(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GrantFault(f"{path} cannot be read: {error}") from error


def _holds(data: bytes, settings: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(data.decode("utf-8")) == settings
    except tomllib.TOMLDecodeError:
        return False


def _quoted(text: str) -> str:
    """A basic string of TOML: as in JSON, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
