from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_turns import reach, ready, sent

UP = "\x1b[A"


def bash(command: str) -> dict[str, Any]:
    return {"name": "Bash", "arguments": {"command": command}}


def answer(session: PtySession, key: str, question: str = "Allow it?") -> None:
    """Press a key after the pause that an answer needs."""
    session.wait_for_visible(question)
    session.read(0.45)
    session.type(key)


def grants(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "home" / "config" / "config.toml"
    return tomllib.loads(path.read_text())["grants"] if path.exists() else []


def begin(session: PtySession) -> None:
    ready(session)
    session.type("go\r")


def test_each_part_of_a_command_stands_on_a_line_with_its_rule_or_the_reason(
    tmp_path: Path,
) -> None:
    command = "ls && make x && rm \"$HOME/$NAME\" && touch 'e\u202evil'"
    script = [Reply(calls=[bash(command)]), Reply(text="Over.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        session.wait_for_visible("Allow it?")
        shown = session.screen.visible
        assert "- ls  needs no rule" in shown
        assert "- make x  would be allowed by Bash(make x)" in shown
        assert 'rm "$HOME/$NAME"  no rule can allow this: a word of it is known only' in shown
        assert "always" not in shown and "for this session" not in shown
        assert "touch 'e<U+202E>vil'  no rule can allow this: its text can't be" in shown
        assert session.screen.foreign == [] and "\u202e" not in session.raw
        answer(session, "3")
        session.read(0.3)
        assert "Allow it?" in session.screen.visible, "there is no always"
        session.type("\x7f")
        answer(session, "4")
        answer(session, "\r", "What instead?")
        session.wait_for("Over.")


def test_many_parts_are_counted_and_a_key_shows_them_all(tmp_path: Path) -> None:
    command = " && ".join([*("echo hello" for _ in range(3)), *(f"touch f{n}" for n in range(11))])
    script = [Reply(calls=[bash(command)]), Reply(text="Over.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), size=(100, 40)) as session:
        begin(session)
        session.wait_for_visible("Allow it?")
        assert "touch f7  would" in session.screen.visible
        assert "touch f8  would" not in session.screen.visible
        assert "4 more parts" in session.screen.visible, "equal parts count once"
        answer(session, "\x0f")
        session.wait_for("touch f10  would be allowed by Bash(touch f10)")
        answer(session, "y")
        session.wait_for("Over.")
        assert (tmp_path / "workspace" / "f10").exists()


def test_yes_holds_once_and_for_the_session_until_it_ends(tmp_path: Path) -> None:
    script = [
        *(Reply(calls=[bash("touch a")]) for _ in range(3)),
        Reply(text="Over."),
        Reply(calls=[bash("touch a")]),
        Reply(text="Again."),
    ]
    with FakeEngine(script) as engine:
        with glmcode(tmp_path, *reach(engine)) as session:
            begin(session)
            answer(session, "y")
            session.wait_for("exit 0")
            answer(session, "s")
            session.wait_for("Over.")
            assert "yes, for this session Bash(touch a)" in session.screen.text
            assert len(engine.steps) == 4 and grants(tmp_path) == []
        with glmcode(tmp_path, *reach(engine)) as session:
            begin(session)
            answer(session, "1")
            session.wait_for("Again.")


def test_always_is_edited_refused_while_it_will_not_do_and_then_kept_for_the_folder(
    tmp_path: Path,
) -> None:
    script = [
        Reply(calls=[bash("touch one")]),
        Reply(calls=[bash("touch two")]),
        Reply(text="Over."),
        Reply(calls=[bash("touch three")]),
        Reply(text="Again."),
    ]
    with FakeEngine(script) as engine:
        with glmcode(tmp_path, *reach(engine)) as session:
            begin(session)
            session.wait_for_visible("always Bash(touch one)")
            answer(session, "a")
            session.wait_for_visible("❯ Bash(touch one)")
            session.type("x\r")
            session.wait_for_visible("does not parse")
            session.type("\x15Bash(ls *)\r")
            session.wait_for_visible("it would not allow this: `touch one` writes")
            session.type("\x1b")
            answer(session, "a")
            session.wait_for_visible("❯ Bash(touch one)")
            session.type("\x7f\x7f\x7f\x7f*)\r")
            session.wait_for("Over.")
            assert "always, in this folder Bash(touch *)" in session.screen.text
            ready(session)
            session.type(UP)
            session.read(0.3)
            assert "> go" in session.screen.visible, "a rule is no message"
        workspace = tmp_path / "workspace"
        assert grants(tmp_path) == [{"folder": str(workspace), "allow": ["Bash(touch *)"]}]
        with glmcode(tmp_path, *reach(engine)) as session:
            begin(session)
            session.wait_for("Again.")
            assert (workspace / "three").exists() and "Allow" not in session.screen.text


def test_a_draft_outlives_the_editing_of_a_rule(tmp_path: Path) -> None:
    script = [Reply(calls=[bash("touch one")], delay=1.0), Reply(text="Over.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        session.wait_gone("> go\n")
        session.type("my draft")
        session.wait_for_visible("digits only")
        session.read(1.1)
        session.type("3")
        session.wait_for_visible("❯ Bash(touch one)")
        session.type("\r")
        session.wait_for("Over.")
        session.wait_for_visible("❯ my draft")


def test_a_protected_file_offers_no_always_and_says_why(tmp_path: Path) -> None:
    write = {"name": "Write", "arguments": {"file_path": ".git/config", "content": "x\n"}}
    script = [Reply(calls=[write]), Reply(text="Over.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        session.wait_for_visible("Allow it?")
        assert "no rule can allow this: .git/config: .git is" in session.screen.text.replace(
            f"{tmp_path / 'workspace'}/", ""
        ).replace("\n    ", " ")
        assert "always" not in session.screen.visible
        answer(session, "n")
        answer(session, "leave it\r", "What instead?")
        session.wait_for("Over.")
        assert "the user said no: leave it" in sent(engine, 1)


def three(tmp_path: Path) -> list[Reply]:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "a.txt").write_text("old\n")
    edit = {"file_path": "a.txt", "old_string": "old", "new_string": "new"}
    return [
        Reply(calls=[{"name": "Read", "arguments": {"file_path": "a.txt"}}]),
        Reply(calls=[bash("touch 1"), {"name": "Edit", "arguments": edit}, bash("cat a.txt > 3")]),
        Reply(text="Over."),
    ]


def test_several_questions_stand_in_one_list_and_one_yes_answers_all(tmp_path: Path) -> None:
    with FakeEngine(three(tmp_path)) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        session.wait_for_visible("Allow all 3?")
        shown = session.screen.visible
        assert (
            shown.index("1. Bash touch 1") < shown.index("2. Edit a.txt") < shown.index("3. Bash")
        )
        assert "1 - old" in shown and "1 + new" in shown and "would be allowed by" in shown
        assert not (tmp_path / "workspace" / "1").exists()
        answer(session, "y", "Allow all 3?")
        session.wait_for("Over.")
        assert (tmp_path / "workspace" / "3").read_text() == "new\n"
        assert "yes to all 3" in session.screen.text and "Allow it?" not in session.raw


def test_no_to_all_with_advice_answers_every_call(tmp_path: Path) -> None:
    with FakeEngine(three(tmp_path)) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        answer(session, "n", "Allow all 3?")
        answer(session, "ask me first\r", "What instead?")
        session.wait_for("Over.")
        assert sent(engine, 2).count("the user said no: ask me first") == 3
        assert "no to all 3: ask me first" in session.screen.text
        assert sorted(path.name for path in (tmp_path / "workspace").iterdir()) == ["a.txt"]


def test_advice_that_comes_in_one_go_with_the_no_is_told(tmp_path: Path) -> None:
    with (
        FakeEngine([Reply(calls=[bash("touch a")]), Reply(text="Over.")]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        begin(session)
        answer(session, "nnot there\r")
        session.wait_for("Over.")
        assert "no: not there" in session.screen.text
        assert "the user said no: not there" in sent(engine, 1)


def test_one_by_one_each_has_its_own_answer(tmp_path: Path) -> None:
    with FakeEngine(three(tmp_path)) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        answer(session, "o", "Allow all 3?")
        session.wait_for_visible("always Bash(touch 1)")
        answer(session, "y")
        session.wait_for_visible("always Edit(./a.txt)")
        answer(session, "n")
        answer(session, "\r", "What instead?")
        session.wait_for_visible("always Edit(./3)")
        answer(session, "y")
        session.wait_for("Over.")
        assert (tmp_path / "workspace" / "3").read_text() == "old\n"
        assert (tmp_path / "workspace" / "1").exists()


def test_two_edits_of_one_file_the_second_is_asked_again_as_it_then_is(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "a.txt").write_text("one\ntwo\n")
    edits = [
        {"name": "Edit", "arguments": {"file_path": "a.txt", "old_string": old, "new_string": new}}
        for old, new in (("one\n", "ONE\nand a half\n"), ("two", "TWO"))
    ]
    script = [
        Reply(calls=[{"name": "Read", "arguments": {"file_path": "a.txt"}}]),
        Reply(calls=edits),
        Reply(text="Over."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        answer(session, "1", "Allow all 2?")
        session.wait_for("looks different now")
        answer(session, "1")
        session.wait_for("Over.")
        assert "3 + TWO" in session.screen.text
        assert (tmp_path / "workspace" / "a.txt").read_text() == "ONE\nand a half\nTWO\n"


def test_escape_and_ctrl_c_at_a_list_or_a_rule_stop_the_turn_and_every_call_is_answered(
    tmp_path: Path,
) -> None:
    script = [
        Reply(calls=[bash("touch 1"), bash("touch 2")]),
        Reply(calls=[bash("touch 3")]),
        Reply(text="Over."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        begin(session)
        answer(session, "\x1b", "Allow all 2?")
        session.wait_for("interrupted")
        begin(session)
        answer(session, "a")
        session.wait_for_visible("❯ Bash(touch 3)")
        session.type("\x03")
        session.wait_until(lambda: session.screen.text.count("interrupted") == 2, "the end")
        begin(session)
        session.wait_for("Over.")
        assert sent(engine, 2).count("not run to its end: cancelled by the user") == 3
        assert list((tmp_path / "workspace").iterdir()) == [] and grants(tmp_path) == []


def test_on_a_dumb_terminal_lines_answer_lists_and_edit_rules(tmp_path: Path) -> None:
    script = [
        Reply(calls=[bash("touch 1"), bash("touch 2")]),
        Reply(calls=[bash("touch 3")]),
        Reply(text="Over."),
    ]
    env = {"TERM": "dumb"}
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        session.wait_for("protocol chat")
        session.type("go\n")
        answer(session, "1\n", "Allow all 2? 1 yes, 2 one by one, 4 no:")
        answer(
            session,
            "3\n",
            "Allow it? 1 yes, 2 for this session, 3 always Bash(touch 3), 4 no, 5 edit it:",
        )
        answer(session, "Bash(ls)\n", "an empty line takes it")
        answer(session, ".\n", "it would not allow this")
        session.read(0.5)
        session.type("3\n")
        session.read(0.5)
        session.type("\n")
        session.wait_for("Over.")
        assert sorted(p.name for p in (tmp_path / "workspace").iterdir()) == ["1", "2", "3"]
        assert grants(tmp_path)[0]["allow"] == ["Bash(touch 3)"]
        assert "\x1b" not in session.raw
