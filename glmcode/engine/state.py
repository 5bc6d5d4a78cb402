"""What is known about an engine, as one frozen value and its JSON form.

The supervisor pushes it, front ends and commands read it. A key that a reader does not
know is ignored, so that an older glmcode can still read the state of a newer one. Must
not look anything up by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from glmcode.base.duration import left

PROTOCOL = 1
"""Raised when supervisor and front end would misunderstand each other."""

State: TypeAlias = Literal["absent", "starting", "ready", "busy", "sleeping", "stopping", "failed"]

FailureKind: TypeAlias = Literal["", "setup", "start", "crash"]
"""Why an engine failed: "setup" (found before anything was started), "start" (it ended
before it was ready), "crash" (it ended later)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """One moment of an engine.

    phase, percent (0 to 100, None: unknown) and eta_s (seconds left, None: unknown) belong
    to "starting". reason, kind and log (the last lines) belong to "failed"; final: it is
    not started again unless a person asks. window and card_window are in tokens; window is
    0 until it is known. since is a Unix time, start_s the seconds that the last start took,
    requests the number of those being served. digest tells which settings are running. block:
    tokens of a block of the prefix cache, pool of all of it, 0 when not known. seats: requests
    that it serves at once. running and waiting: those at the engine and in the queue before it
    (class, label, run, since as a Unix time, tokens, breaks; of a waiting one also position, eta_s
    and kept_out: it waits for the end of a turn), as the supervisor adds them.
    attached: who uses it (guests.py: class, label, run, pid,
    since, asked, connected). listening: HOST:PORT at which it serves as well; door:
    a sentence about what is not as it should be there. gpus and gpu_share: those of this machine
    that it holds, and how much of the memory of each; none when that is not known or it sleeps.
    """

    state: State
    profile: str
    protocol: int = PROTOCOL
    version: str = ""
    digest: str = ""
    phase: str = ""
    percent: float | None = None
    eta_s: float | None = None
    reason: str = ""
    kind: FailureKind = ""
    final: bool = False
    log: tuple[str, ...] = ()
    supervisor_pid: int = 0
    engine_pid: int = 0
    vllm: str = ""
    python: str = ""
    model: str = ""
    window: int = 0
    card_window: int = 0
    block: int = 0
    dropped: tuple[str, ...] = ()
    since: float = 0.0
    start_s: float = 0.0
    requests: int = 0
    pool: int = 0
    seats: int = 1
    running: tuple[Mapping[str, Any], ...] = ()
    waiting: tuple[Mapping[str, Any], ...] = ()
    attached: tuple[Mapping[str, Any], ...] = ()
    listening: str = ""
    door: str = ""
    gpus: tuple[int, ...] = ()
    gpu_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` gives the same status back."""
        return asdict(self)

    @property
    def up(self) -> bool:
        """The engine answers requests."""
        return self.state in ("ready", "busy")


def status_from_json(value: Mapping[str, Any]) -> EngineStatus:
    """Read a status; what is unknown is ignored, what is missing has its default.

    Raises KeyError when it is not a status at all.
    """
    known = {f.name for f in fields(EngineStatus)}
    values = {key: item for key, item in value.items() if key in known}
    for key in ("log", "dropped", "running", "waiting", "attached", "gpus"):
        values[key] = tuple(values.get(key, ()))
    values["state"], values["profile"] = value["state"], value["profile"]
    return EngineStatus(**values)


def aged(status: EngineStatus, seconds: float) -> EngineStatus:
    """The same some seconds later: less is left, and nothing where more has passed."""

    def later(eta: float | None) -> float | None:
        return None if eta is None or seconds >= eta else eta - seconds

    waiting = tuple({**one, "eta_s": later(one.get("eta_s"))} for one in status.waiting)
    return replace(status, eta_s=later(status.eta_s), waiting=waiting)


def describe(status: EngineStatus) -> str:
    """One line for a person."""
    match status.state:
        case "starting":
            percent = "" if status.percent is None else f", {status.percent:.0f} %"
            return f"starting: {status.phase}{percent}{left(status.eta_s)}"
        case "ready" | "busy":
            window = f"{status.window:,}"
            if 0 < status.window < status.card_window:
                window += f" of {status.card_window:,} (what the GPUs' memory allows)"
            doing = f", {status.requests} request(s) running" if status.requests else ""
            doing += f", {len(status.waiting)} waiting" if status.waiting else ""
            return f"{status.state}: {status.model}, window {window} tokens{doing}"
        case "failed":
            return f"failed: {status.reason}"
        case "sleeping":
            return (
                f"sleeping: the weights of {status.model} are in host memory; "
                f"glmcode engine wake --profile {status.profile}"
            )
        case "stopping" if status.phase:
            return f"stopping: {status.phase}"
        case "absent" | "stopping":
            return status.state


def gpu_numbers(gpus: Sequence[int]) -> str:
    """As `0`, `0 and 1`, `0 to 7`, `0, 2 and 5`."""
    if len(gpus) > 2 and gpus[-1] - gpus[0] == len(gpus) - 1:
        return f"{gpus[0]} to {gpus[-1]}"
    return ", ".join(map(str, gpus[:-1])) + (" and " if len(gpus) > 1 else "") + str(gpus[-1])


def queue_lines(status: EngineStatus, now: float) -> list[str]:
    """Who has the engine and who waits, a line each, for a person. now: a Unix time."""

    def since(one: Mapping[str, Any]) -> str:
        broken = one.get("breaks") or 0
        again = f", broken off {broken} time(s) for others" if broken else ""
        seconds = max(0.0, now - one.get("since", now))
        return f"{one.get('label')} ({one.get('class')}), for {seconds:.0f} s{again}"

    lines = [f"running: {since(one)}" for one in status.running]
    for one in status.waiting:
        turn = ", for the end of a turn" if one.get("kept_out") else ""
        lines.append(f"waiting {one.get('position')}: {since(one)}{left(one.get('eta_s'))}{turn}")
    return lines
