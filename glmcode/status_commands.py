"""What an engine is doing, for people and scripts: `engine status`, once or again and again.

How it is written stands in status_text.py, the quick way for the plain cases in status_now.py. Must
not change anything.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glmcode.engine.absent import absent
from glmcode.engine.attach import EngineUnavailable, find_status
from glmcode.engine.control import ControlError, fetch, follow
from glmcode.engine.gauges import Gauges, read_gauges
from glmcode.engine.paths import engine_paths
from glmcode.engine.state import EngineStatus, aged, status_from_json
from glmcode.exits import Exit
from glmcode.moving import cut, moves, size, unread
from glmcode.repl.clean import for_terminal, one_line
from glmcode.status_text import lines_of, status_value, unknown_value

GAUGES_S = 1.0
LOOK_S = 1.0
"""Seconds after which times are drawn anew, and it is looked whether anybody reads."""
AGAIN_S = 0.3
"""Seconds after which a watched engine that is gone is looked for again."""


def gauges_of(item: EngineStatus) -> Gauges | None:
    """The gauges of an engine that is up; None where it does not say in time."""
    if not item.up:
        return None
    try:
        return asyncio.run(_gauges(item.profile))
    except ControlError:
        return None


async def _gauges(name: str) -> Gauges | None:
    socket = engine_paths(name).socket
    code, data = await fetch(socket, "GET", "/metrics", timeout_s=GAUGES_S)
    return read_gauges(data.decode("utf-8", "replace")) if code == 200 else None


def status_json(item: EngineStatus | EngineUnavailable) -> Mapping[str, Any]:
    """For scripts."""
    if isinstance(item, EngineUnavailable):
        return unknown_value(item.profile, str(item), engine_paths(item.profile).socket)
    return status_value(item, gauges_of(item), engine_paths(item.profile).socket)


def status_lines(item: EngineStatus | EngineUnavailable) -> list[str]:
    """For a person; the engine's words in it are not made harmless yet."""
    if isinstance(item, EngineUnavailable):
        return [str(item)]
    return lines_of(item, gauges_of(item), time.time())


def watch_status(name: str, *, as_json: bool) -> int:
    """Tell every change until interrupted; the supervisor pushes them."""
    try:
        asyncio.run(_watch(name, _Teller(as_json=as_json)))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.DONE


async def _watch(name: str, tell: _Teller) -> None:
    paths = engine_paths(name)
    while True:
        if unread():
            raise BrokenPipeError
        try:
            status = await find_status(paths)
            if status is None:
                tell.status(absent(paths), None)
        except EngineUnavailable as error:
            status = None
            tell.unknown(name, str(error))
        if status is None:
            await asyncio.sleep(AGAIN_S)
            continue
        changes: asyncio.Queue[EngineStatus] = asyncio.Queue()

        def each(value: Any, queue: asyncio.Queue[EngineStatus] = changes) -> bool:
            queue.put_nowait(status_from_json(value))
            return False

        following = asyncio.ensure_future(follow(paths.socket, "/glmcode/events", each))
        try:
            await _tell_all(name, following, changes, tell)
        except ControlError:
            pass  # it left
        finally:
            following.cancel()


async def _tell_all(
    name: str, following: asyncio.Future[None], changes: asyncio.Queue[EngineStatus], tell: _Teller
) -> None:
    while not (following.done() and changes.empty()):
        waiting = asyncio.ensure_future(changes.get())
        both: set[asyncio.Future[Any]] = {waiting, following}
        await asyncio.wait(both, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        if unread():
            raise BrokenPipeError
        if not waiting.done():
            waiting.cancel()
            if following.done():
                following.result()
                return
            tell.again()
            continue
        status = waiting.result()
        while not changes.empty():
            status = changes.get_nowait()
        gauges = None
        if status.up:
            try:
                gauges = await _gauges(name)
            except ControlError:
                gauges = None
        tell.status(status, gauges)


class _Teller:
    """One JSON object a line, or lines that replace each other on a terminal.

    Lines are cut to the terminal's width and are fewer than its rows: what wraps or scrolls can't
    be replaced. A terminal that became narrower may have wrapped those that stand there, so that
    they are left and others begin below them.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._terminal = moves(1) and not as_json
        self._drawn, self._columns = 0, 0
        self._last: object = None
        self._words: Callable[[float], Sequence[str]] = lambda since: []
        self._since = 0.0

    def unknown(self, name: str, text: str) -> None:
        value = unknown_value(name, text, engine_paths(name).socket)
        self._tell(value, lambda since: [f"{name}: unknown: {text}"])

    def again(self) -> None:
        """Nothing has changed but the time."""
        if self._terminal:
            self._draw(self._words(time.monotonic() - self._since))

    def status(self, status: EngineStatus, gauges: Gauges | None) -> None:
        value = status_value(status, gauges, engine_paths(status.profile).socket)
        self._tell(value, lambda since: lines_of(aged(status, since), gauges, time.time()))

    def _tell(self, value: object, words: Callable[[float], Sequence[str]]) -> None:
        """words: of the value, so many seconds after it was told."""
        if value == self._last:
            return
        self._last = value
        if self._json:
            print(json.dumps(value), flush=True)
            return
        lines = words(0.0)
        if not self._terminal:
            print("\n".join(for_terminal(line) for line in lines), flush=True)
            return
        self._words, self._since = words, time.monotonic()
        self._draw(lines)

    def _draw(self, lines: Sequence[str]) -> None:
        columns, rows = size(1)
        if columns < self._columns:
            self._drawn = 0
        up = f"\r\x1b[{min(self._drawn, rows - 1)}A" if self._drawn else ""
        shown = [cut(one_line(line, 1_000), columns - 1) for line in lines[: max(1, rows - 1)]]
        sys.stdout.write(up + "\x1b[0J" + "\n".join(shown) + "\n")
        sys.stdout.flush()
        self._drawn, self._columns = len(shown), columns
