"""Sessions: conversations on disk, one append-only JSONL file each.

lines.py reads and writes lines, journal.py holds a file and writes it, reading.py folds one
into the current conversation, closing.py answers what a crash left open, stored.py opens one
again, index.py finds them, last.py looks at their ends. Must not know how a
message is rendered or shown, or which engine answers.
"""

from __future__ import annotations

from glmcode.sessions.index import (
    SessionUnknown,
    Summary,
    ago,
    find_session,
    latest_session,
    list_sessions,
    summarise,
)
from glmcode.sessions.journal import (
    Journal,
    JournalError,
    SessionBusy,
    new_session_id,
    sessions_folder,
)
from glmcode.sessions.last import title_given, tokens_held
from glmcode.sessions.lines import VERSION, SessionError, read_entries, read_lines
from glmcode.sessions.reading import Conversation, Writer, fold, fold_messages, read_checked
from glmcode.sessions.stored import StoredSession, fork_session, open_session

__all__ = [
    "VERSION",
    "Conversation",
    "Journal",
    "JournalError",
    "SessionBusy",
    "SessionError",
    "SessionUnknown",
    "StoredSession",
    "Summary",
    "Writer",
    "ago",
    "find_session",
    "fold",
    "fold_messages",
    "fork_session",
    "latest_session",
    "list_sessions",
    "new_session_id",
    "open_session",
    "read_checked",
    "read_entries",
    "read_lines",
    "sessions_folder",
    "summarise",
    "title_given",
    "tokens_held",
]
