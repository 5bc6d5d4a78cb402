"""The agent: joins transcript, model, tools, rules and journal into one conversation.

Front ends hold an Agent and differ in three values: where events go (`emit`), who answers
an approval (`answer`) and the options. `agent_approval.authorize` is the one choke point between
a proposed action and its commit. The agent must not print, read keys, or know exit codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from glmcode.agent_approval import Approvals
from glmcode.agent_compaction import Window, settled
from glmcode.agent_guide import Room, guided
from glmcode.agent_head import Ahead, Head, build_head, denial, preamble_of
from glmcode.agent_ledger import AgentLedger
from glmcode.agent_mentions import expand
from glmcode.agent_options import AgentOptions, Answer, Approval, Reached, nobody
from glmcode.agent_outside import Outside
from glmcode.agent_own import all_tools
from glmcode.agent_prefix import Prefix
from glmcode.agent_resume import Beginning, begin
from glmcode.agent_rewind import Mark, Marks
from glmcode.agent_rules import only_looks
from glmcode.agent_setup import follow_mode, tool_context
from glmcode.agent_unasked import Offer, carry
from glmcode.agent_undo import Past
from glmcode.agent_warm import Warmer
from glmcode.base.settings import Mode
from glmcode.context.compaction import carried_from
from glmcode.context.environment import environment
from glmcode.context.folders import FolderInstructions
from glmcode.core.calls import Loop, TurnStop
from glmcode.core.events import (
    Compacted,
    Notice,
    RequestFinished,
    TurnFinished,
)
from glmcode.core.loop import run_turn
from glmcode.core.messages import AssistantMessage, Usage
from glmcode.core.model import Emit
from glmcode.core.tool import Tool
from glmcode.core.transcript import Transcript
from glmcode.engine.client import Client
from glmcode.permissions import Policy
from glmcode.sessions import StoredSession

if TYPE_CHECKING:
    from glmcode.agent_structured import Structured

__all__ = ["Agent", "AgentOptions", "Answer", "Approval", "nobody"]

INTERRUPTED = "[The previous turn was interrupted by the user.]\n\n"


class Agent:
    """One conversation. Submit runs a turn; steer and cancel act on the one that runs."""

    def __init__(
        self,
        options: AgentOptions,
        client: Client,
        emit: Emit,
        answer: Answer = nobody,
        ready: Callable[[], Awaitable[None]] | None = None,
        head: Head | None = None,
        block: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """Opens the session's journal, or goes on in that of options.stored.

        Raises JournalError when it cannot be written, SessionError when it cannot be read.

        ready is awaited at the start of each turn after the first: it brings a dead engine
        back, or raises ModelError. head: a new session's preamble, built here if not given.
        block: gives the environment block for the first message.
        """
        self.options = options
        self.client = client
        self.usage = Usage()
        self._emit = emit
        self._answer = answer
        self._steering: list[str] = []
        self._returned: list[str] = []
        self._task: asyncio.Task[TurnFinished] | asyncio.Task[bool] | None = None
        self._ready = ready
        self._check_engine = False
        self._warmer = Warmer()
        self._room = Room(lambda: self.window.result_chars())
        self.context = tool_context(options, self._room, emit)
        self.approvals = Approvals(options, self.context, emit, answer)
        if head is None and options.stored is None:
            head = build_head(options)
        self._block = block or (lambda: asyncio.to_thread(environment, options.workspace))
        self._guide = self._new_guide(head)
        self.past = Past(
            self.context, lambda: self.session_id, self._observe, wanted=options.checkpoints
        )
        self.past.reads_only = lambda action: only_looks(self.policy, action)
        self.tools: dict[str, Tool] = self.past.watched(all_tools(options.own_tools, self.context))
        self._offer = Offer(self.context, self.approvals, emit, answer)
        self.tools = Outside(self.context, self.approvals, emit, answer).offered(self.tools)
        if options.context.instructions:
            self.tools = guided(self.tools, self._guide, self._room)
        self.approvals.tools = self.tools
        start = begin(options, client, self.context, lambda: preamble_of(head), INTERRUPTED)
        self._begin(start)
        for text in (*(head.notices if head else ()), *start.notices):
            emit(Notice(text=text))

    def _begin(self, start: Beginning) -> None:
        """Take over what a conversation begins with, new or stored."""
        self.journal = self.approvals.journal = start.journal
        self.policy = replace(self.policy, allow=(*self.policy.allow, *start.grants))
        self._record = start.record
        self._interrupted = start.interrupted
        self.transcript = Transcript(start.preamble, start.record, start.messages)
        self.transcript.thinking = self.client.thinking != 0
        self.marks = Marks(self.transcript, self.context, self.past)
        self.requests = AgentLedger(self.options, self.client, self.transcript, start.journal)
        self._prefix = Prefix(self.client, self._observe, wanted=self.options.engine.warm)
        self._remember_folders()
        self.window = Window(
            self.options,
            self.client,
            self.transcript,
            self.journal,
            self.context,
            self._observe,
            carried_from(start.compaction),
        )

    @property
    def session_id(self) -> str:
        """The id under which the session is stored."""
        return self.journal.session_id

    @property
    def policy(self) -> Policy:
        """The rules that hold now."""
        return self.approvals.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.approvals.policy = policy

    @property
    def running(self) -> bool:
        """Whether a turn runs."""
        return self._task is not None

    def context_tokens(self) -> tuple[int, int]:
        """Tokens that the next prompt holds, and the window."""
        return self.client.prompt_tokens(self.transcript), self.client.window

    async def submit(self, text: str, attached: str = "") -> TurnFinished:
        """Run one turn. Always emits TurnFinished; raises CancelledError only from outside.

        attached: text that came along (piped in); it follows, and nothing in it is a mention.
        """
        if self._task is not None:
            raise RuntimeError("a turn runs already: steer it, or cancel it first")
        before = self.transcript.segment, len(self.transcript)
        task = asyncio.ensure_future(self._turn(text, attached))
        self._task = task
        try:
            await settled(task)
        finally:
            self._task = None
            if (self.transcript.segment, len(self.transcript)) != before:
                self._interrupted = INTERRUPTED if not task.done() or task.cancelled() else ""
            self._check_engine = True
            self._end_turn()
        if task.cancelled():
            end = TurnFinished(reason="cancelled", steps=0, detail="interrupted")
            self._emit(end)
            return end
        return task.result()

    def warm(self) -> None:
        """Have the engine compute what the next prompt begins with, until something is said.

        For front ends with a person who still types; what `submit` answers is the same.
        """
        if self._task is None:
            self._prefix.begin(self.transcript)

    async def _turn(self, text: str, attached: str) -> TurnFinished:
        await self._prefix.stop()
        typed = "\n\n".join(part for part in (text, attached) if part)
        self.past.begin(typed, ahead=self.policy.mode != "plan")
        known = dict(self.context.seen)
        refused: TurnFinished | None = None
        admitted = False
        try:
            prompt = await self._prompt(text, typed)
            refused = await self.window.admit(prompt, self.bring_back)
            admitted = refused is None
        finally:
            if not admitted:  # the model never gets what was mentioned
                seen = self.context.seen
                self.context.seen = {p: d for p, d in seen.items() if known.get(p) == d}
                self._remember_folders()
        if refused is not None:
            self._returned.append(text)
            self._emit(refused)
            return refused
        self._record.typed = typed
        self.marks.add(text, known, self._interrupted)
        loop = Loop(
            model=self._warmer.watched(self.window.reply),
            tools=self.tools,
            authorize=self._offer.authorize,
            foresee=self.approvals.foresee,
            emit=self._observe,
            before_step=self._before_step,
            steering=self._take_steering,
            partial=lambda call_id: self.context.interrupted.pop(call_id, ""),
            fit=self.window.fit,
            steer_in_results=self.client.protocol == "chat",
        )
        return await run_turn(self.transcript, prompt, loop, max_steps=self.options.max_turns)

    async def _prompt(self, text: str, typed: str) -> str:
        """News, environment (once: it must not vary the head), what was typed, what it mentions."""
        news = await self.past.news()
        block = "" if len(self.transcript) else f"{await self._block()}\n\n"
        found = await expand(
            text, self.context.workspace, self.tools["Read"], self.policy, self._room
        )
        for notice in found.notices:
            self._emit(Notice(text=notice))
        content = f"\n\n{found.content}" if found.content else ""
        return f"{news}{self._interrupted}{block}{typed}{content}"

    async def structured(self, schema: Mapping[str, Any]) -> Structured:
        """One answer bound to a JSON Schema, asked on a fork: the conversation stays as it is.

        Raises ModelError, CancelledError.
        """
        from glmcode.agent_aside import ask_bound

        return await ask_bound(self, schema, self._observe)

    async def compact(self, focus: str = "") -> bool:
        """Compact now; whether there is a new segment. Everything said goes out as events.

        Raises CancelledError only from outside; `cancel` ends it and leaves all as it was.
        """
        if self._task is not None:
            raise RuntimeError("a turn runs already: cancel it first")
        task = asyncio.ensure_future(self._compact(focus))
        self._task = task
        try:
            await settled(task)
        finally:
            self._task = None
            self._check_engine = True
            self._end_turn()
        return not task.cancelled() and task.result()

    async def _compact(self, focus: str) -> bool:
        await self._prefix.stop()
        return await self.window.asked(focus, self.bring_back)

    def steer(self, text: str) -> None:
        """Hand text to the running turn: it is appended after the pending tool results."""
        self._steering.append(text)

    def take_back(self) -> list[str]:
        """What the person said and the model did not get; it is then forgotten here."""
        returned, self._returned = self._returned, []
        unread, self._steering = self._steering, []
        return returned + unread

    def cancel(self) -> bool:
        """Cancel the running turn; what was generated is kept. False when none runs."""
        if self._task is None:
            return False
        self._task.cancel()
        return True

    def set_mode(self, mode: Mode) -> str:
        """Change the permission mode from now on; what that means for the sandbox, or ""."""
        self.policy = replace(self.policy, mode=mode)
        return follow_mode(self.options, self.context, mode)

    def rewind(self, mark: Mark) -> None:
        """Back to before a turn, in the conversation alone. Raises JournalError."""
        self._prefix.cancel()
        self._interrupted = self.marks.go_back(mark, self.journal)
        self._remember_folders()

    async def renewed(
        self, stored: StoredSession | None = None, on: Reached | None = None
    ) -> Agent:
        """A new session (or a stored one), with mode and lasting rules kept. on: another engine.

        Raises JournalError, SessionError. This agent stays open: close it with keep_client.
        """
        on = on or Reached(options=self.options, client=self.client, ready=self._ready)
        options = replace(
            on.options,
            session_id=None,
            stored=stored,
            mode=self.policy.mode,
            allow=(*self.options.allow, *self.approvals.kept),
        )
        ahead = Ahead(options)
        head = None if stored else await ahead.head(on.client, self._emit)
        agent = Agent(options, on.client, self._emit, self._answer, on.ready, head, ahead.block)
        agent._check_engine = True
        carry(self.context, agent.context)
        return agent

    async def close(self, *, keep_client: bool = False) -> None:
        """Stop background commands, close the journal, and end the connection.

        keep_client: another agent goes on with the client (a new session on one engine).
        """
        self._warmer.close()
        try:
            await self._prefix.stop()
            if self.context.shells:
                from glmcode.tools.background import close_all

                await close_all(self.context)
            await self.past.close()
            if not keep_client:
                if self.options.lease is not None:
                    self.options.lease.close()
                await self.client.close()
        finally:
            self.journal.close()

    def _observe(self, event: Any) -> None:
        message = getattr(event, "message", None)
        if isinstance(message, AssistantMessage):
            self.usage = self.usage.plus(message.usage)
        if isinstance(event, Compacted):
            self.usage = self.usage.plus(event.usage)
            self._remember_folders()
        self._emit(self.requests.take(event) if isinstance(event, RequestFinished) else event)

    async def bring_back(self, *, beside: bool = False) -> None:
        """See that the engine is there, once a turn. Raises ModelError.

        beside: for a question between turns; the next turn looks again.
        """
        if beside:
            await self._prefix.stop()
        if self._check_engine and self._ready is not None:
            await self._ready()
        self._check_engine = beside

    async def _before_step(self, transcript: Transcript) -> None:
        await self.past.news_told()
        await self.bring_back()
        await self.window.before_step()

    def _new_guide(self, head: Head | None) -> FolderInstructions:
        return FolderInstructions(
            self.options.workspace,
            self.options.extra_folders,
            head.files if head else frozenset(),
            lambda path: denial(self.policy, path),
            trusted=self.options.trusted,
        )

    def _remember_folders(self) -> None:
        """What the transcript holds of folders' instructions is not handed over again."""
        self._guide.remember(
            m.text for m in self.transcript.messages if not isinstance(m, AssistantMessage)
        )

    def _take_steering(self) -> list[str]:
        typed, self._steering = self._steering, []
        taken, returned = self.window.taken(typed)
        self._returned += returned
        return taken

    def _end_turn(self) -> None:
        try:
            self.journal.end_turn()
        except TurnStop:
            pass  # the turn already told that the journal cannot be written
        self.client.turn_over()
