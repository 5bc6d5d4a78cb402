from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from glmcode.base.files import digest_of
from glmcode.core import words
from glmcode.core.messages import (
    AssistantMessage,
    RejectedCall,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from glmcode.core.tool import FileChange
from glmcode.sessions import (
    Journal,
    SessionBusy,
    SessionError,
    fold,
    fork_session,
    open_session,
    read_entries,
)

HEADER: dict[str, Any] = {"model": "m", "protocol": "tokens", "tokenizer": "t", "preamble": {}}
HOLD = """
import sys, pathlib
from glmcode.sessions import open_session
open_session(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


def begun(tmp_path: Path, *calls: ToolCall, rejected: tuple[RejectedCall, ...] = ()) -> Journal:
    journal = Journal.create(tmp_path, HEADER)
    journal.message(UserMessage(text="go"))
    if calls or rejected:
        journal.message(AssistantMessage(calls=calls, rejected=rejected, stop="calls"))
    return journal


def crash(journal: Journal) -> Path:
    os.close(journal._descriptor)
    journal._descriptor = -1
    return journal.path


def edit(path: Path, before: bytes | None, after: bytes) -> FileChange:
    old = None if before is None else digest_of(before)
    return FileChange(path=str(path), before=old, after=digest_of(after))


def closed(path: Path) -> list[ToolMessage]:
    stored = open_session(path)
    stored.journal.close()
    return [m for m in stored.conversation.messages if isinstance(m, ToolMessage)]


EDIT = ToolCall(id="call_1_1", name="Edit", arguments={})
BASH = ToolCall(id="call_1_2", name="Bash", arguments={})
GREP = ToolCall(id="call_1_3", name="Grep", arguments={})


def test_a_torn_line_is_cut_off_before_anything_is_appended(tmp_path: Path) -> None:
    path = crash(begun(tmp_path))
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"v":1,"t":"message","mess')
    stored = open_session(path)
    stored.journal.message(AssistantMessage(text="back"))
    stored.journal.close()
    data = path.read_bytes()
    assert data.startswith(whole) and b'"mess{' not in data
    for line in data.splitlines():
        json.loads(line)
    assert fold(path).messages == [UserMessage(text="go"), AssistantMessage(text="back")]


def test_a_file_of_a_newer_glmcode_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = crash(begun(tmp_path))
    with path.open("a") as file:
        file.write('{"v":2,"t":"message"}\n{"torn')
    before = path.read_bytes()
    with pytest.raises(SessionError, match="newer glmcode"):
        open_session(path)
    with pytest.raises(SessionError, match="newer glmcode"):
        fork_session(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("on_disk", "said", "error"),
    [
        (b"new", "The change was applied: a.py", False),
        (b"old", "not applied: ", True),
        (b"something else", "unknown whether it was applied: ", True),
        (None, "unknown whether it was applied: ", True),
    ],
)
def test_after_a_crash_the_file_itself_tells_whether_an_edit_was_applied(
    tmp_path: Path, on_disk: bytes | None, said: str, error: bool
) -> None:
    file = tmp_path / "a.py"
    if on_disk is not None:
        file.write_bytes(on_disk)
    journal = begun(tmp_path, EDIT)
    journal.intent("call_1_1", "Edit", "a.py", (edit(file, b"old", b"new"),))
    path = crash(journal)
    (answer,) = closed(path)
    assert said in answer.text and answer.is_error is error
    assert (answer.call_id, answer.name) == ("call_1_1", "Edit")
    known = {str(file): digest_of(b"new")} if not error else {}
    assert fold(path).seen == known
    assert closed(path) == [answer], "it is told once, and stands in the file"


def test_a_new_file_that_was_not_written_is_not_applied(tmp_path: Path) -> None:
    journal = begun(tmp_path, EDIT)
    journal.intent("call_1_1", "Write", "n.py", (edit(tmp_path / "n.py", None, b"x"),))
    (answer,) = closed(crash(journal))
    assert answer.text.startswith("not applied")


def test_each_open_call_is_answered_by_what_is_known_of_it_in_order(tmp_path: Path) -> None:
    bad = RejectedCall(id="call_1_4", reason="malformed", raw="", before=3)
    journal = begun(tmp_path, EDIT, BASH, GREP, rejected=(bad,))
    journal.message(ToolMessage(call_id="call_1_1", name="Edit", text="done"))
    journal.intent("call_1_2", "Bash", "make", ())
    texts = [answer.text for answer in closed(crash(journal))]
    assert texts[0] == "done"
    assert texts[1].startswith("unknown how far it ran")
    assert texts[2].startswith("not run: ") and "changed nothing" in texts[2]
    assert texts[3] == words.rejected_answer(bad)


def test_a_second_process_is_told_who_holds_the_session(tmp_path: Path) -> None:
    path = crash(begun(tmp_path))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        before = path.read_bytes()
        with pytest.raises(SessionBusy, match=rf"process {holder.pid} .*--fork-session"):
            open_session(path)
        assert path.read_bytes() == before
        fork = fork_session(path)
        assert fork.conversation.messages == [UserMessage(text="go")]
        fork.journal.close()
    finally:
        holder.communicate()
    open_session(path).journal.close()


def test_a_command_that_is_being_started_does_not_hold_a_session_that_was_left(
    tmp_path: Path,
) -> None:
    journal = begun(tmp_path)
    copy = os.dup(journal._descriptor)
    try:
        journal.close()
        open_session(journal.path).journal.close()
    finally:
        os.close(copy)


def test_a_holder_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    threading.Timer(0.05, journal.close).start()
    open_session(journal.path).journal.close()


def test_a_fork_has_the_entries_of_the_old_file_and_a_header_of_its_own(tmp_path: Path) -> None:
    path = crash(begun(tmp_path))
    with path.open("ab") as file:
        file.write(b'{"to')
    before = path.read_bytes()
    fork = fork_session(path)
    fork.journal.message(AssistantMessage(text="here only"))
    fork.journal.close()
    assert path.read_bytes() == before
    header, *entries = read_entries(fork.journal.path)
    assert header["forked_from"] == path.stem and header["id"] == fork.session_id != path.stem
    assert {name: header[name] for name in HEADER} == HEADER
    assert entries[0] == list(read_entries(path))[1]
    assert fork.forked_from == path.stem


def test_a_fork_of_a_session_that_is_running_claims_nothing_about_its_open_calls(
    tmp_path: Path,
) -> None:
    journal = begun(tmp_path, EDIT)
    fork = fork_session(journal.path)
    answer = fork.conversation.messages[-1]
    assert isinstance(answer, ToolMessage) and answer.text.startswith("no result here")
    fork.journal.close()
    journal.message(ToolMessage(call_id="call_1_1", name="Edit", text="done"))
    journal.close()
    assert isinstance(fold(journal.path).messages[-1], ToolMessage)


def test_a_session_in_which_nothing_was_said_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, HEADER)
    assert journal.path.exists()
    journal.close()
    assert not journal.path.exists()
