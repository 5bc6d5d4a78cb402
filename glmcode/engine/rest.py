"""Sleep: the GPUs are lent to something else while the engine stays, its weights in host memory.

vLLM moves the weights out and back again, which is faster than a start; its cache is lost. Only an
explicit command does it, only for an engine that serves nobody, and only where the host has the
memory: an engine that cannot come back would be worse than one that was stopped. Must not decide
when.
"""

from __future__ import annotations

from pathlib import Path

from glmcode.engine.control import ControlError, ask, fetch
from glmcode.engine.profile import Profile, cached_snapshot

MOVE_S = 900.0
"""The longest that moving the weights may take."""
SPARE = 4 << 30
"""Bytes of host memory that must stay free."""


class RestError(Exception):
    """It can neither sleep nor wake; one sentence with what to do."""


def check_memory(profile: Profile, available: int) -> None:
    """Whether the host can hold the weights. available: bytes. Raises RestError."""
    weights = weights_size(profile)
    if weights + SPARE > available:
        raise RestError(
            f"its weights take {weights / 2**30:,.0f} GiB and the host has "
            f"{available / 2**30:,.0f} GiB of memory free: glmcode engine stop frees the GPUs, too"
        )


def weights_size(profile: Profile) -> int:
    """Bytes of the model's weight files; 0 where they are not on this disk."""
    folder = profile.local_model or cached_snapshot(profile.model, profile.revision)
    if folder is None:
        return 0
    try:
        return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    except OSError:
        return 0


def available_memory(info: Path = Path("/proc/meminfo")) -> int:
    """Bytes that the host can give; 0 where it does not say."""
    try:
        for line in info.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


async def put_to_sleep(socket: Path) -> None:
    """Move the weights out. Raises RestError: then the engine may have to be restarted."""
    await _move(socket, "/sleep?level=1", "sleep")


async def wake_up(socket: Path) -> None:
    """Move the weights back. Raises RestError."""
    await _move(socket, "/wake_up", "wake")


async def is_asleep(socket: Path) -> bool | None:
    """What the engine itself says after a move that failed; None where it says nothing."""
    try:
        code, said = await ask(socket, "GET", "/is_sleeping", timeout_s=5.0)
    except ControlError:
        return None
    found = said.get("is_sleeping") if code == 200 and isinstance(said, dict) else None
    return found if isinstance(found, bool) else None


async def _move(socket: Path, route: str, what: str) -> None:
    try:
        code, said = await fetch(socket, "POST", route, {}, MOVE_S)
    except ControlError as error:
        raise RestError(f"the engine did not {what}: {error}") from error
    if code == 404:
        raise RestError(
            "it was started without sleep mode: enable-sleep-mode = true under [flags] in the "
            "profile, then restart it"
        )
    if code >= 400:
        text = " ".join(said.decode("utf-8", "replace").split())[:200]
        raise RestError(f"the engine did not {what} (it answered {code}): {text}")
