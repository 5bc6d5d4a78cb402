"""How the live part is put together: tail, what waits, the question, the input, list, status.

Read anew from Live at every drawing, for the size that the terminal has then. Must not act, and
must not write to the terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from prompt_toolkit.application import get_app
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.key_binding.vi_state import InputMode
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
from prompt_toolkit.styles import Style

from glmcode.repl.clean import one_line
from glmcode.repl.content import fragments, lines, merged
from glmcode.repl.entry import Entry
from glmcode.repl.pastes import FoldedPastes
from glmcode.repl.question import fitted, question_spans
from glmcode.repl.screen import Live
from glmcode.repl.theme import Theme, toolkit

MAX_TAIL = 6
MAX_QUEUED = 3
MODE_FROM = 24
"""Columns; on fewer the status line says nothing of vi."""
_VI_MODES = {
    InputMode.INSERT: "INSERT",
    InputMode.INSERT_MULTIPLE: "INSERT",
    InputMode.NAVIGATION: "NORMAL",
}


@lru_cache(maxsize=8)
def style_of(theme: Theme) -> Style:
    """A theme's colours as prompt_toolkit has them."""
    named = {name: toolkit(style) for name, style in theme.styles.items() if name}
    return Style.from_dict(named)


class LivePart:
    """What is drawn below the scrollback. size: columns and rows now; mark: before the input."""

    def __init__(
        self, live: Live, entry: Entry, size: Callable[[], tuple[int, int]], mark: str
    ) -> None:
        self.tail: list[str] = []
        self._live = live
        self._entry = entry
        self._size = size
        self._mark = mark
        self._tail_size = (0, 0)
        self._tail_text: StyleAndTextTuples = []

    def layout(self) -> Layout:
        """All of it, the keys going to the input."""
        asking = Condition(lambda: self._live.question is not None)
        entry = Window(
            BufferControl(
                self._entry.buffer,
                input_processors=[FoldedPastes(self._entry.pastes)],
                search_buffer_control=self._entry.search.toolbar.control,
                preview_search=True,
            ),
            height=lambda: Dimension(min=1, max=max(1, self._size()[1] // 2)),
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
            self._entry.search.toolbar,
            ConditionalContainer(lines(self._menu), ~asking),
            Window(FormattedTextControl(self._status), height=1),
        ]
        return Layout(HSplit(parts, align=VerticalAlign.TOP), focused_element=entry)

    def lay_out(self) -> None:
        """The tail for the size that the terminal has now."""
        self._tail_size = self._size()
        tail = self._live.tail(max(1, min(MAX_TAIL, self._tail_size[1] - 6)))
        if tail != self.tail:
            self.tail = tail
            self._tail_text = merged(to_formatted_text(ANSI("\n".join(tail))))

    def _prefix(self, number: int, wrapped: int) -> StyleAndTextTuples:
        return [("class:person", f"{self._mark} " if number == 0 and wrapped == 0 else "  ")]

    def _moving(self) -> StyleAndTextTuples:
        if self._tail_size != self._size():
            self.lay_out()
        return self._tail_text

    def _queued(self) -> StyleAndTextTuples:
        width = max(10, self._size()[0] - 11)
        shown: list[str] = []
        for name, texts in (("steering", self._live.steering), ("queued", self._live.queued)):
            shown += [f"{name}: {one_line(text, width)}" for text in texts[:MAX_QUEUED]]
            if len(texts) > MAX_QUEUED:
                shown.append(f"{name}: {len(texts) - MAX_QUEUED} more")
        return [("class:dim", "\n".join(shown))]

    def _menu(self) -> StyleAndTextTuples:
        columns, rows = self._size()
        return self._entry.menu.shown(columns, rows // 3)

    def _question(self) -> StyleAndTextTuples:
        question = self._live.question
        if question is None:
            return []
        columns = self._size()[0]
        return fragments(
            fitted(question_spans(question, columns, self._entry.buffer.text), columns)
        )

    def _status(self) -> StyleAndTextTuples:
        columns = self._size()[0]
        mode = f"{_vi_mode()} · " if _vi_mode() and columns >= MODE_FROM else ""
        rest = self._live.status(columns - len(mode))
        return fragments([("key", mode), *rest] if mode else rest)


def _vi_mode() -> str:
    """What vi's keys do now; "" where they don't count."""
    app = get_app()
    if app.editing_mode is not EditingMode.VI:
        return ""
    if app.current_buffer.selection_state is not None:
        return "VISUAL"
    return _VI_MODES.get(app.vi_state.input_mode, "REPLACE")
