"""Folders of the person who runs glmcode: config, state, cache.

platformdirs decides; GLMCODE_HOME overrides all three. Nothing is made here: callers
make what they need, with `private_folder` where others must not look.
"""

from __future__ import annotations

import os
from pathlib import Path


def _home() -> Path | None:
    home = os.environ.get("GLMCODE_HOME")
    if not home:
        return None
    try:
        return Path(home).expanduser()
    except RuntimeError:  # the tilde of somebody who is not known here: a folder of that name
        return Path(home)


def config_folder() -> Path:
    """Settings and user profiles."""
    home = _home()
    if home is not None:
        return home / "config"
    import platformdirs

    return Path(platformdirs.user_config_dir("glmcode", appauthor=False))


def state_folder() -> Path:
    """Sessions, grants, history, the engine's run folder."""
    home = _home()
    if home is not None:
        return home / "state"
    import platformdirs

    return Path(platformdirs.user_state_dir("glmcode", appauthor=False))


def cache_folder() -> Path:
    """What can be made again: spilled output, tokenizer and map caches."""
    home = _home()
    if home is not None:
        return home / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("glmcode", appauthor=False))


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner can enter (0700); raises OSError.

    Folders above it that are missing are made so too, whatever the umask: who may write there
    could put another folder in its place.
    """
    missing = [one for one in folder.parents if not os.path.lexists(one)]
    for one in (*reversed(missing), folder):
        one.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder
