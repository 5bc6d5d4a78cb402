"""`glmcode` alone: joins screen, feed and conversation, and sees every way out.

The prompt stands first; all that is heavy is imported in a thread after it was drawn, and
what is typed meanwhile waits on the doorstep. This is the front end's edge: an unforeseen
fault becomes one sentence with its details in a file, and the session goes on; a signal, a
closed terminal or a way out by key ends it with the terminal restored and the journal closed.
What libraries print goes to the same file, as it would otherwise land in the middle of the
screen. Must not know how anything is drawn, nor import the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.base.paths import private_folder, state_folder
from glmcode.exits import Exit, fault_words
from glmcode.repl.clean import one_line, visible
from glmcode.repl.doorstep import Doorstep
from glmcode.repl.screen import Live, Screen
from glmcode.repl.theme import theme_of

if TYPE_CHECKING:
    from glmcode.agent_options import AgentOptions
    from glmcode.base.settings import UiSettings
    from glmcode.repl.conversation import Conversation

FAULTS = "faults.log"
MAX_FAULTS = 10
FAULTS_WITHIN_S = 10.0
CLOSE_S = 5.0


async def run_repl(
    options: Callable[[], AgentOptions],
    *,
    prompt: str | None = None,
    ui: UiSettings,
    workspace: Path,
) -> int:
    """Run an interactive session until the person leaves; returns the exit code.

    options is called in a thread once the prompt stands; what it raises is raised here, with
    the terminal restored. prompt is sent as the first message. Needs a terminal on stdin and
    stdout.
    """
    session = _Session(prompt, ui, workspace)
    with session.edge.installed(), session.signals():
        return await session.run(options)


class _Session:
    """Screen, doorstep and edge, from the first picture to the last."""

    def __init__(self, prompt: str | None, ui: UiSettings, workspace: Path) -> None:
        self.edge = _Edge()
        self._prompt = prompt
        self._ui = ui
        self._workspace = workspace
        self._plain = ui.plain or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
        self._left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._door = Doorstep(self._left)
        self._drawn = asyncio.Event()
        self._live = Live(
            tail=lambda height: [],
            status=lambda width: [("status", "starting"[:width])],
            theme=theme_of(ui.theme, os.environ),
        )
        self._live.queued = self._door.typed
        self._screen = self._make_screen()
        self.edge.tell = lambda sentence: self._screen.commit([visible(sentence)])
        self.edge.give_up = lambda: self._door.leave(Exit.ERROR)

    def _make_screen(self) -> Screen:
        if self._plain:
            from glmcode.repl.plain import Plain

            self._drawn.set()
            return Plain(self._live, self._door)
        from glmcode.repl.history import FileHistory, history_file
        from glmcode.repl.terminal import Terminal

        state = state_folder()
        history = FileHistory(history_file(state, self._workspace), state / "history")
        mark = "❯" if _writes_unicode() else ">"
        return Terminal(
            self._live,
            self._door,
            history,
            self._drawn.set,
            workspace=self._workspace,
            mark=mark,
            vi=self._ui.keys == "vi",
        )

    async def run(self, options: Callable[[], AgentOptions]) -> int:
        """Until someone leaves. Raises what options raises."""
        screen = asyncio.ensure_future(self.edge.run(self._screen.run()))
        talk = asyncio.ensure_future(self._talk(options))
        ends: set[asyncio.Future[Any]] = {screen, talk, self._left}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            talk.cancel()
            await asyncio.wait({talk})
            for text in self._door.typed:
                self._screen.commit([f"not sent: {one_line(text)}"])
            self._screen.close()
            await asyncio.wait({screen})
        if not talk.cancelled() and (error := talk.exception()) is not None:
            raise error
        return self._left.result() if self._left.done() else Exit.ERROR

    async def _talk(self, options: Callable[[], AgentOptions]) -> None:
        """Make the conversation, as soon as the screen stands, and hold it until cancelled."""
        await self._drawn.wait()
        conversation = self._conversation(await asyncio.to_thread(_loaded, options))
        self.edge.tell = lambda sentence: conversation.say([("error", sentence)])
        conversation.greet(self._prompt)
        feed = asyncio.ensure_future(conversation.feed.run())
        work = asyncio.ensure_future(conversation.work())
        self._door.let_in(conversation)
        try:
            await asyncio.wait({feed, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.wait({work})
            feed.cancel()
            self.edge.call(conversation.feed.drain)
            await self.edge.run(_in_time(conversation.close()))
            await asyncio.wait({feed})
        for task in (work, feed):
            if not task.cancelled() and (error := task.exception()) is not None:
                conversation.say([("error", self.edge.sentence(error))])
        self._door.leave(Exit.ERROR)

    def _conversation(self, options: AgentOptions) -> Conversation:
        from glmcode.repl.conversation import Conversation
        from glmcode.repl.links import Links, links_wanted
        from glmcode.repl.paint import Painter

        painter = Painter(
            80, colour=not self._plain, unicode=_writes_unicode(), theme=self._live.theme
        )
        painter.unfolds = "" if self._plain else "Ctrl-O shows all"
        if not self._plain and links_wanted(self._ui.links, os.environ):
            painter.links = Links(socket.gethostname(), self._workspace)
        return Conversation(
            options,
            painter,
            self._live,
            self._screen,
            self._left,
            self.edge,
            ui=self._ui,
            plain=self._plain,
        )

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Those that end a session, and the one that means Ctrl-C."""
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGINT: self._screen.ctrl_c,
            signal.SIGTERM: lambda: self._door.leave(Exit.TERMINATED),
            signal.SIGHUP: lambda: self._door.leave(Exit.TERMINATED),
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            # One Ctrl-C more, while Python ends, ends it at once and without a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _loaded(options: Callable[[], AgentOptions]) -> AgentOptions:
    """Import what a conversation needs, in a thread: keys are taken meanwhile."""
    import glmcode.repl.conversation

    assert glmcode.repl.conversation
    return options()


async def _in_time(closing: Coroutine[Any, Any, None]) -> None:
    """A close that hangs must not hold the terminal."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing, CLOSE_S)


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
