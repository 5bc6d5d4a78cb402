"""`glmcode` alone: joins screen, feed and conversation, and sees every way out.

This is the front end's edge: an unforeseen fault becomes one sentence with its details in a
file, and the session goes on; a signal, a closed terminal or a way out by key ends it with
the terminal restored and the journal closed. What libraries print goes to the same file, as
it would otherwise land in the middle of the screen. Must not know how anything is drawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from glmcode import __version__
from glmcode.agent import AgentOptions
from glmcode.base.paths import private_folder, state_folder
from glmcode.exits import Exit, fault_words
from glmcode.repl.conversation import Conversation
from glmcode.repl.paint import Painter
from glmcode.repl.screen import Hands, Live, Screen

FAULTS = "faults.log"
MAX_FAULTS = 10
FAULTS_WITHIN_S = 10.0
CLOSE_S = 5.0


async def run_repl(
    options: AgentOptions, *, prompt: str | None = None, verbose: bool = False
) -> int:
    """Run an interactive session until the person leaves; returns the exit code.

    prompt is sent as the first message. Needs a terminal on stdin and stdout.
    """
    plain = os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
    painter = Painter(80, colour=not plain, unicode=_writes_unicode())
    edge = _Edge()

    def make_screen(live: Live, hands: Hands) -> Screen:
        if plain:
            from glmcode.repl.plain import Plain

            return Plain(live, hands)
        from glmcode.repl.history import FileHistory
        from glmcode.repl.terminal import Terminal

        return Terminal(live, hands, FileHistory(state_folder() / "history"))

    conversation = Conversation(options, painter, make_screen, edge, verbose=verbose, plain=plain)
    edge.tell = lambda sentence: conversation.say([("error", sentence)])
    edge.give_up = lambda: conversation.leave(Exit.ERROR)
    with edge.installed(), _signals(conversation):
        return await _live(conversation, edge, prompt)


async def _live(conversation: Conversation, edge: _Edge, prompt: str | None) -> int:
    """Screen, feed and work side by side, until someone leaves; then all of it is undone."""
    conversation.say([("bold", f"glmcode {__version__}"), ("dim", "  /help")])
    screen = asyncio.ensure_future(edge.run(conversation.screen.run()))
    feed = asyncio.ensure_future(conversation.feed.run())
    work = asyncio.ensure_future(conversation.work(prompt))
    try:
        ends: set[asyncio.Future[Any]] = {screen, feed, work, conversation.left}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        await asyncio.wait({work})
        feed.cancel()
        edge.call(conversation.feed.drain)
        await edge.run(_in_time(conversation.close()))
        conversation.screen.close()
        await asyncio.wait({screen, feed})
    for task in (work, feed):
        if not task.cancelled() and (error := task.exception()) is not None:
            conversation.say([("error", edge.sentence(error))])
            return Exit.ERROR
    return conversation.left.result() if conversation.left.done() else Exit.ERROR


async def _in_time(closing: Coroutine[Any, Any, None]) -> None:
    """A close that hangs must not hold the terminal."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing, CLOSE_S)


@contextlib.contextmanager
def _signals(conversation: Conversation) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handlers: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGINT: conversation.screen.ctrl_c,
        signal.SIGTERM: lambda: conversation.leave(Exit.TERMINATED),
        signal.SIGHUP: lambda: conversation.leave(Exit.TERMINATED),
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


class _Edge:
    """Turns what nobody foresaw into a sentence, writes the details down, and goes on."""

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda sentence: None
        self.give_up: Callable[[], None] = lambda: None
        self._faults: deque[float] = deque(maxlen=MAX_FAULTS)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call it; a fault is told."""
        try:
            function(*arguments)
        except Exception as error:
            self._fault(error)

    async def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await it; a fault is told and False returned."""
        try:
            await work
        except Exception as error:
            self._fault(error)
            return False
        return True

    def sentence(self, error: BaseException) -> str:
        """One sentence for the person; the traceback goes to the file that it names."""
        where = self._write("".join(traceback.format_exception(error)))
        return f"{fault_words(error)}{f'; details: {where}' if where else ''}"

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Faults of callbacks come here too, and what libraries print goes to the file."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._loop_fault(context))
        with contextlib.redirect_stderr(_LogFile(self._write)):
            yield
        loop.set_exception_handler(None)

    def _loop_fault(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self._fault(error)
        else:
            self._write(f"{context.get('message', context)}\n")

    def _fault(self, error: Exception) -> None:
        """Tell it, unless telling is what fails, or nothing else happens: then all ends."""
        now = time.monotonic()
        flood = len(self._faults) == MAX_FAULTS and now - self._faults[0] < FAULTS_WITHIN_S
        self._faults.append(now)
        sentence = self.sentence(error)
        if flood:
            self.give_up()
            return
        try:
            self.tell(sentence)
        except Exception as again:
            self._write("".join(traceback.format_exception(again)))
            self.give_up()

    def _write(self, text: str) -> str:
        """Append to the file of faults; returns its path, or "" when it cannot be written."""
        try:
            path = private_folder(state_folder()) / FAULTS
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")
        except OSError:
            return ""
        return str(path)


class _LogFile:
    """A stderr that ends in the file of faults."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], str]) -> None:
        self._write = write

    def write(self, text: str) -> int:
        if text.strip():
            self._write(f"{text.rstrip()}\n")
        return len(text)

    def flush(self) -> None:
        return None

    def isatty(self) -> bool:
        return False


def _writes_unicode() -> bool:
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return encoding.startswith("utf")
