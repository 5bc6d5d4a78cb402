from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.guests import RECENT_S, Guests
from glmcode.engine.lane import Lane, new_lane
from tests.engine.engine_kit import Home, new_home, until
from tests.engine.test_door import KEY, code, free_port, start

PERSON = new_lane("interactive", Path("/src/proj"), {})


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as made:
        made.profile("fake", "--rests", "1", "--gap", "0.05")
        yield made


@pytest.fixture
def home(shared: Home) -> Home:
    """A home whose engine is up; nobody uses it."""
    shared.profile("fake", "--rests", "1", "--gap", "0.05")
    shared.attach()
    until(lambda: not engine_status("fake").attached)
    return shared


def engine(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "engine", *words, "--profile", "fake"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


FRONT_END = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode())
assert s.recv(4096).startswith(b"HTTP/1.1 200")
print("attached", flush=True)
sys.stdin.read()
"""
LONG = '{"token_ids": [1], "sampling_params": {"max_tokens": 2000}}'


@contextlib.contextmanager
def attached(home: Home, *, busy: bool = False) -> Iterator[None]:
    """A front end that asked something, and sits there with its connection open."""
    what = f"POST /inference/v1/generate HTTP/1.1\r\nContent-Length: {len(LONG)}\r\n"
    asked = what if busy else "GET /v1/models HTTP/1.1\r\n"
    asked += "".join(f"{name}: {value}\r\n" for name, value in PERSON.headers().items())
    command = [sys.executable, "-S", "-c", FRONT_END, str(home.paths().socket)]
    with subprocess.Popen(
        [*command, f"{asked}\r\n{LONG if busy else ''}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"attached\n"
        yield
        process.stdin.close()


@pytest.mark.parametrize("doing", ["restart", "stop", "sleep"])
def test_where_nobody_can_be_asked_an_engine_in_use_stays(home: Home, doing: str) -> None:
    before = (home.supervisor(), home.child())
    with attached(home):
        done = engine(doing)
        assert done.returncode == 2 and done.stdout == ""
        assert "fake: 1 use this engine:\n  session in /src/proj (interactive), for" in done.stderr
        assert "asked last" in done.stderr and "what its cache holds is lost" in done.stderr
        assert f"say --yes to {doing} it" in done.stderr
        if doing != "sleep":
            assert re.search(r"the last start took \d+ s", done.stderr)
        assert engine_status("fake").state == "ready"
        assert (home.supervisor(), home.child()) == before


def test_yes_restarts_it_all_the_same_and_who_is_served_is_named(home: Home) -> None:
    before = home.child()
    with attached(home, busy=True):
        done = engine("restart")
        assert done.returncode == 2 and "is being served" in done.stderr
        assert engine("restart", "--yes").returncode == 0
    assert home.child() != before and engine_status("fake").state == "ready"


def on_a_terminal(answer: str) -> tuple[int, str]:
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["-m", "glmcode", "engine", "stop", "--profile", "fake"]
        os.execv(sys.executable, [sys.executable, *words])
    shown = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
        if b"[y/N]" in shown and answer:
            os.write(terminal, answer.encode())
            answer = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_person_is_asked_and_no_keeps_it_and_yes_stops_it(home: Home) -> None:
    with attached(home):
        ended, shown = on_a_terminal("\r")
        assert ended == 1 and "Stop it? [y/N]" in shown and "nothing was done" in shown
        assert engine_status("fake").state == "ready"
        ended, shown = on_a_terminal("y\r")
        assert ended == 0 and "session in /src/proj (interactive)" in shown
        assert engine_status("fake").state == "absent"


def test_where_nobody_is_nothing_is_asked(home: Home) -> None:
    assert engine("stop").returncode == 0
    assert engine_status("fake").state == "absent"


def test_a_start_with_other_settings_asks_those_who_use_the_old_ones(home: Home) -> None:
    assert engine("start").returncode == 0
    before = home.child()
    home.profile("fake", "--rests", "1", "--gap", "0.06")
    with attached(home):
        done = engine("start")
        assert done.returncode == 2 and "it runs with other settings" in done.stderr
        assert home.child() == before
        assert engine("start", "--yes").returncode == 0
        assert home.child() != before
    before = home.child()
    assert engine("start").returncode == 0 and home.child() == before


def test_a_restart_listens_where_the_engine_listened_with_the_same_key(home: Home) -> None:
    port = free_port()
    words = ("--listen", f"127.0.0.1:{port}", "--api-key-env", "THE_KEY")
    assert start(home, *words, key=KEY).returncode == 0
    before = home.supervisor()
    done = engine("restart")
    assert done.returncode == 0 and f"listening on 127.0.0.1:{port}" in done.stdout
    assert home.supervisor() != before
    assert code(port, "/v1/models", KEY) == 200
    assert code(port, "/v1/models", KEY + "x") == 401 and code(port, "/v1/models") == 401
    assert start(home, "--listen", "off").returncode == 0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def runs(guests: Guests) -> list[object]:
    return [one["run"] for one in guests.to_json()]


def test_one_without_a_connection_is_attached_as_long_as_its_process_lives() -> None:
    clock = Clock()
    guests = Guests(clock)
    dead = subprocess.Popen([sys.executable, "-S", "-c", ""])
    dead.wait()
    for run, pid in (("here", os.getpid()), ("ended", dead.pid)):
        guests.asks(Lane(run=run, ours=True), pid, first=True)
    assert sorted(map(str, runs(guests))) == ["ended", "here"]
    for run in ("here", "ended"):
        guests.leaves(run)
    assert runs(guests) == ["here"]
    clock.now += RECENT_S + 1
    assert runs(guests) == []


def test_a_number_that_another_process_has_now_is_nobody_s_any_more() -> None:
    guests = Guests(Clock())
    with subprocess.Popen(["sleep", "30"]) as other:
        for run, pid in (("ended", other.pid), ("here", os.getpid())):
            guests.asks(Lane(run=run, ours=True), pid, first=True)
            guests.leaves(run)
        assert sorted(map(str, runs(guests))) == ["ended", "here"]
        guests._known["ended"].born -= 1  # the process that asked began earlier
        assert runs(guests) == ["here"]
        guests.asks(Lane(run="ended", ours=True), other.pid, first=True)
        guests.leaves("ended")
        other.kill()
        until(lambda: runs(guests) == ["here"])  # not waited for yet: a zombie asks nothing


def test_a_connection_counts_however_long_it_is_silent_and_many_are_one() -> None:
    clock = Clock()
    guests = Guests(clock)
    for _ in range(3):
        guests.asks(PERSON, 0, first=True)
    clock.now += 10 * RECENT_S
    assert len(runs(guests)) == 1 and guests.to_json()[0]["connected"]
    for _ in range(3):
        guests.leaves(PERSON.run)
    assert runs(guests) == []


def test_programs_of_other_machines_do_not_pile_up() -> None:
    guests = Guests(Clock())
    for port in range(500):
        guests.asks(Lane(run=f"10.0.0.1:{port}", label="a program"), 0, first=True)
        guests.leaves(f"10.0.0.1:{port}")
    assert runs(guests) == []
