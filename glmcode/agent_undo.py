"""The agent's past: a checkpoint around every action that changes something, and what undo tells.

Tools are wrapped, so that between permission and commit stands the look at what is there; nothing
is changed without it: where no checkpoint can be written, the turn stops. The look afterwards runs
while the model goes on, and is waited for by whatever needs it. A conversation whose turns were
undone learns of it in the next message of the person; nothing that was sent is changed. Must not
decide what is undone or show it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING, Any

from glmcode.base.settled import settled
from glmcode.core.calls import TurnStop
from glmcode.core.events import Notice
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Effect, Tool, ToolError, ToolResult, Work
from glmcode.tools.context import ToolContext

if TYPE_CHECKING:
    from glmcode.checkpoints.recorder import Checkpoints, Step

READ_AHEAD_S = 0.3
"""Seconds of a session's first turn after which the workspace is read: the request is out then."""
LATER_S = 0.02
"""Seconds until the look afterwards begins: the next request is out by then."""
LOST = "what this step changed was not recorded, so undo can't take it back: {error}"


class Past:
    """What a session records. Called on the event loop; the work runs in threads."""

    def __init__(
        self,
        context: ToolContext,
        session: Callable[[], str],
        emit: Emit,
        *,
        wanted: bool,
    ) -> None:
        """session: gives its id. wanted: False for no checkpoints at all.

        `reads_only`, which may be set: whether a command changes nothing.
        """
        self.wanted = wanted
        self._context = context
        self._session = session
        self._emit = emit
        self.reads_only: Callable[[Action], bool] = lambda action: False
        self._made: Checkpoints | None = None
        self._stop = Flag()
        self._looking: asyncio.Future[None] | None = None
        self._due: Step | None = None
        self.untold: tuple[int, ...] = ()

    @property
    def checkpoints(self) -> Checkpoints:
        """Made when first needed: SQLite and the rest are not imported for a question."""
        if self._made is None:
            from glmcode.checkpoints.recorder import Checkpoints

            self._made = Checkpoints(self._context.workspace, self._session())
        return self._made

    @property
    def begun(self) -> bool:
        """Whether there is anything recorded to ask for."""
        return self._made is not None

    def begin(self, label: str, *, ahead: bool) -> None:
        """A turn begins. ahead: it may change something, so the workspace is read beforehand."""
        if not self.wanted:
            return
        first = self._made is None
        self.checkpoints.begin(label)
        if first and ahead:
            warm = self.checkpoints.warm
            thread = Thread(target=warm, args=(self._stop.is_set,), daemon=True)
            asyncio.get_running_loop().call_later(READ_AHEAD_S, self._start, thread)

    def _start(self, thread: Thread) -> None:
        if not self._stop.is_set():
            with suppress(RuntimeError):  # no more threads: the first checkpoint reads it itself
                thread.start()

    def watched(self, tools: Mapping[str, Tool]) -> dict[str, Tool]:
        """The same tools, whose changes are recorded."""
        return {name: self._watched(tool) for name, tool in tools.items()}

    def _watched(self, tool: Tool) -> Tool:
        if tool.spec.effect is Effect.READ or not self.wanted:
            return tool

        async def prepared(proposal: Awaitable[Action]) -> Action:
            action = await proposal
            if action.effect is Effect.READ:
                return action
            if tool.spec.name == "Bash" and self.reads_only(action):
                return action
            return replace(action, commit=lambda: self._commit(tool.spec.name, action))

        def prepare(
            call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
        ) -> Awaitable[Action]:
            return prepared(tool.prepare(call_id, arguments, output))

        return replace(tool, prepare=prepare)

    async def _commit(self, name: str, action: Action) -> ToolResult:
        """Raises TurnStop when there is no checkpoint: then nothing was changed."""
        if action.work is not None:
            return await self._work(name, action, action.work)
        step = await self._before(name, action)
        try:
            return await action.commit()
        finally:
            self._look_after(step)

    async def _work(self, name: str, action: Action, work: Work) -> ToolResult:
        """Look and change in one go: a hop to a thread costs as much as the look."""
        from glmcode.checkpoints.recorder import CheckpointError

        look = await self._looker(name, action)

        def recorded(stopped: Callable[[], bool]) -> ToolResult:
            def first() -> None:
                step = look()
                if stopped():
                    look.step = None
                    self.look_back(step)
                    raise ToolError("stopped")  # nobody waits for it any more

            return work(stopped, first)

        try:
            return await settled(recorded)
        except CheckpointError as error:
            raise TurnStop(str(error)) from error
        finally:
            if open_step := look.step or look.due:
                self._look_after(open_step)
            self._tell()

    async def _looker(self, name: str, action: Action) -> _Look:
        due, self._due = self._due, None
        if due is None:
            await self.settled()
        return _Look(self, name, action, due)

    async def _before(self, name: str, action: Action) -> Step:
        from glmcode.checkpoints.recorder import CheckpointError

        look = await self._looker(name, action)
        task = asyncio.ensure_future(asyncio.to_thread(look))
        try:
            step = await asyncio.shield(task)
        except CheckpointError as error:
            raise TurnStop(str(error)) from error
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                self._look_after(task.result())
            raise
        self._tell()
        return step

    def _look_after(self, step: Step) -> None:
        self._due = step
        self._looking = asyncio.ensure_future(self._after(step))

    async def _after(self, step: Step) -> None:
        await asyncio.sleep(LATER_S)
        if self._due is step:  # else the look before the next action does both
            self._due = None
            await asyncio.to_thread(self.look_back, step)
            self._tell()

    def look_back(self, step: Step) -> None:
        """Record what a step changed; blocks."""
        from glmcode.checkpoints.recorder import CheckpointError

        try:
            self.checkpoints.after(step)
        except CheckpointError as error:
            self.checkpoints.notices.append(LOST.format(error=error))

    def _tell(self) -> None:
        for notice in self.checkpoints.take_notices():
            self._emit(Notice(text=notice))

    async def settled(self) -> None:
        """Wait until what the last action changed is recorded."""
        if self._looking is not None:
            await asyncio.shield(self._looking)
            self._looking = None

    # What the conversation learns

    async def news(self) -> str:
        """What was undone since the last message, in front of the next one; "" if nothing.

        The files concerned are no longer known: they must be read again before a change.
        """
        notes = await asyncio.to_thread(self._notes)
        for _, _, paths in notes:
            self.forget(paths)
        self.untold = tuple(number for number, _, _ in notes)
        return "".join(f"{text}\n\n" for _, text, _ in notes)

    def forget(self, paths: Sequence[str]) -> None:
        """These files are not what the model knows any more."""
        for path in paths:
            self._context.seen.pop(os.path.realpath(self._context.workspace / path), None)

    def _notes(self) -> list[tuple[int, str, list[str]]]:
        from glmcode.checkpoints.store import StoreError, store_folder
        from glmcode.checkpoints.undo import notes_for

        if not self.wanted or not (store_folder(self._context.workspace) / "store.db").exists():
            return []
        try:
            with self.checkpoints.lock:
                return notes_for(self.checkpoints.store, self._session())
        except StoreError:
            return []  # the first change of the turn says it

    async def news_told(self) -> None:
        """The message with the news stands in the conversation."""
        if self.untold:
            untold, self.untold = self.untold, ()
            await asyncio.to_thread(self._mark, untold)

    def tell_again(self, numbers: Sequence[int]) -> None:
        """The messages that told these notes are gone: the next one tells them."""
        if numbers:
            self._mark(numbers, told=False)

    def pending(self) -> list[int]:
        """Notes that the next message will tell."""
        return [number for number, _, _ in self._notes()]

    def tell_not(self, numbers: Sequence[int]) -> None:
        """The turns that these notes speak of are gone."""
        self._mark(numbers)

    def _mark(self, numbers: Sequence[int], *, told: bool = True) -> None:
        from glmcode.checkpoints.store import StoreError
        from glmcode.checkpoints.undo import mark_notes

        try:
            with self.checkpoints.lock:
                mark_notes(self.checkpoints.store, numbers, told=told)
        except StoreError:
            pass  # it is told once more

    async def close(self) -> None:
        """Record what is open, and let go of the store."""
        self._stop.set()
        if self._made is not None:
            await self.settled()
            await asyncio.to_thread(self._made.close)


class _Look:
    """The look before an action, to be called in a thread.

    due: a step that was not looked back at yet; step: the action's own, once there is one.
    """

    def __init__(self, past: Past, name: str, action: Action, due: Step | None) -> None:
        self.due = due
        self.step: Step | None = None
        self._past = past
        self._name = name
        self._action = action

    def __call__(self) -> Step:
        """Raises CheckpointError."""
        from glmcode.checkpoints.recorder import CheckpointError

        due, self.due = self.due, None
        try:
            self.step = self._before(due)
        except CheckpointError:
            if due is None:
                raise
            self._past.look_back(due)
            self.step = self._before(None)
        return self.step

    def _before(self, due: Step | None) -> Step:
        action = self._action
        return self._past.checkpoints.before(
            self._name,
            action.subject,
            action.paths,
            {change.path: change.after for change in action.changes},
            command=action.effect is Effect.EXECUTE,
            due=due,
        )
