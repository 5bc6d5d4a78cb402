"""Which agent the session has: opens it, exchanges it for another session's, and closes it.

An agent is let go only when the other one is open, so nothing that fails costs the session.
Must not run turns and must not draw.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from glmcode.agent import Agent, AgentOptions, Answer
from glmcode.core.model import ModelError
from glmcode.exits import Exit
from glmcode.opening import OpenError, open_agent
from glmcode.repl.banner import reached
from glmcode.repl.clean import one_line
from glmcode.repl.feed import Feed
from glmcode.repl.paint import Spans
from glmcode.repl.replay import going_on, replay
from glmcode.repl.showing import Showing
from glmcode.sessions import JournalError, SessionError, StoredSession


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

    def leave(self, code: int) -> None:
        """End the session."""


class Agents:
    """Opens, exchanges and closes the agent of one conversation."""

    def __init__(self, host: Host, shown: Showing, feed: Feed, answer: Answer) -> None:
        self._host = host
        self._shown = shown
        self._feed = feed
        self._answer = answer

    async def open(self) -> None:
        """Reach the engine and begin, or say why not and leave."""
        host = self._host
        if host.options.stored is not None:
            self._shown.fit()
            self._shown.commit(replay(self._shown.view, host.options.stored.conversation))
        try:
            agent = await open_agent(host.options, self._feed.put, self._answer)
        except ModelError as error:
            code = Exit.UNAVAILABLE if error.kind == "unavailable" else Exit.ERROR
            self._cannot(str(error), code, error.detail)
        except OpenError as error:
            self._cannot(str(error), Exit.USAGE if error.usage else Exit.ERROR)
        except (JournalError, SessionError) as error:
            self._cannot(str(error), Exit.ERROR)
        else:
            self._feed.drain()
            host.begin(agent)
            client = agent.client
            self._shown.fit()
            protocol = f"protocol {client.protocol}: {client.protocol_reason}"
            width = self._shown.painter.width
            host.say(reached(client.model, client.window or 0, protocol, width))
            if host.options.stored is not None:
                host.say([("dim", going_on(host.options.stored))])
                host.warm(agent)

    def _cannot(self, sentence: str, code: Exit, log: str = "") -> None:
        self._feed.drain()
        self._host.say([("error", sentence)])
        self._shown.log(log)
        for text in self._shown.waiting:
            self._host.say([("dim", f"not sent: {one_line(text)}")])
        self._host.leave(code)

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
        """Say where the session lies, and let go of the agent."""
        agent = self._host.agent
        if agent is None:
            return
        if len(agent.transcript):
            where = f"session {agent.session_id}: {agent.journal.path}"
            self._host.say([("dim", where)])
        await agent.close()
