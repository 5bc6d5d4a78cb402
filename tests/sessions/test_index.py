from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from glmcode.core.messages import UserMessage
from glmcode.sessions import (
    Journal,
    SessionError,
    SessionUnknown,
    ago,
    find_session,
    fold,
    latest_session,
    list_sessions,
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


def session(
    workspace: Path, session_id: str, *, said: str | None = "hello", age: float = 0
) -> Path:
    journal = Journal.create(workspace, {"model": "m", "protocol": "chat"}, session_id)
    journal.write("note", {})
    if said is not None:
        journal.message(UserMessage(text="nudge", origin="glmcode"))
        journal.message(UserMessage(text=f"Folder: x\n\n{said}"), {"typed": said})
    journal.close()
    os.utime(journal.path, (time.time() - age, time.time() - age))
    return journal.path


def test_the_latest_session_is_the_one_used_last_in_which_something_was_said(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    session(here, "20260101-000000-aaaaaa", age=50)
    wanted = session(here, "20250101-000000-bbbbbb", age=10)
    session(here, "20260102-000000-cccccc", said=None)
    session(there, "20260103-000000-dddddd")
    assert latest_session(here) == wanted
    with pytest.raises(SessionUnknown, match="no session"):
        latest_session(tmp_path)


def test_a_list_tells_the_first_words_of_a_person_and_the_last_used_first(tmp_path: Path) -> None:
    session(tmp_path, "20260101-000000-aaaaaa", said="one\n two  three", age=20)
    session(tmp_path, "20260101-000000-bbbbbb", said="x" * 500, age=10)
    broken = session(tmp_path, "20260101-000000-cccccc", age=5)
    broken.write_text("garbage\n")
    listed = list_sessions(tmp_path)
    assert [one.title for one in listed] == ["(cannot be read)", "x" * 100, "one two three"]
    assert "line 1 is damaged" in listed[0].fault and not listed[1].fault
    session(tmp_path / "other", "20260101-000000-dddddd")
    assert len(list_sessions(tmp_path)) == 3
    assert len(list_sessions(None)) == 4


def test_an_id_may_be_cut_short_as_long_as_one_session_is_meant(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    one = session(here, "20260101-000000-aaaaaa")
    two = session(here, "20260101-000000-aabbbb")
    other = session(there, "20260202-000000-cccccc")
    assert find_session(here, "20260101-000000-aaa") == one
    assert find_session(here, two.stem) == two
    assert find_session(here, "20260202") == other
    with pytest.raises(SessionUnknown, match=r"2 sessions begin with '20260101'.*aabbbb"):
        find_session(here, "20260101")
    for wrong in ("", "*", "../..", "2027", "[2]*"):
        with pytest.raises(SessionUnknown, match="sessions list"):
            find_session(here, wrong)


def test_an_id_that_is_the_beginning_of_another_means_itself(tmp_path: Path) -> None:
    one = session(tmp_path, "20260101-000000-aaaaaa")
    session(tmp_path, "20260101-000000-aaaaaa-2")
    assert find_session(tmp_path, one.stem) == one


def test_a_file_whose_header_is_missing_is_listed_as_one_that_cannot_be_read(
    tmp_path: Path,
) -> None:
    path = session(tmp_path / "w", "20260101-000000-aaaaaa")
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    [summary] = list_sessions(tmp_path / "w")
    assert summary.title == "(cannot be read)" and "header" in summary.fault


def test_moments_of_the_past_are_told_in_words() -> None:
    now = time.time()
    told = [ago(now - past, now) for past in (1, 600, 7200, 10**6)]
    assert told[:3] == ["just now", "10 min ago", "2 h ago"]
    assert told[3].count("-") == 2


def test_what_is_no_file_is_a_session_that_cannot_be_read_and_nobody_waits_for_it(
    tmp_path: Path,
) -> None:
    kept = session(tmp_path, "20260101-000000-aaaaaa", age=50)
    os.mkfifo(kept.with_stem("20260102-000000-bbbbbb"))
    listed = list_sessions(tmp_path)
    assert {one.session_id: bool(one.fault) for one in listed} == {
        "20260101-000000-aaaaaa": False,
        "20260102-000000-bbbbbb": True,
    }
    with pytest.raises(SessionError, match="no regular file"):
        fold(kept.with_stem("20260102-000000-bbbbbb"))
