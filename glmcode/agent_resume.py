"""How a conversation begins: new, or going on with a stored session.

A new one writes its header: the preamble as it will be sent for good, and who writes (model,
protocol, tokenizer). A stored one gives back exactly what was sent: the preamble from its
header, the messages with their token ids, as long as the same model and tokenizer read them.
What the tools knew comes back as far as it can be honest: files by the hash of the content
that the model saw (a file that changed since must be read again), the shell's folder, the
todo list, and what a person allowed for the session; background commands are gone. Must not
reach an engine or show anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmcode import __version__
from glmcode.agent_options import AgentOptions
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.tool import Effect, ToolSpec
from glmcode.core.transcript import Preamble
from glmcode.engine.client import Client
from glmcode.permissions import Rule, RuleError, parse_rule
from glmcode.sessions import Journal, SessionError, StoredSession, Writer, shapes
from glmcode.tools.context import ToolContext

UNFINISHED = "[The previous turn was not finished.]\n\n"


class Recorder:
    """transcript.record: one journal line a message, with what changed in the tools' state.

    typed: what the person typed, for the user message that comes next; it is stored where the
    message says more than that.
    """

    def __init__(self, journal: Journal, context: ToolContext) -> None:
        self.typed = ""
        self._journal = journal
        self._context = context
        self._seen = dict(context.seen)
        self._cwd = context.cwd
        self._todos = list(context.todos)

    def __call__(self, message: Message) -> None:
        """Raises JournalError; the same message may then come again."""
        fields: dict[str, Any] = {}
        if isinstance(message, UserMessage):
            if self.typed and self.typed != message.text and message.origin == "person":
                fields["typed"] = self.typed
            self.typed = ""
        # A mention in a user message is read like a file that a tool read.
        if isinstance(message, UserMessage | ToolMessage) and (state := self._changed()):
            fields["state"] = state
        self._journal.message(message, fields)
        if "state" in fields:
            context = self._context
            self._seen, self._cwd = dict(context.seen), context.cwd
            self._todos = list(context.todos)

    def _changed(self) -> dict[str, Any]:
        context = self._context
        state: dict[str, Any] = {}
        if context.seen != self._seen:
            seen: dict[str, str | None] = {
                path: digest
                for path, digest in context.seen.items()
                if self._seen.get(path) != digest
            }
            seen |= dict.fromkeys(self._seen.keys() - context.seen.keys())
            state["seen"] = seen
        if context.cwd != self._cwd:
            state["cwd"] = None if context.cwd is None else str(context.cwd)
        if context.todos != self._todos:
            state["todos"] = [dict(todo) for todo in context.todos]
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What an agent begins with. grants: rules that a person gave earlier in the session.

    interrupted: what the next message of the person must tell the model first, or "".
    compaction: the last one's stored line. notices: what the person should know.
    """

    journal: Journal
    preamble: Preamble
    record: Recorder
    messages: tuple[Message, ...] = ()
    grants: tuple[Rule, ...] = ()
    compaction: Mapping[str, Any] = field(default_factory=dict)
    interrupted: str = ""
    notices: tuple[str, ...] = ()


def begin(
    options: AgentOptions,
    client: Client,
    context: ToolContext,
    make_preamble: Callable[[], Preamble],
    interrupted: str,
) -> Beginning:
    """Begin a new session, or go on with the stored one; make_preamble: only for a new one.

    interrupted: the words for a turn that the person stopped. Raises JournalError, and
    SessionError where the stored preamble cannot be read.
    """
    writer = Writer(client.model, client.protocol, client.tokenizer_id)
    if options.stored is not None:
        return _go_on(options.stored, writer, context, interrupted)
    preamble = make_preamble()
    header = {**_fields(writer), "glmcode": __version__, "preamble": preamble_to_json(preamble)}
    journal = Journal.create(context.workspace, header, options.session_id)
    return Beginning(journal=journal, preamble=preamble, record=Recorder(journal, context))


def preamble_to_json(preamble: Preamble) -> dict[str, Any]:
    """A preamble as the header stores it; `preamble_from_json` gives the same bytes to send."""
    return {"tools": [spec.function() for spec in preamble.specs], "system": preamble.system}


def preamble_from_json(value: Mapping[str, Any]) -> Preamble:
    """Read a preamble back. Raises LookupError, TypeError or ValueError on damage."""
    from glmcode.tools.specs import load_specs

    effects = {spec.name: spec.effect for spec in load_specs()}
    specs = []
    for tool in value["tools"]:
        function = tool["function"]
        specs.append(
            ToolSpec(
                name=shapes.text(function["name"]),
                description=shapes.text(function["description"]),
                effect=effects.get(function["name"], Effect.EXECUTE),
                parameters=shapes.mapping(function["parameters"]),
            )
        )
    return Preamble(specs=tuple(specs), system=shapes.text(value["system"]))


def _go_on(
    stored: StoredSession, writer: Writer, context: ToolContext, interrupted: str
) -> Beginning:
    told = stored.conversation
    try:
        preamble = preamble_from_json(told.header["preamble"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SessionError(
            f"{stored.journal.path}: line 1 is damaged: it holds no preamble ({error})"
        ) from error
    before = told.known_writers[-1]
    messages, dropped = told.messages_for(writer)
    # The transcript holds them from now on; kept here too, a compaction would free nothing.
    told.messages, told.writers = [], []
    if writer != before:
        stored.journal.write("note", {"engine": _fields(writer)})
    context.seen.update(told.seen)
    context.cwd = Path(told.cwd) if told.cwd else None
    context.todos[:] = told.todos
    grants, notices = _grants(told.grants)
    if stored.closed:
        notices.insert(0, f"{stored.closed} call(s) had no result when glmcode ended; now they do")
    if writer != before:
        notices.insert(0, _other_engine(before, writer, dropped))
    return Beginning(
        journal=stored.journal,
        preamble=preamble,
        record=Recorder(stored.journal, context),
        messages=messages,
        grants=grants,
        compaction=told.compaction,
        interrupted=_interrupted(messages, interrupted),
        notices=tuple(notices),
    )


def _interrupted(messages: tuple[Message, ...], words: str) -> str:
    last = messages[-1] if messages else None
    match last:
        case None:
            return ""
        case AssistantMessage(stop="interrupted"):
            return words
        case AssistantMessage() if not last.call_ids():
            return ""
        case _:
            return UNFINISHED


def _grants(texts: list[str]) -> tuple[tuple[Rule, ...], list[str]]:
    rules: list[Rule] = []
    for text in dict.fromkeys(texts):
        try:
            rules.append(parse_rule(text))
        except RuleError:
            continue  # what cannot be read allows nothing: it is asked again
    if not rules:
        return (), []
    listed = ", ".join(rule.text for rule in rules)
    return tuple(rules), [f"allowed earlier in this session, and still: {listed}"]


def _other_engine(before: Writer, now: Writer, dropped: int) -> str:
    said = [f"this session was written by {before.model} ({before.protocol})"]
    if before.tokenizer and now.tokenizer and before.tokenizer != now.tokenizer:
        said.append("with another tokenizer")
    ids = f" ({dropped} replies lose their token ids)" if dropped else ""
    return (
        f"{' '.join(said)} and goes on with {now.model} ({now.protocol}): it is rendered again "
        f"from its messages{ids}, and this engine computes all of it anew"
    )


def _fields(writer: Writer) -> dict[str, str]:
    return {name: getattr(writer, name) for name in Writer.__slots__}
