"""Questions about single files, answered by one worker that stays: outlines, syntax errors.

The worker starts when it is first needed or warmed, serves whoever asks, one at a time, and is
replaced when it is lost. Every question is answered in bounded time, and no answer is an answer:
callers go on without. Nothing here raises for what stands in a file. Must not read files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from glmcode.context.errors import (
    UNSURE,
    SyntaxFault,
    changed_lines,
    from_bytes,
    introduced,
)
from glmcode.context.languages import Language, language_of
from glmcode.context.outline import outline
from glmcode.context.sources import MAX_BYTES
from glmcode.context.tags import from_bytes as tags_from_bytes
from glmcode.context.worker_process import Worker, WorkerLost

ANSWER_S = 3.0
_AT_ONCE_S = 0.2

What = Literal["tags", "errors"]


@dataclass(slots=True)
class _Asked:
    """A question. answers: None until heard. lost: a worker was lost over it once."""

    what: What
    batch: Sequence[tuple[str, bytes]]
    answers: list[bytes] | None = None
    lost: bool = False


class Parsing:
    """Outlines and syntax errors of files; safe to use from several threads."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._asked: _Asked | None = None
        self._lock = Lock()

    def warm(self) -> None:
        """Start the worker, and have it load what the first question needs."""
        self._ask("errors", [("python", b"pass\n")])

    def outline(self, path: Path, text: str, room: int) -> str:
        """The outline of a file's text in at most `room` characters; "" when there is none."""
        data = text.encode("utf-8", "replace")
        language = _language(path, data)
        if language is None:
            return ""
        answers = self._ask("tags", [(language.name, data)])
        return outline(tags_from_bytes(answers[0]).definitions, room) if answers else ""

    def new_errors(
        self, path: Path, before: bytes | None, after: bytes
    ) -> Callable[[], Sequence[tuple[int, int, str]]]:
        """Asks at once; what is returned gives the syntax errors that a change made, once.

        Of each line, column and what is missing or "". before: None for a new file. Empty for a
        language that is not known, a file that is too large, and whatever could not be found
        out in time.
        """
        language = _language(path, after)
        if language is None or len(before or b"") > MAX_BYTES:
            return tuple
        asked = self._begin("errors", [(language.name, after)])

        def found() -> Sequence[tuple[int, int, str]]:
            answers = self._answers(asked)
            return self._made(language, before, after, from_bytes(answers[0]) if answers else [])

        return found

    def _made(
        self, language: Language, before: bytes | None, after: bytes, now: list[SyntaxFault]
    ) -> Sequence[tuple[int, int, str]]:
        if not now:
            return ()
        then = self._errors(language, before) if before is not None else []
        if then is None or (language.name in UNSURE and (before is None or then)):
            return ()
        made = introduced(then, now, changed_lines(before or b"", after))
        return [(fault.line, fault.column, fault.missing) for fault in made]

    def close(self) -> None:
        """End the worker; a later question starts a new one."""
        with self._lock:
            self._drop()

    def _errors(self, language: Language, data: bytes) -> list[SyntaxFault] | None:
        answers = self._ask("errors", [(language.name, data)])
        return from_bytes(answers[0]) if answers else None

    def _ask(self, what: What, batch: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """The answers; [] when there are none."""
        return self._answers(self._begin(what, batch))

    def _begin(self, what: What, batch: Sequence[tuple[str, bytes]]) -> _Asked:
        """Send a question; its answers wait in the worker's pipe until somebody wants some."""
        asked = _Asked(what, batch)
        with self._lock:
            self._hear()
            self._send(asked)
        return asked

    def _answers(self, asked: _Asked) -> list[bytes]:
        with self._lock:
            if self._asked is asked:
                self._hear()
            if asked.answers is None:
                self._send(asked)
                self._hear()
            return asked.answers or []

    def _send(self, asked: _Asked) -> None:
        try:
            if self._worker is None:
                self._worker = Worker()
            self._worker.send(asked.what, asked.batch)
            self._asked = asked
        except WorkerLost:
            self._drop()

    def _hear(self) -> None:
        """Take what answers the question that is out.

        A worker that was killed while it waited is no answer, so the question is asked again;
        one that the question itself kills or keeps silent is.
        """
        asked, self._asked = self._asked, None
        if asked is None or self._worker is None:
            return
        began = time.monotonic()
        try:
            asked.answers = [self._worker.receive(ANSWER_S) for _ in asked.batch]
        except WorkerLost:
            self._drop()
            if asked.lost or time.monotonic() - began > _AT_ONCE_S:
                asked.answers = []
            asked.lost = True

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


def _language(path: Path, data: bytes) -> Language | None:
    if len(data) > MAX_BYTES or b"\0" in data[:8192]:
        return None
    return language_of(path.name, data)
