"""Tool calls as a person sees them: a header, the diff or command, the result in a few lines.

A diff or command is shown in full before it is approved (long ones are cut, with counts and
a key to see all); afterwards only the outcome follows. Live output of a command stays in
the tail until its end is printed. Must not decide anything about a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from glmcode.core.events import ApprovalAsked, CallStarted, ToolOutput
from glmcode.core.messages import AssistantMessage, RejectedCall, ToolCall, ToolMessage
from glmcode.core.tool import Effect, Preview
from glmcode.repl.clean import one_line, plain_output, visible
from glmcode.repl.diff import is_cut
from glmcode.repl.paint import Painter
from glmcode.repl.parts import PARTS, part_lines
from glmcode.repl.todo import TOOL, Todos, changed, read_todos
from glmcode.tools.specs import load_specs

ASKED_LINES = 80
TOGETHER_LINES = 24
SHOWN_LINES = 30
RESULT_LINES = 8
ERROR_LINES = 12
LIVE_LINES = 5
SUBJECT_CHARS = 160
LIVE_CHARS = 8_192
SUBJECT_KEYS = ("file_path", "command", "pattern", "path", "task_id")
COMMANDS = ("Bash", "BashOutput")
FILES = ("Edit", "Write", "Revert")


@dataclass(frozen=True, slots=True)
class Folded:
    """What was cut, to be shown whole when it is asked for. name: of a diff's file."""

    title: str
    text: str
    name: str = ""
    diff: bool = False


NOTHING = Folded("", "")


@dataclass(slots=True)
class _Running:
    name: str
    subject: str
    started: float
    output: str = ""


@dataclass(slots=True)
class _Known:
    """What was said about a call so far."""

    name: str = ""
    subject: str = ""
    header: bool = False
    bodies: list[str] = field(default_factory=list)
    refused: bool = False
    todos: Todos = ()
    file: str = ""


class Calls:
    """The calls of the message that is being answered. Methods return lines to print."""

    def __init__(self, painter: Painter, clock: Callable[[], float]) -> None:
        self._painter = painter
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._running: dict[str, _Running] = {}
        self._last_header = ""
        self._todos: Todos = ()
        self.cut = NOTHING

    def message(self, message: AssistantMessage) -> list[str]:
        """The calls that a message holds; rejected ones are said now."""
        self._known = {call.id: _Known(call.name, _subject(call)) for call in message.calls}
        for call in message.calls:
            if isinstance(path := call.arguments.get("file_path"), str):
                self._known[call.id].file = path
            if call.name == TOOL:
                self._known[call.id].todos = read_todos(call.arguments)
        self._running, self._last_header = {}, ""
        lines: list[str] = []
        for rejected in message.rejected:
            self._known[rejected.id] = _Known(rejected.name, header=True, refused=True)
            lines += self._rejected(rejected)
        return lines

    def asked(self, asked: ApprovalAsked, *, whole: bool = False) -> list[str]:
        """Header, preview and parts of an action that needs an answer, and of those with it."""
        limit = None if whole else TOGETHER_LINES if asked.others else ASKED_LINES
        self._running.pop(asked.call_id, None)  # it ended, and may run again
        lines: list[str] = []
        for number, one in enumerate((asked, *asked.others), start=1):
            known = self._of(one.call_id, one.name, one.subject)
            known.subject = one.subject or known.subject
            if not (one.question and self._last_header == one.call_id):
                lines += self._header(one.call_id, known, f"{number}. " if asked.others else "")
            lines += self._preview(known, one.preview, limit)
            lines += part_lines(self._painter, one, whole=whole)
        return lines

    def is_cut(self, asked: ApprovalAsked) -> bool:
        """Whether a question has more lines than are shown."""
        limit = TOGETHER_LINES if asked.others else ASKED_LINES
        return any(
            max(one.preview.body.count("\n"), one.preview.title.count("\n")) >= limit
            or (one.preview.kind == "diff" and is_cut(one.preview.body, limit))
            or len(one.parts) > PARTS
            for one in (asked, *asked.others)
        )

    def started(self, event: CallStarted) -> list[str]:
        """An action is being committed: header and preview, unless they stand there already."""
        known = self._of(event.call_id, event.name, one_line(event.preview.title))
        self._running[event.call_id] = _Running(event.name, known.subject, self._clock())
        if _only_reads(event.name) or known.header:
            return []
        lines = self._header(event.call_id, known)
        return lines + self._preview(known, event.preview, SHOWN_LINES)

    def output(self, event: ToolOutput) -> None:
        """Live output; only its end is kept."""
        running = self._running.get(event.call_id)
        if running is not None:
            running.output = (running.output + event.text)[-LIVE_CHARS:]

    def refused(self, call_id: str) -> None:
        """The person said no: that was shown, so the result need not repeat it."""
        if call_id in self._known:
            self._known[call_id].refused = True

    def result(self, message: ToolMessage, for_user: Preview | None) -> list[str]:
        """How a call ended."""
        self._running.pop(message.call_id, None)
        known = self._of(message.call_id, message.name, "")
        if known.refused:
            return []
        if known.name == TOOL and not message.is_error:
            before, self._todos = self._todos, known.todos
            return changed(self._painter, known.todos, before)
        lines: list[str] = []
        if self._last_header != message.call_id:
            lines = self._header(message.call_id, known)
        self.cut = NOTHING
        lines += self._outcome(known, message, for_user)
        if self.cut.text and not self.cut.title:
            title = f"{known.name} {self._short(known.subject)}"
            self.cut = replace(self.cut, title=title)
        return lines

    def stop(self) -> None:
        """The turn is over: nothing runs any more."""
        self._running = {}

    def tail(self, height: int) -> list[str]:
        """What runs now, with the end of its output."""
        lines: list[str] = []
        for running in list(self._running.values())[:height]:
            seconds = self._clock() - running.started
            name = f"{running.name} {one_line(running.subject, 100)}"
            lines += self._painter.spans(
                [("dim", f"{self._painter.marks[2]} running {name} ({seconds:.0f} s)")], indent=2
            )[:2]
            shown = plain_output(running.output).rstrip("\n").split("\n")[-LIVE_LINES:]
            if running.output.strip():
                lines += self._painter.spans([("dim", "\n".join(shown))], indent=4)[-LIVE_LINES:]
        return lines[-height:]

    def _of(self, call_id: str, name: str, subject: str) -> _Known:
        known = self._known.setdefault(call_id, _Known(name, subject))
        known.subject = known.subject or subject
        return known

    def _header(self, call_id: str, known: _Known, number: str = "") -> list[str]:
        known.header = True
        self._last_header = call_id
        spans = [
            ("bullet", f"{self._painter.marks[0]} "),
            ("bold", number),
            ("tool", known.name or "call"),
            ("", " "),
            ("", self._painter.file(self._short(known.subject), known.file)),
        ]
        return self._painter.spans(spans, hang=2)

    def _short(self, subject: str) -> str:
        """A subject in the header: of several lines the first, as they all follow below."""
        first, *rest = subject.strip().split("\n")
        return one_line(first, SUBJECT_CHARS) + (f" {self._painter.marks[2]}" if rest else "")

    def _preview(self, known: _Known, preview: Preview, limit: int | None) -> list[str]:
        known.bodies.append(preview.body)
        match preview.kind:
            case "diff":
                return self._diff(known, preview.body, limit) if preview.body else []
            case "command":
                command = preview.title
                in_header = one_line(command, SUBJECT_CHARS) == command.strip()
                shown = in_header and command.strip() == known.subject.strip()
                lines = [] if shown else self._text(visible(command), limit, "")
                return lines + self._text(visible(preview.body), limit, "dim")
            case "text":
                return self._text(visible(preview.body), limit, "")

    def _diff(self, known: _Known, body: str, limit: int | None) -> list[str]:
        name = known.subject if known.name in FILES else ""
        if limit == SHOWN_LINES and is_cut(body, limit):
            self.cut = Folded(f"{known.name} {self._short(known.subject)}", body, name, diff=True)
        return self._painter.diff(body, name, limit=limit)

    def _outcome(self, known: _Known, message: ToolMessage, for_user: Preview | None) -> list[str]:
        if message.is_error:
            return self._error(message)
        if for_user is not None and for_user.kind == "diff":
            lines = self._closing(message.text)
            if for_user.body and for_user.body not in known.bodies:
                return self._diff(known, for_user.body, SHOWN_LINES) + lines
            return lines
        if known.name in COMMANDS:
            return self._ending(message.text)
        if for_user is not None:
            said = for_user.body or for_user.title
            if "\n" not in said.strip("\n"):
                return self._closing(said)
            return self._text(said, RESULT_LINES, "dim")
        if known.name == "Read":
            return self._closing(_read_summary(message.text))
        return self._text(message.text, RESULT_LINES, "dim")

    def _ending(self, text: str) -> list[str]:
        """The last lines of a command's output; its very last says how it ended."""
        shown = plain_output(text).rstrip("\n").split("\n")
        body, end = shown[:-1], shown[-1]
        if not end.startswith("["):
            body, end = shown, ""
        lines = self._tail_text(body)
        return lines + self._closing(end) if end else lines

    def _tail_text(self, body: list[str]) -> list[str]:
        if not any(line.strip() for line in body):
            return []
        lines: list[str] = []
        if len(body) > RESULT_LINES:
            self.cut = Folded("", "\n".join(body))
            left_out = f"{self._painter.marks[2]} {len(body) - RESULT_LINES:,} lines before"
            lines = self._painter.spans([("dim", left_out)], indent=2)
        return lines + self._painter.output("\n".join(body[-RESULT_LINES:]))

    def _error(self, message: ToolMessage) -> list[str]:
        shown = plain_output(message.text).strip("\n").split("\n")
        if message.name in COMMANDS and shown[-1].startswith("["):
            end = [("error", f"{self._painter.marks[1]} {shown[-1]}")]
            return self._tail_text(shown[:-1]) + self._painter.spans(end, indent=2)
        return self._text("\n".join(shown), ERROR_LINES, "error")

    def _closing(self, text: str) -> list[str]:
        line = one_line(text.split("\n", 1)[0])
        return self._painter.spans([("dim", f"{self._painter.marks[1]} {line}")], indent=2, hang=4)

    def _text(self, text: str, limit: int | None, style: str) -> list[str]:
        shown = plain_output(text).strip("\n").split("\n")
        if not any(line.strip() for line in shown):
            return []
        more = len(shown) - limit if limit is not None else 0
        if more > 0:
            self.cut = Folded("", "\n".join(shown))
            shown = shown[:limit]
        lines = self._painter.spans([(style, "\n".join(shown))], indent=2, hang=2)
        if more > 0:
            note = f"{self._painter.marks[2]} {more:,} more lines"
            lines += self._painter.spans([("dim", note)], indent=2)
        return lines

    def _rejected(self, call: RejectedCall) -> list[str]:
        mark = self._painter.marks[3]
        name = call.name or "a call"
        text = f"{mark} {name}: not run, the model wrote it in a way that is {call.reason}"
        return self._painter.spans([("error", text)], hang=2)


def _only_reads(name: str) -> bool:
    """Whether a tool only reads: several of those run at once, so each is shown when it ended."""
    return any(spec.name == name and spec.effect is Effect.READ for spec in load_specs())


def _subject(call: ToolCall) -> str:
    arguments: Mapping[str, Any] = call.arguments
    return next((str(arguments[key]) for key in SUBJECT_KEYS if key in arguments), "")


def _read_summary(text: str) -> str:
    last = text.rstrip("\n").rsplit("\n", 1)[-1]
    if last.startswith("[lines "):
        return last
    lines = text.rstrip("\n").count("\n") + 1 if text.strip() else 0
    return f"{lines} line{'' if lines == 1 else 's'}"
