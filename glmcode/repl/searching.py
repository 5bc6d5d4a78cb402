"""Ctrl-R: the history searched backwards while it is typed, and the way back out of it.

prompt_toolkit searches; here is what it lacks: giving up returns to the draft as it was, a search
that finds nothing says so, a paste into it stays one line, and what folded pastes hold is found.
Must not change the history.
"""

from __future__ import annotations

import re

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import is_searching
from prompt_toolkit.layout import Window
from prompt_toolkit.search import SearchDirection, SearchState, stop_search
from prompt_toolkit.widgets import SearchToolbar

from glmcode.repl.clean import one_line
from glmcode.repl.history import FileHistory

LONGEST = 200


class SearchedBuffer(Buffer):
    """The input; in a search each paste in it and in the history holds what was pasted."""

    def __init__(self, history: FileHistory) -> None:
        super().__init__(history=history, multiline=True)
        self._pastes = history.pastes

    def holds(self, text: str) -> bool:
        """Whether the draft or a line of the history holds it, capitals or not."""
        pattern = re.compile(re.escape(text), re.IGNORECASE)
        return any(pattern.search(self._pastes.whole(line)) for line in self._working_lines)

    def _search(
        self, search_state: SearchState, include_current_position: bool = False, count: int = 1
    ) -> tuple[int, int] | None:
        lines = self._working_lines
        if not any(map(self._pastes.marks_in, lines)):
            return super()._search(search_state, include_current_position, count)
        flags = re.IGNORECASE if search_state.ignore_case() else 0
        pattern = re.compile(re.escape(search_state.text), flags)
        forward = search_state.direction is SearchDirection.FORWARD
        at, cursor = self.working_index, self.cursor_position
        first = cursor if include_current_position else cursor + 1
        here = [
            start
            for start, end in self._places(lines[at], pattern)
            if (start >= first if forward else end <= cursor)
        ]
        if here:
            return at, here[0] if forward else here[-1]
        for step in range(1, len(lines)):
            index = (at + (step if forward else -step)) % len(lines)
            if found := self._places(lines[index], pattern):
                return index, (found[0] if forward else found[-1])[0]
        return None

    def _places(self, line: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
        """Where a line holds it, [from, to); of a paste that holds it, where that stands."""
        marks = self._pastes.marks_in(line)
        pasted = [at for at in marks if pattern.search(self._pastes.whole(line[at]))]
        typed = [found.span() for found in pattern.finditer(line)]
        return sorted([*typed, *((at, at + 1) for at in pasted)])


class Search:
    """The search of one input; `toolbar` is the line it is typed into."""

    def __init__(self, buffer: SearchedBuffer) -> None:
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
        return not text or self._buffer.holds(text)
