from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.base.settings import UiSettings
from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Preview
from glmcode.repl.attention import Attention, ran
from glmcode.repl.osc import notification, reads_osc, title
from glmcode.repl.plain import Plain
from glmcode.repl.question import Question
from glmcode.repl.screen import Live
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_turns import reach, ready, slow
from tests.repl.tmux_driver import in_tmux

XTERM = {"TERM": "xterm-256color"}
CALL = {"name": "Bash", "arguments": {"command": "make"}}


class Written(Plain):
    """A screen without a terminal, that keeps what would be written beside the text."""

    def __init__(self, live: Live) -> None:
        super().__init__(live, None)  # type: ignore[arg-type]
        self.titles: list[str] = []
        self.signals: list[str] = []

    def title(self, text: str) -> None:
        self.titles.append(text)

    def signal(self, sequence: str) -> None:
        self.signals.append(sequence)


def attention(ui: UiSettings, **more: Any) -> tuple[Attention, Live, Written]:
    live = Live(tail=lambda height: [], status=lambda width: [])
    live.keyed = 100.0
    screen = Written(live)

    def start(work: Coroutine[Any, Any, None]) -> None:
        work.close()
        screen.signals.append("a program")

    looks = Attention(ui, live, screen, "proj", XTERM, lambda: False, start, screen.signals.append)
    return (replace(looks, **more) if more else looks), live, screen


def question() -> Question:
    preview = Preview(kind="command", title="make")
    return Question(ApprovalAsked(call_id="1", name="Bash", subject="make", preview=preview), 0.0)


def test_a_turn_that_ends_while_nobody_types_is_told_once() -> None:
    looks, live, screen = attention(UiSettings(notify="osc9"))
    live.busy = True
    looks.look(105.0)
    live.busy = False
    looks.look(111.0)
    looks.look(112.0)
    assert screen.signals == ["\x1b]9;The turn in proj has ended\x07"]


def test_who_pressed_a_key_a_moment_ago_is_told_nothing() -> None:
    looks, live, screen = attention(UiSettings(notify="osc9", notify_after=10))
    live.busy = True
    looks.look(120.0)
    live.keyed = 121.0
    live.busy = False
    looks.look(130.9)
    looks.look(150.0)
    assert screen.signals == []


def test_a_turn_is_not_over_while_more_waits_and_nothing_is_told_where_it_is_off() -> None:
    for ui, more in (
        (UiSettings(notify="bell"), {"waiting": lambda: True}),
        (UiSettings(), {}),
    ):
        looks, live, screen = attention(ui, **more)
        live.busy = True
        looks.look(120.0)
        live.busy = False
        looks.look(130.0)
        assert screen.signals == []


def test_a_question_is_told_once_as_soon_as_nobody_has_typed_for_so_long() -> None:
    async def run() -> None:
        looks, live, screen = attention(UiSettings(notify="bell", notify_after=10))
        live.busy = True
        live.question = question()
        looks.look(109.0)
        assert screen.signals == []
        looks.look(110.0)
        looks.look(111.0)
        assert screen.signals == ["\a"]
        live.question = question()
        looks.look(112.0)
        assert screen.signals == ["\a", "\a"], "another question"

    asyncio.run(run())


def test_the_window_is_named_by_the_folder_and_what_goes_on() -> None:
    async def run() -> None:
        looks, live, screen = attention(UiSettings())
        looks.look(1.0)
        live.busy = True
        looks.look(2.0)
        live.question = question()
        looks.look(3.0)
        assert screen.titles == ["proj · glmcode", "● proj · glmcode", "? proj · glmcode"]
        looks, _, screen = attention(UiSettings(title=False))
        looks.look(1.0)
        assert screen.titles == []

    asyncio.run(run())


def test_a_command_that_is_not_named_is_said_once() -> None:
    looks, live, screen = attention(UiSettings(notify="command", notify_after=0))
    for now in (101.0, 102.0):
        live.busy = True
        looks.look(now)
        live.busy = False
        looks.look(now)
    assert screen.signals == ["ui.notify_command names no program"]


def test_texts_become_neither_sequences_nor_fields_and_are_wrapped_for_tmux() -> None:
    bad = "a;b\x1b]52;c;x\x07\x9c\u202e" + "x" * 500
    for kind in ("osc9", "osc777"):
        said = notification(kind, bad, XTERM)
        assert said.startswith("\x1b]") and said.endswith("\x07")
        inner = said[2:-1]
        assert not set(inner) & set("\x1b\x07\x9c\u202e")
        assert inner.count(";") == {"osc9": 1, "osc777": 3}[kind] and len(inner) < 230
    inner = title(bad)[2:-1]
    assert not set(inner) & set("\x1b\x07\x9c\u202e")
    wrapped = notification("osc9", "x", XTERM | {"TMUX": "1"})
    assert wrapped == "\x1bPtmux;\x1b\x1b]9;x\x07\x1b\\"
    assert notification("osc9", "x", XTERM | {"STY": "1"}) == "\x1bP\x1b]9;x\x07\x1b\\"
    assert notification("bell", "x", XTERM | {"TMUX": "1"}) == "\a"


@pytest.mark.parametrize("term", ["", "dumb", "linux", "vt100", "vt220", "eterm-color", "ansi"])
def test_terminals_that_are_not_known_to_read_them_get_none(term: str) -> None:
    assert not reads_osc({"TERM": term})
    assert notification("osc9", "x", {"TERM": term}) == ""


@pytest.mark.parametrize("term", ["screen.xterm-256color", "xterm", "tmux-256color", "foot"])
def test_those_that_are_known_are_known_by_the_first_word(term: str) -> None:
    assert reads_osc({"TERM": term})


def test_a_program_gets_its_time_and_no_more() -> None:
    async def run() -> None:
        assert await ran(["true"]) == ""
        assert await ran(["false"]) == "ended with 1"
        assert "No such file" in await ran(["/no/such/program"])
        assert "null byte" in await ran(["a\0b"])
        started = time.monotonic()
        assert "took longer than" in await ran(["sh", "-c", "sleep 60 & sleep 60"], 0.2)
        assert time.monotonic() - started < 20

    asyncio.run(run())


def seen(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_program_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        told = tmp_path / "pid"
        script = f"echo $$ > {told}.new; mv {told}.new {told}; exec sleep 60"
        work = asyncio.ensure_future(ran(["sh", "-c", script]))
        await asyncio.to_thread(seen, told.exists)
        work.cancel()
        await asyncio.wait({work})
        await asyncio.to_thread(seen, lambda: is_gone(int(told.read_text())))

    asyncio.run(run())


def test_the_title_says_what_goes_on_and_the_one_from_before_comes_back(tmp_path: Path) -> None:
    script = [Reply(calls=[CALL]), slow("Words that go on and on. " * 99)]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        session.screen.titles.append("the shell's")
        ready(session)
        session.type("go\r")
        session.wait_for_visible("Allow it?")
        session.wait_until(lambda: session.screen.titles[-1].startswith("? "), "the mark")
        session.type("\x1b")
        session.wait_for("interrupted")
        session.type("\x04")
        assert session.wait_exit() == 0
        mine = [f"{mark}workspace · glmcode" for mark in ("", "● ", "? ", "● ", "")]
        assert [t for t in session.screen.titles if t.endswith("glmcode")] in (
            mine,
            [*mine[:3], mine[4]],
        )
        assert session.screen.titles[-2:] == ["", "the shell's"]
        assert session.terminal_is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_title_comes_back_also_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        session.screen.titles.append("the shell's")
        ready(session)
        session.wait_until(lambda: "workspace · glmcode" in session.screen.titles, "the title")
        session.process.send_signal(number)
        assert session.wait_exit() == 143
        assert session.screen.titles[-1] == "the shell's"


@pytest.mark.parametrize("env", [{"GLMCODE_UI__TITLE": "false"}, {"TERM": "linux"}])
def test_no_title_is_set_where_none_is_wanted_or_read(tmp_path: Path, env: dict[str, str]) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        ready(session)
        session.type("\x04")
        assert session.wait_exit() == 0
        assert "\x1b]" not in session.raw and "\x1b[22" not in session.raw


def noted(session: PtySession, count: int) -> list[str]:
    session.wait_until(lambda: len(session.screen.notified) >= count, f"{count} notifications")
    return session.screen.notified


def test_the_terminal_notifies_of_a_question_and_of_the_end(tmp_path: Path) -> None:
    env = {"GLMCODE_UI__NOTIFY": "osc777", "GLMCODE_UI__NOTIFY_AFTER": "0"}
    script = [Reply(calls=[CALL]), Reply(text="Well.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible("Allow it?")
        asks = "777;notify;glmcode;glmcode in workspace waits for your answer (Bash)"
        assert noted(session, 1) == [asks]
        session.read(0.4)
        session.type("4")
        session.wait_for("What instead?")
        session.type("\r")
        session.wait_for("Well.")
        assert noted(session, 2)[1:] == ["777;notify;glmcode;The turn in workspace has ended"]


@pytest.mark.parametrize(("kind", "written"), [("bell", ["bell"]), ("osc9", [])])
def test_lines_alone_have_a_bell_and_nothing_else(
    tmp_path: Path, kind: str, written: list[str]
) -> None:
    env = {"GLMCODE_UI__NOTIFY": kind, "GLMCODE_UI__NOTIFY_AFTER": "0"}
    with (
        FakeEngine([Reply(text="Well.")]) as engine,
        glmcode(tmp_path, "--plain", *reach(engine), env=env) as session,
    ):
        session.wait_for("protocol chat")
        session.type("go\n")
        session.wait_for("Well.\n>")
        session.type("/exit\n")
        assert session.wait_exit() == 0
        assert session.screen.notified == written and "\x1b" not in session.raw


def test_a_folder_that_is_named_to_act_on_the_terminal_only_has_an_odd_name(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "x\x1b]2;evil\x07\u202e;y\n"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/b\x1b[2J\x9d2;evil\x07\n")
    env = {"GLMCODE_UI__LINKS": "on", "GLMCODE_UI__NOTIFY": "osc9", "GLMCODE_UI__NOTIFY_AFTER": "0"}
    write = {"name": "Write", "arguments": {"file_path": "a\x1b\\b.txt", "content": "x\n"}}
    with (
        FakeEngine([Reply(calls=[write]), Reply(text="Well.")]) as engine,
        glmcode(tmp_path, "-y", *reach(engine), env=env, cwd=folder) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("Well.")
        assert len(noted(session, 1)) == 1 and session.screen.notified[0].count(";") == 1
        session.type("\x04")
        assert session.wait_exit() == 0
        assert session.screen.foreign == [] and "\u202e" not in session.raw
        name = "x␛]2;evil␇<U+202E>;y"
        titles = {f"{mark}{name} · glmcode" for mark in ("", "● ")}
        assert {*session.screen.titles} <= {"", *titles}, session.screen.titles
        assert session.screen.links[0].endswith("/a%1B%5Cb.txt")
        assert "/x%1B%5D2%3Bevil%07%E2%80%AE%3By%0A/" in session.screen.links[0]


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not here")
def test_tmux_shows_the_title_and_has_its_own_again_afterwards(tmp_path: Path) -> None:
    with (
        FakeEngine([]) as engine,
        in_tmux(tmp_path, *reach(engine), size=(80, 24)) as session,
    ):
        session.wait_for_visible("ready")
        asked = ("display", "-p", "#{pane_title}")
        seen(lambda: session._tmux(*asked).strip() == "workspace · glmcode")
        session.type("\x04")
        seen(lambda: session._tmux(*asked).strip() not in ("", "workspace · glmcode"))


def test_a_program_notifies_without_a_shell_and_the_screen_stays_alive(tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = tmp_path / "hook.py"
    hook.write_text(
        "import os, sys\n"
        f"open({str(told)!r} + '.new', 'w').write('|'.join(sys.argv[1:]))\n"
        f"os.rename({str(told)!r} + '.new', {str(told)!r})\n"
        "print('noise'); print('noise', file=sys.stderr)\n"
    )
    home = tmp_path / "home" / "config"
    home.mkdir(parents=True)
    (home / "config.toml").write_text(
        '[ui]\nnotify = "command"\nnotify_after = 0\n'
        f'notify_command = ["{sys.executable}", "{hook}", "$(id) `id`;"]\n'
    )
    with FakeEngine([Reply(text="Well.")]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_until(told.exists, "the program")
        assert told.read_text() == "$(id) `id`;|The turn in workspace has ended"
        session.type("still here")
        session.wait_for_visible("still here")
        assert "noise" not in session.screen.text
