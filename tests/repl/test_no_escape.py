from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glmcode.core.events import (
    Appended,
    ApprovalAsked,
    AskedPart,
    CallStarted,
    Delta,
    EngineProgress,
    Event,
    Notice,
    Retrying,
    StepStarted,
    ToolOutput,
    TurnFinished,
    TurnStarted,
)
from glmcode.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from glmcode.core.tool import Preview
from glmcode.demo_view import DemoView
from glmcode.notes import Notes
from glmcode.repl.clean import escaped
from glmcode.repl.columns import columns
from glmcode.repl.links import Links
from glmcode.repl.paint import Painter
from glmcode.repl.view import View
from glmcode.session_text import plain_lines
from glmcode.stream_json import as_line
from glmcode.tools.diff import diff_texts
from glmcode.undo_command import run_undo
from tests.scripted import calls, says
from tests.test_agent import Held
from tests.tools.toolbox import Toolbox

SPLITS = st.lists(st.integers(0, 200), max_size=6)
HOSTILE = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [
                *(
                    b"\x1b]52;c;ZXZpbA==\x07",
                    b"\x1b[2J",
                    b"\x1b",
                    b"[1;1H",
                    b"]0;t\x1b\\",
                    b"\x9b31m",
                ),
                *(b"\xc2\x9b2J", b"\xc2\x9d8;;http://x\x07", b"\x1bPq", b"\x1b_G", b"\x1b[?1049h"),
                *("\u202e".encode(), "\u2066".encode(), "\ufeff".encode(), "\U000e0041".encode()),
                *(
                    b"\r",
                    b"\n",
                    b"\t",
                    b"\x08",
                    b"\x7f",
                    b"\x00",
                    b"\xe2",
                    b"\x80",
                    b"\xae",
                    b"\xff",
                ),
                *(b"```\n", b"# ", b"**", b"[a](http://x)", b"|a|b|\n|-|-|\n", b"<b>", b"&#27;[2J"),
                *(b"+new\n", b"@@ -1 +1 @@\n", b"word ", "日本".encode(), b"&#x9b;", b"\\\x1b"),
            ]
        ),
        max_size=24,
    ).map(b"".join),
)
"""Bytes as a command may print them and a model may spell them, cut anywhere."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINKED = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;(?:id=\d*;file://here/[A-Za-z0-9%/._~-]*|;)\x1b\\")
ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def pieces(data: bytes, cuts: list[int]) -> list[str]:
    """The text in pieces: cut as bytes, each piece read for itself, as a careless reader would."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    parts = [data[a:b] for a, b in pairwise(places)]
    return [part.decode("utf-8", "surrogateescape") for part in parts]


def only_own_escapes(text: str, own: re.Pattern[str] = COLOUR) -> None:
    left = own.sub("", text)
    assert not ACTING.search(left), repr(ACTING.findall(left))


def everything(parts: list[str]) -> Iterator[Event]:
    """A turn in which all that can hold foreign text holds it."""
    text = "".join(parts)
    preview = Preview(
        kind="diff", title=f"edit {text}", body=f"@@ -1,1 +1,1 @@\n-{text}\n+{text}\n"
    )
    command = Preview(kind="command", title=text, body=text)
    yield TurnStarted()
    yield StepStarted(number=1)
    for kind in ("reasoning", "text"):
        for part in parts:
            yield Delta(kind=kind, text=part)  # type: ignore[arg-type]
    for part in parts:
        yield Delta(kind="call", text=part, call_index=0, name=part, argument="command")
    calls = tuple(
        ToolCall(id=f"c{i}", name=n, arguments={"command": text})
        for i, n in enumerate(("Bash", "Edit", text or "x"))
    )
    yield Appended(message=AssistantMessage(text=text, reasoning=text, calls=calls))
    for number, shown in enumerate((command, preview, command)):
        asked = f"c{number}"
        question = ApprovalAsked(
            call_id=asked,
            name=calls[number].name,
            subject=text,
            preview=shown,
            parts=(AskedPart(text=text, rule=text), AskedPart(text=text, why=text)),
            why=text,
        )
        yield replace(question, others=(replace(question, call_id=f"{asked}+"),))
        yield question
        yield CallStarted(call_id=asked, name=calls[number].name, preview=shown)
        for part in parts:
            yield ToolOutput(call_id=asked, text=part)
        message = ToolMessage(
            call_id=asked, name="Bash", text=f"{text}\n[exit 1 in 0.1 s]", is_error=True
        )
        yield Appended(message=message, for_user=command)
    yield Appended(message=UserMessage(text=text, origin="glmcode"))
    yield Notice(text=text)
    yield Retrying(why=text, wait_s=1.0, attempt=1)
    yield EngineProgress(phase=text)
    yield TurnFinished(reason="error", steps=1, detail=text, log=text)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, SPLITS, st.booleans(), st.integers(20, 120))
@example(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", [1, 2, 3], True, 80)
def test_the_terminal_session_writes_no_escape_but_its_own_colours(
    data: bytes, cuts: list[int], verbose: bool, width: int
) -> None:
    seen = View(Painter(width), verbose=verbose, clock=lambda: 5.0)
    for event in everything(pieces(data, cuts)):
        for line in [*seen.event(event), *seen.tail(8)]:
            only_own_escapes(line)
    for line in seen.person("".join(pieces(data, cuts))):
        only_own_escapes(line)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, HOSTILE, st.sampled_from(["a.py", "b.md", "c.html", ""]), st.integers(10, 120))
def test_a_diff_in_colours_holds_no_escape_but_those(
    old: bytes, new: bytes, name: str, width: int
) -> None:
    before, after = (data.decode("utf-8", "replace") for data in (old, new))
    for limit in (3, None):
        body = diff_texts(before, after).body
        for line in Painter(width).diff(f"{body}\n{after}", name, limit=limit):
            only_own_escapes(line)
            assert "\n" not in line and "\r" not in line


@settings(max_examples=150, deadline=None)
@given(HOSTILE, SPLITS, st.integers(10, 120))
@example(b"a\x07\x1b]8;;http://x\x1b\\;b", [1, 2, 3], 80)
def test_a_path_that_can_be_clicked_holds_nothing_but_an_address(
    data: bytes, cuts: list[int], width: int
) -> None:
    painter = Painter(width)
    painter.links = Links("here", Path("/work"))
    seen = View(painter, clock=lambda: 5.0)
    text = "".join(pieces(data, cuts))
    call = ToolCall(id="c", name="Write", arguments={"file_path": text, "content": text})
    lines = seen.event(Appended(message=AssistantMessage(calls=(call,))))
    preview = Preview(kind="text", title=text)
    lines += seen.event(ApprovalAsked(call_id="c", name="Write", subject=text, preview=preview))
    for line in [*lines, *seen.tail(8)]:
        only_own_escapes(line, LINKED)
        assert columns(LINKED.sub("", line)) <= max(width, 10)


def written(write: Callable[[], None]) -> str:
    """What goes to standard output and error, as a terminal would get it.

    Not by a fixture: pytest takes the descriptors back between setup and call.
    """
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            write()
        finally:
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
        file.seek(0)
        return file.read().decode("utf-8")


@settings(max_examples=150, deadline=None)
@given(HOSTILE, SPLITS)
def test_the_notes_of_a_headless_run_hold_no_escape(data: bytes, cuts: list[int]) -> None:
    def write() -> None:
        notes = Notes(verbose=True)
        for event in everything(pieces(data, cuts)):
            notes.event(event)
        text = "".join(pieces(data, cuts))
        notes.error(text, text)
        notes.denials([{"tool_name": text}])

    said = written(write)
    assert "glmcode: " in said
    only_own_escapes(said, re.compile("(?!)"))


@settings(max_examples=150, deadline=None)
@given(HOSTILE, SPLITS, st.booleans())
def test_the_demo_writes_no_escape_but_colours_and_the_erasing_of_its_progress(
    data: bytes, cuts: list[int], terminal: bool
) -> None:
    text = "".join(pieces(data, cuts))

    def write() -> None:
        seen = DemoView(verbose=True)
        seen.terminal = seen.colour = terminal
        for event in everything(pieces(data, cuts)):
            seen.event(event)
        for say in (seen.title, seen.request, seen.command):
            say(text)
        seen.output(text, 1)
        seen.failed(text, text)

    said = written(write)
    assert "glmcode demo: " in said
    only_own_escapes(said, re.compile(r"\x1b\[[0-9;]*m|\r\x1b\[K"))


@settings(max_examples=150, deadline=None)
@given(HOSTILE, SPLITS)
def test_a_stored_session_shown_and_json_lines_hold_no_escape(data: bytes, cuts: list[int]) -> None:
    text = "".join(pieces(data, cuts))
    roles = [{"role": "user", "text": text}, {"role": "tool", "text": text, "name": text}]
    call = {"name": text, "arguments": {"command": text}}
    roles.append({"role": "assistant", "text": text, "reasoning": text, "calls": [call]})  # type: ignore[dict-item]
    entries = [
        {"t": "header", "id": text, "workspace": text, "model": text},
        *({"t": "message", "message": role} for role in roles),
        {"t": "compaction", "why": text},
    ]
    for full in (False, True):
        for line in plain_lines(entries, full=full):
            only_own_escapes(line, re.compile("(?!)"))
    clean = data.decode("utf-8", "replace")
    line = as_line({"text": clean, clean: [clean]})
    only_own_escapes(line, re.compile("(?!)"))
    assert json.loads(line) == {"text": clean, clean: [clean]}
    assert escaped("plain") == "plain"


def test_the_result_of_a_command_that_prints_escapes_shows_none(tmp_path: Path) -> None:
    box = Toolbox(tmp_path)
    box.put("evil", b"\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\xc2\x9b2Jend\n")
    text = box.call("Bash", command="cat evil; printf '\\033[3'; sleep 0.1; printf '1mred'")
    seen = View(Painter(80), clock=lambda: 5.0)
    message = ToolMessage(call_id="c", name="Bash", text=text)
    for line in seen.event(Appended(message=message)):
        only_own_escapes(line)
    assert "\x1b" not in text and "end" in text and "red" in text


def test_the_names_of_files_that_an_undo_tells_hold_no_escape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    name = "a\x1b]52;c;ZXZpbA==\x07\u202eb.txt"
    script = [calls(("Write", {"file_path": name, "content": "\x1b[2Jevil\n"})), says("done")]
    Held(work, script, mode="bypassPermissions").run("make \x1b[31m it")
    assert (work / name).exists()
    for words in (["--list"], ["--dry-run"]):
        said = written(lambda words=words: run_undo([*words, "-C", str(work)]))
        assert "b.txt" in said
        only_own_escapes(said, re.compile("(?!)"))
    (work / name).write_text("changed\n")
    said = written(lambda: run_undo(["--yes", "-C", str(work)]))
    assert "b.txt" in said
    only_own_escapes(said, re.compile("(?!)"))
