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
from collections.abc import Mapping
from pathlib import Path

from glmcode.doctor.line import Asked, Line, fault, ok, warning
from glmcode.engine.fit_weights import checkpoint_bytes
from glmcode.engine.prepare import SetupError, check_model
from glmcode.engine.profile import Profile, cached_snapshot
from glmcode.engine.pulled import DECIDING, is_shipped, read_record, record_path
from glmcode.engine.quantised import ShapeError
from glmcode.plan_commands import NoShape, profile_shape

_HEADER_MOST = 128 << 20
_OTHER_TOKENIZERS = ("tokenizer.model", "tekken.json", "tiktoken.model", "vocab.json")


def model_lines(asked: Asked) -> list[Line]:
    """Nothing where no engine is wanted here."""
    profile = asked.profile
    if profile is None or profile.engine_command or not profile.model:
        return []
    try:
        check_model(profile)
    except SetupError as error:
        return [fault("model", str(error), _again(profile)), *_room(profile)]
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
    size = sum(file.stat().st_size for file in files if file.is_file())
    text = f"{len(files)} weight files, {size / 1e9:.3g} GB, at {folder}"
    wrong, held = [], dict[str, set[str]]()
    for file in files:
        try:
            held[file.name] = _weights(file)
        except _Damaged as error:
            wrong.append(f"{file.name}: {error}")
    wrong += [*_unnamed(folder, held), *_unread(profile, folder)]
    if wrong:
        return fault("model", f"{len(wrong)} fault(s) in {text}", _again(profile), *wrong[:5])
    return ok("model", text)


def _again(profile: Profile) -> str:
    if profile.local_model is None:
        return f"glmcode engine pull --profile {profile.name} fetches what is missing or damaged"
    return f"copy the model to {profile.local_model} again, or name another folder in the profile"


class _Damaged(Exception):
    """What is wrong with a file."""


def _weights(file: Path) -> set[str]:
    """Names of the weights in a file that is as long as its header says. Raises _Damaged."""
    if not file.is_file():
        raise _Damaged("it is no file, or a link to none")
    try:
        size = file.stat().st_size
        with file.open("rb") as source:
            first = source.read(8)
            if len(first) < 8:
                raise _Damaged("it is empty or cut short")
            (length,) = struct.unpack("<Q", first)
            if length > min(size, _HEADER_MOST):
                raise _Damaged("its header is no header")
            header = json.loads(source.read(length))
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except OSError as error:
        raise _Damaged(error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise _Damaged("its header cannot be read") from error
    if size != expected:
        raise _Damaged(f"{size:,} bytes, and its header says {expected:,}")
    return set(header) - {"__metadata__"}


def _unnamed(folder: Path, held: Mapping[str, set[str]]) -> list[str]:
    """Weights that the index looks for in a file that does not hold them."""
    index = folder / "model.safetensors.index.json"
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # none, or check_model has told it
    lost = [name for name, file in named if file in held and name not in held[file]]
    if not lost:
        return []
    return [f"{index.name}: {len(lost)} weights are not where it says, {lost[0]} for one"]


def _unread(profile: Profile, folder: Path) -> list[str]:
    """What is wrong with the small files that a start reads."""
    found = []
    places = {"config.json": folder / "config.json"}
    own = Path(profile.tokenizer) if profile.tokenizer.startswith("/") else folder
    tokenizer = own if own.is_file() else own / "tokenizer.json"
    if tokenizer.exists() or not any((own / name).exists() for name in _OTHER_TOKENIZERS):
        places[tokenizer.name] = tokenizer
    for name, path in places.items():
        try:
            if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                found.append(f"{name}: it is no JSON object")
        except FileNotFoundError:
            found.append(f"{name}: it is not there")
        except OSError as error:
            found.append(f"{name}: {error.strerror or error}")
        except (ValueError, RecursionError):
            found.append(f"{name}: it is empty, cut short or no JSON")
    return found


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
