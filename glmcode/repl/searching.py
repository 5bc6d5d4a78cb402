"""Ctrl-R: the history searched backwards while it is typed, and the way back out of it.

prompt_toolkit searches; here is what it lacks: giving up returns to the draft as it was, a search
that finds nothing says so, and a paste stays one line. Must not change the history.
"""

from __future__ import annotations

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import is_searching
from prompt_toolkit.layout import Window
from prompt_toolkit.search import SearchDirection, stop_search
from prompt_toolkit.widgets import SearchToolbar

from glmcode.repl.clean import one_line

LONGEST = 200


class Search:
    """The search of one input; `toolbar` is the line it is typed into."""

    def __init__(self, buffer: Buffer) -> None:
        self.toolbar = SearchToolbar(
            search_buffer=Buffer(multiline=False),
            forward_search_prompt=self._prompt,
            backward_search_prompt=self._prompt,
            ignore_case=True,
        )
        self._buffer = buffer
        self._before = (0, 0)

    def note(self) -> None:
        """Before each key: where the draft is, as long as nothing is searched."""
        if not is_searching():
            self._before = (self._behind(), self._buffer.cursor_position)
            window = self.toolbar.container.content
            if isinstance(window, Window):
                window.horizontal_scroll = 0  # it would stay where a long search had moved it

    def give_up(self) -> None:
        """End the search; the draft is as it was."""
        stop_search()
        behind, position = self._before
        self._buffer.go_to_history(self._behind() + self._buffer.working_index - behind)
        self._buffer.cursor_position = min(position, len(self._buffer.text))

    def paste(self, data: str) -> None:
        """Into the line that is searched for."""
        words = one_line(" ".join(data.split()), LONGEST)
        self.toolbar.search_buffer.insert_text(words)

    def _behind(self) -> int:
        """How many entries are newer: the older ones may be loaded at any time."""
        return len(self._buffer._working_lines) - self._buffer.working_index

    def _prompt(self) -> str:
        state = self.toolbar.control.searcher_search_state
        text = self.toolbar.search_buffer.text
        ahead = " forward" if state.direction is SearchDirection.FORWARD else ""
        return f"history{ahead}{'' if self._finds(text) else ', nothing has'}: "

    def _finds(self, text: str) -> bool:
        """Whether an entry holds it, in the direction that is searched or not."""
        wanted = text.lower()
        return not text or any(wanted in line.lower() for line in self._buffer._working_lines)
