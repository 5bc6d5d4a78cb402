"""The screen on a real terminal: an input that is always alive, under append-only scrollback.

One prompt_toolkit application runs from start to end, without the alternate screen and
without asking the terminal where its cursor is (answers to that leak into the next shell).
Printing erases the few live lines, writes, and draws them again, all in one write: nothing
flickers and nothing printed is ever touched again. Must not know the agent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prompt_toolkit.application import in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.history import History
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    FormattedTextControl,
    HSplit,
    Layout,
    VerticalAlign,
    Window,
)
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar

from glmcode.exits import Exit
from glmcode.repl.clean import one_line
from glmcode.repl.clipboard import osc52
from glmcode.repl.completing import Menu
from glmcode.repl.content import fragments, lines
from glmcode.repl.drawing import TMUX_TELLS_AFTER_S, App, Output, rewraps
from glmcode.repl.editor import edited
from glmcode.repl.keys import key_bindings
from glmcode.repl.question import fitted, question_spans
from glmcode.repl.screen import Hands, Live

MAX_TAIL = 6
MAX_QUEUED = 3
ESCAPE_S = 0.04
"""How long a lone Esc may be the head of a key's sequence."""
SEQUENCE_S = 0.5
TYPED_AHEAD_S = 0.5
TWICE_S = 2.0
"""Within so long a second Esc belongs to the first."""
STYLE = Style.from_dict(
    {
        "dim": "ansibrightblack",
        "status": "ansibrightblack",
        "warning": "ansiyellow",
        "error": "ansired",
        "key": "ansicyan bold",
        "bold": "bold",
        "person": "ansicyan bold",
    }
)


class Terminal:
    """screen.Screen on a terminal that understands cursor movement."""

    def __init__(
        self,
        live: Live,
        hands: Hands,
        history: History,
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
        self._mark = mark
        self._escaped = 0.0
        self._draft: Document | None = None
        self._editing = False
        self._tail: list[str] = []
        self._tail_size = (0, 0)
        self._tail_text: StyleAndTextTuples = []
        self._began = 0.0
        made = self._output = _output(hands)
        self.buffer = Buffer(history=history, multiline=True)
        self.menu = Menu(self.buffer, workspace, self.refresh)
        self._menu_rows = 0
        self._away = False
        self._withheld: list[str] = []
        self._keys = EditingMode.VI if vi else EditingMode.EMACS
        self._search = SearchToolbar()
        self._app = App(
            layout=self._layout(),
            key_bindings=key_bindings(self, live, hands),
            style=STYLE,
            input=Vt100Input(sys.stdin),
            output=made,
            erase_when_done=True,
            editing_mode=self._keys,
        )
        self._app.wraps = rewraps(os.environ)
        if "TMUX" in os.environ:
            self._app.remembers_width = True
            self._app.tells_after_s = TMUX_TELLS_AFTER_S
        self._app.ttimeoutlen = ESCAPE_S
        self._app.after_render += lambda _: self._release()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        size = self._output.get_size()
        return size.columns, size.rows

    async def run(self) -> None:
        """Take keys until closed, or until the terminal is gone."""
        self._began = self.now()
        try:
            await self._app.run_async(handle_sigint=False, set_exception_handler=False)
        except EOFError:
            self._hands.leave(Exit.TERMINATED)
        finally:
            self._release()

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
        before = self._tail
        self._lay_out()
        anew = self._app.remembers_width and self._tail != before
        rows, self._menu_rows = self._menu_rows, len(self.menu.items) if self.menu.open else 0
        fewer = len(self._tail) < len(before) or self._menu_rows < rows
        if (anew or fewer) and self._app.is_running and not self._away:
            self._output.held = True
            self._app.erase(prints=False)
        self._set_aside_draft()
        calm = not self._live.busy and self._live.question is None
        asking = self._live.question is not None and self._live.question.choosing
        self._app.editing_mode = EditingMode.EMACS if asking else self._keys
        self._app.timeoutlen = SEQUENCE_S if calm else 0.01
        self._app.invalidate()

    def put_back(self, text: str) -> None:
        """Return text to the input, before the draft."""
        target = self._draft.text if self._draft is not None else self.buffer.text
        document = Document(text if not target else f"{text}\n{target}")
        if self._draft is not None:
            self._draft = document
        else:
            self.buffer.set_document(document, bypass_readonly=True)

    def copy(self, text: str) -> tuple[bool, str]:
        """Hand text to the terminal's clipboard."""
        sequence, told = osc52(text, os.environ)
        if sequence:
            self._output.write_raw(sequence)
            self._output.flush()
        return bool(sequence), told

    def send(self, *, other: bool = False) -> None:
        """Enter: hand the input over; other: Ctrl-S, which steers where Enter queues."""
        text = self.buffer.text
        question = self._live.question
        if question is not None and question.advising:
            self.buffer.reset()
            question.advise(text.strip())
            self.refresh()
        elif question is not None and question.editing:
            question.accept(text.strip())
            self.refresh()
        elif text.endswith("\\") and self.buffer.document.is_cursor_at_the_end:
            self.buffer.delete_before_cursor()
            self.buffer.insert_text("\n")
        elif text.strip():
            self.buffer.append_to_history()
            self.buffer.reset()
            self.menu.close()
            (self._hands.submit_other if other else self._hands.submit)(text)
        elif other:
            self._hands.submit_other("")

    def take_back(self) -> None:
        """Up on an empty input, while messages wait: the last one is edited again."""
        text = self._hands.take_back()
        self.buffer.set_document(Document(text), bypass_readonly=True)

    def line_feed(self) -> None:
        """Ctrl-J: a new line. At the very start it is an Enter that was typed ahead.

        Before the terminal was ours, its line discipline turned Enter into a line feed.
        """
        if self.now() - self._began < TYPED_AHEAD_S:
            self.send()
        else:
            self.buffer.insert_text("\n")

    def ctrl_c(self) -> None:
        """Stop what runs; else clear the input; else it is the conversation's."""
        if self._away:
            return  # it was meant for the editor
        if self._live.busy or self._live.question is not None:
            if not self._hands.stop():
                self._hands.interrupt()
        elif self.buffer.text:
            self._keep_draft()
            self.buffer.reset()
            self.menu.close()
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

    def edit(self) -> None:
        """Ctrl-G: the person's editor has the terminal and the draft until it ends."""
        if not self._away:
            self._away = True
            self._app.create_background_task(self._edit())

    async def _edit(self) -> None:
        text, told = self.buffer.text, ""
        try:
            async with in_terminal():
                text, told = await edited(text, os.environ)
                self._output.write_raw("\x1b[0m\r")
                self._output.erase_down()
                self.buffer.set_document(Document(text), bypass_readonly=True)
        finally:
            self._away = False
            withheld, self._withheld = self._withheld, []
            self.commit([*withheld, one_line(told)] if told else withheld)
        self.refresh()

    def suspend(self) -> None:
        """Ctrl-Z: to the shell's background, and draw again on return."""
        self._app.suspend_to_background()

    def close(self) -> None:
        """Make `run` return; the live part is erased, an unsent draft is kept in the history."""
        self._keep_draft()
        if self._app.is_running and not self._app.is_done:
            self._app.exit()

    def now(self) -> float:
        """The clock that questions are timed by."""
        return time.monotonic()

    def _set_aside_draft(self) -> None:
        """While advice is typed or a rule edited, the draft waits outside the input."""
        question = self._live.question
        editing = question is not None and question.editing
        aside = editing or (question is not None and question.advising)
        if aside and self._draft is None:
            self._draft = self.buffer.document
            self.buffer.reset()
            self._editing = editing
            if question is not None and editing:
                self.buffer.set_document(Document(question.rule), bypass_readonly=True)
        elif not aside and self._draft is not None:
            if not self._editing:
                self._keep_draft()
            self.buffer.set_document(self._draft, bypass_readonly=True)
            self._draft = None

    def _keep_draft(self) -> None:
        if self.buffer.text.strip():
            self.buffer.append_to_history()

    def _release(self) -> None:
        self._output.held = False
        self._output.flush()
        if self._drawn is not None:
            drawn, self._drawn = self._drawn, None
            drawn()

    def _layout(self) -> Layout:
        asking = Condition(lambda: self._live.question is not None)
        entry = Window(
            BufferControl(
                self.buffer, search_buffer_control=self._search.control, preview_search=True
            ),
            height=lambda: Dimension(min=1, max=max(1, self.size[1] // 2)),
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=lambda number, wrapped: self._prefix(number, wrapped),
        )
        question = ConditionalContainer(lines(self._question, wrap=True), asking)
        parts = [
            lines(self._moving),
            lines(self._queued),
            question,
            entry,
            self._search,
            ConditionalContainer(lines(self._menu), ~asking),
            Window(FormattedTextControl(self._status), height=1),
        ]
        return Layout(HSplit(parts, align=VerticalAlign.TOP), focused_element=entry)

    def _prefix(self, number: int, wrapped: int) -> StyleAndTextTuples:
        return [("class:person", f"{self._mark} " if number == 0 and wrapped == 0 else "  ")]

    def _lay_out(self) -> None:
        """The tail for the size that the terminal has now."""
        self._tail_size = self.size
        tail = self._live.tail(max(1, min(MAX_TAIL, self._tail_size[1] - 6)))
        if tail != self._tail:
            self._tail = tail
            self._tail_text = to_formatted_text(ANSI("\n".join(tail)))

    def _moving(self) -> StyleAndTextTuples:
        if self._tail_size != self.size:
            self._lay_out()
        return self._tail_text

    def _queued(self) -> StyleAndTextTuples:
        width = max(10, self.size[0] - 11)
        shown: list[str] = []
        for name, texts in (("steering", self._live.steering), ("queued", self._live.queued)):
            shown += [f"{name}: {one_line(text, width)}" for text in texts[:MAX_QUEUED]]
            if len(texts) > MAX_QUEUED:
                shown.append(f"{name}: {len(texts) - MAX_QUEUED} more")
        return [("class:dim", "\n".join(shown))]

    def _menu(self) -> StyleAndTextTuples:
        columns, rows = self.size
        return self.menu.shown(columns, rows // 3)

    def _question(self) -> StyleAndTextTuples:
        question = self._live.question
        if question is None:
            return []
        columns = self.size[0]
        return fragments(fitted(question_spans(question, columns, self.buffer.text), columns))

    def _status(self) -> StyleAndTextTuples:
        return fragments(self._live.status(self.size[0]))


def _output(hands: Hands) -> Output:
    made = Output.from_pty(
        sys.stdout,
        term=os.environ.get("TERM"),
        default_color_depth=ColorDepth.from_env(),
    )
    assert isinstance(made, Output)
    made.enable_cpr = False
    made.gone = lambda: hands.leave(Exit.TERMINATED)
    return made
