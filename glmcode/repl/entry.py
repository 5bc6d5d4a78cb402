"""The input: what is typed, where it goes when it is sent, and the draft that waits aside.

One buffer serves messages, advice after a "no" and the editing of a rule; while it is lent to
a question, the draft waits here. What a person typed is never dropped: what is cleared goes to
the history. Must not draw, and must not know the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.history import History

from glmcode.repl.completing import Menu
from glmcode.repl.screen import Hands, Live

TYPED_AHEAD_S = 0.5


class Entry:
    """The input of one screen."""

    def __init__(
        self,
        live: Live,
        hands: Hands,
        history: History,
        workspace: Path,
        refresh: Callable[[], None],
    ) -> None:
        """refresh: the live part has changed. workspace: whose paths are completed."""
        self.buffer = Buffer(history=history, multiline=True)
        self.menu = Menu(self.buffer, workspace, refresh)
        self._live = live
        self._hands = hands
        self._refresh = refresh
        self._draft: Document | None = None
        self._editing = False
        self._began = 0.0

    def begin(self) -> None:
        """The terminal is ours from now on."""
        self._began = time.monotonic()

    def put_back(self, text: str) -> None:
        """Return text to the input, before the draft."""
        target = self._draft.text if self._draft is not None else self.buffer.text
        document = Document(text if not target else f"{text}\n{target}")
        if self._draft is not None:
            self._draft = document
        else:
            self.buffer.set_document(document, bypass_readonly=True)

    def replace(self, text: str) -> None:
        """Another text in place of what stands there."""
        self.buffer.set_document(Document(text), bypass_readonly=True)

    def send(self, *, other: bool = False) -> None:
        """Enter: hand the input over; other: Ctrl-S, which steers where Enter queues."""
        text = self.buffer.text
        question = self._live.question
        if question is not None and question.advising:
            self.buffer.reset()
            question.advise(text.strip())
            self._refresh()
        elif question is not None and question.editing:
            question.accept(text.strip())
            self._refresh()
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
        """What stands there goes to the history."""
        if self.buffer.text.strip():
            self.buffer.append_to_history()

    def set_aside_draft(self) -> None:
        """While advice is typed or a rule edited, the draft waits outside the input."""
        question = self._live.question
        editing = question is not None and question.editing
        aside = editing or (question is not None and question.advising)
        if aside and self._draft is None:
            self._draft = self.buffer.document
            self.buffer.reset()
            self._editing = editing
            if question is not None and editing:
                self.replace(question.rule)
        elif not aside and self._draft is not None:
            if not self._editing:
                self.keep_draft()
            self.buffer.set_document(self._draft, bypass_readonly=True)
            self._draft = None
