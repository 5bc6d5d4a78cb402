from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from glmcode.core.tool import FileChange
from glmcode.sessions import Journal, JournalError, SessionError, fold_messages, read_entries


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


MESSAGES = (
    UserMessage(text="hello \ud800 \u2028 there"),
    AssistantMessage(
        text="x", calls=(ToolCall(id="a", name="Read", arguments={"file_path": "é"}),), stop="calls"
    ),
    ToolMessage(call_id="a", name="Read", text="1\tline"),
)


def test_a_conversation_is_a_fold_over_its_file(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {"model": "m"})
    for message in MESSAGES:
        journal.message(message)
        assert fold_messages(journal.path)[-1] == message
    journal.intent("a", "Edit", "x.py", (FileChange(path="/x.py", before=None, after="00"),))
    journal.close()
    assert fold_messages(journal.path) == MESSAGES
    kinds = [entry["t"] for entry in read_entries(journal.path)]
    assert kinds == ["header", "message", "message", "message", "intent"]


def test_a_session_file_is_private(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {})
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    journal.close()


def test_a_torn_last_line_is_dropped_and_damage_elsewhere_is_said(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {})
    journal.message(MESSAGES[0])
    journal.close()
    with journal.path.open("a") as file:
        file.write('{"v":1,"t":"mess')
    assert fold_messages(journal.path) == MESSAGES[:1]
    text = journal.path.read_text()
    journal.path.write_text("not json\n" + text)
    with pytest.raises(SessionError, match="line 1 is damaged"):
        fold_messages(journal.path)


def test_unknown_kinds_are_ignored_and_a_newer_version_is_refused(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {})
    journal.write("from_the_future", {"x": 1})
    journal.message(MESSAGES[0])
    journal.close()
    assert fold_messages(journal.path) == MESSAGES[:1]
    with journal.path.open("a") as file:
        file.write(json.dumps({"v": 2, "t": "message"}) + "\n")
    with pytest.raises(SessionError, match="newer glmcode"):
        fold_messages(journal.path)


def test_a_line_that_does_not_fit_on_the_disk_is_cut_off_and_said(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {})
    journal.message(MESSAGES[0])
    size = journal.path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(JournalError, match="cannot be written"):
            journal.message(UserMessage(text="y" * 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.path.stat().st_size == size
    journal.message(MESSAGES[0])
    journal.close()
    assert fold_messages(journal.path) == (MESSAGES[0], MESSAGES[0])


def test_a_state_folder_that_cannot_be_made_is_a_journal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "file"))
    with pytest.raises(JournalError, match="cannot be written"):
        Journal.create(tmp_path, {})


def test_a_writer_killed_at_any_moment_leaves_a_readable_session(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import sys\n"
        "from glmcode.sessions import Journal\n"
        "from glmcode.core.messages import UserMessage\n"
        "j = Journal.create(Path(sys.argv[1]), {})\n"
        "print(j.path, flush=True)\n"
        "for i in range(10**9):\n"
        "    j.message(UserMessage(text=str(i) + 'x' * 5000))\n"
        "    print(i, flush=True)\n"
    )
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        for _ in range(50):
            shown = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        shown = max([shown, *[int(line) for line in rest[:-1] if line]])
        process.wait()
        messages = fold_messages(path)
        assert len(messages) > shown
        assert [m.text.rstrip("x") for m in messages if isinstance(m, UserMessage)] == [
            str(i) for i in range(len(messages))
        ]
