from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from glmcode.base import process
from glmcode.base.process import Exit, ProcessError, Running, start
from tests.commands import alive, dies, marker

ENVIRONMENT = {"PATH": os.environ["PATH"]}
ROOT = Path(__file__).resolve().parents[2]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true() and time.monotonic() < end:  # noqa: ASYNC110 (what others do has no event)
        await asyncio.sleep(0.01)


async def launch(
    command: str, heard: list[bytes] | None = None, *, limit: float | None = None
) -> Running:
    return await start(
        ["/bin/bash", "--noprofile", "--norc", "-c", command],
        cwd=Path("/"),
        environment=ENVIRONMENT,
        output=(heard if heard is not None else []).append,
        limit=limit,
    )


async def outcome(command: str, *, limit: float | None = None) -> tuple[Exit, bytes]:
    heard: list[bytes] = []
    running = await launch(command, heard, limit=limit)
    ended = await running.exited()
    if not running.gone:
        await running.stop()
    return ended, b"".join(heard)


def test_output_and_errors_come_in_their_order_with_the_exit_code() -> None:
    ended, heard = asyncio.run(outcome("echo a; echo b >&2; echo c; exit 7"))
    assert heard == b"a\nb\nc\n"
    assert (ended.code, ended.text(), ended.timed_out, ended.left) == (7, "exit 7", False, 0)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM", "SIGPIPE"])
def test_a_signal_is_told_by_its_name(name: str) -> None:
    ended, _ = asyncio.run(outcome(f"kill -{name[3:]} $$"))
    assert ended.text() == f"killed by {name}"


def test_the_environment_is_the_given_one_and_nothing_else() -> None:
    async def main() -> bytes:
        heard: list[bytes] = []
        running = await start(
            ["/usr/bin/env"],
            cwd=Path("/"),
            environment={"A": "1", "B": "x\ny", "C": "\udcff"},
            output=heard.append,
        )
        await running.exited()
        return b"".join(heard)

    os.environ["GLMCODE_TEST_SECRET"] = "s"
    try:
        assert asyncio.run(main()) == b"A=1\nB=x\ny\nC=\xff\n"
    finally:
        del os.environ["GLMCODE_TEST_SECRET"]


def test_a_command_has_its_own_session_no_terminal_no_input_and_only_three_descriptors() -> None:
    check = (
        "import os, sys; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1],"
        "os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), sys.stdin.read() == '')\n"
        "try: open('/dev/tty')\nexcept OSError as e: print(e.strerror)"
    )
    _, heard = asyncio.run(outcome(f'exec {sys.executable} -I -S -c "{check}"'))
    assert heard == b"[0, 1, 2] True True True\nNo such device or address\n"


def test_signals_are_not_ignored_in_a_command() -> None:
    _, heard = asyncio.run(
        outcome("grep SigIgn /proc/self/status; yes | head -1; echo $PIPESTATUS")
    )
    name, ignored, *rest = heard.split()
    assert (name, int(ignored, 16) & 0x7FFF_FFFF, rest) == (b"SigIgn:", 0, [b"y", b"141"])


def test_nothing_is_heard_late_and_nothing_is_lost_in_a_long_output() -> None:
    _, heard = asyncio.run(outcome("seq 1 200000"))
    assert heard == b"".join(b"%d\n" % n for n in range(1, 200_001))


def test_an_exit_does_not_wait_for_who_holds_the_output() -> None:
    async def main() -> tuple[float, Running, str]:
        mark = marker()
        begun = time.monotonic()
        running = await launch(f"sleep {mark} & disown; echo done")
        ended = await running.exited()
        assert (ended.code, ended.left, ended.left_names) == (0, 1, (f"sleep {mark}",))
        assert ended.seconds < 2
        took = time.monotonic() - begun
        assert alive(mark) and not running.gone
        await running.stop()
        return took, running, mark

    took, running, mark = asyncio.run(main())
    assert took < 3
    assert running.gone and not alive(mark)


def test_what_ends_soon_after_the_command_is_not_told_as_left() -> None:
    ended, heard = asyncio.run(outcome("(sleep 0.05; echo late) & echo now"))
    assert (ended.left, heard) == (0, b"now\nlate\n")


DAEMON = (
    "import os,sys,time\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "for fd in (0, 1, 2): os.close(fd)\n"
    "time.sleep(float(sys.argv[1]))\n"
)
ESCAPES = {
    "background": "sleep {} &",
    "disowned": "sleep {} & disown",
    "own session": "setsid sleep {} &",
    "forked own session": "setsid --fork sleep {}",
    "empty environment": "env -i setsid sleep {} >/dev/null 2>&1 </dev/null &",
    "nohup": "nohup sleep {} >/dev/null 2>&1 &",
    "double fork": f"{sys.executable} -I -S -c '{DAEMON}' {{}}",
    "deep": "(setsid bash -c '(setsid bash -c \"(sleep {} &)\" &)' &)",
    "ignores TERM": "setsid bash -c 'trap \"\" TERM HUP INT; while :; do sleep 0.01; done' {} &",
    "stopped": "setsid bash -c 'kill -STOP $$' {} &",
    "job control": "set -m; sleep {} & sleep {} &",
    "many": "for i in $(seq 60); do setsid sleep {} & done",
}


@pytest.mark.parametrize("way", ESCAPES)
def test_nothing_that_a_command_started_survives_a_stop(way: str) -> None:
    async def main() -> str:
        mark = marker()
        running = await launch(ESCAPES[way].replace("{}", mark) + "\nsleep 0.3; echo up; sleep 99")
        await until(lambda: alive(mark))
        await running.stop()
        assert running.gone and not running.survivors
        return mark

    assert not alive(asyncio.run(main()))


@pytest.mark.parametrize("way", ["own session", "double fork", "ignores TERM", "stopped"])
def test_nothing_survives_the_time_limit(way: str) -> None:
    mark = marker()
    command = "echo before\n" + ESCAPES[way].replace("{}", mark) + "\nsleep 99"
    ended, heard = asyncio.run(outcome(command, limit=0.5))
    assert ended.timed_out and heard == b"before\n"
    assert 0.4 < ended.seconds < 8
    assert not alive(mark)


def test_a_stopped_command_may_say_goodbye_first() -> None:
    async def main() -> bytes:
        heard: list[bytes] = []
        running = await launch("trap 'echo bye; exit 3' TERM; echo up; sleep 99 & wait", heard)
        await until(lambda: heard)
        await running.stop()
        assert running.exit is not None and running.exit.code == 3
        return b"".join(heard)

    assert asyncio.run(main()) == b"up\nbye\n"


def test_a_second_cancellation_kills_without_grace_and_is_not_lost() -> None:
    async def main() -> float:
        running = await launch("trap '' TERM; echo up; while :; do sleep 0.01; done")
        stopping = asyncio.create_task(running.stop())
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert running.gone
        return time.monotonic() - begun

    assert asyncio.run(main()) < 5


def test_a_limit_holds_while_the_event_loop_is_busy() -> None:
    async def main() -> Exit:
        running = await launch("sleep 99", limit=0.2)
        time.sleep(1.5)  # noqa: ASYNC251 (a busy loop is the point)
        return await running.exited()

    ended = asyncio.run(main())
    assert ended.timed_out and ended.seconds < 1.4


def test_a_killed_keeper_leaves_nothing_and_does_not_hang_anybody() -> None:
    mark = marker()
    ended, _ = asyncio.run(outcome(f"setsid sleep {mark} & kill -9 $PPID; sleep 99", limit=60))
    assert ended.code is None and "unknown" in ended.text()
    assert dies(mark)


def test_a_stopped_keeper_is_taken_for_dead_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SLACK_S", 0.5)
    mark = marker()
    ended, _ = asyncio.run(outcome(f"kill -STOP $PPID; sleep {mark}", limit=0.5))
    assert ended.code is None
    assert dies(mark)


def test_a_killed_warden_is_started_again() -> None:
    async def main() -> None:
        assert (await outcome("exit 1"))[0].code == 1
        warden = process._warden._process
        assert warden is not None
        warden.kill()
        warden.wait()
        assert (await outcome("exit 2"))[0].code == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "way", ["background", "disowned", "own session", "ignores TERM", "stopped", "job control"]
)
def test_without_a_subreaper_the_tree_and_the_group_are_killed(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = "import sys; sys.platform = 'darwin'; " + process._MAIN.removeprefix("import sys; ")
    monkeypatch.setattr(process, "_MAIN", elsewhere)
    monkeypatch.setattr(process, "_warden", process._Warden())

    async def main() -> str:
        mark = marker()
        running = await launch(ESCAPES[way].replace("{}", mark) + "\nsleep 99")
        await until(lambda: alive(mark))
        await running.stop()
        assert running.gone and not running.survivors
        ended, _ = await outcome(f"(sleep {mark} &) & exit 3")
        assert (ended.code, ended.left) == (3, 1)
        return mark

    assert not alive(asyncio.run(main()))
    process._warden.close()


HOST = """
import asyncio, sys
from pathlib import Path
from glmcode.base.process import start

async def main():
    await start(["/bin/bash", "-c", sys.argv[1]], cwd=Path("/"), environment={"PATH": sys.argv[2]},
                output=lambda data: None)
    print("up", flush=True)
    if sys.argv[3] == "stay":
        await asyncio.sleep(60)

asyncio.run(main())
"""


def host(command: str, how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HOST, command, os.environ["PATH"], how],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_glmcode_dies_its_commands_die_too(number: signal.Signals) -> None:
    mark = marker()
    with host(f"setsid sleep {mark} & trap '' HUP INT TERM; sleep {mark}", "stay") as glmcode:
        assert glmcode.stdout is not None and glmcode.stdout.readline() == b"up\n"
        while len(alive(mark)) < 2:
            time.sleep(0.02)
        glmcode.send_signal(number)
        glmcode.wait()
    assert dies(mark)


def test_when_glmcode_dies_a_stopped_keeper_dies_too() -> None:
    mark = marker()
    with host(f"kill -STOP $PPID; sleep {mark}", "stay") as glmcode:
        while not alive(mark):
            time.sleep(0.02)
        glmcode.kill()
    assert dies(mark)


def test_when_glmcode_ends_its_commands_end_too_and_its_warden() -> None:
    mark = marker()
    with host(f"sleep {mark}", "leave") as glmcode:
        assert glmcode.wait() == 0
        pid = str(glmcode.pid)
    assert dies(mark)
    assert pid not in subprocess.run(["ps", "-eo", "ppid="], capture_output=True, text=True).stdout


def test_a_missing_program_and_a_missing_folder_are_told_apart(tmp_path: Path) -> None:
    async def failing(program: str, folder: Path) -> ProcessError:
        with pytest.raises(ProcessError) as caught:
            await start([program], cwd=folder, environment={}, output=lambda data: None)
        return caught.value

    missing = asyncio.run(failing("/no/such/program", tmp_path))
    assert (missing.stage, str(missing)) == ("exec", "No such file or directory")
    folder = asyncio.run(failing("/bin/true", tmp_path / "gone"))
    assert (folder.stage, str(folder)) == ("folder", "No such file or directory")
    (tmp_path / "file").write_text("")
    assert asyncio.run(failing("/bin/true", tmp_path / "file")).stage == "folder"
    denied = asyncio.run(failing(str(tmp_path / "file"), tmp_path))
    assert (denied.stage, str(denied)) == ("exec", "Permission denied")


def test_too_large_an_environment_is_an_error_and_not_a_crash() -> None:
    async def main() -> None:
        with pytest.raises(ProcessError) as caught:
            await start(
                ["/bin/true"],
                cwd=Path("/"),
                environment={"A": "x" * 500_000},
                output=lambda data: None,
            )
        assert caught.value.stage == "exec"

    asyncio.run(main())


def test_too_few_descriptors_are_an_error_and_the_next_command_works() -> None:
    async def main() -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(ProcessError) as caught:
                await launch("true")
            assert caught.value.stage == "warden"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (await outcome("exit 4"))[0].code == 4

    asyncio.run(main())


def test_an_interpreter_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_warden", process._Warden())
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    async def main() -> None:
        with pytest.raises(ProcessError) as caught:
            await launch("true")
        assert caught.value.stage == "warden"

    asyncio.run(main())


def test_a_cancelled_start_leaves_nothing() -> None:
    async def main() -> str:
        mark = marker()
        for turns in range(1, 8):
            task = asyncio.create_task(launch(f"sleep {mark}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return mark

    assert dies(asyncio.run(main()))


def test_no_descriptor_and_no_process_is_left_behind() -> None:
    async def rounds(count: int, one: Callable[[], Awaitable[object]]) -> int:
        for _ in range(count):
            await one()
        return open_descriptors()

    async def main() -> None:
        await outcome("true")
        before = open_descriptors()
        assert await rounds(20, lambda: outcome("echo x")) == before
        assert await rounds(2, lambda: outcome("sleep 9 &")) == before
        warden = process._warden._process
        assert warden is not None
        children = Path(f"/proc/{warden.pid}/task/{warden.pid}/children")
        await until(lambda: not children.read_text().strip())
        assert children.read_text().strip() == ""

    asyncio.run(main())


def test_a_waiting_editor_is_stopped_and_named() -> None:
    # bash under the name of an editor, its input the writing end of our pipe, as vi does it.
    async def main() -> Running:
        running = await launch(
            "exec -a vi /bin/bash -c 'printf vi >/proc/$$/comm; sleep 99; true' <&1"
        )
        await running.exited()
        return running

    running = asyncio.run(main())
    assert [name.split()[0] for name in running.keyless] == ["vi"]
