from __future__ import annotations

import socket
from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_turns import reach, ready, sent, slow

KEPT = "what you type is kept"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def profiles(folder: Path, **texts: str) -> None:
    place = folder / "home" / "config" / "profiles"
    place.mkdir(parents=True)
    for name, text in texts.items():
        (place / f"{name}.toml").write_text(text)


def server(engine: FakeEngine) -> str:
    return f'base_url = "{engine.base_url}"\nprotocol = "chat"\nserved_name = "{engine.model}"\n'


def answer(session: PtySession, question: str, key: str) -> None:
    session.wait_for_visible(question)
    session.read(0.4)
    session.type(key)


def test_a_server_that_is_not_there_yet_leaves_the_session_open_and_nothing_typed_is_lost(
    tmp_path: Path,
) -> None:
    port = free_port()
    with glmcode(tmp_path, "--base-url", f"http://127.0.0.1:{port}/v1", "the first") as session:
        session.wait_for(KEPT)
        session.wait_for_visible("no engine")
        session.wait_for_visible("queued: the first")
        session.type("/compact\r")
        session.wait_for("no engine answers")
        session.type("/status\r")
        session.wait_for("(not ready yet)")
        with FakeEngine([Reply(text="One."), Reply(text="Two.")], port=port) as engine:
            session.type("the second\r")
            session.wait_for("Two.")
            assert "the first" in sent(engine, 0) and "the second" in sent(engine, 1)
            session.type("\x04")
            assert session.wait_exit() == 0


def test_what_was_never_sent_is_named_when_the_session_is_left_without_an_engine(
    tmp_path: Path,
) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with glmcode(tmp_path, "--base-url", url, "read this later") as session:
        session.wait_for(KEPT)
        session.type("\x03")
        session.wait_for_visible("Ctrl-C again leaves")
        session.type("\x03")
        assert session.wait_exit() == 0
        assert "not sent: read this later" in session.screen.text
        assert "Traceback" not in session.raw and session.terminal_is_restored()


def test_an_engine_that_cannot_start_is_told_and_another_profile_takes_what_was_typed(
    tmp_path: Path,
) -> None:
    with FakeEngine([Reply(text="From elsewhere.")], model="other") as engine:
        broken = 'engine_command = ["false"]\nmodel = "none/x"\nserved_name = "x"\n'
        profiles(tmp_path, broken=broken, far=server(engine))
        with glmcode(tmp_path, "--profile", "broken", "do it") as session:
            session.wait_for(KEPT)
            session.type("/profile nosuch\r")
            session.wait_for("nosuch")
            session.type("/engine log\r")
            session.wait_for("the whole of it")
            session.type("/profile far\r")
            session.wait_for("From elsewhere.")
            assert "do it" in sent(engine, 0)


def test_a_session_goes_on_with_the_engine_of_another_profile_after_a_yes(tmp_path: Path) -> None:
    one = FakeEngine([Reply(text="I am the first."), Reply(text="Still the first.")], model="one")
    two = FakeEngine([Reply(text="I am the second.")], model="two")
    with one, two:
        profiles(tmp_path, one=server(one), two=server(two))
        with glmcode(tmp_path, "--profile", "one") as session:
            ready(session)
            session.type("who are you\r")
            session.wait_for("I am the first.")
            ready(session)
            session.type("/profile\r")
            session.wait_for(f"the server {two.base_url}")
            session.type("/profile two\r")
            answer(session, "Go on with it in this session?", "n")
            session.wait_for("nothing was changed")
            session.type("and now\r")
            session.wait_for("Still the first.")
            ready(session)
            session.type("/model two\r")
            answer(session, "Go on with it in this session?", "y")
            session.wait_for("this session was written by one")
            session.wait_for_visible("two")
            ready(session)
            session.type("and you\r")
            session.wait_for("I am the second.")
            assert "who are you" in sent(two, 0) and "Still the first." in sent(two, 0)
            session.type("/profile two\r")
            session.wait_for("answers here already")
            session.type("\x04")
            assert session.wait_exit() == 0
    journals = [*(tmp_path / "home").rglob("sessions/**/*.jsonl")]
    assert len(journals) == 1, "it is the same session"


def test_a_question_about_another_engine_outlasts_the_turn_and_the_next_ones_are_asked(
    tmp_path: Path,
) -> None:
    script = [
        slow("word " * 12),
        Reply(calls=[{"name": "Bash", "arguments": {"command": "touch a"}}]),
        Reply(text="Over."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible("word")
        session.type("/profile tiny\r")
        session.wait_for_visible("Go on with it in this session?")
        ready(session)
        answer(session, "Go on with it in this session?", "n")
        session.wait_gone("Go on with it in this session?")
        session.type("more\r")
        answer(session, "Allow it?", "y")
        session.wait_for("Over.")


def test_an_engine_that_is_not_there_leaves_the_session_where_it_is(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="Hello."), Reply(text="Still here.")], model="one") as one:
        gone = f'base_url = "http://127.0.0.1:{free_port()}"\nserved_name = "x"\n'
        profiles(tmp_path, one=server(one), gone=gone)
        with glmcode(tmp_path, "--profile", "one") as session:
            ready(session)
            session.type("hello\r")
            session.wait_for("Hello.")
            session.type("/profile nosuch\r")
            session.wait_for("nosuch")
            ready(session)
            session.type("/profile gone\r")
            answer(session, "Go on with it in this session?", "y")
            ready(session)
            session.type("go on\r")
            session.wait_for("Still here.")


def test_model_lists_what_the_server_has_and_refuses_what_it_does_not(tmp_path: Path) -> None:
    with FakeEngine([], model="glm") as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/model\r")
        session.wait_for("there are")
        session.type("/model gml\r")
        session.wait_for("the server does not list gml: it has glm")
        session.type("/engine restart\r")
        session.wait_for("no engine that glmcode runs")
        session.type("/engine explode\r")
        session.wait_for("/engine status|start|stop|restart|log")
        session.type("/thinking off\r")
        session.wait_for("thinking: off")
        session.wait_for_visible("thinking off ·")
        session.type("/thinking much\r")
        session.wait_for("thinking is on, off or the most tokens")


def test_before_the_engine_is_there_modes_hold_commands_wait_and_another_engine_can_be_had(
    tmp_path: Path,
) -> None:
    with socket.socket() as silent, FakeEngine([Reply(text="Hello.")], model="far") as engine:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        profiles(tmp_path, far=server(engine))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with glmcode(tmp_path, "--base-url", url, size=(110, 40)) as session:
            session.wait_for_visible("connecting")
            session.type("/plan\r")
            session.wait_for("mode plan: looks only")
            session.type("/thinking off\r")
            session.wait_for("thinking: off")
            session.type("/diff\r")
            session.wait_for_visible("queued: /diff")
            session.type("/clear\r")
            session.wait_for("not while the engine is being reached")
            session.type("/status now\r")
            session.wait_for("/status takes nothing behind it")
            session.type("/help shift\r")
            session.wait_for("the next mode: default")
            assert "search the history" not in session.screen.text
            session.type("hello there\r")
            session.type("/profile far\r")
            session.wait_for("this session changed no file")
            session.wait_for("Hello.")
            session.wait_for_visible("plan, thinking off")
            assert engine.steps[0].json["chat_template_kwargs"] == {"enable_thinking": False}


def test_an_engine_that_takes_too_long_is_waited_for_no_more_when_the_person_says_so(
    tmp_path: Path,
) -> None:
    with socket.socket() as silent, FakeEngine([Reply(text="Here.")], model="one") as one:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        slow = f'base_url = "http://127.0.0.1:{silent.getsockname()[1]}"\nprotocol = "chat"\n'
        profiles(tmp_path, one=server(one), slow=slow)
        with glmcode(tmp_path, "--profile", "one", size=(110, 30)) as session:
            ready(session)
            session.type("/profile slow\r")
            session.wait_for("reaching slow: until then one answers")
            session.type("/profile slow\r")
            session.wait_for("slow is being reached")
            session.type("hello\r")
            session.wait_for("Here.")
            session.type("/profile one\r")
            session.wait_for("the session stays with one")
            ready(session)


def test_another_engine_whose_session_cannot_begin_leaves_the_session_where_it_is(
    tmp_path: Path,
) -> None:
    one = FakeEngine([Reply(text="Still the first.")], model="one")
    with one, FakeEngine([], model="two") as two:
        profiles(tmp_path, one=server(one), two=server(two))
        with glmcode(tmp_path, "--profile", "one") as session:
            ready(session)
            sessions = tmp_path / "home" / "state" / "sessions"
            sessions.rename(tmp_path / "aside")
            sessions.write_bytes(b"")
            session.type("/profile two\r")
            session.wait_for("sessions")
            sessions.unlink()
            (tmp_path / "aside").rename(sessions)
            session.type("go on\r")
            session.wait_for("Still the first.")
            assert "a fault in" not in session.screen.text
