"""The input: what is typed, where it goes when it is sent, and the draft that waits aside.

One buffer serves messages, advice after a "no" and the editing of a rule; while it is lent to
a question, the draft waits here. A long paste stands in it as one character (pastes.py), and is
whole in all that leaves. What a person typed is never dropped: what is cleared goes to the
history. Must not draw, and must not know the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit.document import Document

from glmcode.repl.completing import Menu
from glmcode.repl.history import FileHistory
from glmcode.repl.screen import Hands, Live
from glmcode.repl.searching import Search, SearchedBuffer

TYPED_AHEAD_S = 0.5


class Entry:
    """The input of one screen."""

    def __init__(
        self,
        live: Live,
        hands: Hands,
        history: FileHistory,
        workspace: Path,
        refresh: Callable[[], None],
    ) -> None:
        """refresh: the live part has changed. workspace: whose paths are completed."""
        self.pastes = history.pastes
        self.buffer = SearchedBuffer(history)
        self.search = Search(self.buffer)
        self.menu = Menu(self.buffer, workspace, refresh, live.facts)
        self._live = live
        self._hands = hands
        self._refresh = refresh
        self._draft: Document | None = None
        self._editing = False
        self._began = 0.0

    def begin(self) -> None:
        """The terminal is ours from now on."""
        self._began = time.monotonic()

    @property
    def text(self) -> str:
        """What stands there, pastes whole."""
        return self.pastes.whole(self.buffer.text)

    def put_back(self, text: str) -> None:
        """Return text to the input, before the draft."""
        text = self.pastes.folded(text)
        target = self._draft.text if self._draft is not None else self.buffer.text
        document = Document(text if not target else f"{text}\n{target}")
        if self._draft is not None:
            self._draft = document
        else:
            self.buffer.set_document(document, bypass_readonly=True)

    def offer(self, text: str) -> bool:
        """Begin a line whose rest is chosen from a list; False where a draft is in the way."""
        if self.buffer.text or self._draft is not None:
            return False
        self.buffer.insert_text(text)
        return True

    def replace(self, text: str) -> None:
        """Another text in place of what stands there."""
        self.buffer.set_document(Document(self.pastes.folded(text)), bypass_readonly=True)

    def send(self, *, other: bool = False) -> None:
        """Enter: hand the input over; other: Ctrl-S, which steers where Enter queues."""
        text = self.text
        question = self._live.question
        if question is not None and question.advising:
            self.keep_draft()
            self.buffer.reset()
            question.advise(text.strip())
            self._refresh()
        elif question is not None and question.editing:
            question.accept(text.strip())
            self._refresh()
        elif self.buffer.text.endswith("\\") and self.buffer.document.is_cursor_at_the_end:
            self.buffer.delete_before_cursor()
            self.buffer.insert_text("\n")
        elif text.strip():
            self.keep_draft()
            self.buffer.reset()
            self.menu.close()
            self._hands.hint("")
            (self._hands.submit_other if other else self._hands.submit)(text)
        elif other:
            self._hands.submit_other("")

    def paste(self, data: str) -> None:
        """Insert a paste, folded if it is long; the same one twice in a row unfolds it."""
        text = data.replace("\r\n", "\n").replace("\r", "\n")
        question = self._live.question
        if question is not None:
            question.typed(time.monotonic())
        mark = self.pastes.pasted(text)
        if mark == text:
            self.buffer.insert_text(text)
        elif self.buffer.document.char_before_cursor == mark:
            self.unfold()
        else:
            self.buffer.insert_text(mark)
            self._hands.hint("Ctrl-O unfolds the paste")

    @property
    def folded(self) -> bool:
        """Whether a folded paste stands there."""
        return self._paste_at() is not None

    def unfold(self) -> None:
        """The paste at the cursor, else the nearest, becomes plain text."""
        at = self._paste_at()
        if at is not None:
            text = self.buffer.text
            before = text[:at] + self.pastes.whole(text[at])
            document = Document(before + text[at + 1 :], len(before))
            self.buffer.set_document(document, bypass_readonly=True)
            self._hands.hint("")

    def _paste_at(self) -> int | None:
        text, cursor = self.buffer.text, self.buffer.cursor_position - 0.6
        marks = self.pastes.marks_in(text)
        return min(marks, key=lambda at: abs(at - cursor), default=None)

    def take_back(self) -> None:
        """Up on an empty input, while messages wait: the last one is edited again."""
        self.replace(self._hands.take_back())

    def line_feed(self) -> None:
        """Ctrl-J: a new line. At the very start it is an Enter that was typed ahead.

        Before the terminal was ours, its line discipline turned Enter into a line feed.
        """
        if time.monotonic() - self._began < TYPED_AHEAD_S:
            self.send()
        else:
            self.buffer.insert_text("\n")

    def clear(self) -> None:
        """Nothing stands there any more; the history has it."""
        self.keep_draft()
        self.buffer.reset()
        self.menu.close()

    def keep_draft(self) -> None:
        """What stands there goes to the history; before it what was left for an older line."""
        self._keep_left()
        if self.buffer.text.strip():
            self.buffer.append_to_history()

    def _keep_left(self) -> None:
        """A draft that was left to look at older lines is not forgotten when one is sent."""
        lines = self.buffer._working_lines
        if self.buffer.working_index < len(lines) - 1 and lines[-1].strip():
            self.buffer.history.append_string(lines[-1])

    def keep_all(self) -> None:
        """At the end: what stands there, and the draft that waits outside the input."""
        if self._draft is None or not self._editing:
            self.keep_draft()
        if self._draft is not None:
            self.buffer.set_document(self._draft, bypass_readonly=True)
            self.keep_draft()

    def set_aside_draft(self) -> None:
        """While advice is typed or a rule edited, the draft waits outside the input."""
        question = self._live.question
        editing = question is not None and question.editing
        aside = editing or (question is not None and question.advising)
        if aside and self._draft is None:
            self._draft = self.buffer.document
            self._keep_left()
            self.buffer.reset()
            self._editing = editing
            if question is not None and editing:
                self.replace(question.rule)
        elif not aside and self._draft is not None:
            if not self._editing:
                self.keep_draft()
            self.buffer.set_document(self._draft, bypass_readonly=True)
            self._draft = None
