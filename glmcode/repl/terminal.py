"""The screen on a real terminal: an input that is always alive, under append-only scrollback.

One prompt_toolkit application runs from start to end, without the alternate screen and
without asking the terminal where its cursor is (answers to that leak into the next shell).
Printing erases the few live lines, writes, and draws them again, all in one write: nothing
flickers and nothing printed is ever touched again. What is typed is entry.py's, what the live
part looks like layout.py's. Must not know the agent.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from prompt_toolkit.application import in_terminal
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import DynamicStyle

from glmcode.exits import Exit
from glmcode.repl.clean import one_line
from glmcode.repl.clipboard import osc52
from glmcode.repl.drawing import TMUX_TELLS_AFTER_S, App, Output, rewraps
from glmcode.repl.editor import edited, edited_file
from glmcode.repl.entry import Entry
from glmcode.repl.history import FileHistory
from glmcode.repl.incoming import Incoming
from glmcode.repl.keys import key_bindings
from glmcode.repl.layout import LivePart, style_of
from glmcode.repl.osc import GIVE_TITLE_BACK, KEEP_TITLE, reads_osc, title
from glmcode.repl.screen import Hands, Live
from glmcode.repl.theme import Depth

ESCAPE_S = 0.04
"""How long a lone Esc may be the head of a key's sequence."""
SEQUENCE_S = 0.5
TWICE_S = 2.0
"""Within so long a second Esc belongs to the first."""

DEPTHS: Mapping[Depth, ColorDepth] = {
    "none": ColorDepth.MONOCHROME,
    "16": ColorDepth.ANSI_COLORS_ONLY,
    "256": ColorDepth.DEFAULT,
    "truecolor": ColorDepth.TRUE_COLOR,
}


class Terminal:
    """screen.Screen on a terminal that understands cursor movement."""

    def __init__(
        self,
        live: Live,
        hands: Hands,
        history: FileHistory,
        drawn: Callable[[], None],
        *,
        workspace: Path,
        mark: str = ">",
        vi: bool = False,
    ) -> None:
        """drawn is called when the screen stands for the first time. workspace: whose paths are
        completed. mark: before the input. vi: its keys edit the input, not those of emacs."""
        self._live = live
        self._hands = hands
        self._drawn: Callable[[], None] | None = drawn
        self._escaped = 0.0
        made = self._output = _output(hands, DEPTHS[live.theme.depth])
        self.entry = Entry(live, hands, history, workspace, self.refresh)
        self._part = LivePart(live, self.entry, lambda: self.size, mark)
        self._menu_rows = 0
        self._title = ""
        self._away = False
        self._edits: asyncio.Task[None] | None = None
        self._withheld: list[str] = []
        self._keys = EditingMode.VI if vi else EditingMode.EMACS
        self._app = App(
            layout=self._part.layout(),
            key_bindings=key_bindings(self, live, hands),
            style=DynamicStyle(lambda: style_of(live.theme)),
            input=Incoming(sys.stdin),
            output=made,
            erase_when_done=True,
            editing_mode=self._keys,
        )
        self._app.modes = self._app.switch_modes(None)
        self._app.wraps = rewraps(os.environ)
        if "TMUX" in os.environ:
            self._app.remembers_width = True
            self._app.tells_after_s = TMUX_TELLS_AFTER_S
        self._app.ttimeoutlen = ESCAPE_S
        self._app.key_processor.before_key_press += lambda _: self.entry.search.note()
        self._app.key_processor.before_key_press += lambda _: self._pressed()
        self._app.after_render += lambda _: self._release()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        size = self._output.get_size()
        return size.columns, size.rows

    async def run(self) -> None:
        """Take keys until closed, or until the terminal is gone."""
        self.entry.begin()
        try:
            await self._app.run_async(handle_sigint=False, set_exception_handler=False)
        except EOFError:
            self._hands.leave(Exit.TERMINATED)
        finally:
            self._release()
            self._untitle()

    def commit(self, lines: Sequence[str]) -> None:
        """Print lines for good, above the live part, in the same write that draws it again."""
        if not lines:
            return
        if self._away:
            self._withheld += lines
            return
        text = "".join(f"{line}\r\n" for line in lines)
        if not self._app.is_running:
            self._output.write_raw(text)
            self._output.flush()
            return
        self._output.held = True
        self._app.erase(prints=True)
        self._output.write_raw(text)
        self._app.invalidate()

    def refresh(self) -> None:
        """Draw the live part as it is now."""
        before, menu = self._part.tail, self.entry.menu
        self._part.lay_out()
        tail = self._part.tail
        anew = self._app.remembers_width and tail != before
        rows, self._menu_rows = self._menu_rows, len(menu.items) if menu.open else 0
        fewer = len(tail) < len(before) or self._menu_rows < rows
        if (anew or fewer) and self._app.is_running and not self._away:
            self._output.held = True
            self._app.erase(prints=False)
        self.entry.set_aside_draft()
        calm = not (self._live.busy or self._live.question is not None or menu.open)
        asking = self._live.question is not None and self._live.question.choosing
        self._app.editing_mode = EditingMode.EMACS if asking else self._keys
        self._app.timeoutlen = SEQUENCE_S if calm else 0.01
        self._app.invalidate()

    def put_back(self, text: str) -> None:
        """Return text to the input, before the draft."""
        self.entry.put_back(text)

    def offer(self, text: str) -> bool:
        """Begin a line whose rest is chosen from a list."""
        return self._live.question is None and self.entry.offer(text)

    def copy(self, text: str) -> tuple[bool, str]:
        """Hand text to the terminal's clipboard."""
        sequence, told = osc52(text, os.environ)
        if sequence:
            self._output.write_raw(sequence)
            self._output.flush()
        return bool(sequence), told

    def title(self, text: str) -> None:
        """Name the window; the name from before comes back when `run` returns."""
        ours = self._app.is_running and not self._away
        if text == self._title or not ours or not reads_osc(os.environ):
            return
        self.signal(("" if self._title else KEEP_TITLE) + title(text))
        self._title = text

    def signal(self, sequence: str) -> None:
        """Write what changes nothing on the screen, where the screen is ours."""
        if sequence and self._app.is_running and not self._away:
            self._output.write_raw(sequence)
            self._output.flush()

    def _untitle(self) -> None:
        """Another program, or none, has the window."""
        if self._title:
            self._title = ""
            self._output.write_raw(GIVE_TITLE_BACK)
            self._output.flush()

    def ctrl_c(self) -> None:
        """Stop what runs; else clear the input; else it is the conversation's."""
        if self._away:
            return  # it was meant for the editor
        if self._live.busy or self._live.question is not None:
            if not self._hands.stop():
                self._hands.interrupt()
        elif self.entry.buffer.text:
            self.entry.clear()
        else:
            self._hands.interrupt()

    def escape(self) -> None:
        """Esc: from the editing of a rule back to the question; else stop what runs."""
        question = self._live.question
        if question is not None and question.editing:
            question.back()
            self.refresh()
        else:
            self._escaped = self.now()
            self._hands.stop()

    def escape_calm(self) -> None:
        """Esc where nothing runs and nothing is typed: the second one offers to rewind."""
        now, before = self.now(), self._escaped
        self._escaped = now
        if now - before < TWICE_S:
            self._escaped = 0.0
            self._hands.submit("/rewind")
        else:
            self._hands.hint("Esc again: back to before the last turn")

    def edit(self, text: str = "") -> None:
        """Ctrl-G: the person's editor has the terminal and the draft until it ends."""
        if self._live.question is not None:
            self._hands.hint("the editor opens when the question is answered")
        elif not self._away:
            if text:
                self.entry.replace(text)
            self._away = True
            self._edits = self._app.create_background_task(self._edit())

    async def _edit(self) -> None:
        told = ""
        async with self._lent():
            text, told = await edited(self.entry.text, os.environ)
            self.entry.replace(text)
        if told:
            self.commit([one_line(told)])
        self.refresh()

    async def lend(self, name: str, data: bytes) -> tuple[bytes, str]:
        """The person's editor on a file of that name: its bytes then, what went wrong or ""."""
        if self._away:
            return data, "the editor is open already"
        self._away = True
        async with self._lent():
            return await edited_file(name, data, os.environ)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[None]:
        """Another program has the terminal; what is printed meanwhile waits."""
        try:
            async with in_terminal():
                self._app.let_go()
                try:
                    yield
                finally:
                    self._output.write_raw("\x1b[0m\r")
                    self._output.erase_down()
        finally:
            self._away = False
            withheld, self._withheld = self._withheld, []
            self.commit(withheld)

    def switch_keys(self) -> str:
        """From emacs' keys to vi's, or back."""
        vi = self._keys is EditingMode.VI
        self._keys = EditingMode.EMACS if vi else EditingMode.VI
        self._app.vi_state.reset()
        self.refresh()
        return "emacs" if vi else "vi"

    def suspend(self) -> None:
        """Ctrl-Z: to the shell's background, and draw again on return."""
        if not self._away:
            self._untitle()
            self._app.suspend_to_background()

    def close(self) -> None:
        """Make `run` return; the live part is erased, an unsent draft is kept in the history."""
        self.entry.keep_all()
        if self._edits is not None:
            self._edits.cancel()  # the application would wait for the editor
        if self._app.is_running and not self._app.is_done:
            self._app.exit()

    def now(self) -> float:
        """The clock that questions are timed by."""
        return time.monotonic()

    def _pressed(self) -> None:
        self._live.keyed = self.now()

    def _release(self) -> None:
        self._output.held = False
        self._output.flush()
        if self._drawn is not None:
            drawn, self._drawn = self._drawn, None
            drawn()


def _output(hands: Hands, depth: ColorDepth) -> Output:
    made = Output.from_pty(
        sys.stdout,
        term=os.environ.get("TERM"),
        default_color_depth=depth,
    )
    assert isinstance(made, Output)
    made.enable_cpr = False
    made.gone = lambda: hands.leave(Exit.TERMINATED)
    return made
