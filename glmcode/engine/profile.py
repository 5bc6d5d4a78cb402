"""Profiles: everything about one way to serve a model, as a TOML file.

Shipped ones lie in `profiles/` beside this file, a person's own in the config folder; a
person's file of the same name is laid over the shipped one. They are never read from a
repository. This module reads and checks; it must not start, probe or connect to anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from glmcode.base.data import DataMissing, data_folder
from glmcode.base.paths import config_folder

_SHIPPED = Path(__file__).resolve().parent / "profiles"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TABLES = ("flags", "env", "sampling")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
GPU_PROFILE = "reap-268b-8x3090"
CARD_SAMPLING: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 0.95,
    "top_k": 40,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}


class ProfileError(Exception):
    """A profile that cannot be used; one sentence that names the file, the key and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A place where the command line differs from the model card's, and why."""

    card: str
    ours: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One way to serve. Strings are "" where nothing is set; sizes are in tokens.

    model: a folder (absolute) or a hub id; "@models/NAME" in a file stands for a shipped one.
    window: the context window, or "auto" (the largest that fits, at most window_cap).
    gpu_memory: share of each GPU, 0 for vLLM's default. flags and env: for vLLM, flag names
    without their dashes; a flag that is false is not passed. sampling: all five values, as
    requests must send them. python: the interpreter that has vLLM, "" to look for one.
    engine_command: run this instead of vLLM; "{socket}" stands for the Unix socket on which
    it must listen. quick_start: fork the engine core (CPU only). results: most characters
    of a tool result; step_cap: most tokens of one answer; map: a repository map in the
    preamble. gpus: what it was made for, as 8x24GiB; shape: a config.json with the model's
    sizes, for planning before the model is here. base_url: a server that somebody else
    runs, in place of an engine here (api_key_env: the variable that holds its key).
    """

    name: str
    model: str
    description: str = ""
    extends: str = ""
    revision: str = ""
    tokenizer: str = ""
    served_name: str = ""
    protocol: Literal["tokens", "chat"] = "tokens"
    tensor_parallel: int = 1
    dtype: str = "auto"
    kv_dtype: str = "auto"
    window: int | Literal["auto"] = "auto"
    window_cap: int = 0
    gpu_memory: float = 0.0
    max_seqs: int = 1
    flags: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    sampling: Mapping[str, float] = field(default_factory=lambda: dict(CARD_SAMPLING))
    min_vllm: str = ""
    python: str = ""
    engine_command: tuple[str, ...] = ()
    quick_start: bool = False
    results: int = 30_000
    step_cap: int = 32_768
    map: bool = True
    gpus: str = ""
    shape: str = ""
    base_url: str = ""
    api_key_env: str = ""
    deviations: tuple[Deviation, ...] = ()

    @property
    def local_model(self) -> Path | None:
        """The model's folder, or None for a hub id."""
        return Path(self.model) if self.model.startswith("/") else None

    def digest(self) -> str:
        """Twelve hex digits that change when any setting changes."""
        text = json.dumps(asdict(self), sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_profile(name: str) -> Profile:
    """The profile called `name`, with what it extends folded in. Raises ProfileError."""
    values = _folded(name, ())
    if not values.get("model") and not values.get("base_url"):
        raise ProfileError(
            f"profile {name!r} has no model: it is there to be extended "
            f"(profiles that can be started: {', '.join(list_profiles())})"
        )
    return _build(name, values)


def list_profiles() -> list[str]:
    """Names of all profiles that can be started, shipped and the person's own, sorted."""
    names = {path.stem for folder in _folders() for path in folder.glob("*.toml")}
    return sorted(name for name in names if _has_model(name))


def profile_source(name: str) -> str:
    """Where a profile comes from: "shipped", "yours", or "yours over the shipped one"."""
    own, shipped = ((folder / f"{name}.toml").is_file() for folder in _folders())
    if own:
        return "yours over the shipped one" if shipped else "yours"
    return "shipped"


def own_profiles_folder() -> Path:
    """The folder for a person's own profiles; it need not exist."""
    return _folders()[0]


def machine_profile() -> str | None:
    """The profile that is meant when none is named: the big one where NVIDIA GPUs are."""
    return GPU_PROFILE if Path("/proc/driver/nvidia/gpus").is_dir() else None


def find_tokenizer(profile: Profile) -> Path | None:
    """The tokenizer.json of a profile's model, on this disk; None when it is not there.

    Looks in the folder, or in the hub's cache of downloaded models. Never downloads.
    """
    where = profile.tokenizer or profile.model
    if where.startswith("/"):
        path = Path(where)
        file = path if path.suffix == ".json" else path / "tokenizer.json"
        return file if file.is_file() else None
    snapshot = cached_snapshot(where, profile.revision)
    if snapshot is None or not (snapshot / "tokenizer.json").is_file():
        return None
    return snapshot / "tokenizer.json"


def cached_snapshot(model: str, revision: str = "") -> Path | None:
    """The folder of a hub id in the hub's cache on this disk, or None."""
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    folder = hub / f"models--{model.replace('/', '--')}"
    try:
        ref = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        ref = revision
    snapshot = folder / "snapshots" / ref
    return snapshot if ref and snapshot.is_dir() else None


def _folders() -> tuple[Path, ...]:
    """Where profiles lie, the person's own first."""
    return (config_folder() / "profiles", _SHIPPED)


def _has_model(name: str) -> bool:
    try:
        values = _folded(name, ())
        return bool(values.get("model") or values.get("base_url"))
    except ProfileError:
        return True  # listed, so that loading it can say what is wrong


def _folded(name: str, chain: tuple[str, ...]) -> dict[str, Any]:
    """The values of a profile over those that it extends."""
    if not _NAME.fullmatch(name):
        raise ProfileError(f"{name!r} is not a profile name: letters, digits, '.', '_' and '-'")
    own, shipped = (folder / f"{name}.toml" for folder in _folders())
    values: dict[str, Any] = {}
    found = False
    for path in (shipped, own):
        if not path.is_file():
            continue
        layer = _read(path)
        base = layer.get("extends", "" if not found else name)
        if base == name and found:
            values = _merge(values, layer)  # a person's file over the shipped one
        elif base == "":
            values = layer
        else:
            if base in (*chain, name):
                raise ProfileError(f"{path}: profiles extend each other in a circle")
            values = _merge(_folded(base, (*chain, name)), layer)
        found = True
    if not found:
        known = ", ".join(list_profiles())
        raise ProfileError(
            f"unknown profile {name!r}{_near(name, list_profiles())} (known: {known})"
        )
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{path} cannot be read: {error}") from error
    for key, value in values.items():
        _check(path, key, value)
    for key in ("model", "tokenizer", "python", "shape"):
        if key in values:
            values[key] = _resolve(path, values[key])
    return values


def _check(path: Path, key: str, value: Any) -> None:
    kinds = {f.name: str(f.type) for f in fields(Profile) if f.name != "name"}
    if key not in kinds:
        raise ProfileError(f"{path}: unknown key {key!r}{_near(key, kinds)}")
    kind = kinds[key]
    if key == "window":
        good, kind = value == "auto" or _is_size(value), 'a positive whole number or "auto"'
    elif key == "protocol":
        good, kind = value in ("tokens", "chat"), '"tokens" or "chat"'
    elif key == "deviations":
        good, kind = _is_deviations(value), "a list of tables with card, ours and why"
    elif key in _TABLES:
        good, kind = isinstance(value, dict), "a table"
    elif kind == "bool":
        good, kind = isinstance(value, bool), "true or false"
    elif kind == "int":
        good, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif kind == "float":
        good, kind = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    elif kind.startswith("tuple"):
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        kind = "a list of strings"
    else:
        good, kind = isinstance(value, str), "a string"
    if not good:
        raise ProfileError(f"{path}: {key} must be {kind}, not {value!r}")
    _check_table(path, key, value)


def _check_table(path: Path, key: str, value: Any) -> None:
    if key == "sampling":
        for name, number in value.items():
            if name not in _SAMPLING:
                raise ProfileError(f"{path}: unknown key sampling.{name}{_near(name, _SAMPLING)}")
            if not isinstance(number, int | float) or isinstance(number, bool):
                raise ProfileError(f"{path}: sampling.{name} must be a number, not {number!r}")
    if key == "flags":
        try:
            json.dumps(value)
        except TypeError as error:
            raise ProfileError(f"{path}: a flag cannot be a date or a time: {error}") from error
    if key == "env":
        for name, text in value.items():
            if not isinstance(text, str):
                raise ProfileError(f"{path}: env.{name} must be a string, not {text!r}")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_deviations(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and set(item) == {"card", "ours", "why"}
        and all(isinstance(text, str) for text in item.values())
        for item in value
    )


def _resolve(path: Path, value: str) -> str:
    """`@models/x` is shipped; `~` and `./` are files; everything else stays (a hub id)."""
    if value.startswith("@"):
        name, _, rest = value[1:].partition("/")
        try:
            return str(data_folder(name) / rest)
        except DataMissing as error:
            raise ProfileError(f"{path}: {error}") from error
    if value.startswith("~"):
        return str(Path(value).expanduser())
    if value.startswith(("./", "../")):
        return str((path.parent / value).resolve())
    return value


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for table in _TABLES:
        merged[table] = {**under.get(table, {}), **over.get(table, {})}
    again = {(d["card"], d["ours"]) for d in over.get("deviations", [])}
    kept = [d for d in under.get("deviations", []) if (d["card"], d["ours"]) not in again]
    merged["deviations"] = [*kept, *over.get("deviations", [])]
    return merged


def _build(name: str, values: dict[str, Any]) -> Profile:
    values = {"model": "", **values}
    values["sampling"] = {**CARD_SAMPLING, **values.get("sampling", {})}
    values["deviations"] = tuple(Deviation(**d) for d in values.get("deviations", []))
    values["engine_command"] = tuple(values.get("engine_command", ()))
    if not values.get("base_url"):  # a server's own name is asked of it
        values["served_name"] = values.get("served_name") or name
    return Profile(name=name, **values)


def _near(word: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else ""
