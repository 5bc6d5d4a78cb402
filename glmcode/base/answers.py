"""What a person once answered, so that nobody is asked twice: files of yes and no by name.

Each file is a JSON object in the state folder; one that cannot be read holds no answers. It is
replaced whole, so that it is never half written. Must not ask, or know what the answers mean.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from glmcode.base.paths import private_folder, state_folder

CHOICES = "choices.json"
"""The file of answers about glmcode itself."""
AUTO_ALLOW = "sandbox_auto_allow"
"""Whether commands that stay inside a complete sandbox run unasked."""


def answers(file: str) -> dict[str, bool]:
    """All answers of a file of the state folder; empty where there are none."""
    try:
        data = json.loads(_path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {str(name): answer for name, answer in data.items() if isinstance(answer, bool)}


def keep(file: str, name: str, answer: bool) -> None:
    """Keep an answer. Raises OSError."""
    private_folder(state_folder())
    text = json.dumps({**answers(file), name: answer}, indent=1, sort_keys=True)
    part = _path(file).with_suffix(f".{os.getpid()}")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        part.chmod(0o600)
        part.replace(_path(file))
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _path(file: str) -> Path:
    return state_folder() / file
