"""Runs vLLM's API server inside the engine's own process; started by file path.

It may run under another interpreter than glmcode's, so it imports the standard library and
vLLM, never glmcode. Three duties before the server starts: a guard process that ends the
whole process group when the supervisor dies; hiding optional packages that cannot be loaded
here (builds for CUDA break vLLM's import on a CPU machine), in children too; and, when asked
for, the quick start. Must not decide any option: the supervisor hands over the command line.

    python bootstrap.py --lifeline FD --cache FOLDER [--quick] --module MODULE -- ARGUMENTS
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_OPTIONAL = ("torchvision", "torchaudio", "torchcodec")
_LOAD_LIMIT_S = 180.0
_GRACE_S = 5.0
_MARK = "GLMCODE_ENGINE"
_PR_SET_PDEATHSIG = 1

_SITE = '''"""Hides packages that cannot be loaded here; written by glmcode."""
import os
import sys

for _name in {names!r}:
    sys.modules[_name] = None
_self = sys.modules.pop("sitecustomize", None)
_path = list(sys.path)
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in _path if os.path.abspath(p or ".") != _here]
try:
    import sitecustomize
except ImportError:
    pass
finally:
    sys.path[:] = _path
    sys.modules.setdefault("sitecustomize", _self)
'''


def guard(lifeline: int) -> None:
    """Fork a small process that ends our process group when the lifeline is closed, or
    when we are gone and have left workers behind.

    A thread would not do: it needs the interpreter's lock, which loading and compiling hold
    for seconds, and it stands still when the engine is stopped. Nor a signal of the kernel to
    the engine alone: workers that it leaves behind could no longer be told to be its own.
    """
    engine = os.getpid()
    if os.getpgrp() != engine:  # never end the group of whoever started us
        os.setpgid(0, 0)
    if os.fork() != 0:
        threading.Thread(target=_second_guard, args=(lifeline,), daemon=True).start()
        return

    def look(*_: object) -> None:
        """SIGTERM is for the engine, unless the kernel sends it because the engine is gone."""
        if os.getppid() != engine:
            _end(engine)
            os._exit(0)

    signal.signal(signal.SIGTERM, look)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    look()
    while os.read(lifeline, 64):
        pass
    _end(engine)
    os._exit(0)


def _second_guard(lifeline: int) -> None:
    """In the engine: ends the group if the guard was killed and then the supervisor dies."""
    while os.read(lifeline, 64):
        pass
    time.sleep(_GRACE_S + 2.0)
    os.killpg(0, signal.SIGKILL)


def _end(engine: int) -> None:
    """End the engine, its group and its descendants; politely first."""
    family = _family(engine)
    _signal(family, signal.SIGTERM)
    _signal(family, signal.SIGCONT)
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline and (family := _family(engine) | _alive(family)):
        time.sleep(0.05)
    # Python's resource trackers remove shared memory once the others are gone.
    trackers = {pid for pid in family if _is_tracker(pid)}
    _signal(family - trackers, signal.SIGKILL)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and _alive(trackers):
        time.sleep(0.05)
    _signal(trackers, signal.SIGKILL)


def _is_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _family(engine: int) -> set[int]:
    """The engine's group, those that bear its mark, and all descendants; not this process."""
    group, parents = os.getpgrp(), _processes()
    family = {p for p, (_, g) in parents.items() if p == engine or g == group or _marked(p)}
    while more := {p for p, (parent, _) in parents.items() if parent in family} - family:
        family |= more
    return family - {os.getpid()}


def _marked(pid: int) -> bool:
    """Whether a process inherited the variable by which the supervisor marks this engine."""
    mark = os.environ.get(_MARK)
    if not mark:
        return False
    try:
        return f"{_MARK}={mark}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return False


def _processes() -> dict[int, tuple[int, int]]:
    """pid -> (parent, group) of all living processes; zombies are left out."""
    found: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue
            state, parent, group = text.rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(entry.name)] = (int(parent), int(group))
    return found


def _alive(pids: set[int]) -> set[int]:
    return pids & _processes().keys()


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def broken_packages(cache: Path) -> list[str]:
    """Names of optional packages that are installed but cannot be loaded.

    Each is tried in a child of its own, all at once; the verdict is kept until the package
    or torch changes, because one trial takes seconds.
    """
    file = cache / "optional-packages.json"
    known = _read_json(file)
    keys = {name: key for name in _OPTIONAL if (key := _key(name)) is not None}
    trials = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"import {name}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, key in keys.items()
        if key not in known
    }
    deadline = time.monotonic() + _LOAD_LIMIT_S
    for name, child in trials.items():
        try:
            code = child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        known[keys[name]] = code == 0
    if trials:
        _write_json(file, known)
    return [name for name, key in keys.items() if known[key] is not True]


def _key(name: str) -> str | None:
    """What a verdict depends on: interpreter, package and torch; None when not installed."""
    parts = [sys.executable, name]
    for package in (name, "torch"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            if package == name:
                return None
            parts.append("-")
            continue
        stamps = [p.stat().st_mtime_ns for p in (Path(spec.origin), Path(spec.origin).parent)]
        parts.append(f"{spec.origin}:{stamps[0]}:{stamps[1]}")
    return "|".join(parts)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_json(file: Path, value: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.write_text(json.dumps(value), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        print(f"glmcode: {file} cannot be written: {error}", file=sys.stderr)


def hide(names: list[str], cache: Path) -> None:
    """Make packages look absent in this process and in every Python that it starts."""
    if not names:
        return
    for name in names:
        print(f"glmcode: {name} cannot be loaded here and is hidden from vLLM", flush=True)
        sys.modules[name] = None  # type: ignore[assignment]
    text = _SITE.format(names=names)
    folder = cache / f"hidden-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    file = folder / "sitecustomize.py"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"draft.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}" if before else str(folder)


def quick_start() -> None:
    """On a CPU, fork the engine core from this process, which has imported everything.

    vLLM starts a new interpreter for it and another one to look at the model's class; both
    import torch and vLLM again, which is half of the time that a small model takes to start.
    The reasons for that (an initialised GPU, threads bound to cores) do not hold here. Where
    this vLLM is built otherwise, nothing is changed.
    """
    platforms = importlib.import_module("vllm.platforms")
    if not platforms.current_platform.is_cpu():
        return
    platform = type(platforms.current_platform)
    original = getattr(platform, "check_and_update_config", None)
    registry = importlib.import_module("vllm.model_executor.models.registry")
    if original is None or not hasattr(registry, "_run_in_subprocess"):
        return

    def check_and_update_config(config: Any) -> None:
        original(config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    setattr(platform, "check_and_update_config", staticmethod(check_and_update_config))  # noqa: B010
    setattr(registry, "_run_in_subprocess", lambda function: function())  # noqa: B010


def serve(module: str, arguments: list[str]) -> None:
    """Run the server module as if it were the main program."""
    sys.argv = [module, *arguments]
    server = importlib.import_module(module)
    if hasattr(server, "main"):
        server.main()
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Read the command line and become the server."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    ours, _, arguments = "\0".join(sys.argv[1:]).partition("\0--\0")
    words = ours.split("\0")
    options = {words[i]: words[i + 1] for i in range(len(words) - 1)}
    guard(int(options["--lifeline"]))
    cache = Path(options["--cache"])
    hide(broken_packages(cache), cache)
    if "--quick" in words:
        quick_start()
    serve(options["--module"], arguments.split("\0") if arguments else [])


if __name__ == "__main__":
    main()
