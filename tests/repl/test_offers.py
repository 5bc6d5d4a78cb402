from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from glmcode.repl.feedback import HIDDEN, cleaned
from glmcode.repl.offers import HAVE, Facts, Offers, command_of
from glmcode.repl.slash_table import COMMANDS
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, sent


def texts(command: str, query: str = "", **facts: object) -> list[str]:
    offers = Offers(Path("/nowhere"), Facts(**facts))  # type: ignore[arg-type]
    return [item.text for item in offers.find(command, query)]


@pytest.mark.parametrize("command", [n for n in HAVE if n not in ("/resume", "/fork", "/review")])
def test_a_command_with_a_choice_offers_it(command: str) -> None:
    assert COMMANDS[command].arguments
    assert texts(command)


def test_arguments_are_found_by_their_beginning_first_and_an_alias_is_its_command() -> None:
    assert texts("/mode", "pl") == ["plan"]
    assert texts("/mode", "edits") == ["acceptEdits"]
    assert texts("/mode", "plan") == []
    assert texts("/thinking", "o")[:2] == ["on", "off"]
    assert texts("/config", "ui.ent") == ["ui.enter"]
    assert texts("/config", "ui.enter s") == ["ui.enter steer"]
    assert texts("/config", "context.compact ") == [
        "context.compact true", "context.compact false",
    ]  # fmt: skip
    assert "one" in texts("/model", "", models=["one", "two"])
    assert command_of("/help") is None and command_of("/MODE") == "/mode"


def test_branches_are_offered_for_a_review_and_none_where_there_is_no_git(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    offers = Offers(tmp_path, Facts())
    assert offers.find("/review", "") == []
    subprocess.run([*git, "init", "-q", "-b", "trunk"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "branch", "feature/one"], check=True)
    assert sorted(item.text for item in offers.find("/review", "")) == ["feature/one", "trunk"]
    assert [item.text for item in offers.find("/review", "feat")] == ["feature/one"]


def test_sessions_are_picked_by_words_arrows_or_number_with_their_cost(tmp_path: Path) -> None:
    script = [Reply(text=f"Answer {number}.") for number in range(6)]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        for number, word in enumerate(("zebra", "walrus")):
            session.type(f"about the {word}\r")
            session.wait_for(f"Answer {number}.")
            ready(session)
            session.type("/clear\r")
            session.wait_until(
                lambda n=number: session.screen.text.count("new session ") == n + 1, "a new one"
            )
        session.type("/resume\r")
        session.wait_for_visible("2  about the zebra  just now, ")
        session.type("zeb")
        session.wait_gone("about the walrus  ")
        session.wait_for_visible("> 2  about the zebra")
        session.type("\r")
        session.wait_for("goes on")
        session.type("which animal\r")
        session.wait_for("Answer 2.")
        ready(session)
        assert "zebra" in sent(engine, 2) and "walrus" not in sent(engine, 2)
        session.type("/resume\r")
        session.wait_for_visible("1  about the walrus")
        session.type("\x1b[B\r")
        session.wait_until(lambda: session.screen.text.count("goes on") == 2, "the other")
        session.type("and this one\r")
        session.wait_for("Answer 3.")
        assert "walrus" in sent(engine, 3) and "zebra" not in sent(engine, 3)


def test_without_lists_below_the_input_sessions_are_printed_and_found_by_their_words(
    tmp_path: Path,
) -> None:
    script = [Reply(text=f"Answer {number}.") for number in range(4)]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), env={"TERM": "dumb"}) as session,
    ):
        session.wait_for("protocol chat")
        for number, word in enumerate(("zebra", "walrus")):
            session.type(f"about the {word}\r")
            session.wait_for(f"Answer {number}.")
            session.type("/clear\r")
            session.wait_until(
                lambda n=number: session.screen.text.count("new session ") == n + 1, "a new one"
            )
        session.type("/resume\r")
        session.wait_for("/resume NUMBER goes on there")
        assert "2  about the zebra  (just now, " in session.screen.text
        assert "not sent" not in session.screen.text
        session.type("/resume about\r")
        session.wait_for("no session begins with 'about'")
        session.type("/resume zebra\r")
        session.wait_for("goes on")
        session.type("which animal\r")
        session.wait_for("Answer 2.")
        assert "zebra" in sent(engine, 2) and "walrus" not in sent(engine, 2)


def test_feedback_holds_no_secret_and_nothing_that_was_said(tmp_path: Path) -> None:
    env = {"EXAMPLE_API_KEY": "a-very-secret-value", "EDITOR": "vi"}
    with (
        FakeEngine([Reply(text="A private answer.")]) as engine,
        glmcode(tmp_path, *reach(engine), env=env, size=(150, 40)) as session,
    ):
        ready(session)
        session.type("a private question\r")
        session.wait_for("A private answer.")
        ready(session)
        (tmp_path / "home" / "state" / "faults.log").write_text("oops a-very-secret-value\n")
        session.type("/feedback\r")
        session.wait_for("nothing is sent")
    (written,) = (tmp_path / "home" / "state" / "feedback").iterdir()
    text = written.read_text()
    assert f"oops {HIDDEN}" in text and "glmcode" in text and "# Settings" in text
    assert "a-very-secret-value" not in text and "private" not in text
    assert written.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("http://me:pass@host:1/v1", f"http://{HIDDEN}@host:1/v1"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {HIDDEN}"),
        ("hf_abcdefghijkl and sk-1234567890ab", f"{HIDDEN} and {HIDDEN}"),
        ("api_key=xyz", f"api_key={HIDDEN}"),
        ("/home/her/work", "~/work"),
        ("12,345 tokens: fine", "12,345 tokens: fine"),
    ],
)
def test_what_looks_like_a_key_is_taken_out(said: str, kept: str) -> None:
    assert cleaned(said, {"HOME": "/home/her"}) == kept
