from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.glance import glance
from glmcode.engine_commands import run_engine
from glmcode.status_now import told
from tests.engine.engine_kit import Home, new_home, until

MAIN = (
    "import sys; from glmcode.cli import main; code = main(); "
    "print('asyncio' in sys.modules, file=sys.stderr); sys.exit(code)"
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        yield made


def thorough(*words: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert run_engine(["status", *words]) == 0
    return shown.getvalue()


def both_say_the_same() -> None:
    for words in ([], ["--json"], ["--profile", "fake"], ["--profile", "fake", "--json"]):
        assert told(words) == thorough(*words), words


def test_the_quick_way_says_what_the_thorough_one_says_in_every_state(home: Home) -> None:
    home.profile("fake", "--say", "KeyError: '\x1b[31modd'", "--pause", "1.5")
    home.profile("other")
    assert told([]) is None, "nothing was ever started"
    home.attach("other")
    home.attach("fake")
    assert engine_status("fake").state == "ready"
    both_say_the_same()
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    both_say_the_same()
    os.kill(home.supervisor(), signal.SIGKILL)
    until(lambda: told(["--profile", "fake"]) is None)  # its socket lies there: looked at again
    assert thorough("--profile", "fake") == "fake: absent\n"
    home.paths().socket.unlink()
    both_say_the_same()


@pytest.mark.parametrize(
    "words", [["--watch"], ["--profile"], ["--profile", "nope"], ["--help"], ["--profile=fake"]]
)
def test_what_is_not_plain_is_left_to_the_thorough_way(home: Home, words: list[str]) -> None:
    home.profile()
    home.attach()
    assert told(words) is None


def test_the_command_needs_no_event_loop_for_it(home: Home) -> None:
    home.profile()
    home.attach()
    for words in (["--json"], ["--profile", "fake"]):
        command = [sys.executable, "-c", MAIN, "engine", "status", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "False\n")
        assert "ready" in done.stdout
    assert json.loads(told(["--json"]) or "")[0]["state"] == "ready"


def test_a_supervisor_that_is_silent_odd_or_of_another_protocol_is_looked_at_again(
    home: Home,
) -> None:
    home.profile()
    home.attach()
    paths = home.paths()
    os.kill(home.supervisor(), signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert glance(paths.socket, "/glmcode/status", 0.3) is None
        assert time.monotonic() - began < 5.0
    finally:
        os.kill(home.supervisor(), signal.SIGCONT)
    home.close()
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(str(paths.socket))
        strange.listen(8)
        value = b'{"state": "ready", "profile": "fake", "protocol": 99}'
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(value)
        for said in (b"SSH-2.0\r\n", b"HTTP/1.1 500 x\r\n\r\n{}", b"", head + value):
            command = [sys.executable, "-c", "from glmcode.status_now import told; print(told([]))"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as asking:
                one, _ = strange.accept()
                one.recv(4096)
                one.sendall(said)
                one.close()
                assert asking.communicate(timeout=60)[0] == b"None\n", said
