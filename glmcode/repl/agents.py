"""Which agent the session has: opens it, moves it to another session or engine, and closes it.

An agent is let go only when the other one is open, so nothing that fails costs the session. Where
no engine answers, the session stands all the same: what is typed is kept, and the next message
tries again. Must not run turns and must not draw.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from glmcode.agent import Agent, AgentOptions, Answer
from glmcode.agent_options import Reached
from glmcode.agent_thinking import set_thinking
from glmcode.base.settings import EngineSettings
from glmcode.base.thinking import parse_thinking
from glmcode.core.model import ModelError
from glmcode.engine.default import machine_profile
from glmcode.exits import Exit
from glmcode.opening import OpenError, open_agent, reach_engine
from glmcode.repl.banner import reached
from glmcode.repl.clean import one_line
from glmcode.repl.feed import Feed
from glmcode.repl.paint import Spans
from glmcode.repl.replay import going_on, replay
from glmcode.repl.showing import Showing
from glmcode.sessions import JournalError, SessionError, StoredSession, open_session

AWAY = "what you type is kept, and your next message tries again; /engine and /profile help"


class Host(Protocol):
    """The conversation, as far as this needs it."""

    options: AgentOptions
    agent: Agent | None

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def begin(self, agent: Agent) -> None:
        """This agent is the session's from now on."""

    def warm(self, agent: Agent) -> None:
        """The person has the word: the engine may compute what the next prompt begins with."""

    def again(self) -> None:
        """There is something to be taken up."""

    def leave(self, code: int) -> None:
        """End the session."""


class Agents:
    """Opens, moves and closes the agent of one conversation. holds: no turn may begin."""

    def __init__(self, host: Host, shown: Showing, feed: Feed, answer: Answer) -> None:
        self._host = host
        self._shown = shown
        self._feed = feed
        self._answer = answer
        self.tried = False
        self._trying: asyncio.Future[Agent] | None = None
        self._anew = False
        self._next: Reached | None = None
        self._reaching: asyncio.Future[Reached] | None = None
        self.loading = ""
        self.holds = False

    @property
    def moves(self) -> bool:
        """Whether another engine is there, to be gone on with."""
        return self._next is not None

    async def open(self) -> None:
        """Reach the engine and begin, or say why not; what nobody can mend here leaves."""
        host, first = self._host, not self.tried
        stored = host.options.stored
        if stored is not None and first:
            self._shown.fit()
            self._shown.commit(replay(self._shown.view, stored.conversation))
        try:
            agent = await self._opened()
        except ModelError as error:
            nowhere = not (host.options.engine.base_url or host.options.engine.profile)
            gone = first and nowhere and machine_profile() is None
            self._cannot(str(error), Exit.UNAVAILABLE if gone else None, error.detail)
        except OpenError as error:
            code = Exit.USAGE if error.usage else Exit.ERROR
            self._cannot(str(error), code if first else None)
        except (JournalError, SessionError) as error:
            self._cannot(str(error), Exit.ERROR)
        else:
            self._feed.drain()
            host.begin(agent)
            self._tell(agent)
            self.tried = True
            if stored is not None:
                host.say([("dim", going_on(stored))])
                host.warm(agent)

    async def _opened(self) -> Agent:
        """The agent, by the options as they are when it is there."""
        host = self._host
        while True:
            options = host.options
            opening = asyncio.ensure_future(open_agent(options, self._feed.put, self._answer))
            self._trying = opening
            try:
                agent = await opening
            except asyncio.CancelledError:
                task = asyncio.current_task()
                anew, self._anew = self._anew, False
                if not anew or (task is not None and task.cancelling()):
                    raise
                continue
            finally:
                self._trying = None
            if host.options.mode != options.mode:
                agent.set_mode(host.options.mode)
            if host.options.engine.thinking != options.engine.thinking:
                set_thinking(agent, parse_thinking(host.options.engine.thinking))
            return agent

    def _tell(self, agent: Agent) -> None:
        """The line about what answers."""
        self._shown.fit()
        client, width = agent.client, self._shown.painter.width
        protocol = f"protocol {client.protocol}: {client.protocol_reason}"
        self._host.say(reached(client.model, client.window or 0, protocol, width))

    def _cannot(self, sentence: str, code: Exit | None, log: str = "") -> None:
        """code None: the session stands without an engine."""
        self.tried = True
        self._feed.drain()
        self._host.say([("error", sentence)])
        self._shown.log(log)
        if code is None:
            self._host.say([("dim", AWAY)])
        else:
            self._host.leave(code)

    async def reach(self, engine: EngineSettings) -> None:
        """Have another engine, loaded if need be; until it is there all stays as it is."""
        host, agent = self._host, self._host.agent
        options = replace(host.options, engine=engine)
        if agent is None:
            host.options = options
            if self._trying is not None:
                self._anew = self._trying.cancel()
            host.again()
            return
        thinking = agent.client.thinking
        words = "on" if thinking is None else str(thinking)
        options = replace(options, engine=replace(engine, thinking=words))
        self.loading = engine.model or engine.profile or engine.base_url
        try:
            self._reaching = asyncio.ensure_future(reach_engine(options, self._feed.put))
            self._next = await self._reaching
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            host.say([("warning", f"the session stays with {agent.client.model}")])
        except (ModelError, OpenError) as error:
            self._feed.drain()
            host.say([("error", one_line(str(error), 1_000))])
            self._shown.log(getattr(error, "detail", ""))
            host.say([("warning", f"the session stays with {agent.client.model}")])
        finally:
            self.loading, self.holds = "", False
            self._shown.status.progress = None
            self._shown.refresh()
            host.again()

    def give_up(self) -> None:
        """Wait for no other engine any more; one that loads goes on loading."""
        if self._reaching is not None:
            self._reaching.cancel()

    async def move(self) -> None:
        """Go on with the engine that was reached; nothing runs now."""
        host, old, on = self._host, self._host.agent, self._next
        self._next = None
        if old is None or on is None:
            return
        if not len(old.transcript):
            fresh = await self._begun(old, on)
        else:
            await old.close(keep_client=True)
            fresh = await self._moved(old, on)
        if fresh is None:
            await on.client.close()
            return
        self._feed.drain()
        host.options = replace(host.options, engine=on.options.engine, stored=None)
        host.begin(fresh)
        self._tell(fresh)
        if old.options.lease is not None:
            old.options.lease.close()
        await old.client.close()
        host.warm(fresh)

    async def _begun(self, old: Agent, on: Reached) -> Agent | None:
        """A session in which nothing was said, on another engine; None: the old one goes on."""
        try:
            fresh = await old.renewed(on=on)
        except (JournalError, SessionError) as error:
            self._host.say([("error", str(error))])
            return None
        await old.close(keep_client=True)
        return fresh

    async def _moved(self, old: Agent, on: Reached) -> Agent | None:
        """The same session on another engine; None: it goes on where it was."""
        path = old.journal.path
        try:
            return await self._reopened(old, on)
        except (JournalError, SessionError) as error:
            self._host.say([("error", str(error))])
        try:
            self._host.begin(await self._reopened(old, None))
        except (JournalError, SessionError) as error:
            self._host.say([("error", f"the session lies in {path}: {error}")])
            self._host.agent = None
            self._host.leave(Exit.ERROR)
        return None

    async def _reopened(self, old: Agent, on: Reached | None) -> Agent:
        stored = open_session(old.journal.path)
        try:
            return await old.renewed(stored, on)
        except BaseException:
            stored.journal.close()
            raise

    async def clear(self, stored: StoredSession | None = None) -> None:
        """Another session (a new one, or a stored one) on the same engine.

        The old one is closed only when the other one is open.
        """
        host, old = self._host, self._host.agent
        if old is None:
            return
        told = replace(stored.conversation) if stored is not None else None
        try:
            fresh = await old.renewed(stored)
        except (JournalError, SessionError) as error:
            if stored is not None:
                stored.journal.close()
            host.say([("error", str(error))])
            return
        if old.running:
            await fresh.close(keep_client=True)
            host.say([("warning", "not while a turn runs: Esc stops it")])
            return
        self._shown.renew()
        if told is not None and stored is not None:
            self._shown.commit(replay(self._shown.view, told))
            host.say([("dim", going_on(stored))])
        else:
            host.say([("dim", f"new session {fresh.session_id}; the engine stays as it is")])
        host.begin(fresh)
        await old.close(keep_client=True)

    async def close(self) -> None:
        """Say where the session lies and what was not sent, and let go of the agent."""
        agent = self._host.agent
        if self._next is not None:
            await self._next.client.close()
        if agent is None:
            for text in self._shown.waiting:
                self._host.say([("dim", f"not sent: {one_line(text)}")])
            if (stored := self._host.options.stored) is not None:
                stored.journal.close()
            return
        if len(agent.transcript):
            where = f"session {agent.session_id}: {agent.journal.path}"
            self._host.say([("dim", where)])
            self._host.say([("dim", f"glmcode -r {agent.session_id} goes on with it")])
        await agent.close()
