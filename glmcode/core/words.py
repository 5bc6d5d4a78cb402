"""What the loop itself says to the model: answers to calls that did not run, and nudges.

Golden-tested, because the model reads them; each says what happened and what to do next.
Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from glmcode.core.messages import RejectedCall

CANCELLED = "not run to its end: cancelled by the user"
AFTER_REJECTED = "not run: the call before it was rejected"
EMPTY = "Your last message was empty. Go on with the task: call a tool, or give your answer."
REPEATED = (
    "Your last message repeated itself and was stopped. Take another way: say briefly what "
    "you know, then do the next step."
)
NO_CALL = (
    "You stopped as if you had called a tool, but your message holds no call that could be "
    "read. Call a tool in the documented form, or give your answer."
)
GO_ON = "Your answer was cut at its length limit. Go on exactly where it stopped."

_REJECTED = {
    "malformed": (
        "not run: the call could not be read. Write it again: the name, then for each argument "
        "<arg_key>, </arg_key>, <arg_value>, </arg_value> once, then </tool_call>."
    ),
    "ambiguous": (
        "not run: a tag such as </arg_value> or </tool_call> stands inside an argument, so "
        "nobody can tell where the argument ends. Write the call again with a placeholder in "
        "place of each such tag, for instance @@CLOSE_VALUE@@, then put the tag in with a Bash "
        "command that builds it from two pieces: sed -i 's|@@CLOSE_VALUE@@|</arg_''value>|' FILE."
    ),
    "truncated": (
        "not run: the answer reached its length limit inside this call, so it is not whole. "
        "Write less at once: a first part with Write, the rest in steps with Edit."
    ),
    "missing": f"not run: {NO_CALL}",
}


_MALFORMED_JSON = (
    "not run: the arguments could not be read as one JSON object (each name at most once). "
    "Write the call again with valid JSON arguments."
)
_NAMELESS = "not run: the call names no tool. Write it again with the name of a tool."


def rejected_answer(call: RejectedCall, *, chat: bool = False) -> str:
    """The tool message for a call that was rejected; in `chat` arguments are JSON, not tags."""
    if chat and call.reason in ("malformed", "ambiguous"):
        return _MALFORMED_JSON if call.name else _NAMELESS
    return _REJECTED[call.reason]


def unknown_tool(name: str, names: Iterable[str]) -> str:
    """The tool message for a call of a tool that does not exist."""
    return f"error: there is no tool {name[:80]!r}; the tools are: {', '.join(names)}"


def framed(text: str) -> str:
    """What the person typed during a turn, as it rides on a tool result in `chat`."""
    return f"\n\n<user_message>\n{text}\n</user_message>"
