"""Says after a failed command that the sandbox was the reason, as far as output can show it.

One short line, only where the words of the failure are those that a refusal has, so that the
model does not hunt for a fault that isn't in the code. A command that succeeded is never
commented. What would be lifted by running the command outside is told apart: variables that are
withheld and glmcode's own folders would not be a reason to leave. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from glmcode.sandbox.probe import Mechanism

_READ_ONLY = re.compile(r"read-only file system|EROFS|\[Errno 30\]", re.IGNORECASE)
_DENIED = re.compile(
    r"permission denied|operation not permitted|EACCES|EPERM|invalid cross-device link|EXDEV"
    r"|\[Errno (?:1|13|18)\]",
    re.IGNORECASE,
)
_NETWORK = re.compile(
    r"network is unreachable|ENETUNREACH|could not resolve|name or service not known"
    r"|temporary failure in name resolution|name resolution|EAI_AGAIN|ENOTFOUND|no such host"
    r"|failed to establish a new connection|nodename nor servname",
    re.IGNORECASE,
)
_PROCESSES = re.compile(r"fork: (?:retry: )?resource temporarily unavailable", re.IGNORECASE)
_BUSY = re.compile(r"device or resource busy|EBUSY|\[Errno 16\]", re.IGNORECASE)
TAIL = 20_000
"""Characters at the end of the output that are looked at."""


def explain(
    output: str,
    command: str,
    *,
    mechanism: Mechanism,
    read_only: bool,
    network: bool,
    withheld: Collection[str],
    hidden: Collection[Path] = (),
) -> str:
    """The line, without brackets; "" where nothing points to the sandbox."""
    output = output[-TAIL:]
    reasons = _reasons(output, mechanism, read_only=read_only, network=network)
    if _looks_into(hidden, output, command):
        reasons.append("looking into glmcode's own folders (Read and Grep can)")
    lines = []
    if reasons:
        lines.append(f"the sandbox forbids {' and '.join(reasons)}; the user can allow it")
    named = sorted(name for name in withheld if _names(name, command) or _names(name, output))
    if named:
        are = "is" if len(named) == 1 else "are"
        lines.append(f"{', '.join(named[:3])} {are} kept from commands; the user can allow it")
    return "; ".join(lines)


def lifted(
    output: str,
    command: str,
    *,
    mechanism: Mechanism,
    read_only: bool,
    network: bool,
    hidden: Collection[Path] = (),
) -> str:
    """What the sandbox forbade a command that failed and would not outside of it; "" for nothing,
    and where it looked for what is to stay unseen."""
    output = output[-TAIL:]
    if mechanism == "none" or _looks_into(hidden, output, command):
        return ""
    return " and ".join(_reasons(output, mechanism, read_only=read_only, network=network))


def _reasons(output: str, mechanism: Mechanism, *, read_only: bool, network: bool) -> list[str]:
    weak = _DENIED if mechanism in ("landlock", "seatbelt") else _BUSY
    denied = mechanism != "none" and weak.search(output)
    reasons = []
    if mechanism != "none" and (_READ_ONLY.search(output) or denied):
        where = (
            "all writing" if read_only else "writing outside the workspace and to git's settings"
        )
        reasons.append(where if _READ_ONLY.search(output) else f"{where} (perhaps the reason)")
    if not network and _NETWORK.search(output):
        reasons.append("network access")
    if _PROCESSES.search(output):
        reasons.append("so many processes")
    return reasons


def _looks_into(hidden: Collection[Path], output: str, command: str) -> bool:
    return any(str(folder) in text for folder in hidden for text in (output, command))


def _names(name: str, text: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text) is not None
