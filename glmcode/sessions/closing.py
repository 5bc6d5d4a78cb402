"""What is told about calls that a crash left without a result: the truth, as far as it is known.

An intent holds the hashes of each file before and after, so a look at the files tells whether
a change was applied. What a command did cannot be told from outside, and is not guessed. The
answers are written into the journal like any result; nothing that stands in it is changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from glmcode.base.files import FileFault, FileMissing, load
from glmcode.core import words
from glmcode.core.messages import RejectedCall, ToolCall, ToolMessage
from glmcode.sessions.reading import Conversation, Intent

ENDED = "glmcode ended before this call's result was recorded"
APPLIED = f"{ENDED}. The change was applied: {{paths}} now holds what this call wrote"
NOT_APPLIED = (
    f"not applied: {ENDED}. {{paths}} is as it was before this call; make the call again if it "
    "is still wanted"
)
UNKNOWN = (
    f"unknown whether it was applied: {ENDED}, and {{paths}} is neither as it was before the "
    "call nor as the call would have left it. Read it before you go on"
)
COMMAND = (
    f"unknown how far it ran: {ENDED}. The command may have run in part, wholly or not at all: "
    "look at what it would have changed before you run it again"
)
NOT_BEGUN = f"not run: {ENDED}, and it changed nothing. Make the call again if it is still needed"
ELSEWHERE = (
    "no result here: this session was copied while another process was still running this "
    "call. Look at what is there before you go on"
)


def closing_answers(
    conversation: Conversation, *, elsewhere: bool = False
) -> list[tuple[ToolMessage, dict[str, str]]]:
    """For each open call its answer, and what the model now knows: path -> hash.

    elsewhere: another process holds the session and may still run the calls.
    """
    return [_answer(call, conversation, elsewhere) for call in conversation.open_calls]


def _answer(
    call: ToolCall | RejectedCall, conversation: Conversation, elsewhere: bool
) -> tuple[ToolMessage, dict[str, str]]:
    seen: dict[str, str] = {}
    intent = conversation.intents.get(call.id)
    if isinstance(call, RejectedCall):
        chat = conversation.known_writers[-1].protocol == "chat"
        text = words.rejected_answer(call, chat=chat)
    elif elsewhere:
        text = ELSEWHERE
    elif intent is None:
        text = NOT_BEGUN
    elif not intent.changes:
        text = COMMAND
    else:
        text, seen = _told_by_files(intent)
    applied = bool(seen)
    message = ToolMessage(call_id=call.id, name=call.name, text=text, is_error=not applied)
    return message, seen


def _told_by_files(intent: Intent) -> tuple[str, dict[str, str]]:
    states = {_state(Path(path), before, after) for path, before, after in intent.changes}
    paths = intent.subject or ", ".join(path for path, _, _ in intent.changes)
    if states == {"after"}:
        seen = {path: after for path, _, after in intent.changes}
        return APPLIED.format(paths=paths), seen
    text = NOT_APPLIED if states == {"before"} else UNKNOWN
    return text.format(paths=paths), {}


def _state(path: Path, before: str | None, after: str) -> Literal["before", "after", "neither"]:
    try:
        digest = load(path).digest
    except FileMissing:
        return "before" if before is None else "neither"
    except FileFault:
        return "neither"
    if digest == after:
        return "after"
    return "before" if digest == before else "neither"
