"""`glmcode engine plan`: what would fit, before anything starts, and who has the GPUs now.

Joins a profile, a model's config.json and GPUs (named, the profile's, or this machine's) into
one question for `engine/fit.py` and prints the answer; with `--json`, JSON alone on stdout.
Must not start an engine, import vLLM or download anything.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.engine.profile import (
    Profile,
    ProfileError,
    cached_snapshot,
)
from glmcode.exits import Exit
from glmcode.launch_text import launch_json, launch_notes, launch_text
from glmcode.repl.clean import for_terminal, visible

if TYPE_CHECKING:
    import argparse

    from glmcode.engine.fit import Fit, Settings
    from glmcode.engine.launch import LaunchPlan
    from glmcode.engine.shape import ModelShape

_TENSOR_MOST = 4096
_MOST = 1 << 60
"""Of any number in a flag: more would be no size of anything."""


def add_plan_options(plan: argparse.ArgumentParser) -> None:
    """The options of `engine plan` beside --profile."""
    import argparse

    plan.add_argument(
        "--model", metavar="PATH", help="a config.json or its folder, in place of the profile's"
    )
    plan.add_argument(
        "--gpus",
        metavar="NxSIZE",
        help="such as 8x24GiB; without it the profile's, or this machine's",
    )
    plan.add_argument("--tp", type=int, metavar="N", help="tensor parallel: the number of GPUs")
    plan.add_argument("--kv-dtype", metavar="T", help="of the KV cache: the profile's, or fp8")
    plan.add_argument(
        "--expert-parallel",
        action=argparse.BooleanOptionalAction,
        help="deal out experts whole: the profile's, or where the group size needs it",
    )
    plan.add_argument("--command", action="store_true", help="only the command, for a shell")
    plan.add_argument("--json", action="store_true", help="as JSON")


def run_plan(arguments: argparse.Namespace, chosen: Callable[[argparse.Namespace], Profile]) -> int:
    """Answer `engine plan`; chosen: finds the profile that is meant. Returns the exit code."""
    from glmcode.engine.gpus import GpuError
    from glmcode.engine.quantised import ShapeError

    try:
        return _plan(arguments, chosen)
    except (ShapeError, GpuError, ProfileError, _UsageError) as error:
        print(visible(str(error)), file=sys.stderr)
        if arguments.json:
            print(json.dumps({"error": str(error)}))
        return Exit.ERROR if isinstance(error, ShapeError) else Exit.USAGE


class _UsageError(Exception):
    """Options that do not go together; one sentence."""


def _plan(arguments: argparse.Namespace, chosen: Callable[[argparse.Namespace], Profile]) -> int:
    from glmcode.engine.claims import taken
    from glmcode.engine.fit_json import fit_json
    from glmcode.engine.fit_text import fit_lines
    from glmcode.engine.quantised import ShapeError

    alone = arguments.model is not None and not arguments.profile
    if alone and arguments.command:
        raise _UsageError("--command needs a profile: --profile NAME")
    profile = None if alone else chosen(arguments)
    if profile is not None and profile.base_url and arguments.model is None:
        return _plan_of_a_server(profile, arguments.json)
    launch = None if profile is None or profile.base_url else launch_of(profile)
    if arguments.command and not arguments.json:
        assert launch is not None
        _show(launch.command())
        for line in launch_notes(launch):
            _show(f"# {line}" if line else "#")
        return Exit.DONE
    try:
        found, notes = _fit(arguments, profile)
    except NoShape as error:
        found, notes = None, [str(error)]
    except ShapeError as error:
        if launch is None or arguments.model is not None:
            raise
        found, notes = None, [str(error)]  # vLLM may serve it all the same
    held = [] if arguments.gpus else taken()  # else it is about another machine
    if arguments.json:
        value: dict[str, Any] = {"profile": None if profile is None else profile.name}
        if profile is not None and launch is not None:
            value |= launch_json(profile, launch)
        if found is not None:
            value |= fit_json(found)
        value["notes"] = [*value.get("notes", []), *notes]
        value["gpus_taken"] = [claim.to_json() for claim in held]
        print(json.dumps(value, indent=2))
        return Exit.DONE
    if profile is not None:
        _show(f"{profile.name}: {profile.description}")
    now = [f"profile {claim.profile} holds {claim.words()} of this machine now" for claim in held]
    for line in [*notes, *now]:
        _show(f"note   {line}")
    if found is not None:
        _show("\n".join(fit_lines(found)))
    if launch is not None:
        _show("\n" + launch_text(launch))
    return Exit.DONE


def _plan_of_a_server(profile: Profile, as_json: bool) -> int:
    """Nothing is started for it, so there is nothing to fit."""
    if as_json:
        print(json.dumps({"profile": profile.name, "base_url": profile.base_url}))
    else:
        _show(f"{profile.name}: a server that somebody else runs, {profile.base_url}: no plan")
    return Exit.DONE


class NoShape(Exception):
    """The profile's model is not on this disk and the profile knows no sizes."""


def _fit(arguments: argparse.Namespace, profile: Profile | None) -> tuple[Fit, list[str]]:
    """The answer and sentences about where its figures come from."""
    from glmcode.engine.fit import fit

    shape, notes = _shape(arguments, profile)
    count, gib, more = _gpus(arguments, profile)
    notes += more
    settings = _settings(arguments, profile, shape, count)
    found = fit(shape, settings, count, gib)
    if profile is not None:
        notes += [note for note in (_offloading(profile, found), _too_long(profile, shape)) if note]
    return found, notes


def _shape(arguments: argparse.Namespace, profile: Profile | None) -> tuple[ModelShape, list[str]]:
    """The model's sizes: from --model, from the model on this disk, or from the profile."""
    from glmcode.engine.shape import read_shape

    if arguments.model is None:
        assert profile is not None
        return profile_shape(profile)
    return _as_served(read_shape(_model_path(arguments.model)), profile), []


def _as_served(shape: ModelShape, profile: Profile | None) -> ModelShape:
    """With the dtype that a profile names."""
    if profile is None or profile.dtype == "auto":
        return shape
    return replace(shape, dtype=profile.dtype)


def profile_shape(profile: Profile) -> tuple[ModelShape, list[str]]:
    """Sizes of a profile's model, and a note when they are not the checkpoint's own.

    Raises ShapeError, and NoShape where nothing is known.
    """
    from glmcode.engine.shape import read_shape

    folder = profile.local_model or cached_snapshot(profile.model, profile.revision)
    if folder is not None and (folder / "config.json").is_file():
        return _as_served(read_shape(folder), profile), []
    if profile.shape:
        shape = _as_served(read_shape(Path(profile.shape)), profile)
        group = shape.quantisation.default.group
        note = f"{profile.model} is not on this disk: sizes from {Path(profile.shape).name}"
        return shape, [note + (f", where group size {group} is assumed" if group else "")]
    raise NoShape(
        f"{profile.model} is not on this disk, so nobody can say what fits: "
        "--model PATH names its config.json"
    )


def _model_path(text: str) -> Path:
    """A path, or the folder of a hub id that was downloaded."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise _UsageError(f"--model {text[:100]}: {error}") from error
    known = None
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) and not path.exists():
        known = cached_snapshot(text)
    return known or path


def _gpus(arguments: argparse.Namespace, profile: Profile | None) -> tuple[int, float, list[str]]:
    """How many GPUs of how many GiB, and what this machine has if that is something else."""
    from glmcode.engine.gpus import find_gpus, parse_gpus

    if arguments.gpus is not None:
        return (*parse_gpus(arguments.gpus), [])
    here = find_gpus()
    notes = [f"the GPUs of this machine cannot be seen: {here.fault}"] if here.fault else []
    count, gib = len(here.found), round(here.smallest_gib, 2)
    if profile is None or not profile.gpus:
        return count, gib, notes
    made = parse_gpus(profile.gpus)
    if count and (count != made[0] or abs(gib - made[1]) > 0.03 * made[1]):
        notes.append(
            f"planned for the profile's {profile.gpus}; this machine has {count} x {gib:g} GiB: "
            f"--gpus {count}x{gib:g}GiB"
        )
    return (*made, notes)


def _settings(
    arguments: argparse.Namespace, profile: Profile | None, shape: ModelShape, count: int
) -> Settings:
    from glmcode.engine.fit import Settings
    from glmcode.engine.fit_kv import KV_DTYPES, LATENT_ONLY, kv_dtype
    from glmcode.engine.fit_weights import expert_cut

    settings = Settings() if profile is None else profile_settings(profile)
    if arguments.tp is not None:
        if not 1 <= arguments.tp <= _TENSOR_MOST:
            raise _UsageError(f"--tp {arguments.tp}: 1 to {_TENSOR_MOST} are possible")
        settings = _with_tensor(settings, arguments.tp)
    elif count and (profile is None or arguments.gpus is not None):
        ranks = settings.parallel.pipeline * settings.parallel.data
        settings = _with_tensor(settings, max(1, count // ranks))
    kv = arguments.kv_dtype or settings.kv
    if kv_dtype(kv) is None:
        known = ", ".join(item.name for item in KV_DTYPES)
        why = "is for other models or devices" if kv in LATENT_ONLY else "is no KV dtype"
        raise _UsageError(f"{kv[:40]!r} {why} (known: {known})")
    settings = replace(settings, kv=kv)
    dealt = settings.parallel.experts_dealt
    if arguments.expert_parallel is not None:
        dealt = arguments.expert_parallel
    elif profile is None:
        dealt = expert_cut(shape, settings.parallel)[0] not in ("none", "cut")
    return replace(settings, parallel=replace(settings.parallel, experts_dealt=dealt))


def _with_tensor(settings: Settings, tensor: int) -> Settings:
    return replace(settings, parallel=replace(settings.parallel, tensor=tensor))


def profile_settings(profile: Profile) -> Settings:
    """What a profile tells vLLM, as far as it concerns memory."""
    from glmcode.engine.fit import DEFAULT_SHARE, Settings
    from glmcode.engine.fit_weights import Parallel

    flags = profile.flags
    compilation = flags.get("compilation-config")
    sizes = compilation.get("cudagraph_capture_sizes") if isinstance(compilation, dict) else None
    return Settings(
        parallel=Parallel(
            tensor=max(1, profile.tensor_parallel),
            pipeline=max(1, _number(flags, "pipeline-parallel-size")),
            data=max(1, _number(flags, "data-parallel-size")),
            experts_dealt=flags.get("enable-expert-parallel") is True,
        ),
        share=profile.gpu_memory or DEFAULT_SHARE,
        kv=profile.kv_dtype,
        seqs=max(1, profile.max_seqs),
        batched=_number(flags, "max-num-batched-tokens"),
        eager=flags.get("enforce-eager") is True,
        graphs=len(sizes) if isinstance(sizes, list) else 0,
        backend=str(flags.get("attention-backend", "")),
        kv_memory=_number(flags, "kv-cache-memory-bytes"),
        window=profile.window if isinstance(profile.window, int) else profile.window_cap,
        offloaded=float(_number(flags, "cpu-offload-gb")),
    )


def _number(flags: Mapping[str, Any], name: str) -> int:
    """A flag's whole number, 0 where there is none."""
    value = flags.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(0, value), _MOST))


def _offloading(profile: Profile, found: Fit) -> str:
    """What KV in the host's memory is good for."""
    size = _number(profile.flags, "kv-offloading-size")
    if not size or found.problem:
        return ""
    used = found.settings.parallel
    every = found.chosen.bytes_per_token * used.tensor * used.pipeline
    tokens = int(size * (1 << 30) / every)
    return (
        f"{size} GiB of the host's memory keep about {tokens:,} tokens of evicted KV: they need "
        "no new prefill, but make no window longer"
    )


def _too_long(profile: Profile, shape: ModelShape) -> str:
    """A window that vLLM refuses."""
    if profile.window == "auto" or not shape.window or profile.window <= shape.window:
        return ""
    return (
        f"the profile's window of {profile.window:,} is more than the model was made for "
        f"({shape.window:,}): vLLM will not start with it"
    )


def launch_of(profile: Profile) -> LaunchPlan:
    """The command for a profile on the vLLM that is here. Raises ProfileError."""
    from glmcode.engine.launch import ASSUMED_VERSION, plan_launch
    from glmcode.engine.paths import engine_paths
    from glmcode.engine.prepare import SetupError, find_vllm

    try:
        probe = find_vllm(profile)
    except SetupError as error:
        raise ProfileError(str(error)) from error
    plan = plan_launch(profile, probe, str(engine_paths(profile.name).engine_socket))
    if plan.assumed:
        print(f"no vLLM found: planned for {ASSUMED_VERSION}", file=sys.stderr)
    return plan


def _show(text: str) -> None:
    print(for_terminal(text))
