"""From a profile to a command line for the vLLM that is installed: pure translation.

vLLM renames its options between releases and refuses to start on one that it does not
know; so each is emitted only where the installation has it, under the name that it has,
and whatever is left out is said. Must not look at the disk, the environment or a process.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glmcode.engine.probe import Probe
from glmcode.engine.profile import Deviation, Profile

ASSUMED_VERSION = "0.32"
"""The vLLM that is planned for when none is installed."""

_FLAG_OR_VARIABLE: Mapping[str, str] = {"attention-backend": "VLLM_ATTENTION_BACKEND"}
"""Flags that older releases had as a variable."""

_OF_A_MACHINE = ("VLLM_HOST_IP", "VLLM_SERVER_DEV_MODE")
_MODULE = "vllm.entrypoints.launchers.api_server.entry"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """A command for one engine.

    python and module: what to run; arguments: everything after them; env: variables set on
    top of the inherited ones. dropped: sentences about what this vLLM does not have.
    others: what to run on the other machines of a profile that needs several, in a shell.
    vllm: the version planned for; assumed: none was found.
    """

    python: str
    module: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    deviations: tuple[Deviation, ...]
    dropped: tuple[str, ...]
    others: tuple[str, ...]
    vllm: str
    assumed: bool

    def command(self) -> str:
        """The whole command as a person can paste it into a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        return " ".join(
            [*variables, shlex.quote(self.python), "-m", self.module, shlex.join(self.arguments)]
        )


def plan_launch(
    profile: Profile,
    probe: Probe | None,
    socket: str,
    without: frozenset[str] = frozenset(),
) -> LaunchPlan:
    """The plan for a profile on a probed vLLM (None: as if 0.32 were there).

    socket: path of the Unix socket to serve on. without: flags (no dashes) that the engine
    refused although the probe found them.
    """
    flags, env, dropped = _translate(profile, probe, socket)
    arguments: list[str] = []
    for name, value in flags.items():
        if name in without:
            dropped.append(f"--{name}: vLLM refused it")
        elif probe is not None and name not in probe.flags:
            dropped.append(f"--{name}: vLLM {probe.version} does not have it")
        else:
            arguments += _emit(name, value)
    return LaunchPlan(
        python=probe.python if probe else profile.python or "python",
        module=probe.module if probe else _MODULE,
        arguments=tuple(arguments),
        env=env,
        deviations=profile.deviations,
        dropped=tuple(dropped),
        others=_others(profile, arguments, env),
        vllm=probe.version if probe else ASSUMED_VERSION,
        assumed=probe is None,
    )


def _others(profile: Profile, arguments: list[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """One command for each further machine. vLLM's server module starts no headless part, only its
    own command does."""
    if profile.flags.get("distributed-executor-backend") == "ray":
        return ("ray start --address=FIRST_MACHINE:6379",)
    words = list(arguments)
    if profile.nodes == 1 or "--node-rank" not in words:
        return ()
    for name in ("--uds", "--model", "--node-rank"):
        at = words.index(name)
        del words[at : at + 2]
    variables = [f"{n}={shlex.quote(v)}" for n, v in env.items() if n not in _OF_A_MACHINE]
    return tuple(
        " ".join([*variables, "vllm serve", shlex.join([profile.model, *words, *rank])])
        for number in range(1, profile.nodes)
        if (rank := ["--node-rank", str(number), "--headless"])
    )


def _translate(
    profile: Profile, probe: Probe | None, socket: str
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    dropped: list[str] = []
    env = _environment(profile, probe, dropped)
    flags: dict[str, Any] = {"model": profile.model, "served-model-name": profile.served_name}
    if profile.revision:
        flags["revision"] = profile.revision
    if profile.tokenizer:
        flags["tokenizer"] = profile.tokenizer
    if profile.tensor_parallel > 1:
        flags["tensor-parallel-size"] = profile.tensor_parallel
    flags["dtype"] = profile.dtype
    if profile.kv_dtype != "auto":
        flags["kv-cache-dtype"] = profile.kv_dtype
    window = _window(profile, probe, dropped)
    if window is not None:
        flags["max-model-len"] = window
    if profile.gpu_memory:
        flags["gpu-memory-utilization"] = profile.gpu_memory
    flags["max-num-seqs"] = profile.max_seqs
    for name, value in profile.flags.items():
        variable = _FLAG_OR_VARIABLE.get(name)
        if variable and probe is not None and name not in probe.flags and variable in probe.env:
            env[variable] = str(value)
        elif value is not False:
            flags[name] = _compilation(value, probe) if name == "compilation-config" else value
    flags["uds"] = socket
    return flags, env, dropped


def _environment(profile: Profile, probe: Probe | None, dropped: list[str]) -> dict[str, str]:
    env: dict[str, str] = dict(_OFFLINE) if profile.local_model is not None else {}
    if profile.flags.get("enable-sleep-mode"):
        env["VLLM_SERVER_DEV_MODE"] = "1"  # its routes for sleep; the socket is private
    for name, value in profile.env.items():
        if probe is not None and name.startswith("VLLM_") and name not in probe.env:
            dropped.append(f"{name}: vLLM {probe.version} does not read it")
        else:
            env[name] = value
    return env


def _window(profile: Profile, probe: Probe | None, dropped: list[str]) -> int | str | None:
    if profile.window != "auto" or probe is None or probe.auto_window:
        return profile.window
    dropped.append(f"--max-model-len auto: vLLM {probe.version} wants a number")
    return profile.window_cap or None


def _compilation(value: Any, probe: Probe | None) -> Any:
    """`mode` was called `level` before 0.12."""
    if not isinstance(value, dict) or "mode" not in value or probe is None:
        return value
    if "mode" in probe.compilation or "level" not in probe.compilation:
        return value
    return {"level" if key == "mode" else key: item for key, item in value.items()}


def _emit(name: str, value: Any) -> list[str]:
    match value:
        case True:
            return [f"--{name}"]
        case dict():
            return [f"--{name}", json.dumps(value)]
        case list():
            return [f"--{name}", *(str(item) for item in value)]
        case _:
            return [f"--{name}", str(value)]
