"""What is known of models that were pulled: what was checked, and what decides about tokens.

A file that was checked and not written since need not be read again; a tokenizer or a template
that is not the one that was pulled makes every stored conversation wrong, so it is noticed. Must
not fetch anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmcode.base.data import DataMissing, data_folder
from glmcode.base.paths import private_folder, state_folder

DECIDING = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files whose content decides how text becomes tokens."""


def record_path(model: str) -> Path:
    """Where it is written what was checked of a model."""
    return state_folder() / "models" / f"{model.replace('/', '--')}.json"


def read_record(model: str) -> dict[str, Any]:
    """What was recorded; {} for nothing that can be read."""
    try:
        found = json.loads(record_path(model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_record(
    model: str, revision: str, commit: str, snapshot: Path, checked: Mapping[str, str]
) -> None:
    """Record it, with the hashes of what decides about tokens. Raises OSError.

    snapshot: the folder of the files; checked: name -> mark_of.
    """
    path = record_path(model)
    private_folder(path.parent)
    found = (snapshot / name for name in DECIDING)
    hashes = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in found if file.is_file()
    }
    value = {
        "model": model,
        "revision": revision,
        "commit": commit,
        "at": time.time(),
        "checked": dict(checked),
        "sha256": hashes,
    }
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")  # several may pull at once
    aside.write_text(json.dumps(value, indent=1), encoding="utf-8")
    aside.replace(path)


def record_first_start(model: str, revision: str, folder: Path) -> None:
    """A model that nobody pulled is recorded as its first start finds it; never raises OSError:
    what cannot be recorded is unknown to the doctor, and no reason not to start."""
    known = read_record(model)
    if known.get("sha256"):
        return
    checked = known.get("checked")
    try:
        write_record(model, revision, "", folder, checked if isinstance(checked, dict) else {})
    except OSError:
        return


def is_shipped(folder: Path) -> bool:
    """Whether a model's folder is one of glmcode's own, which change with glmcode."""
    try:
        return folder.resolve().is_relative_to(data_folder("models").resolve())
    except DataMissing:
        return False


def mark_of(path: Path) -> str:
    """What changes when a file is written again; "" when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
