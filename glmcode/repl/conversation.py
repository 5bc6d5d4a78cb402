"""The conversation behind the screen: takes what is typed, runs turns, answers what is asked.

What a person types is never lost: before the engine is ready and while a turn runs it waits in
line, or steers the turn, and what a stopped turn did not read goes back to the input.
Everything here runs on one event loop and is called back by the screen; unforeseen faults are
caught by the edge in app.py. Must not draw, and must not decide permission.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.base.settings import UiSettings
from glmcode.core.events import ApprovalAsked
from glmcode.exits import Exit
from glmcode.repl.agents import Agents
from glmcode.repl.asking import Asker
from glmcode.repl.attention import attention_of
from glmcode.repl.banner import greeting
from glmcode.repl.changes import changed_files
from glmcode.repl.commands import is_echoed, run_command
from glmcode.repl.feed import Feed
from glmcode.repl.own import Own, is_message, is_own
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.screen import Live, Screen
from glmcode.repl.showing import Edge, Showing
from glmcode.repl.slash import Unknown, argument, asked_for, find_command
from glmcode.repl.status import Status
from glmcode.repl.works import GOES, STOPPABLE, WORKS, do, ended
from glmcode.sessions import StoredSession

TWICE_S = 2.0
LEAVES = "Ctrl-C again leaves"


class Conversation:
    """screen.Hands, on a screen that is there already; `left` gets the exit code."""

    def __init__(
        self,
        options: AgentOptions,
        painter: Painter,
        live: Live,
        screen: Screen,
        left: asyncio.Future[int],
        edge: Edge,
        *,
        ui: UiSettings,
        plain: bool,
    ) -> None:
        """plain: the screen has no live part, so progress is told in lines."""
        self.options = options
        self.unicode = painter.unicode
        self.painter = painter
        self.agent: Agent | None = None
        self.opening = True
        self.left = left
        self.live = live
        self.screen = screen
        self._edge = edge
        self._steers = ui.enter == "steer"
        self._status = Status(mode=options.mode, since=time.monotonic())
        self._arrived = asyncio.Event()
        self._asking = asyncio.Lock()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._interrupted_at = 0.0
        self._work: asyncio.Future[bool] | None = None
        self.listed: list[Path] = []
        self._shown = Showing(
            painter,
            live,
            screen,
            edge,
            self._status,
            verbose=ui.verbose,
            plain=plain,
            unfolded=ui.reasoning == "shown",
        )
        self._inbox = self._shown.waiting
        self._shown.attention = attention_of(self, ui, self._inbox)
        self.feed = Feed(self._shown.events, self._shown.tick)
        self._own = Own(self, self._shown, self.feed)
        self.agents = Agents(self, self._shown, self.feed, self._answer)

    # What the person does (screen.Hands)

    def submit(self, text: str) -> None:
        """A message, or a slash command."""
        self._submit(text, steers=self._steers)

    def submit_other(self, text: str) -> None:
        """The other way than Enter; without a text, all that is queued steers the turn."""
        if text.strip():
            self._submit(text, steers=not self._steers)
            return
        waiting = [one for one in self._inbox if is_message(one)]
        if waiting and self.agent is not None and self.agent.running:
            self._inbox[:] = [one for one in self._inbox if not is_message(one)]
            for one in waiting:
                self._send(one, steers=True)

    def take_back(self) -> str:
        """What was queued last; without any, what the turn was handed last and has not read."""
        if self._inbox:
            text = self._inbox.pop()
        elif self.agent is not None and (unread := self.agent.take_back()):
            text = unread.pop()
            for earlier in unread:
                self.agent.steer(earlier)
            self._shown.view.steering[:] = unread
        else:
            return ""
        self._shown.refresh()
        return text

    def hint(self, text: str) -> None:
        """Say it for a moment."""
        self._status.hint = text
        asyncio.get_running_loop().call_later(TWICE_S, self._forget_hint, text)
        self._shown.refresh()

    def _submit(self, text: str, *, steers: bool) -> None:
        command = find_command(text)
        if isinstance(command, Unknown):
            self.say([("warning", command.hint)])
        elif command is not None:
            if is_echoed(command, text) and not self._shown.plain:
                self._shown.commit(self._shown.view.person(text))
            run_command(self, command, text)
        elif is_own(text):
            self.queue(text)
        else:
            clean = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
            self._send(clean, steers=steers)

    def stop(self) -> bool:
        """Cancel the turn, once; an open question falls with it. False when it stops already."""
        if self._status.state == "stopping":
            return False
        work, agent = self._work, self.agent
        stops = self._own.cancel() or (work is not None and work.cancel())
        if stops or (agent is not None and agent.cancel()):
            self._status.enter("stopping", time.monotonic())
            self._shown.refresh()
        elif self.live.question is not None:
            self.live.question.choose("no")
        return True

    def interrupt(self) -> None:
        """Ctrl-C on an empty input: leaves at once while opening, else at the second time."""
        now = time.monotonic()
        if self.agent is None and self.opening and not self.agents.tried:
            self.leave(Exit.INTERRUPTED)
        elif now - self._interrupted_at < TWICE_S:
            self.leave(Exit.DONE)
        else:
            self._interrupted_at = now
            self.hint(LEAVES)
            if self._shown.plain:
                self.say([("warning", LEAVES)])

    def leave(self, code: int) -> None:
        """End the session; the first code counts."""
        if not self.left.done():
            self.left.set_result(code)

    def show_all(self) -> None:
        """Print the whole preview of the open question; else what is folded."""
        self._shown.fit()
        question = self.live.question
        if question is not None and question.cut:
            question.cut = False
            self._shown.commit(self._shown.view.everything(question.asked))
        elif question is None:
            self._shown.commit(self._shown.view.unfold())
        self._shown.refresh()

    # The work

    def greet(self, prompt: str | None) -> None:
        """The first lines; prompt is what the session was started with."""
        self._shown.fit()
        for line in greeting(self.options, self.painter.width):
            self.say(line)
        if prompt is not None:
            self._send(prompt)

    async def work(self) -> None:
        """Open the agent, then run one turn after the other until cancelled."""
        while self.agent is None:
            await self._open()
        while self.agent is not None:
            await self._arrived.wait()
            if self.agents.moves:
                await self._edge.run(self.agents.move())
                continue
            if not self._inbox or self.agents.holds:
                self._arrived.clear()
                continue
            text = self._inbox.pop(0)
            works = {"/compact": self._compact, **dict.fromkeys(WORKS, self._beside)}
            command = str(find_command(text))
            other = self._own_way if is_own(text) else self._turn
            await self._edge.run(works.get(command, other)(self.agent, text))
            if command in ("/compact", "/rewind", *GOES):
                self.warm(self.agent)

    async def _open(self) -> None:
        """Try to reach the engine; in vain, wait until something is said that may change it."""
        self.opening = True
        self._status.enter("opening", time.monotonic())
        if not await self._edge.run(self.agents.open()):
            self.leave(Exit.ERROR)
        self.opening = False
        if self.agent is None:
            self._status.enter("away", time.monotonic())
            self._shown.refresh()
            self._arrived.clear()
            await self._arrived.wait()

    def foresee(self, options: AgentOptions) -> None:
        """These shall hold once there is an agent (modes.Host)."""
        self.options = options
        self._status.mode = options.mode
        self._shown.refresh()

    def again(self) -> None:
        """There is something to be taken up (agents.Host)."""
        self._arrived.set()

    def quiet(self) -> None:
        """No engine is being started any more (engines.Host)."""
        self._status.progress = None
        self._shown.refresh()

    async def close(self) -> None:
        """Say where the session lies, and let go of the agent."""
        await self.agents.close()

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""
        self._shown.say(spans)

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines (works.Host)."""
        self._shown.commit(lines)

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values (commands.Host)."""
        self._shown.rows(rows)

    def begin(self, agent: Agent) -> None:
        """This agent is the session's from now on (agents.Host)."""
        self.agent = agent
        facts = self.live.facts
        facts.seconds, facts.session = agent.client.prefill_seconds, agent.journal.path
        facts.changed = lambda: changed_files(agent)
        facts.profile, facts.models = self.options.engine.profile, ()
        self._shown.begin(agent)

    async def _turn(self, agent: Agent, text: str) -> None:
        await self._run(agent, text, self._own.submit(agent, asked_for(text)))

    async def _compact(self, agent: Agent, text: str) -> None:
        async def compact() -> bool:
            self.work_on()
            await agent.compact(argument(text))
            stopped = self._status.state == "stopping"
            if stopped:
                self.say([("warning", "stopped: the conversation is as it was")])
            return not stopped

        await self._run(agent, text, compact())

    async def _beside(self, agent: Agent, text: str) -> None:
        """A command of works.py: as long as it runs, Esc stops it if it can be stopped."""
        work = asyncio.ensure_future(do(self, agent, text))
        self._work = work if find_command(text) in STOPPABLE else None
        await self._run(agent, text, ended(self, work))
        self._work = None

    async def _own_way(self, agent: Agent, text: str) -> None:
        await self._run(agent, text, self._own.do(agent, text))

    def warm(self, agent: Agent) -> None:
        """The person has the word: the engine may compute what the next prompt begins with
        (agents.Host)."""
        if not self._inbox:
            agent.warm()

    def work_on(self) -> None:
        """The status line says that the model works (works.Host)."""
        self._status.enter("working", time.monotonic())

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show something that the person asked for, and ask once more (undoing.Host)."""
        calm = self._status.state == "idle"
        if calm:
            self.work_on()
        self.feed.put(asked)
        try:
            return await self._answer(asked)
        finally:
            if calm:
                self._status.enter("idle", time.monotonic())

    async def _run(self, agent: Agent, text: str, work: Coroutine[Any, Any, bool]) -> None:
        """Show what the person said and await what it asks for: whether it went well."""
        self.live.busy = True
        self._shown.commit(self._shown.view.person(text))
        self._shown.refresh()
        done = False
        try:
            done = await work
        finally:
            self.feed.drain()
            self.live.busy = False
            self._status.enter("idle", time.monotonic())
            self._return_unread(agent, go_on=done)
            self._shown.measure()
            self._shown.refresh()

    def _return_unread(self, agent: Agent, *, go_on: bool) -> None:
        """What the turn never read: the next turn's when it ended well, else the input's."""
        unread = agent.take_back()
        self._shown.view.steering.clear()
        if go_on:
            self._inbox[:0] = unread
            return
        unread += self._inbox
        self._inbox.clear()
        if unread:
            self.screen.put_back("\n".join(unread))

    def _send(self, text: str, *, steers: bool = False) -> None:
        if steers and self.agent is not None and self.agent.running:
            self.agent.steer(text)
            self._shown.view.steering.append(text)
            self._shown.line("steering: the model reads it after this step")
            self._shown.refresh()
        else:
            self.queue(text)

    def queue(self, text: str) -> None:
        """Take it up as soon as nothing else runs (commands.Host)."""
        if self.live.busy or self.agent is None:
            self._shown.line("queued: it is next" if self.live.busy else "queued until it is ready")
        self._inbox.append(text)
        self._arrived.set()
        self._shown.refresh()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else (commands.Host)."""
        task = asyncio.ensure_future(self._edge.run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: ApprovalAsked) -> Approval | None:
        """agent.Answer: one question at a time, after everything before it is on the screen."""
        async with self._asking:
            self.feed.drain()
            agent = self.agent
            asker = Asker(
                view=self._shown.view,
                live=self.live,
                refresh=self._shown.refresh,
                commit=self._shown.commit,
                fault=lambda text: agent.approvals.fault(text) if agent is not None else "",
                draft=lambda: agent.approvals.draft() if agent is not None else None,
                revise=self._revise,
                lend=self.screen.lend,
            )
            return await asker.ask(asked)

    async def _revise(self, data: bytes) -> tuple[ApprovalAsked, str]:
        """What is asked about, as it was edited, is on the screen then. Raises EditFault."""
        assert self.agent is not None, "it asks"
        asked, warning = await self.agent.approvals.revise(data)
        self.feed.drain()
        return asked, warning

    async def clear(self, stored: StoredSession | None = None) -> None:
        """Another session on the same engine (commands.Host)."""
        await self.agents.clear(stored)

    def _forget_hint(self, text: str) -> None:
        if self._status.hint == text:
            self._status.hint = ""
            self._shown.refresh()
