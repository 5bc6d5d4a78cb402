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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from glmcode.base.paths import config_folder
from glmcode.engine.profile_file import TABLES, ProfileError, near, read_profile

__all__ = [
    "CARD_SAMPLING",
    "Deviation",
    "Profile",
    "ProfileError",
    "cached_snapshot",
    "find_tokenizer",
    "list_profiles",
    "load_profile",
    "own_profiles_folder",
    "profile_source",
]

_SHIPPED = Path(__file__).resolve().parent / "profiles"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEEPEST = 16
"""Profiles that extend each other in a row."""
CARD_SAMPLING: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 0.95,
    "top_k": 40,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}


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

    @property
    def nodes(self) -> int:
        """Machines that vLLM's own multi-node executor spreads it over."""
        return _count(self.flags.get("nnodes"))

    @property
    def seats(self) -> int:
        """Requests that it serves at once: those of every data parallel rank."""
        return self.max_seqs * _count(self.flags.get("data-parallel-size"))

    def digest(self) -> str:
        """Twelve hex digits that change when any setting changes."""
        text = json.dumps(asdict(self), sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_KINDS = {f.name: str(f.type) for f in fields(Profile) if f.name != "name"}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 1 else 1


def load_profile(name: str) -> Profile:
    """The profile called `name`, with what it extends folded in. Raises ProfileError."""
    try:
        values = _folded(name, ())
    except _NoSuchProfile as error:
        known = list_profiles()
        raise ProfileError(
            f"{error}{near(error.name, known)} (known: {', '.join(known)})"
        ) from error
    if not values.get("model") and not values.get("base_url"):
        raise ProfileError(
            f"profile {name!r} has no model: it is there to be extended "
            f"(profiles that can be started: {', '.join(list_profiles())})"
        )
    return _build(name, values)


def list_profiles() -> list[str]:
    """Names of all profiles that can be started, shipped and the person's own, sorted."""
    files = (path for folder in _folders() for path in folder.glob("*.toml"))
    names = {path.stem for path in files if path.is_file()}
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
    folder = _hub_cache() / f"models--{model.replace('/', '--')}"
    try:
        ref = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # not there, not UTF-8, or a name that can be none
        ref = revision
    snapshot = folder / "snapshots" / ref
    try:
        return snapshot if ref and snapshot.is_dir() else None
    except OSError:
        return None


def _hub_cache() -> Path:
    """Where huggingface_hub keeps what it fetched, as its own variables say."""
    env = os.environ
    told = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    path = Path(os.path.expandvars(told or f"{home}/hub"))
    with suppress(RuntimeError):  # ~NOBODY stays as it is written
        path = path.expanduser()
    return path


def _folders() -> tuple[Path, ...]:
    """Where profiles lie, the person's own first."""
    return (config_folder() / "profiles", _SHIPPED)


def _has_model(name: str) -> bool:
    try:
        values = _folded(name, ())
        return bool(values.get("model") or values.get("base_url"))
    except ProfileError:
        return True  # listed, so that loading it can say what is wrong


class _NoSuchProfile(ProfileError):
    """Nobody wrote one of that name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


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
        layer = read_profile(path, _KINDS)
        base = layer.get("extends", "" if not found else name)
        if base == name and found:
            values = _merge(values, layer)  # a person's file over the shipped one
        elif base == "":
            values = layer
        else:
            if base in (*chain, name):
                raise ProfileError(f"{path}: profiles extend each other in a circle")
            if len(chain) >= _DEEPEST:
                raise ProfileError(f"{path}: more than {_DEEPEST} profiles extend each other")
            values = _merge(_base(path, base, (*chain, name)), layer)
        found = True
    if not found:
        raise _NoSuchProfile(name, f"unknown profile {name!r}")
    return values


def _base(path: Path, name: str, chain: tuple[str, ...]) -> dict[str, Any]:
    """The values of what a file extends."""
    try:
        return _folded(name, chain)
    except _NoSuchProfile as error:
        if error.name != name:
            raise
        raise _NoSuchProfile(
            name, f"{path} extends {name!r}, and there is no such profile"
        ) from error


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for table in TABLES:
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
