"""The engine's main process: started in a group of its own, watched, ended with its kin.

vLLM is an API server, an engine core and perhaps eight workers. They hold the read end of
a pipe (the lifeline), so that they end when the supervisor dies; what nevertheless stays
behind is written down in a file, and ended by the next supervisor. Must not know what the
processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from glmcode.engine.family import (
    MARK,
    Family,
    boot,
    processes,
    remove_shared,
    shared_memory,
)

TERM_GRACE_S = 15.0
_LEFTOVER_GRACE_S = 6.0


class Child:
    """A running engine. `wait` may be awaited once; `end` any number of times."""

    def __init__(
        self, process: subprocess.Popen[bytes], family: Family, lifeline: int, record: Path
    ) -> None:
        self._process = process
        self._family = family
        self._lifeline = lifeline
        self._record = record
        self._shared: set[str] = set()
        self.pid = process.pid

    async def wait(self) -> int:
        """The exit code once the main process has ended (minus the signal's number)."""
        return await asyncio.to_thread(self._process.wait)

    def remember(self) -> None:
        """Write down what shared memory the engine has now, for whoever has to clear it away."""
        self._shared |= shared_memory(self._family.living())
        with contextlib.suppress(OSError, ValueError):
            note = json.loads(self._record.read_text(encoding="utf-8"))
            _write(self._record, {**note, "shared": sorted(self._shared)})

    async def end(self, grace_s: float = TERM_GRACE_S) -> None:
        """End the whole family; returns when none is left, nor its shared memory."""
        self._shared |= shared_memory(self._family.living())
        await self._family.end(grace_s)
        remove_shared(self._shared)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        with contextlib.suppress(OSError):
            self._record.unlink()


def spawn(
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    record: Path,
    keep: Sequence[int] = (),
) -> Child:
    """Start an engine in a group of its own; "{lifeline}" in the command is the pipe's number.

    Its output is appended to `log`; `record` tells a later supervisor of it. keep: descriptors
    that it inherits. Raises OSError.
    """
    mark = uuid.uuid4().hex
    note = {"pid": 0, "started": 0, "boot": boot(), "mark": mark}
    _write(record, note)  # before it lives: we may be killed in the next moment
    read_end, write_end = os.pipe()
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [word.replace("{lifeline}", str(read_end)) for word in command],
                env={**env, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(read_end, *keep),
                start_new_session=True,
                cwd="/",
            )
    except BaseException:
        os.close(write_end)
        record.unlink(missing_ok=True)
        raise
    finally:
        os.close(read_end)
    found = processes().get(process.pid)
    note |= {"pid": process.pid, "started": found.started if found else 0}
    try:
        _write(record, note)
    except OSError:
        process.kill()
        process.wait()
        os.close(write_end)
        raise
    family = Family(group=process.pid, mark=mark, adopted=True)
    return Child(process, family, write_end, record)


def _write(record: Path, note: Mapping[str, object]) -> None:
    """Whole or not at all. Raises OSError."""
    draft = record.with_suffix(".draft")
    draft.write_text(json.dumps(note), encoding="utf-8")
    draft.replace(record)


async def end_leftover(record: Path) -> bool:
    """End the engine of a supervisor that was killed; returns whether there was one.

    It is usually ending already, because its lifeline is closed.
    """
    try:
        value = json.loads(record.read_text(encoding="utf-8"))
        family = _recorded(value)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        family, value = None, {}
    found = family is not None and await family.end(_LEFTOVER_GRACE_S)
    if family is not None and isinstance(names := value.get("shared"), list):
        remove_shared(map(str, names))
    with contextlib.suppress(OSError):
        record.unlink()
    return found


def _recorded(value: Mapping[str, object]) -> Family | None:
    """The family that a record names; its number may belong to somebody else by now."""
    if value["boot"] != boot():
        return None
    group, mark = int(str(value["pid"])), str(value["mark"])
    leader = processes().get(group)
    if leader is not None and leader.started != int(str(value["started"])):
        group = 0
    return Family(group=group, mark=mark)
