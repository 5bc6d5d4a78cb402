from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.engine.attach import EngineUnavailable, engine_status
from glmcode.engine.control import ControlError, ask
from glmcode.engine.family import processes
from glmcode.engine.holder import holder
from glmcode.engine.paths import EnginePaths, make_folders
from glmcode.engine.state import EngineStatus
from tests.engine.engine_kit import Home, until


def command(*words: str) -> subprocess.Popen[str]:
    """One `glmcode engine` command, for the profile fake."""
    return subprocess.Popen(
        [sys.executable, "-m", "glmcode", "engine", *words, "--profile", "fake"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=90)
    assert "Traceback" not in out + err
    return process.returncode, out, err


def engine(*words: str) -> tuple[int, str, str]:
    return ended(command(*words))


def glmcode(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


async def told(home: Home, route: str) -> None:
    """Tell the supervisor something; it may leave before it has answered."""
    with contextlib.suppress(ControlError):
        await ask(home.paths().socket, "POST", f"/glmcode/{route}", {}, timeout_s=40)


def test_each_of_two_who_stop_an_engine_waits_until_it_has_had_its_time(home: Home) -> None:
    home.profile("fake", "--linger", "3")
    home.attach()
    pid, began = home.child(), time.monotonic()

    async def both() -> bool:
        first = asyncio.ensure_future(told(home, "stop"))
        await asyncio.sleep(0.3)
        await told(home, "stop")
        lives = pid in processes()
        await first
        return lives

    assert asyncio.run(both()) is False
    assert time.monotonic() - began > 2.8


def test_two_restarts_at_once_leave_one_engine(home: Home) -> None:
    home.profile("fake", "--linger", "1")
    home.attach()
    before = home.child()

    async def both() -> None:
        first = asyncio.ensure_future(told(home, "restart"))
        await asyncio.sleep(0.3)
        await asyncio.gather(first, told(home, "restart"))

    asyncio.run(both())
    until(lambda: engine_status("fake").up)
    assert home.child() != before
    mains = [pid for pid, kin in processes().items() if pid == kin.group]
    lines = [line for line in home.living() if int(line.split()[0]) in mains]
    assert sum("fake_vllm" in line for line in lines) == 1


def test_a_stop_that_is_asked_for_after_a_restart_has_the_last_word(home: Home) -> None:
    home.profile("fake", "--linger", "1")
    home.attach()

    async def both() -> None:
        first = asyncio.ensure_future(told(home, "restart"))
        await asyncio.sleep(0.3)
        await asyncio.gather(first, told(home, "stop"))

    asyncio.run(both())
    until(lambda: home.living() == [])
    assert engine_status("fake").state == "absent"


def test_sigterm_to_the_supervisor_while_it_stops_does_not_let_it_leave_earlier(home: Home) -> None:
    home.profile("fake", "--linger", "2", direct=True)
    home.attach()
    pid, supervisor = home.child(), home.supervisor()
    stop = command("stop")
    until(lambda: engine_status("fake").state == "stopping")
    os.kill(supervisor, signal.SIGTERM)
    time.sleep(0.5)
    assert pid in processes() and holder(home.paths()) == supervisor
    assert ended(stop)[0] == 0
    assert pid not in processes()


def test_three_terminals_that_restart_at_once_all_end_with_a_running_engine(home: Home) -> None:
    home.profile("fake", "--linger", "0.3")
    home.attach()
    restarts = [command("restart", "--yes") for _ in range(3)]
    for code, out, err in map(ended, restarts):
        assert code == 0 and out.startswith("fake: ready"), err
    assert engine_status("fake").up


@pytest.mark.parametrize("words", [["start"], ["start", "--no-wait"]])
def test_who_starts_an_engine_that_is_being_stopped_gets_a_new_one(
    home: Home, words: list[str]
) -> None:
    home.profile("fake", "--linger", "1.5")
    home.attach()
    before = home.child()
    stop = command("stop")
    until(lambda: engine_status("fake").state == "stopping")
    code, out, err = engine(*words)
    assert code == 0, err
    assert out.startswith("fake: ready" if len(words) == 1 else "fake: starting")
    assert ended(stop)[0] == 0
    until(lambda: engine_status("fake").up)
    assert home.child() != before


@pytest.mark.parametrize(
    "said", ["", "Initializing a V1 LLM engine", "Starting to load model", "Capturing CUDA graphs"]
)
def test_a_stop_while_it_loads_is_not_undone_by_who_waits_for_it(home: Home, said: str) -> None:
    home.profile("fake", *(["--say", said] if said else []), "--say", "more", "--pause", "8")
    start = command("start")
    until(lambda: engine_status("fake").engine_pid)
    if said:
        until(lambda: engine_status("fake").phase not in ("importing vLLM", "looking for vLLM"))
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    assert home.living() == [] or all("glmcode engine" in line for line in home.living())
    code, out, err = ended(start)
    assert (code, out) == (75, "")
    assert "the engine of profile fake was stopped while it was starting" in err
    assert home.living() == []
    assert engine_status("fake").state == "absent"


def test_a_stop_does_not_wait_for_an_interpreter_that_hangs(home: Home) -> None:
    slow = home.folder / "python"
    slow.write_text("#!/bin/sh\nsleep 77\n")
    slow.chmod(0o755)
    home.write("fake", f'extends = "tiny"\npython = "{slow}"\n')
    start = command("start")
    until(lambda: any(f"sh {slow} -c" in line for line in home.living()))
    began = time.monotonic()
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    assert time.monotonic() - began < 10
    assert ended(start)[0] == 75
    assert home.living() == []


def test_what_goes_wrong_in_a_way_nobody_thought_of_is_a_failure_and_no_endless_start(
    home: Home,
) -> None:
    home.profile()
    make_folders(home.paths())
    home.paths().engine_socket.mkdir()
    with pytest.raises(EngineUnavailable, match=r"cannot be started: .*Is a directory.*engine\.s"):
        home.attach(timeout_s=20.0)
    assert engine_status("fake").state == "failed"
    home.paths().engine_socket.rmdir()
    home.attach()


def test_a_stop_where_nothing_runs_is_content_without_a_name(home: Home) -> None:
    assert glmcode("engine", "stop") == (0, "no engine was running\n", "")
    home.profile("one")
    home.profile("two")
    home.attach("one")
    home.attach("two")
    assert glmcode("engine", "stop")[:2] == (0, "one: stopped\ntwo: stopped\n")
    assert glmcode("engine", "stop") == (0, "no engine was running\n", "")


def test_a_stop_without_a_name_ends_what_a_killed_supervisor_left(home: Home) -> None:
    home.profile("fake", direct=True)
    home.attach()
    os.kill(home.supervisor(), signal.SIGKILL)
    until(lambda: holder(home.paths()) is None)
    assert home.living()
    assert glmcode("engine", "stop")[:2] == (0, "fake: stopped\n")
    assert home.living() == []


@contextlib.contextmanager
def answering(paths: EnginePaths, body: bytes) -> Iterator[None]:
    """A program at the supervisor's socket that always answers the same."""
    make_folders(paths)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(str(paths.socket))
        strange.listen(8)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = strange.accept()
                    one.recv(4096)
                    one.sendall(head + body)
                    one.close()

        threading.Thread(target=answer, daemon=True).start()
        yield
        strange.shutdown(socket.SHUT_RDWR)
    paths.socket.unlink()


def watched(home: Home, *words: str, seconds: float = 2.5) -> list[str]:
    watch = command("status", "--watch", *words)
    time.sleep(seconds)
    watch.send_signal(signal.SIGINT)
    code, out, err = ended(watch)
    assert (code, err) == (130, "")
    return out.splitlines()


def test_who_watches_a_supervisor_of_another_version_is_told_once(home: Home) -> None:
    home.profile()
    with answering(home.paths(), b'{"protocol": 9}'):
        lines = watched(home)
        assert len(lines) == 1 and "unknown: " in lines[0] and "restart needed" in lines[0]
        (line,) = watched(home, "--json")
    assert json.loads(line)["state"] == "unknown"


@pytest.mark.parametrize(
    "body", [b'{"protocol": 1}', b'{"protocol": 1, "state": "ready", "profile": "x", "log": 3}']
)
def test_a_state_that_cannot_be_read_is_one_sentence(home: Home, body: bytes) -> None:
    home.profile()
    with answering(home.paths(), body):
        for words in (("status",), ("start",), ("status", "--json")):
            code, out, err = engine(*words)
            assert code == (75 if words == ("start",) else 0)
            assert "can't be read" in out + err


def test_json_of_a_status_has_the_same_keys_in_every_state(home: Home) -> None:
    home.profile("fake", "--rests", "1")
    keys = {*EngineStatus(state="absent", profile="fake").to_json(), "socket", "gauges"}

    def seen(state: str) -> None:
        one = json.loads(engine("status", "--json")[1])
        assert (one["state"], one["profile"], set(one)) == (state, "fake", keys)
        (of_all,) = json.loads(glmcode("engine", "status", "--json")[1])
        assert (of_all["state"], of_all["profile"], set(of_all)) == (state, "fake", keys)
        told = json.loads(watched(home, "--json", seconds=1.2)[0])
        assert (told["state"], set(told)) == (state, keys)

    with answering(home.paths(), b'{"protocol": 9}'):
        seen("unknown")
    seen("absent")
    home.attach()
    seen("ready")
    assert engine("sleep")[0] == 0
    seen("sleeping")
    home.profile("fake", "--say", "x", "--exit", "3")
    engine("restart", "--yes")
    seen("failed")
    home.profile("fake", "--say", "x", "--pause", "30")
    engine("start", "--no-wait")
    seen("starting")


def test_a_lock_that_a_foreign_program_holds_is_told_with_its_name(home: Home) -> None:
    home.profile()
    paths = home.paths()
    make_folders(paths)
    with paths.lock.open("w") as lock:
        script = "import fcntl, sys, time; fcntl.flock(0, fcntl.LOCK_EX); time.sleep(60)"
        foreign = subprocess.Popen([sys.executable, "-S", "-c", script], stdin=lock)
    try:
        until(lambda: holder(paths) == 0)
        for word, code in (("stop", 1), ("start", 75)):
            began = time.monotonic()
            found, _, err = engine(word)
            assert found == code and f"process {foreign.pid} (" in err and str(paths.lock) in err
            assert time.monotonic() - began < 12
    finally:
        foreign.kill()
        foreign.wait()
    home.attach()


def test_one_who_stops_late_does_not_end_the_engine_that_was_started_since(home: Home) -> None:
    home.profile()
    home.attach()
    child = home.child()
    from glmcode.engine.halt import _end_leftover

    assert asyncio.run(_end_leftover(home.paths())) is False
    assert child in processes() and engine_status("fake").up


def test_an_interrupted_start_says_that_the_engine_goes_on(home: Home) -> None:
    home.profile("fake", "--say", "x", "--pause", "3")
    start = command("start")
    until(lambda: engine_status("fake").engine_pid)
    start.send_signal(signal.SIGINT)
    code, out, err = ended(start)
    assert (code, out) == (130, "")
    assert "fake: it goes on starting: glmcode engine stop ends it" in err
    until(lambda: engine_status("fake").up)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("moment_s", [0.1, 0.4, 0.9])
def test_a_start_that_is_ended_at_any_moment_leaves_a_whole_engine_or_none(
    home: Home, number: signal.Signals, moment_s: float
) -> None:
    home.profile("fake", "--say", "x", "--pause", "1")
    start = command("start")
    time.sleep(moment_s)
    start.send_signal(number)
    assert ended(start)[0] == -number
    home.attach()
    assert engine_status("fake").up
    assert engine("stop")[0] == 0
    assert home.living() == []


def test_an_engine_whose_record_says_no_number_yet_is_still_found(home: Home) -> None:
    home.profile("fake", direct=True)
    home.attach()
    child, record = home.child(), home.paths().child
    os.kill(home.supervisor(), signal.SIGKILL)
    until(lambda: holder(home.paths()) is None)
    record.write_text(json.dumps({**json.loads(record.read_text()), "pid": 0, "started": 0}))
    assert child in processes()
    home.attach()
    assert child not in processes()


def test_the_record_of_an_engine_is_there_before_its_process(home: Home, tmp_path: Path) -> None:
    script = "import sys; print(open(sys.argv[1]).read(), flush=True)"
    out = tmp_path / "log"
    from glmcode.engine.child import spawn

    record = tmp_path / "engine.json"
    child = spawn([sys.executable, "-S", "-c", script, str(record)], {}, out, record)
    assert asyncio.run(child.wait()) == 0
    noted, known = json.loads(out.read_text()), json.loads(record.read_text())
    assert noted["mark"] == known["mark"] and known["pid"] == child.pid


def test_a_command_that_does_not_exist_leaves_no_record(home: Home, tmp_path: Path) -> None:
    from glmcode.engine.child import spawn

    record = tmp_path / "engine.json"
    with pytest.raises(FileNotFoundError):
        spawn([str(tmp_path / "none")], {}, tmp_path / "log", record)
    assert not record.exists()
