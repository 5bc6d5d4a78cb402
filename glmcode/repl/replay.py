"""The end of an old conversation, shown again by the view that showed it the first time.

What was stored is told as events, in order; nothing is drawn here. The diffs of edits were
shown before they were approved and are not stored: their results follow in a line. Must not
change anything.
"""

from __future__ import annotations

from glmcode.core.events import Appended, TurnStarted
from glmcode.core.messages import UserMessage
from glmcode.repl.view import View
from glmcode.sessions import Conversation, StoredSession

PROMPTS = 3
MESSAGES = 40


def replay(view: View, told: Conversation) -> list[str]:
    """The lines of the last turns: at most so many prompts of a person, or messages."""
    messages = told.messages
    first = len(messages)
    prompts = 0
    while first > 0 and len(messages) - first < MESSAGES and prompts < PROMPTS:
        first -= 1
        prompts += _said(told, first) is not None
    lines: list[str] = []
    if first > 0:
        before = f"… {first:,} messages before (glmcode sessions show {told.session_id})"
        lines += view.note([("dim", before)])
    for index in range(first, len(messages)):
        said = _said(told, index)
        if said is not None:
            view.event(TurnStarted())
            lines += view.person(said)
        else:
            lines += view.event(Appended(message=messages[index]))
    return lines


def going_on(stored: StoredSession) -> str:
    """Which session goes on, in a line."""
    copied = f", a copy of {stored.forked_from}" if stored.forked_from else ""
    return f"session {stored.session_id}{copied} goes on"


def _said(told: Conversation, index: int) -> str | None:
    """What the person said with a message; None for any other message."""
    message = told.messages[index]
    if isinstance(message, UserMessage) and message.origin == "person":
        return told.typed.get(index, message.text)
    return None
