"""Reads one profile's TOML file and checks every value in it, alone.

A person writes it by hand, so it may hold anything: each fault is one sentence that names the
file and the key, before an engine is started with it. What depends on another file (what it
extends) is not known here. Must not start or connect to anything.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glmcode.base.data import DataMissing, data_folder

TABLES = ("flags", "env", "sampling")
_SAMPLING: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (-1, 1 << 20),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 10),
}
_PATHS = ("model", "tokenizer", "python", "shape")
_FILE_MOST = 1 << 20
_FLAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_OF: Mapping[str, str] = {
    "model": "model",
    "served-model-name": "served_name",
    "revision": "revision",
    "tokenizer": "tokenizer",
    "tensor-parallel-size": "tensor_parallel",
    "dtype": "dtype",
    "kv-cache-dtype": "kv_dtype",
    "max-model-len": "window",
    "gpu-memory-utilization": "gpu_memory",
    "max-num-seqs": "max_seqs",
}
"""Flags that a key of the profile stands for: said twice, one of the two would be a lie."""

_LEAST: Mapping[str, int] = {
    "tensor_parallel": 1,
    "max_seqs": 1,
    "window_cap": 0,
    "results": 1,
    "step_cap": 1,
}
_NUMBER_MOST = 1 << 40


class ProfileError(Exception):
    """A profile that cannot be used; one sentence that names the file, the key and the way out."""


def read_profile(path: Path, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The values of one file, checked; kinds: the keys that there are, and their types.

    Raises ProfileError.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_MOST + 1)
        if len(raw) > _FILE_MOST:
            raise ProfileError(f"{path} is larger than {_FILE_MOST >> 20} MiB: no profile is")
        values = tomllib.loads(raw.decode("utf-8-sig"))
    except RecursionError:
        raise ProfileError(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # not UTF-8, not TOML, numbers of a thousand digits
        raise ProfileError(f"{path} cannot be read: {error}") from error
    for key, value in values.items():
        _check(path, kinds, key, value)
    if "flags" in values:  # vLLM takes both spellings, and here one name must be one flag
        values["flags"] = {name.replace("_", "-"): v for name, v in values["flags"].items()}
    for key in _PATHS:
        if key in values:
            values[key] = _resolve(path, values[key])
    return values


def near(word: str, known: Iterable[str]) -> str:
    """`: did you mean 'x'?`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {found[0]!r}?" if found else ""


def _check(path: Path, kinds: Mapping[str, str], key: str, value: Any) -> None:
    if key not in kinds:
        raise ProfileError(f"{path}: unknown key {key!r}{near(key, kinds)}")
    good, kind = _fits(key, kinds[key], value)
    if not good:
        raise ProfileError(f"{path}: {key} must be {kind}, not {_short(value)}")
    if isinstance(value, str) and "\0" in value:
        raise ProfileError(f"{path}: {key} holds a zero byte, which no program can be given")
    match key:
        case "sampling":
            _check_sampling(path, value)
        case "flags":
            _check_flags(path, value)
        case "env":
            _check_env(path, value)
        case "gpus" if value:
            _check_gpus(path, value)
        case "base_url" if value:
            _check_address(path, value)


def _fits(key: str, kind: str, value: Any) -> tuple[bool, str]:
    """Whether a value is of its kind, and that kind in words."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    match key:
        case "window":
            words = 'a positive whole number or "auto"'
            return value == "auto" or (whole and 0 < value <= _NUMBER_MOST), words
        case "protocol":
            return value in ("tokens", "chat"), '"tokens" or "chat"'
        case "deviations":
            return _is_deviations(value), "a list of tables with card, ours and why"
        case "gpu_memory":
            words = "a share of each GPU's memory, such as 0.92 (0: vLLM's own)"
            return number and 0 <= value <= 1, words
        case _ if key in TABLES:
            return isinstance(value, dict), "a table"
        case _ if key in _LEAST:
            words = "a whole number" if not whole else f"{_LEAST[key]} to {_NUMBER_MOST:,}"
            return whole and _LEAST[key] <= value <= _NUMBER_MOST, words
        case _ if kind == "bool":
            return isinstance(value, bool), "true or false"
        case _ if kind.startswith("tuple"):
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            return good and not any("\0" in item for item in value), "a list of strings"
    return isinstance(value, str), "a string"


def _check_sampling(path: Path, table: Mapping[str, Any]) -> None:
    for name, number in table.items():
        if name not in _SAMPLING:
            raise ProfileError(f"{path}: unknown key sampling.{name}{near(name, _SAMPLING)}")
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise ProfileError(f"{path}: sampling.{name} must be a number, not {number!r}")
        least, most = _SAMPLING[name]
        if not (math.isfinite(number) and least <= number <= most):
            raise ProfileError(
                f"{path}: sampling.{name} must lie between {least:g} and {most:g}, not {number!r}"
            )


def _check_flags(path: Path, table: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(table, allow_nan=False)
    except TypeError as error:
        raise ProfileError(f"{path}: a flag cannot be a date or a time: {error}") from error
    except ValueError:
        raise ProfileError(f"{path}: a flag cannot be inf or nan") from None
    if "\\u0000" in text:
        raise ProfileError(f"{path}: a flag holds a zero byte, which no program can be given")
    seen: set[str] = set()
    for name in table:
        if not _FLAG.fullmatch(name):
            raise ProfileError(
                f"{path}: {name[:60]!r} is no name of a flag (they are written without dashes "
                "in front: enforce-eager)"
            )
        plain = name.replace("_", "-")
        if plain in _KEY_OF:
            raise ProfileError(f"{path}: flags.{name} is a key of its own: write {_KEY_OF[plain]}")
        if plain in ("uds", "host", "port"):
            raise ProfileError(
                f"{path}: flags.{name} has no place here: an engine listens on its own socket, "
                "and to other machines through `glmcode engine start --listen HOST:PORT`"
            )
        if plain in seen:
            raise ProfileError(f"{path}: flags.{name} stands there twice, with - and with _")
        seen.add(plain)


def _check_env(path: Path, table: Mapping[str, Any]) -> None:
    for name, text in table.items():
        if not _VARIABLE.fullmatch(name):
            raise ProfileError(f"{path}: {name[:60]!r} under env is no name of a variable")
        if not isinstance(text, str):
            raise ProfileError(f"{path}: env.{name} must be a string, not {_short(text)}")
        if "\0" in text:
            raise ProfileError(f"{path}: env.{name} holds a zero byte")


def _check_gpus(path: Path, text: str) -> None:
    from glmcode.engine.gpus import GpuError, parse_gpus

    try:
        parse_gpus(text)
    except GpuError as error:
        raise ProfileError(f"{path}: gpus: {error}") from error


def _check_address(path: Path, text: str) -> None:
    from glmcode.core.model import ModelError
    from glmcode.engine.endpoint import Endpoint, address_of

    try:
        address_of(Endpoint(base_url=text))
    except ModelError as error:
        raise ProfileError(f"{path}: base_url: {error}") from error


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
        try:
            return str(Path(value).expanduser())
        except RuntimeError as error:
            raise ProfileError(f"{path}: {value[:100]}: {error}") from error
    if value.startswith(("./", "../")):
        return str((path.parent / value).resolve())
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
