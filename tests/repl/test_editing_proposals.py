from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_approval import answer, bash, begin
from tests.repl.test_editing import script
from tests.repl.test_turns import reach, sent

EDIT = {"file_path": "a.py", "old_string": "old", "new_string": "new"}


def edits(tmp_path: Path, content: bytes = b"x = 'old'\n", **arguments: Any) -> list[Reply]:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "a.py").write_bytes(content)
    return [
        Reply(calls=[{"name": "Read", "arguments": {"file_path": "a.py"}}]),
        Reply(calls=[{"name": "Edit", "arguments": {**EDIT, **arguments}}]),
        Reply(text="Over."),
    ]


def test_a_command_is_edited_its_parts_are_shown_again_and_then_it_runs(tmp_path: Path) -> None:
    env = script(tmp_path, 'cp "$2" ../seen; basename "$2" > ../name; echo "touch b && ls" > "$2"')
    replies = [Reply(calls=[bash("touch a")]), Reply(text="Over.")]
    with (
        FakeEngine(replies) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        session.wait_for_visible("e edit")
        answer(session, "e")
        session.wait_for_visible("● Bash touch b && ls")
        assert "- ls  needs no rule" in session.screen.visible
        assert "always Bash(touch b)" in session.screen.visible
        assert (tmp_path / "seen").read_text() == "touch a"
        assert (tmp_path / "name").read_text() == "command.sh\n"
        assert not (tmp_path / "workspace" / "b").exists()
        answer(session, "y")
        session.wait_for("Over.")
        assert [one.name for one in (tmp_path / "workspace").iterdir()] == ["b"]
        assert "This ran instead:\\ntouch b && ls" in sent(engine, 1)
        assert "touch a" in str(engine.steps[1].json["messages"]), "the model's own call stays"
        session.type("\x04")
        assert session.wait_exit() == 0 and session.terminal_is_restored()


def test_a_file_is_edited_to_the_byte_and_its_diff_shown_again(tmp_path: Path) -> None:
    env = script(tmp_path, 'basename "$2" > ../name; printf "x = \'mine\'\\r\\ny" > "$2"')
    with (
        FakeEngine(edits(tmp_path)) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        answer(session, "5")
        session.wait_for_visible("+ x = 'mine'")
        assert (tmp_path / "workspace" / "a.py").read_bytes() == b"x = 'old'\n"
        answer(session, "1")
        session.wait_for("Over.")
        assert (tmp_path / "workspace" / "a.py").read_bytes() == b"x = 'mine'\r\ny"
        assert (tmp_path / "name").read_text() == "a.py\n"
        assert "-x = 'new'\\n+x = 'mine'" in sent(engine, 2)


def test_an_editor_that_fails_or_changes_nothing_leaves_the_question_as_it_was(
    tmp_path: Path,
) -> None:
    env = script(
        tmp_path,
        'if [ ! -e ../one ]; then touch ../one; echo bad > "$2"; exit 7; fi; echo >> "$2"',
    )
    replies = [Reply(calls=[bash("touch a")]), Reply(text="Over.")]
    with (
        FakeEngine(replies) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        answer(session, "e")
        session.wait_for_visible("ended with 7: the proposal is as it was")
        answer(session, "e")
        session.wait_for_visible("unchanged: the proposal is as it was")
        answer(session, "y")
        session.wait_for("Over.")
        assert (tmp_path / "workspace" / "a").exists()
        assert "The user changed" not in sent(engine, 1)


def test_without_an_editor_it_is_said_which_variable_names_one(tmp_path: Path) -> None:
    env = {"VISUAL": "", "EDITOR": "", "PATH": str(tmp_path)}
    replies = [Reply(calls=[{"name": "Write", "arguments": {"file_path": "n", "content": "n"}}])]
    with (
        FakeEngine([*replies, Reply(text="Over.")]) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        answer(session, "e")
        session.wait_for_visible("no editor: set VISUAL or EDITOR: the proposal is as it was")
        answer(session, "y")
        session.wait_for("Over.")


def test_an_emptied_proposal_is_a_no(tmp_path: Path) -> None:
    env = script(tmp_path, 'echo " " > "$2"')
    with (
        FakeEngine(edits(tmp_path)) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        answer(session, "e")
        session.wait_for("Over.")
        assert "nothing is left of it: that is a no" in session.screen.text
        assert (tmp_path / "workspace" / "a.py").read_bytes() == b"x = 'old'\n"
        assert "not run: the user said no" in sent(engine, 2)


def test_what_is_denied_is_said_and_opens_again_as_it_was_left(tmp_path: Path) -> None:
    env = script(
        tmp_path, 'cat "$2" >> ../seen; if [ ! -e ../one ]; then touch ../one; echo "rm x" > "$2";'
        ' else echo "touch b" > "$2"; fi',
    )  # fmt: skip
    replies = [Reply(calls=[bash("touch a")]), Reply(text="Over.")]
    options = ("--disallowed-tools", "Bash(rm *)")
    with (
        FakeEngine(replies) as engine,
        glmcode(tmp_path, *reach(engine), *options, env=env) as session,
    ):
        begin(session)
        answer(session, "e")
        session.wait_for_visible("as you edited it, it is not allowed")
        assert "● Bash rm x" not in session.screen.text
        answer(session, "e")
        session.wait_for_visible("● Bash touch b")
        assert (tmp_path / "seen").read_text() == "touch arm x\n"
        answer(session, "y")
        session.wait_for("Over.")
        assert [one.name for one in (tmp_path / "workspace").iterdir()] == ["b"]


def test_a_draft_waits_below_and_digits_edit_too(tmp_path: Path) -> None:
    env = script(tmp_path, 'echo "touch b" > "$2"')
    replies = [Reply(calls=[bash("touch a")], delay=1.0), Reply(text="Over.")]
    with (
        FakeEngine(replies) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        session.wait_gone("> go\n")
        session.type("my draft")
        session.wait_for_visible("digits only")
        session.read(1.1)
        session.type("5")
        session.wait_for_visible("● Bash touch b")
        session.wait_for_visible("❯ my draft")
        session.read(1.1)
        session.type("1")
        session.wait_for("Over.")
        session.wait_for_visible("❯ my draft")


def test_on_a_terminal_of_lines_the_editor_has_the_lines(tmp_path: Path) -> None:
    env = {
        **script(tmp_path, 'read -r line; echo "touch $line" > "$2"'),
        "TERM": "dumb",
    }
    replies = [Reply(calls=[bash("touch a")]), Reply(text="Over.")]
    with (
        FakeEngine(replies) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        session.wait_for("protocol chat")
        session.type("go\n")
        session.wait_for("5 edit it:")
        session.read(0.45)
        session.type("5\n")
        session.read(0.5)
        session.type("mine\n")
        session.wait_for("Bash touch mine")
        session.read(0.45)
        session.type("1\n")
        session.wait_for("Over.")
        assert [one.name for one in (tmp_path / "workspace").iterdir()] == ["mine"]
        assert "\x1b" not in session.raw


def test_a_hang_up_while_it_is_edited_ends_cleanly(tmp_path: Path) -> None:
    env = script(tmp_path, "touch ../open; sleep 100")
    with (
        FakeEngine([Reply(calls=[bash("touch a")])]) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        begin(session)
        answer(session, "e")
        session.wait_until((tmp_path / "open").exists, "the editor")
        session.process.terminate()
        session.wait_exit()
        assert not (tmp_path / "workspace" / "a").exists()
