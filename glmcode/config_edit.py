"""Edits a settings file in the person's own editor, and keeps only what glmcode can read.

The editor gets a copy: what can't be used never stands where the next start would stumble
over it. A copy that was refused stays, and its path is said, so that no typing is lost. Must
not judge settings (base/config.py does).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from glmcode.base.config import ConfigError
from glmcode.base.config_file import SettingsFile, judge, write_whole
from glmcode.base.files import FileFault, FileMissing, load
from glmcode.base.settings import definitions
from glmcode.exits import Exit

Say = Callable[[str, int], int]


def edit_settings(settings: SettingsFile, say: Say) -> int:
    """Open a settings file (or the beginning of one) in the editor; the exit code.

    Raises ConfigError.
    """
    words, path = _editor(), settings.path
    try:
        snapshot = load(path)
        before, digest = snapshot.data, snapshot.digest
    except FileMissing:
        before, digest = template().encode(), None
    except FileFault as error:
        raise ConfigError(f"{path} cannot be read: it {error}") from error
    descriptor, name = tempfile.mkstemp(prefix="glmcode-", suffix=".toml")
    copy = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(before)
    while True:
        _run(words, copy)
        after = copy.read_bytes()
        if after == before:
            copy.unlink()
            return say("nothing was changed", Exit.DONE)
        try:
            for notice in judge(settings, after):
                say(notice, Exit.DONE)
            write_whole(settings, after, digest)
        except ConfigError as error:
            text = str(error).replace(str(copy), str(path))
            if not _again(f"{text}\n"):
                return say(f"{text}\n{path} stands as before; what you wrote is in {copy}", 1)
            continue
        copy.unlink()
        return Exit.DONE


def template() -> str:
    """A settings file that sets nothing and names everything."""
    lines, table = ["# glmcode's settings; `glmcode config show` tells what holds.\n"], ""
    for one in definitions():
        head, _, name = one.key.partition(".")
        if head != table:
            lines.append(f"\n[{head}]\n")
            table = head
        lines.append(f"# {one.about}\n# {name} = ({one.kind})\n")
    return "".join(lines)


def _editor() -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        given = os.environ.get(name, "")
        if given.strip():
            try:
                return shlex.split(given)
            except ValueError as error:
                raise ConfigError(f"${name} cannot be understood: {error}") from error
    for known in ("editor", "nano", "vi"):
        if found := shutil.which(known):
            return [found]
    raise ConfigError("no editor was found: set EDITOR, or use `glmcode config set KEY VALUE`")


def _run(words: list[str], file: Path) -> None:
    try:
        code = subprocess.call([*words, str(file)])
    except OSError as error:
        file.unlink()
        text = f"the editor {words[0]!r} cannot be run ({error.strerror}): set EDITOR"
        raise ConfigError(text) from error
    if code:
        text = f"the editor ended with {code}: nothing was changed; your text is in {file}"
        raise ConfigError(text)


def _again(text: str) -> bool:
    """Whether the person wants to mend it; without a terminal nobody can."""
    if not (os.isatty(0) and os.isatty(2)):
        return False
    from glmcode.repl.clean import visible

    os.write(2, f"glmcode: {visible(text)}Edit it again? [Y/n] ".encode("utf-8", "replace"))
    try:
        return os.read(0, 4_096).strip().lower() in (b"", b"y", b"yes")
    except (OSError, KeyboardInterrupt):
        return False
