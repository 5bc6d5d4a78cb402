"""The model's files: all there, whole, and the ones that decide about tokens unchanged.

Of a weight file only its header is read: it says how long the file must be, so a download that
was cut short is found without reading 140 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

from glmcode.doctor.line import Asked, Line, fault, ok, warning
from glmcode.engine.fit_weights import checkpoint_bytes
from glmcode.engine.prepare import SetupError, check_model
from glmcode.engine.profile import Profile, cached_snapshot
from glmcode.engine.pulled import DECIDING, is_shipped, read_record, record_path
from glmcode.engine.quantised import ShapeError
from glmcode.plan_commands import NoShape, profile_shape

_HEADER_MOST = 128 << 20


def model_lines(asked: Asked) -> list[Line]:
    """Nothing where no engine is wanted here."""
    profile = asked.profile
    if profile is None or profile.engine_command or not profile.model:
        return []
    try:
        check_model(profile)
    except SetupError as error:
        pull = f"glmcode engine pull --profile {profile.name}"
        return [fault("model", str(error), pull), *_room(profile)]
    folder = profile.local_model or cached_snapshot(profile.model, profile.revision)
    if folder is None:
        return [warning("model", f"{profile.model}: nobody can look at it", "vLLM will tell")]
    return [_whole(profile, folder), _deciding(profile, folder)]


def _room(profile: Profile) -> list[Line]:
    """Room for a model that is still to come."""
    try:
        shape, _ = profile_shape(profile)
    except (NoShape, ShapeError):
        return []
    need = checkpoint_bytes(shape)
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    place = Path(os.environ.get("HF_HUB_CACHE") or home)
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.0f} GB free at {place}; the model takes about {need / 1e9:.0f} GB"
    if free < need:
        todo = "free space, or set HF_HOME to a larger disk"
        return [fault("disk for the model", text, todo)]
    return [ok("disk for the model", text)]


def _whole(profile: Profile, folder: Path) -> Line:
    files = sorted(folder.glob("*.safetensors"))
    wrong = [f"{file.name}: {why}" for file in files if (why := _fault_of(file))]
    size = sum(file.stat().st_size for file in files if file.is_file())
    text = f"{len(files)} weight files, {size / 1e9:.3g} GB, at {folder}"
    if wrong:
        todo = (
            f"glmcode engine pull --profile {profile.name} fetches them again"
            if profile.local_model is None
            else "copy them again"
        )
        return fault("model", f"{len(wrong)} of {text} are not whole", todo, *wrong[:5])
    return ok("model", text)


def _fault_of(file: Path) -> str:
    """Why a weight file cannot be whole, or ""."""
    try:
        size = file.stat().st_size
        with file.open("rb") as source:
            first = source.read(8)
            if len(first) < 8:
                return "it is empty or cut short"
            (length,) = struct.unpack("<Q", first)
            if length > min(size, _HEADER_MOST):
                return "its header is no header"
            header = json.loads(source.read(length))
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "its header cannot be read"
    return "" if size == expected else f"{size:,} bytes, and its header says {expected:,}"


def _deciding(profile: Profile, folder: Path) -> Line:
    """Tokenizer and template against what was recorded when the model was pulled."""
    name = "tokenizer and template"
    if profile.local_model is not None and is_shipped(folder):
        return ok(name, "those that glmcode ships")
    known = read_record(profile.model).get("sha256")
    if not isinstance(known, dict) or not known:
        todo = "a pull or the first start of the engine records them"
        return warning(name, "never recorded: nobody can say whether they changed", todo)
    changed = [file for file in DECIDING if _hash(folder / file) != known.get(file)]
    if not changed:
        return ok(name, "as they were recorded")
    todo = (
        "if you did not mean to change them, fetch the model again; else begin sessions anew: "
        f"those that were kept hold ids of the old tokenizer ({record_path(profile.model)} is the "
        "record; remove it to have it made again)"
    )
    return fault(name, f"{', '.join(changed)} changed since they were recorded", todo)


def _hash(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
