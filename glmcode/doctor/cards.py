"""The GPUs against what the profile asks of them: number, memory, capability, reach, and room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from glmcode.doctor.line import Asked, Line, fault, ok, warning
from glmcode.engine.fit import DEFAULT_SHARE, Fit, fit
from glmcode.engine.fit_kv import kv_dtype
from glmcode.engine.fit_text import verdict, verdict_lines
from glmcode.engine.gpus import Gpus
from glmcode.engine.profile import Profile
from glmcode.engine.quantised import ShapeError
from glmcode.plan_commands import NoShape, profile_settings, profile_shape

_SHARED_LITTLE_MIB = 512


def card_lines(asked: Asked, here: Gpus) -> list[Line]:
    """What was found, and whether the profile can run on it."""
    profile = asked.profile
    wanted = profile is not None and bool(profile.gpus)
    if here.fault:
        todo = "ask nvidia-smi by hand; a driver that hangs needs a reboot"
        make = fault if wanted else warning
        return [make("gpus", f"they cannot be asked: {here.fault}", todo)]
    if not here.found:
        if wanted and profile is not None:
            text = f"none found, and {profile.name} is for {profile.gpus}"
            return [fault("gpus", text, "use the machine with the GPUs, or another profile")]
        return [ok("gpus", "none found, none needed")]
    names = sorted({gpu.name for gpu in here.found})
    text = f"{len(here.found)} x {', '.join(names)}, {here.smallest_gib:.1f} GiB, "
    text += f"driver {here.driver} ({here.source})"
    lines = [ok("gpus", text)]
    if profile is None or not wanted:
        return lines
    return [*lines, *_number(profile, here), *_memory(profile, here), *_ability(profile, here)]


def _needed(profile: Profile) -> int:
    used = profile_settings(profile).parallel
    return used.tensor * used.pipeline * used.data


def _number(profile: Profile, here: Gpus) -> list[Line]:
    needed = -(-_needed(profile) // profile.nodes)
    if len(here.found) >= needed:
        return []
    if profile.flags.get("distributed-executor-backend") == "ray":
        return []
    todo = f"glmcode engine plan --profile {profile.name} --gpus shows what others could do"
    text = f"{len(here.found)} are here, and {profile.name} needs {needed}"
    text += " on each machine" if profile.nodes > 1 else ""
    return [fault("gpu number", text, todo)]


def _memory(profile: Profile, here: Gpus) -> list[Line]:
    """vLLM refuses to start when its share is not free."""
    share = profile.gpu_memory or DEFAULT_SHARE
    used = [g for g in here.found[: _needed(profile)] if g.free_mib < share * g.total_mib]
    if not used:
        return [ok("gpu memory", f"{share:g} of it is free on each")]
    least = min(used, key=lambda gpu: gpu.free_mib / gpu.total_mib)
    text = (
        f"{len(used)} have less than {share:g} free: GPU {least.index} has "
        f"{least.free_mib / 1024:.1f} of {least.gib:.1f} GiB"
    )
    todo = "end what uses them (nvidia-smi; perhaps an engine of ours: glmcode engine status)"
    return [warning("gpu memory", text, todo)]


def _ability(profile: Profile, here: Gpus) -> list[Line]:
    """Compute capability against dtypes and attention; and whether the GPUs reach each other."""
    lines = []
    least = min(gpu.capability for gpu in here.found)
    shown = f"{least // 10}.{least % 10}"
    if not least:
        lines.append(warning("capability", "unknown", "update the driver"))
    else:
        wrong = _capability_faults(profile, least)
        if wrong:
            lines.append(fault("capability", f"{shown}: {wrong[0]}", wrong[1]))
        else:
            words = f"dtype {profile.dtype}, KV {profile.kv_dtype}"
            more = "glmcode doctor --deep tries the KV dtype's arithmetic on the GPU"
            lines.append(ok("capability", f"{shown} is enough for {words}", more))
    if len(here.found) > 1 and here.peers is not None:
        yes, asked = here.peers
        if yes == asked:
            lines.append(ok("peer to peer", "every GPU reaches the memory of every other"))
        else:
            text = f"{asked - yes} of {asked} pairs reach each other through the host's memory only"
            todo = "nothing, or a driver that allows it: decoding is about a tenth slower without"
            lines.append(warning("peer to peer", text, todo))
    return lines


def _capability_faults(profile: Profile, least: int) -> tuple[str, str] | None:
    """What the GPUs are too old for, and the way out."""
    if profile.dtype == "bfloat16" and least < 80:
        return "bfloat16 needs 8.0", "dtype = 'float16'"
    known = kv_dtype(profile.kv_dtype)
    if known is not None and least < known.least:
        way = "fp8_e5m2 (with FlashInfer)" if least >= 80 else "auto"
        need = f"{known.least // 10}.{known.least % 10}"
        return f"KV {known.name} needs {need}", f"kv_dtype = {way!r}"
    backend = str(profile.flags.get("attention-backend", "")).upper()
    if "FLASHINFER" in backend and least < 80:
        return "FlashInfer needs 8.0", "attention-backend = 'TRITON_ATTN'"
    return None


def fit_of(profile: Profile, here: Gpus) -> Fit | None:
    """The planner's answer for this machine; None where nobody can say."""
    if not here.found or not profile.gpus or kv_dtype(profile.kv_dtype) is None:
        return None
    try:
        shape, _ = profile_shape(profile)
    except (NoShape, ShapeError):
        return None
    if profile.dtype != "auto":
        shape = replace(shape, dtype=profile.dtype)
    return fit(shape, profile_settings(profile), len(here.found), here.smallest_gib)


def fit_line(asked: Asked, here: Gpus) -> list[Line]:
    """Whether the model fits here."""
    found = fit_of(asked.profile, here) if asked.profile is not None else None
    if found is None:
        return []
    kind, (first, *more) = verdict(found), verdict_lines(found)
    todo = f"glmcode engine plan --gpus {found.gpus}x{found.gpu_gib:.0f}GiB tells what would fit"
    if kind in ("impossible", "does not fit"):
        return [fault("fit", first, todo, *more)]
    if kind == "may not start":
        return [warning("fit", first, todo, *more)]
    return [ok("fit", first, *more)]


def host_lines(asked: Asked, here: Gpus) -> list[Line]:
    """Memory of the host: for offloaded KV, for sleep, and shared memory of the workers."""
    profile = asked.profile
    if profile is None or not profile.gpus or not here.found:
        return []
    free = _available_gib()
    if free is None:
        return [warning("host memory", "unknown", "look yourself: free -g")]
    lines = []
    offload = profile.flags.get("kv-offloading-size")
    if isinstance(offload, int | float) and offload > free:
        text = f"{free:.0f} GiB are free, and kv-offloading-size pins {offload:g} GiB"
        lines.append(fault("host memory", text, "make kv-offloading-size smaller"))
    else:
        lines.append(ok("host memory", f"{free:.0f} GiB are free"))
    if profile.flags.get("enable-sleep-mode") is True and (found := fit_of(profile, here)):
        used = found.settings.parallel
        need = found.weights_gib.high * used.tensor * used.pipeline
        if need > free:
            text = f"engine sleep needs {need:.0f} GiB of host memory for the weights"
            lines.append(warning("sleep", text, "nothing: glmcode engine stop frees the GPUs too"))
    shared = _shared_mib()
    if shared is not None and shared < _SHARED_LITTLE_MIB and _needed(profile) > 1:
        text = f"/dev/shm has {shared:.0f} MiB: NCCL and the workers need more"
        lines.append(fault("shared memory", text, "in a container: --shm-size 16g or --ipc host"))
    return lines


def _available_gib() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / (1 << 20)
    except (OSError, ValueError, IndexError):
        pass
    return None


def _shared_mib() -> float | None:
    import shutil

    try:
        return shutil.disk_usage("/dev/shm").total / (1 << 20)
    except OSError:
        return None
