"""The agent's hand on the window: what still fits, when to compact, and doing it.

Joins context/budget.py and context/compaction.py with the client, the transcript and the
journal. A compaction asks on a fork, so that its request is the prompt before and a question;
then the journal line is written, then the transcript restarts. Whatever fails before that
line leaves everything as it was. Files: what the tail does not show is no longer `seen`, so
that the model reads a file again before it changes it. Must not render, show or decide rules.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from glmcode.agent_options import AgentOptions
from glmcode.context.budget import UNKNOWN, Budget, budget_of, shrink
from glmcode.context.compaction import (
    TOO_LONG,
    Carried,
    Sizes,
    carry,
    instruction,
    judged,
    segment,
    touched,
)
from glmcode.core.calls import TurnStop
from glmcode.core.events import Compacted, Compacting, Notice, TurnFinished
from glmcode.core.messages import (
    AssistantMessage,
    Message,
    ToolMessage,
    Usage,
    UserMessage,
    message_to_json,
)
from glmcode.core.model import Emit, ModelError
from glmcode.core.transcript import Transcript
from glmcode.engine.client import Client
from glmcode.sessions import Journal
from glmcode.tools.context import ToolContext
from glmcode.tools.output import recut

Why = Literal["automatic", "asked", "full"]

FILE_TOOLS: Mapping[str, str] = {"Read": "read", "Edit": "changed", "Write": "changed"}
SHOW_WHOLE = {"Read": "read", "Write": "changed"}
"""Tools after which the model has a file's content before it."""
KEPT_SHARE = (2, 3)
"""Of what lies between the preamble and the trigger, the most that a segment takes."""
TAIL_SHARE = 5
LEAST_SHARE = 3
"""Where the preamble leaves nothing below the trigger: a segment takes this part of the rest."""
HELD_SHARE = 3
"""A tail is at most the one part of the window, and the other part of what there is."""
AGAIN_SHARE = 16
"""After a failure the question is asked again when this share of the window was filled."""
MOST_CHARS = 8
"""Characters for each token of the window up to which a message's tokens are counted exactly."""
LEARNED = (9, 10)
"""Of a prompt that a server refused, the part that is taken for its window."""
FULL = "the conversation holds {used:,} of {window:,} tokens: no room for an answer. {advice}"
TOO_LARGE = (
    "this message has {need} tokens, and of the window's {window:,} only {left:,} are left "
    "for one: it was not sent. Say it in parts, or put it into a file and name the file"
)
HEAD_TOO_LARGE = (
    "what stands before the conversation (tools, system prompt, instructions, map) has {head:,} "
    "tokens and leaves no room in a window of {window:,}: use a larger window, shorten the "
    "instructions, or leave them out (--no-instructions, --set context.map=off)"
)
_ADVICE = {
    True: "Start a new session (/clear) or ask for less at once",
    False: "Compact it (/compact; context.compact = true does it by itself) or start a new "
    "session (/clear)",
}
NO_GAIN = "compaction: there is nothing to gain yet"
_RESULT_CUT = "[cut: the context window is full]"


class Window:
    """What one conversation may still hold. One per agent; `carried` outlives compactions."""

    def __init__(
        self,
        options: AgentOptions,
        client: Client,
        transcript: Transcript,
        journal: Journal,
        context: ToolContext,
        emit: Emit,
        carried: Carried,
    ) -> None:
        """carried: of a stored session."""
        self.client = client
        self.carried = carried
        self._transcript = transcript
        self._journal = journal
        self._context = context
        self._emit = emit
        self._failed_at: int | None = None
        self._automatic = options.context.compact
        self._result_chars = options.result_chars
        self._question = client.count(transcript, UserMessage(text=instruction(1)))
        self._budget = self._plan()

    @property
    def budget(self) -> Budget:
        """The shares of the window as it is known now."""
        if self._budget.window != (self.client.window or UNKNOWN):
            self._budget = self._plan()
        return self._budget

    def _plan(self) -> Budget:
        budget = budget_of(
            self.client.window,
            step_cap=self.client.step_cap,
            result_chars=self._result_chars,
            question=self._question,
            compact=self._automatic,
        )
        spare = budget.spare if self._automatic else 0
        self.client.leave_free(min(spare, budget.window // 4))
        return budget

    @property
    def used(self) -> int:
        """Tokens of the next prompt."""
        return self.client.prompt_tokens(self._transcript)

    # What fits

    def result_chars(self) -> int:
        """Characters that a tool result may hold now; its tokens are counted by `fit`."""
        open_calls = len(self._transcript.open_calls)
        tokens = self.budget.result_tokens(self.used, open_calls)
        return max(200, min(self._result_chars, tokens * 2))

    def fit(self, message: ToolMessage) -> ToolMessage:
        """The result, cut to its share of what is left; the whole is saved and named."""
        longest = len(message.text.encode("utf-8", "surrogatepass"))
        limit = self.budget.result_tokens(self.used, len(self._transcript.open_calls))
        if longest + LONGEST_FRAME <= limit or self._tokens(message) <= limit:
            return message

        def count(text: str) -> int:
            return self._tokens(replace(message, text=text))

        cut = recut(self._context.spill_folder, message.text, f"{message.name}-cut")
        text = shrink(cut, len(message.text) - 1, count, limit)
        return replace(message, text=text or _RESULT_CUT)

    async def admit(self, text: str, ready: Callable[[], Awaitable[None]]) -> TurnFinished | None:
        """Make room for a message of the person; the end of the turn when it cannot be sent.

        ready is awaited before the engine is asked for anything.
        """
        try:
            problem = await self._room_for(text, ready)
        except TurnStop as stop:
            return TurnFinished(reason=stop.reason, steps=0, detail=str(stop))
        except ModelError as error:
            again = error.kind == "unavailable"
            return TurnFinished(
                reason="error", steps=0, detail=str(error), retryable=again, log=error.detail
            )
        return TurnFinished(reason="context_full", steps=0, detail=problem) if problem else None

    async def _room_for(self, text: str, ready: Callable[[], Awaitable[None]]) -> str:
        if not self.client.window:
            return ""
        need, exact = self._need(text)
        head = self.client.head_tokens(self._transcript)
        if head >= self.budget.limit:
            return HEAD_TOO_LARGE.format(head=head, window=self.budget.window)
        if self.budget.overrun(head, need) > 0:
            return self._too_large(need, head, exact)
        if self._automatic and self.used + need > self.budget.trigger and self._worth(3):
            await ready()
            full = self.budget.overrun(self.used, need) > 0
            await self.compact("full" if full else "automatic", full=full)
        if self.budget.overrun(self.used, need) > 0:
            return self._too_large(need, self.used)
        return ""

    def _need(self, text: str) -> tuple[int, bool]:
        """Tokens of a message of the person, and whether that is exact.

        What is far longer than the window is not encoded to its end: that would take minutes.
        """
        part = self.budget.window * MOST_CHARS
        if len(text) > part:
            tokens = self._tokens(UserMessage(text=text[:part]))
            if tokens > self.budget.window:
                return tokens * len(text) // part, False
        return self._tokens(UserMessage(text=text)), True

    def _too_large(self, need: int, used: int, exact: bool = True) -> str:
        left = max(0, self.budget.limit - used)
        said = f"{need:,}" if exact else f"about {need:,}"
        return TOO_LARGE.format(need=said, window=self.budget.window, left=left)

    def taken(self, typed: Sequence[str]) -> tuple[list[str], list[str]]:
        """What of the person's words in the middle of a turn has room, and what has none.

        In `chat` they ride on results: here they are remembered for later segments.
        """
        taken: list[str] = []
        returned: list[str] = []
        for text in typed:
            need, exact = self._need("\n\n".join([*taken, text]))
            if self.budget.overrun(self.used, need) > 0:
                returned.append(text)
                self._emit(Notice(text=self._too_large(need, self.used, exact)))
            else:
                taken.append(text)
        if self.client.protocol == "chat" and taken:
            self.carried = replace(self.carried, requests=(*self.carried.requests, *taken))
        return taken, returned

    def _tokens(self, message: Message) -> int:
        return self.client.count(self._transcript, message)

    # When

    async def before_step(self) -> None:
        """Compact when the arithmetic says so. Raises TurnStop when there is no room at all."""
        if not self.client.window or self.used <= self.budget.trigger:
            return
        full = self.used > self.budget.limit
        if self._automatic and self._worth() and (full or self._may_ask()):
            await self.compact("full" if full else "automatic", full=full)
        used = self.used
        if used > self.budget.limit:
            advice = _ADVICE[self._automatic]
            text = FULL.format(used=used, window=self.budget.window, advice=advice)
            raise TurnStop(text, "context_full")

    def _worth(self, part: int = 1) -> bool:
        """Whether the messages are more than a part of what a segment may take."""
        return self._held() > self._sizes().whole // part

    def _held(self) -> int:
        """Tokens of the messages: in `chat` estimated as new ones are, not by the last usage."""
        if self.client.protocol == "tokens":
            return self.used - self.client.head_tokens(self._transcript)
        return sum(map(self._tokens, self._transcript.messages))

    def _may_ask(self) -> bool:
        again = self.budget.window // AGAIN_SHARE
        return self._failed_at is None or self.used >= self._failed_at + again

    async def reply(
        self, transcript: Transcript, emit: Emit, keep: Callable[[AssistantMessage], None]
    ) -> AssistantMessage:
        """core.model.Model. A prompt that the server finds too long is compacted, once."""
        try:
            return await self.client(transcript, emit, keep)
        except ModelError as error:
            if error.kind != "context_full" or not await self._learn():
                raise
        return await self.client(transcript, emit, keep)

    async def _learn(self) -> bool:
        """The server refused the prompt as too long; whether there is a shorter one now."""
        if not self._automatic:
            return False
        known = self.client.window or UNKNOWN
        self.client.window = min(known, self.used * LEARNED[0] // LEARNED[1])
        return await self.compact("full", full=True)

    # Doing it

    async def asked(self, focus: str, ready: Callable[[], Awaitable[None]]) -> bool:
        """Compact because the person wants it; raises only CancelledError."""
        if not len(self._transcript):
            self._emit(Notice(text="there is nothing to compact yet"))
            return False
        try:
            await ready()
            return await self.compact("asked", focus, full=self.used > self.budget.limit)
        except (TurnStop, ModelError) as error:
            self._emit(Notice(text=f"compaction: {error}; nothing was changed"))
            return False

    async def compact(self, why: Why, focus: str = "", *, full: bool = False) -> bool:
        """Ask for a summary and begin a new segment; whether there is a new one.

        full: without a summary the segment is mechanical; else nothing changes then. Raises
        JournalError, CancelledError; ModelError only for an engine that cannot be reached at
        the hard limit. All of these leave everything as it was.
        """
        before = self.used
        if not self._gains(self._segment(" ")[0], say=why == "asked"):  # whatever the summary is
            return False
        self._emit(Compacting(tokens=before, window=self.client.window))
        summary, fault, usage = await self._summary(focus, full=full)
        if fault:
            self._failed_at = before
            then = "going on without one" if full else "nothing was changed"
            self._emit(Notice(text=f"compaction: {fault}; {then}"))
            if not full:
                return False
        messages, tail = self._segment(summary)
        if not self._gains(messages, say=True):
            return False
        self._restart(messages, tail, {"why": why, "summary": summary, "before": before})
        self._failed_at = None if summary else UNKNOWN  # not asked again before it must be
        done = Compacted(before=before, after=self.used, why=why, summary=summary, usage=usage)
        self._emit(done)
        return True

    def _gains(self, messages: Sequence[Message], *, say: bool) -> bool:
        """Whether these hold less than what there is; if not, nobody is asked again so soon."""
        if sum(map(self._tokens, messages)) < self._held():
            return True
        self._failed_at = self.used
        if say:
            self._emit(Notice(text=NO_GAIN))
        return False

    async def _summary(self, focus: str, *, full: bool) -> tuple[str, str, Usage]:
        """(summary, fault, cost)."""
        budget = self.budget
        question = instruction(budget.summary, focus)
        need = self._tokens(UserMessage(text=question))
        room = min(budget.summary or budget.least, budget.window - self.used - need)
        if room < budget.least // 4:
            return "", "no room is left to ask for a summary", Usage()
        most = room if self.client.protocol == "tokens" else room + budget.answer
        try:
            reply = await self.client.ask(self._transcript, question, most, self._emit)
        except ModelError as error:
            if full and error.kind == "unavailable":
                raise
            return "", f"no summary came: {error}", Usage()
        summary, fault = judged(reply)
        if self._tokens(UserMessage(text=summary)) > 2 * max(budget.summary, budget.least):
            summary, fault = "", TOO_LONG
        return summary, fault, reply.usage

    def _segment(self, summary: str) -> tuple[list[Message], int]:
        messages = self._transcript.messages
        todos = [f"[{todo['status']}] {todo['content']}" for todo in self._context.todos]
        return segment(messages, self._carry, summary, todos, self._tokens, self._sizes())

    def _carry(self, messages: Sequence[Message]) -> Carried:
        return carry(self.carried, messages, FILE_TOOLS)

    def _sizes(self) -> Sizes:
        """What a segment may take; where the window is not known, of what there is now."""
        window, trigger = self.budget.window, self.budget.trigger
        if not self.client.window:
            window = trigger = self.used
        of, parts = KEPT_SHARE
        room = max(0, trigger - self.client.head_tokens(self._transcript))
        tail = min(window // TAIL_SHARE, max(0, self._held()) // HELD_SHARE)
        most = max(0, self.budget.limit - self.client.head_tokens(self._transcript))
        whole = max(room * of // parts, most // LEAST_SHARE)
        return Sizes(whole=whole, tail=tail, most=most)

    def _restart(self, messages: Sequence[Message], tail: int, told: Mapping[str, Any]) -> None:
        """The journal's line, then the new segment, then what the model no longer sees."""
        old = self._transcript.messages
        carried = self._carry(old[: len(old) - tail])
        carried = replace(carried, summary=str(told["summary"]) or self.carried.summary)
        shown = touched(messages, SHOW_WHOLE)
        known = {os.path.realpath(self._context.resolve(path)) for path in shown}
        known &= self._context.seen.keys()
        line = {
            "messages": [message_to_json(message) for message in messages],
            "requests": list(carried.requests),
            "files": dict(carried.files),
            "carried": carried.summary,
            "seen": sorted(known),
            **told,
        }
        self._transcript.restart(messages, lambda: self._journal.write("compaction", line))
        self.carried = carried
        for path in set(self._context.seen) - known:
            del self._context.seen[path]


LONGEST_FRAME = 16
"""Tokens of a result's tags, on the safe side."""


async def settled(task: asyncio.Task[Any]) -> None:
    """Wait for its end. Cancelled meanwhile, it is cancelled too, and waited for."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
