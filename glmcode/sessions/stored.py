"""Opening a stored session again: to go on in it, or in a copy of it.

Whoever goes on holds the file's lock, has the torn last line cut off, and finds every call
answered: what a crash left open is closed truthfully and recorded, before anything else is
written. A file that cannot be read is left exactly as it is. Must not reach an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glmcode.sessions.closing import closing_answers
from glmcode.sessions.journal import Journal, SessionBusy, this_process
from glmcode.sessions.reading import Conversation, fold


@dataclass(slots=True)
class StoredSession:
    """A session to go on with. closed: how many calls were without a result.

    forked_from: the id of the session that this one is a copy of, else "".
    """

    journal: Journal
    conversation: Conversation
    closed: int = 0
    forked_from: str = ""

    @property
    def session_id(self) -> str:
        """The id under which it goes on."""
        return self.journal.session_id


def open_session(path: Path) -> StoredSession:
    """Go on in a session's own file. Raises SessionBusy, SessionError, JournalError."""
    journal = Journal.open(path)
    try:
        return _ready(journal, fold(path))
    except BaseException:
        journal.close()
        raise


def fork_session(path: Path) -> StoredSession:
    """Go on in a copy with an id of its own; the old file may be in use and is not touched.

    Raises SessionError, JournalError; then no copy is left.
    """
    try:
        Journal.open(path).close()
        elsewhere = False
    except SessionBusy:
        elsewhere = True
    old = fold(path)
    header = {name: value for name, value in old.header.items() if name not in _OWN}
    journal = Journal.create(
        Path(str(old.header["workspace"])), {**header, "forked_from": old.session_id}
    )
    try:
        journal.copy(path, old.head, old.end)
        stored = _ready(journal, fold(journal.path), elsewhere=elsewhere)
    except BaseException:
        journal.path.unlink(missing_ok=True)
        journal.close()
        raise
    stored.forked_from = old.session_id
    return stored


_OWN = ("v", "t", "at", "id", "workspace", "writer", "forked_from")
"""What a copy's header does not take over."""


def _ready(
    journal: Journal, conversation: Conversation, *, elsewhere: bool = False
) -> StoredSession:
    journal.cut(conversation.end)
    journal.write("note", {"writer": this_process()})
    answers = closing_answers(conversation, elsewhere=elsewhere)
    for message, seen in answers:
        journal.message(message, {"closed": True, **({"state": {"seen": seen}} if seen else {})})
    if answers:
        conversation = fold(journal.path)
    return StoredSession(journal, conversation, closed=len(answers))
