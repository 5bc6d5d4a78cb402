from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from glmcode.core.events import EngineProgress, Notice
from glmcode.engine.attach import EngineUnavailable, engine_status, wake
from glmcode.engine.control import ask, follow
from glmcode.engine.family import processes
from glmcode.engine.halt import halt
from glmcode.engine.holder import holder
from glmcode.engine.paths import make_folders
from glmcode.engine.profile import load_profile
from tests.engine.engine_kit import Home, until

ATTACH = """
import asyncio, sys
from glmcode.engine.attach import attach
from glmcode.engine.profile import load_profile
print(asyncio.run(attach(load_profile(sys.argv[1]), lambda event: None)).window, flush=True)
"""


def front_end(name: str = "fake") -> subprocess.Popen[bytes]:
    """Another process that attaches."""
    return subprocess.Popen([sys.executable, "-c", ATTACH, name], stdout=subprocess.PIPE)


def test_the_first_front_end_starts_the_engine_and_the_second_adopts_it(home: Home) -> None:
    home.profile("fake", "--workers", "2")
    address = home.attach()
    assert (address.model, address.window) == ("fake", 9000)
    assert address.socket == home.paths().socket
    pids = (home.supervisor(), home.child())
    home.events.clear()
    began = time.monotonic()
    home.attach()
    assert time.monotonic() - began < 0.5
    assert (home.supervisor(), home.child()) == pids
    assert home.events == []


def test_six_starts_at_once_end_in_one_engine(home: Home) -> None:
    home.profile()
    ends = [front_end() for _ in range(6)]
    assert [end.communicate(timeout=60)[0] for end in ends] == [b"9000\n"] * 6
    lines = home.living()
    assert sum("glmcode.engine.supervisor" in line for line in lines) == 1
    # The guard is a fork of the engine and has its command line.
    assert sum("--module fake_vllm" in line for line in lines) == 2


def test_only_the_owner_can_enter_the_folder_and_reach_the_sockets(home: Home) -> None:
    home.profile()
    home.attach()
    paths = home.paths()
    assert stat.S_IMODE(paths.folder.stat().st_mode) == 0o700
    for path in (paths.socket, paths.engine_socket, paths.log, paths.lock):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_stop_returns_when_everything_is_gone_and_is_content_when_nothing_runs(home: Home) -> None:
    home.profile("fake", "--workers", "3")
    home.attach()
    assert asyncio.run(halt(home.paths())) is True
    assert home.living() == []
    assert not home.paths().socket.exists()
    assert not home.paths().engine_socket.exists()
    assert home.paths().lock.exists()
    assert asyncio.run(halt(home.paths())) is False
    assert engine_status("fake").state == "absent"


def test_sigterm_to_the_supervisor_stops_the_engine_and_removes_the_sockets(home: Home) -> None:
    home.profile("fake", "--workers", "2")
    home.attach()
    os.kill(home.supervisor(), signal.SIGTERM)
    until(lambda: not home.living())
    assert not home.paths().socket.exists()


def test_a_killed_supervisor_leaves_no_engine_and_the_next_start_works(home: Home) -> None:
    home.profile("fake", "--workers", "3")
    home.attach()
    os.kill(home.supervisor(), signal.SIGKILL)
    assert home.paths().socket.exists(), "the stale socket is part of the test"
    home.attach()
    assert sum("time.sleep" in line for line in home.living()) == 3
    os.kill(home.supervisor(), signal.SIGKILL)
    until(lambda: not home.living())


def test_a_killed_engine_is_told_with_its_signal_and_the_next_front_end_starts_it(
    home: Home,
) -> None:
    home.profile("fake", "--workers", "2", "--say", "hello from the log")
    home.attach()
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    status = engine_status("fake")
    assert "killed by signal 9" in status.reason
    assert "hello from the log" in status.log
    until(lambda: len(home.living()) == 1)  # the supervisor alone
    with pytest.raises(EngineUnavailable) as caught:
        home.attach(start=False)
    assert "killed by signal 9" in str(caught.value)
    assert "hello from the log" in caught.value.log
    assert home.attach().window == 9000


def test_a_worker_that_outlives_a_dead_engine_is_ended(home: Home) -> None:
    home.profile("fake", "--workers", "3")
    home.attach()
    os.kill(home.child(), signal.SIGSEGV)
    until(lambda: not any("time.sleep" in line for line in home.living()))
    until(lambda: "signal 11" in engine_status("fake").reason)


def test_twenty_rounds_of_kill_9_leave_nothing_behind(home: Home) -> None:
    home.profile("fake", "--workers", "2")
    for number in range(20):
        home.attach()
        victim = home.supervisor() if number % 2 else home.child()
        os.kill(victim, signal.SIGKILL)
        if number % 4 == 1:
            until(lambda: not home.living())
        elif number % 4 == 0:
            until(lambda: engine_status("fake").state == "failed")
            asyncio.run(wake(load_profile("fake")))  # three crashes need a person's word
    home.attach()
    asyncio.run(halt(home.paths()))
    assert home.living() == []


def test_after_three_crashes_only_a_person_starts_it_again(home: Home) -> None:
    home.profile()
    for _ in range(3):
        home.attach()
        os.kill(home.child(), signal.SIGKILL)
        until(lambda: engine_status("fake").state == "failed")
    with pytest.raises(EngineUnavailable, match="glmcode engine start --profile fake"):
        home.attach()
    assert len(home.living()) == 1
    asyncio.run(wake(load_profile("fake")))
    assert home.attach().window == 9000


def test_out_of_memory_is_named_and_not_tried_again_by_itself(home: Home) -> None:
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    home.profile("fake", "--say", said, "--exit", "1")
    with pytest.raises(EngineUnavailable, match="did not start: it ran out of GPU memory"):
        home.attach()
    first = home.paths().log.stat().st_ino
    with pytest.raises(EngineUnavailable, match="GPU memory") as caught:
        home.attach()
    assert said in caught.value.log
    assert home.paths().log.stat().st_ino == first, "it was started again"
    # Changed settings are another start.
    home.profile("fake", "--say", "smaller")
    assert home.attach().window == 9000


def test_an_engine_that_fails_for_an_unknown_reason_is_quoted(home: Home) -> None:
    home.profile("fake", "--say", "KeyError: 'layers.3'", "--exit", "7")
    with pytest.raises(EngineUnavailable, match=r"exit code 7: 'layers\.3'"):
        home.attach()


def test_a_command_that_does_not_exist_is_one_sentence(home: Home) -> None:
    home.write("fake", 'model = "x/y"\nengine_command = ["/nothing/here"]\n')
    with pytest.raises(EngineUnavailable, match="cannot be started"):
        home.attach()


def test_a_stopped_engine_does_not_stop_the_supervisor_from_answering(home: Home) -> None:
    home.profile()
    home.attach()
    os.kill(home.child(), signal.SIGSTOP)
    assert engine_status("fake").state == "ready"
    assert asyncio.run(halt(home.paths())) is True
    assert home.living() == []


def test_a_stopped_supervisor_is_named_and_can_still_be_ended(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.profile()
    home.attach()
    os.kill(home.supervisor(), signal.SIGSTOP)
    with pytest.raises(EngineUnavailable, match=r"not ready after 0\.5 s"):
        home.attach(timeout_s=0.5)
    monkeypatch.setattr("glmcode.engine.halt._STOP_LIMIT_S", 0.5)
    assert asyncio.run(halt(home.paths())) is True
    until(lambda: not home.living())


def test_the_engine_outlives_the_terminal_that_started_it(home: Home) -> None:
    home.profile()
    pid, terminal = pty.fork()
    if pid == 0:
        script = ATTACH + "import time; time.sleep(1000)"
        os.execv(sys.executable, [sys.executable, "-c", script, "fake"])
    assert b"9000" in os.read(terminal, 1000)
    assert os.getsid(home.supervisor()) == home.supervisor() != os.getsid(pid)
    os.close(terminal)  # a hang-up
    os.waitpid(pid, 0)
    time.sleep(0.2)
    assert engine_status("fake").state == "ready"


def test_a_front_end_that_is_killed_while_it_waits_does_not_stop_the_start(home: Home) -> None:
    home.profile("fake", "--say", "slowly", "--pause", "0.6")
    end = front_end()
    until(lambda: engine_status("fake").state == "starting")
    end.kill()
    end.communicate()
    until(lambda: engine_status("fake").state == "ready")


def test_waiting_has_an_end_and_the_engine_comes_up_all_the_same(home: Home) -> None:
    home.profile("fake", "--say", "slowly", "--pause", "1.0")
    with pytest.raises(EngineUnavailable, match=r"not ready after 0\.7 s"):
        home.attach(timeout_s=0.7)
    assert home.attach().window == 9000


def test_progress_names_the_phases_and_the_second_start_tells_what_is_left(home: Home) -> None:
    lines = (
        "INFO non-default args: {}",
        "Initializing a V1 LLM engine",
        "Loading safetensors checkpoint shards: 50% Completed | 2/4",
    )
    says = [word for line in lines for word in ("--say", line)]
    home.profile("fake", *says, "--pause", "0.3")
    home.attach()
    progress = [event for event in home.events if isinstance(event, EngineProgress)]
    phases = [event.phase for event in progress]
    assert phases[0] == "starting the supervisor"
    assert "starting the workers" in phases and "loading weights (2/4)" in phases
    assert all(event.percent is None for event in progress)
    asyncio.run(halt(home.paths()))
    home.events.clear()
    home.attach()
    told = [e for e in home.events if isinstance(e, EngineProgress) and e.percent is not None]
    assert told and all(event.eta_s is not None for event in told)
    percents = [event.percent or 0.0 for event in told]
    assert percents == sorted(percents) and percents[0] >= 0 and percents[-1] <= 99


def test_states_are_pushed_in_their_order(home: Home) -> None:
    home.profile("fake", "--say", "slowly", "--pause", "0.3")
    home.attach()
    asyncio.run(ask(home.paths().socket, "POST", "/glmcode/restart", {}))
    states: list[str] = []

    def each(value: dict[str, str]) -> bool:
        if not states or states[-1] != value["state"]:
            states.append(value["state"])
        return value["state"] == "ready"

    asyncio.run(follow(home.paths().socket, "/glmcode/events", each))
    assert states == ["starting", "ready"]


def test_other_settings_than_those_that_run_are_noticed_not_applied(home: Home) -> None:
    home.profile()
    home.attach()
    child = home.child()
    home.profile("fake", step_cap=5)
    home.attach()
    (notice,) = [event for event in home.events if isinstance(event, Notice)]
    assert "glmcode engine restart --profile fake" in notice.text
    assert home.child() == child


def test_a_profile_that_is_gone_does_not_lock_its_engine_in(home: Home) -> None:
    home.profile()
    home.attach()
    (home.folder / "config" / "profiles" / "fake.toml").unlink()
    assert engine_status("fake").state == "ready"
    assert asyncio.run(halt(home.paths())) is True


def test_a_supervisor_of_another_protocol_is_named_and_left_alone(home: Home) -> None:
    home.profile()
    home.paths().folder.mkdir(parents=True)

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"protocol": 99, "state": "ready"}')
        writer.close()

    async def run() -> None:
        server = await asyncio.start_unix_server(other, str(home.paths().socket))
        async with server:
            await asyncio.to_thread(check)

    def check() -> None:
        with pytest.raises(EngineUnavailable, match="restart needed") as caught:
            home.attach()
        assert "its protocol is 99" in str(caught.value)

    asyncio.run(run())


def test_a_supervisor_whose_folder_was_removed_leaves_with_its_engine(home: Home) -> None:
    home.profile("fake", "--workers", "1")
    home.attach()
    for path in home.paths().folder.iterdir():
        path.unlink()
    home.paths().folder.rmdir()
    until(lambda: not home.living())


def test_a_very_long_home_works_through_short_sockets(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = home.folder / ("x" * 110)
    monkeypatch.setenv("GLMCODE_HOME", str(long))
    inner = Home(long)
    inner.profile()
    try:
        address = inner.attach()
        assert len(os.fsencode(address.socket)) < 100
        assert not address.socket.is_relative_to(long)
        assert engine_status("fake").state == "ready"
    finally:
        inner.close()
        shutil.rmtree(inner.paths().socket_folder, ignore_errors=True)
    assert inner.living() == []


def test_a_relative_home_means_the_same_folder_to_the_supervisor(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.profile()
    monkeypatch.chdir(home.folder.parent)
    monkeypatch.setenv("GLMCODE_HOME", home.folder.name)
    assert home.attach().window == 9000
    monkeypatch.setenv("GLMCODE_HOME", str(home.folder))
    assert engine_status("fake").state == "ready"


def test_a_folder_that_cannot_be_used_is_one_sentence(home: Home) -> None:
    home.profile()
    (home.folder / "state").write_text("a file")
    with pytest.raises(EngineUnavailable, match="cannot be made"):
        home.attach()


def test_the_lock_tells_who_holds_it_and_survives(home: Home) -> None:
    home.profile()
    assert holder(home.paths()) is None
    home.attach()
    info = json.loads(home.paths().info.read_text())
    assert info["pid"] == holder(home.paths()) == int(home.paths().lock.read_text())
    inode = home.paths().lock.stat().st_ino
    asyncio.run(halt(home.paths()))
    home.attach()
    assert home.paths().lock.stat().st_ino == inode


def test_a_supervisor_that_leaves_while_others_are_connected_leaves_no_words(home: Home) -> None:
    home.profile()
    home.attach()
    with contextlib.ExitStack() as stack:
        for route in ("status", "events", "events"):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(home.paths().socket))
            connection.sendall(f"GET /glmcode/{route} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1)
        asyncio.run(halt(home.paths()))
    assert home.paths().supervisor_log.read_text() == ""


def test_a_number_in_the_lock_file_that_is_no_supervisor_s_is_never_killed(home: Home) -> None:
    other = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(99)"])
    paths = home.paths()
    paths.folder.mkdir(parents=True)
    paths.lock.write_text(f"{other.pid}\n")
    assert asyncio.run(halt(paths)) is False
    with paths.lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert holder(paths) == 0
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_program_that_listens_on_our_socket_and_is_silent_is_told_with_what_to_do(
    home: Home,
) -> None:
    home.profile()
    paths = home.paths()
    make_folders(paths)
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(str(paths.socket))
        strange.listen(8)
        with pytest.raises(EngineUnavailable, match="no supervisor is there; end the program"):
            home.attach()


@pytest.mark.parametrize("name", ["supervisor.sock", "lock"])
def test_a_folder_in_the_place_of_a_file_is_named_once(home: Home, name: str) -> None:
    home.profile()
    make_folders(home.paths())
    odd = home.paths().folder / name
    odd.mkdir()
    with pytest.raises(EngineUnavailable, match=f"file {odd} can't be used: Is a dir") as caught:
        home.attach()
    assert caught.value.log == ""
    odd.rmdir()
    home.attach()


@pytest.mark.parametrize("victim", ["engine", "supervisor", "nobody"])
def test_no_shared_memory_outlives_an_engine_however_it_ended(home: Home, victim: str) -> None:
    name = f"glm-test-{os.urandom(6).hex()}"
    home.profile("fake", "--shared", name)
    shared = Path("/dev/shm", name)
    home.attach()
    assert shared.exists()
    child = home.child()
    if victim == "engine":
        os.kill(child, signal.SIGKILL)
        until(lambda: engine_status("fake").state == "failed")
    elif victim == "supervisor":
        os.kill(home.supervisor(), signal.SIGKILL)
        until(lambda: child not in processes())
        home.profile()  # the next engine has other memory
        home.attach()
    else:
        asyncio.run(halt(home.paths()))
    assert not shared.exists()


def test_a_supervisor_whose_lock_outlives_it_for_a_moment_is_not_gone_before(home: Home) -> None:
    home.profile()
    paths = home.paths()
    make_folders(paths)
    script = (
        "import fcntl, os, sys, time\n"
        "f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); time.sleep(2.0); os._exit(0)\n"
        "f.write(f'{os.getpid()}'); f.flush(); print('held', flush=True); time.sleep(99)\n"
    )
    command = [sys.executable, "-S", "-c", script, str(paths.lock), "glmcode.engine.supervisor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None and dying.stdout.readline() == b"held\n"
        assert asyncio.run(halt(paths)) is True
        assert holder(paths) is None
        dying.wait(20)


def test_the_supervisor_stays_small(home: Home) -> None:
    home.profile()
    home.attach()
    text = Path(f"/proc/{home.supervisor()}/status").read_text()
    kib = int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])
    assert kib < 45_000
    threads = threading.active_count()
    assert threads < 50


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_one_sentence_and_the_next_start_works(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        monkeypatch.setenv("GLMCODE_HOME", str(small))
        other = Home(small)
        other.profile()
        filler = small / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        with pytest.raises(EngineUnavailable, match=r"No space left.*free some") as caught:
            other.attach()
        assert "Traceback" not in caught.value.log
        filler.unlink()
        other.attach()
        asyncio.run(halt(other.paths()))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_a_stranger_s_socket_in_the_place_of_ours_is_cured(home: Home) -> None:
    home.profile()
    paths = home.paths()
    make_folders(paths)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(paths.socket))  # bound, and nobody listens
    home.attach()


def test_a_process_that_answers_other_things_on_our_socket_is_named(home: Home) -> None:
    home.profile()
    paths = home.paths()
    make_folders(paths)
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(str(paths.socket))
        strange.listen(8)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = strange.accept()
                    one.recv(4096)
                    one.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                    one.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(EngineUnavailable, match="is no supervisor of glmcode's") as caught:
            home.attach()
        assert str(paths.socket) in str(caught.value)
        strange.shutdown(socket.SHUT_RDWR)
    paths.socket.unlink()
    home.attach()
