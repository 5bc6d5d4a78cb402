"""What a conversation shows: prints what is final, keeps what moves up to date.

The feed's outlet. Holds the view, the status line and the screen together, so that the
conversation decides and this draws. Must not ask the agent for anything but its numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from glmcode.agent import Agent
from glmcode.core.events import Appended, Delta, Event, ToolOutput
from glmcode.core.messages import AssistantMessage
from glmcode.repl.attention import Attention
from glmcode.repl.branch import branch_of
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.screen import Live, Screen
from glmcode.repl.status import Status
from glmcode.repl.todo import todos_of
from glmcode.repl.view import LOG_LINES, View
from glmcode.waits import Waits

BRANCH_S = 2.0
"""How old the branch in the status line may be while something happens."""


class Edge(Protocol):
    """Where unforeseen faults end: as one sentence, with the details in a file."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call it; a fault is told."""

    async def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await it; a fault is told and False returned."""


class Showing:
    """The scrollback and the moving part of one session on one screen."""

    def __init__(
        self,
        painter: Painter,
        live: Live,
        screen: Screen,
        edge: Edge,
        status: Status,
        *,
        verbose: bool,
        plain: bool,
        unfolded: bool,
    ) -> None:
        """plain: the screen has no live part, so progress is told in lines. unfolded: reasoning
        is shown."""
        self.painter = painter
        self.live = live
        self.screen = screen
        self.status = status
        self.plain = plain
        self.agent: Agent | None = None
        self.waiting: list[str] = []
        self._edge = edge
        self._verbose = verbose
        self._waits = Waits(eager=False, detail=True)
        self._unfolded = unfolded
        self._branch_read = 0.0
        self.attention: Attention | None = None
        self.renew()
        status.unicode = painter.unicode
        live.status = self._status_spans

    def renew(self) -> None:
        """A new session: nothing of the one before is known any more."""
        self.view = View(self.painter, verbose=self._verbose, unfolded=self._unfolded)
        self.live.tail = self._tail

    def begin(self, agent: Agent) -> None:
        """The numbers are this agent's from now on."""
        self.agent = agent
        self.status.cached, self.status.rate = None, 0.0
        self.status.model = agent.client.model
        self.status.enter("idle", time.monotonic())
        self.measure()
        self.refresh()

    def fit(self) -> None:
        """What is printed from now on fits the screen as it is now."""
        self.painter.width = self.screen.size[0]

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""
        self.fit()
        self.commit(self.view.note(spans))

    def line(self, text: str) -> None:
        """Say what the live part shows, where there is none."""
        if self.plain:
            self.say([("dim", text)])

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values."""
        self.fit()
        width = max(len(label) for label, _ in rows) + 2
        narrow = self.painter.width < width + 20
        lines: list[str] = []
        for label, value in rows:
            if narrow:
                lines += self.view.note([("bold", label), ("", f"\n  {value}")])
            else:
                lines += self.view.row(label, value, width)
        self.commit(lines)

    def log(self, text: str) -> None:
        """Print the end of an engine's log, if there is any."""
        for line in text.rstrip("\n").split("\n")[-LOG_LINES:] if text else []:
            self.commit(self.painter.output(f"| {line}"))

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""
        self.screen.commit(lines)

    def events(self, events: list[Event]) -> None:
        """feed.Feed's outlet: print what is final, then draw what moves."""
        self.fit()
        lines: list[str] = []
        for event in events:
            self._edge.call(self._take, event, lines)
        self.commit(lines)
        if any(not isinstance(event, Delta | ToolOutput) for event in events):
            self._edge.call(self.measure)
        self._edge.call(self.refresh)

    def tick(self) -> None:
        """Nothing came for a while: seconds go on."""
        self.fit()
        if self.status.state != "idle" or self.live.question is not None:
            self._edge.call(self.refresh)

    def refresh(self) -> None:
        """Draw what moves."""
        self.live.queued = [*self.waiting]
        self.live.steering = [*self.view.steering]
        self.screen.refresh()
        if self.attention is not None:
            self.attention.look(time.monotonic())

    def measure(self) -> None:
        """Ask how full the window is."""
        if self.agent is None:
            return
        self.status.used, self.status.window = self.agent.context_tokens()
        works = self.status.state != "idle"
        self.view.todos = todos_of(self.agent.context.todos) if works else ()
        now = time.monotonic()
        if now - self._branch_read >= BRANCH_S:
            self._branch_read = now
            self.status.branch = branch_of(self.agent.options.workspace)

    def _tail(self, height: int) -> list[str]:
        self.fit()
        return self.view.tail(height, asking=self.live.question is not None)

    def _take(self, event: Event, lines: list[str]) -> None:
        now = time.monotonic()
        stopping = self.status.state == "stopping" and self.live.busy
        if not stopping:
            self.status.event(event, now)
        lines += self.view.event(event)
        if isinstance(event, Appended) and isinstance(event.message, AssistantMessage):
            self._foresee(event.message)
        if self.plain and not stopping and (line := self._waits.line(event, now)):
            lines += self.view.note([("dim", line)])

    def _foresee(self, message: AssistantMessage) -> None:
        """Files that it names may be shown in colours soon."""
        if self.painter.coloured and message.calls:
            from glmcode.repl.syntax import get_ready

            get_ready(str(call.arguments.get("file_path", "")) for call in message.calls)

    def _status_spans(self, width: int) -> Spans:
        if self.agent is not None:
            thinking = self.agent.client.thinking
            words = "" if thinking is None else f", thinking {thinking or 'off'}"
            self.status.mode = f"{self.agent.policy.mode}{words}"
        return self.status.spans(time.monotonic(), width)
