from __future__ import annotations

import os
import signal
from collections import deque
from pathlib import Path

from prompt_toolkit.search import SearchDirection, SearchState

from glmcode.repl.history import FileHistory, history_file
from glmcode.repl.searching import SearchedBuffer
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_turns import reach, ready


def filled(tmp_path: Path, *texts: str) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    history = FileHistory(history_file(tmp_path / "home" / "state", workspace))
    for text in texts:
        history.store_string(text)


def paste(session: PtySession, text: str) -> None:
    session.type(f"\x1b[200~{text}\x1b[201~")


def test_a_search_that_is_given_up_returns_to_the_draft_and_its_cursor(tmp_path: Path) -> None:
    filled(tmp_path, "first line", "second\nline", "三番目")
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        for ends in ("\x03", "\x07"):
            session.type("a draft\x1b[D\x1b[D")
            session.wait_for_visible("❯ a draft")
            session.type("\x12LINE\x12")
            session.wait_for_visible("❯ first line")
            session.wait_for_visible("history: LINE")
            session.type(ends)
            session.wait_for_visible("❯ a draft")
            session.type("X")
            session.wait_for_visible("❯ a draXft")
            session.type("\x03")
            session.wait_gone("a draXft")


def test_a_search_without_a_find_says_so_and_a_paste_in_it_is_one_line(tmp_path: Path) -> None:
    filled(tmp_path, "one two three")
    with FakeEngine([Reply(text="Read.")]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("\x12")
        paste(session, "two\nthree")
        session.wait_for_visible("history: two three")
        session.wait_for_visible("❯ one two three")
        paste(session, "\r" + "word " * 500)
        session.wait_for_visible("word word")
        session.type("\x07\x12")
        session.wait_for_visible("\nhistory:\n")
        session.type("nowhere")
        session.wait_for_visible("history, nothing has: nowhere")
        session.type("\x15two\r")
        session.wait_for_visible("❯ one two three")
        session.wait_gone("history")
        assert not engine.steps
        session.type("\r")
        session.wait_for("Read.")


def test_two_sessions_of_a_folder_keep_what_both_were_told_and_a_hang_up_keeps_the_draft(
    tmp_path: Path,
) -> None:
    pasted = "".join(f"row {number}\n" for number in range(400))
    with FakeEngine([Reply(text="Read.")] * 4) as engine:
        with (
            glmcode(tmp_path, *reach(engine)) as one,
            glmcode(tmp_path, *reach(engine)) as two,
        ):
            for session, word in ((one, "alpha"), (two, "beta"), (one, "gamma")):
                session.wait_for_visible("ready")
                session.type(f"{word}\r")
                session.wait_for(f"> {word}")
                session.wait_for_visible("ready")
            two.type("unsent ")
            paste(two, pasted)
            two.wait_for_visible("❯ unsent [pasted 400 lines")
            os.kill(two.process.pid, signal.SIGHUP)
            two.wait_exit()
            one.type("\x04")
            assert one.wait_exit() == 0
        with glmcode(tmp_path, *reach(engine)) as third:
            ready(third)
            for entry in ("unsent [pasted 400 lines", "gamma", "beta", "alpha"):
                third.type("\x1b[A")
                third.wait_for_visible(f"❯ {entry}")
            third.type("\x1b[B" * 3)
            third.wait_for_visible("❯ unsent [pasted")
            third.type("\r")
            third.wait_for("Read.")
    assert engine.steps[-1].json["messages"][-1]["content"].endswith(f"unsent {pasted}")


def test_what_a_folded_paste_holds_is_found_where_it_stands(tmp_path: Path) -> None:
    pasted = "".join(f"row {number}\n" for number in range(40))
    replies = [Reply(text="Read."), Reply(text="Once more.")]
    with FakeEngine(replies) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("zebra ")
        paste(session, pasted)
        session.wait_for_visible("Ctrl-O unfolds the paste")
        session.type("\r")
        session.wait_gone("Ctrl-O unfolds the paste")
        session.wait_for("Read.")
        ready(session)
        session.type("\x12ROW 17")
        session.wait_for_visible("history: ROW 17")
        session.wait_for_visible("❯ zebra [pasted 40 lines")
        session.type("\x12\r")
        session.wait_gone("history")
        session.type("\r")
        session.wait_for("Once more.")
    assert engine.steps[1].json["messages"][-1]["content"] == f"zebra {pasted}"


def test_each_paste_is_one_place_of_a_search_in_both_directions(tmp_path: Path) -> None:
    history = FileHistory(tmp_path / "history")
    mark = history.pastes.mark("needle\n" * 20)
    buffer = SearchedBuffer(history)
    buffer._working_lines = deque([f"a {mark} Needle", "none", f"b{mark}"])
    buffer.working_index = 2
    buffer.cursor_position = 2
    places = [(2, 1), (0, 4), (0, 2), (2, 1)]
    for direction, wanted in (
        (SearchDirection.BACKWARD, places),
        (SearchDirection.FORWARD, [(0, 2), (0, 4), (2, 1), (0, 2)]),
    ):
        state = SearchState("needle", direction, ignore_case=True)
        for place in wanted:
            buffer.apply_search(state, include_current_position=False)
            assert (buffer.working_index, buffer.cursor_position) == place
    assert buffer.holds("NEEDLE\nneedle") and not buffer.holds("nowhere")
