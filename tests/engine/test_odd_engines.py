from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.engine.attach import EngineUnavailable, engine_status
from glmcode.engine.family import boot
from glmcode.engine.halt import halt
from glmcode.engine.paths import make_folders
from glmcode.engine.rest import is_asleep
from glmcode.engine.runner import BACK_OFF_S
from glmcode.engine.starts import last_start
from glmcode.engine.tail import LINE_LIMIT, SIZE_LIMIT, Tail
from tests.engine.engine_kit import Home, until
from tests.engine.test_lifecycle import command, ended, engine, glmcode

SERVE = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(9)
kept = []
while True:
    kept.append(s.accept()[0])
    answer = {answer!r}
    if answer:
        kept[-1].recv(999); kept[-1].sendall(answer); kept[-1].close()
"""


def own(home: Home, script: str) -> None:
    """A profile whose engine is this script; its first argument is the socket."""
    words = [sys.executable, "-S", "-u", "-c", script, "{socket}"]
    home.write("fake", f'engine_command = {json.dumps(words)}\nmodel = "none/fake"\n')


def resident(pid: int) -> int:
    """KiB of memory that a process has."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.parametrize(
    "script",
    [
        "import time; time.sleep(999)",
        SERVE.format(answer=b""),
        SERVE.format(answer=bytes(range(256)) * 10),
        SERVE.format(answer=b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        SERVE.format(answer=b"HTTP/1.1 999999999999999999999 No\r\n\r\n"),
        "import os, time\nos.close(1); os.close(2); time.sleep(999)",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(999)",
    ],
    ids=["mute", "silent", "binary", "ill", "odd", "closed", "stubborn"],
)
def test_an_engine_that_never_gets_well_is_starting_and_can_be_stopped(
    home: Home, script: str
) -> None:
    own(home, script)
    with pytest.raises(EngineUnavailable, match="was not ready after 2 s"):
        home.attach(timeout_s=2.0)
    assert engine_status("fake").state == "starting"
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    assert home.living() == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "did not start: it ended with exit code 0"),
        ("print('bye')", "did not start: it ended with exit code 0"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("import os; os.kill(os.getpid(), 7)", "/dev/shm is full"),
        ("import os; os.abort()", "killed by signal 6"),
        ("raise SystemExit('ValueError: too odd')", "exit code 1: too odd"),
        (
            "import os, time\nos.close(1)\nif os.fork(): os._exit(0)\nos.setsid()\n"
            "if os.fork(): os._exit(0)\ntime.sleep(999)",
            "did not start: it ended with exit code 0",
        ),
    ],
    ids=["at once", "after a word", "segfault", "bus", "abort", "error", "daemon"],
)
def test_an_engine_that_ends_is_told_and_leaves_nothing(home: Home, script: str, said: str) -> None:
    own(home, script)
    with pytest.raises(EngineUnavailable) as caught:
        home.attach(timeout_s=30.0)
    assert said in str(caught.value)
    (left,) = home.living()
    assert "glmcode.engine.supervisor" in left


def test_megabytes_without_an_end_of_line_cost_no_memory(home: Home) -> None:
    own(home, "import sys\nwhile sys.stdout.buffer.write(b'\\xff\\x00x' * 300_000): pass")
    with pytest.raises(EngineUnavailable):
        home.attach(timeout_s=6.0)
    assert resident(home.supervisor()) < 60_000
    assert engine("stop")[0] == 0


def test_a_log_stays_bounded_in_a_torrent(home: Home) -> None:
    own(
        home,
        "import sys, time\nwhile True:\n"
        "    sys.stdout.buffer.write(b'ERROR of a torrent\\n' * 100_000); time.sleep(0.01)",
    )
    with pytest.raises(EngineUnavailable):
        home.attach(timeout_s=3.0)
    sizes = []
    for _ in range(20):
        time.sleep(0.2)
        folder = home.paths().folder
        sizes.append(sum(file.stat().st_size for file in folder.iterdir() if file.is_file()))
    # 190 MB a second where nothing else runs
    assert max(sizes) < 6 * SIZE_LIMIT
    began = time.monotonic()
    assert engine_status("fake").state == "starting"
    assert time.monotonic() - began < 2
    assert engine("stop")[0] == 0


def test_a_line_is_kept_as_far_as_a_person_reads(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = Tail(log)
    log.write_bytes(b"x" * 3_000_000)
    assert tail.read() == []
    with log.open("ab") as file:
        file.write(b"y" * 3_000_000 + b"\nfine\n")
    first, second = tail.read()
    assert len(first) == LINE_LIMIT and second == "fine"


def test_what_was_said_before_it_was_up_does_not_explain_a_later_end(home: Home) -> None:
    home.profile("fake", "--say", "torch.OutOfMemoryError: CUDA out of memory", "--say", "hello")
    home.attach()
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    status = engine_status("fake")
    assert "killed by signal 9" in status.reason and "GPU memory" not in status.reason
    assert "hello" in status.log and not status.final


def test_an_engine_that_ran_out_of_gpu_memory_is_not_started_again_by_itself(home: Home) -> None:
    home.profile()
    home.attach()
    with home.paths().log.open("a") as log:
        log.write("(EngineCore pid=2) ERROR 11-25 13:11:41 [core.py:1] torch.OutOfMemoryError: C\n")
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="died: it ran out of GPU memory"):
            home.attach()
    assert engine("start")[0] == 0, "a person may try it"


def test_what_ends_again_and_again_is_given_a_moment_and_then_given_up(home: Home) -> None:
    home.profile("fake", "--say", "KeyError: 'x'", "--exit", "7")
    took = []
    for _ in range(4):
        began = time.monotonic()
        with pytest.raises(EngineUnavailable) as caught:
            home.attach()
        took.append(time.monotonic() - began)
    assert took[2] > BACK_OFF_S - 1 > took[1] and took[3] < 1
    assert "that was the 3rd time in ten minutes" in str(caught.value)
    began = time.monotonic()
    assert engine("start")[0] == 75
    home.profile()
    assert engine("start")[0] == 0
    assert time.monotonic() - began < BACK_OFF_S, "a person does not wait"


def test_a_stop_ends_the_moment_before_another_try(home: Home) -> None:
    home.profile("fake", "--exit", "7")
    for _ in range(2):
        with pytest.raises(EngineUnavailable):
            home.attach()
    start = subprocess.Popen(
        [sys.executable, "-c", ATTACH], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    until(lambda: "waiting" in engine_status("fake").phase)
    began = time.monotonic()
    asyncio.run(halt(home.paths()))
    assert time.monotonic() - began < 2
    start.kill()
    start.wait()


ATTACH = """
import asyncio
from glmcode.engine.attach import attach
from glmcode.engine.profile import load_profile
asyncio.run(attach(load_profile("fake"), lambda event: None))
"""


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff",
        b'{"importing vLLM": NaN}',
        b'{"importing vLLM": -5}',
        b'{"importing vLLM": 1e400}',
        b'{"importing vLLM": "x"}',
        b'{"importing vLLM": [1]}',
        b'"importing vLLM"',
        b"[" * 100_000,
    ],
)
def test_odd_times_of_the_last_start_are_no_times(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "last_start.json"
    path.write_bytes(text)
    assert dict(last_start(path)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "\xff",
        '{"pid": 1}',
        '{"pid": "x", "boot": "BOOT", "mark": "", "started": 0}',
        '{"pid": 1, "boot": "BOOT", "mark": "", "started": 0}',
        '{"pid": SELF, "boot": "BOOT", "mark": "", "started": 1}',
        '{"pid": SELF, "boot": "another", "mark": "", "started": 0}',
        '{"pid": 0, "boot": "BOOT", "mark": "", "started": 0}',
        '{"pid": -1, "boot": "BOOT", "mark": "", "started": 0}',
        '{"pid": 1, "boot": "BOOT", "mark": null, "started": null, "shared": 3}',
        '{"pid": 1, "boot": "BOOT", "mark": "m", "started": 0, "shared": ["../../tmp/x", ""]}',
    ],
)
def test_an_odd_record_of_an_engine_ends_nobody(home: Home, text: str) -> None:
    home.profile()
    make_folders(home.paths())
    said = text.replace("BOOT", boot()).replace("SELF", str(os.getpid()))
    home.paths().child.write_bytes(said.encode("latin-1"))
    assert asyncio.run(halt(home.paths())) is False
    assert not home.paths().child.exists()
    home.paths().child.write_bytes(said.encode("latin-1"))
    home.attach()


@pytest.mark.parametrize("text", ["", "1", "SELF", "x" * 5000, "-1", "9" * 30, "\xb2", "0"])
def test_an_odd_number_in_the_lock_s_file_ends_nobody(home: Home, text: str) -> None:
    home.profile()
    make_folders(home.paths())
    said = text.replace("SELF", str(os.getpid())).encode("latin-1")
    home.paths().lock.write_bytes(said)
    assert asyncio.run(halt(home.paths())) is False
    home.attach()
    home.paths().lock.write_bytes(said)  # while it is held
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    assert home.living() == []


@pytest.mark.parametrize(
    "name", ["sp ace", "new\nline", "ünï çode", "q'\"$x`", "{socket}", "x" * 60]
)
def test_a_home_may_have_any_name(home: Home, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Home(home.folder / name)
    other.folder.mkdir()
    monkeypatch.setenv("GLMCODE_HOME", str(other.folder))
    other.profile()
    assert engine("start")[0] == 0
    assert json.loads(engine("status", "--json")[1])["state"] == "ready"
    assert glmcode("engine", "stop")[1] == "fake: stopped\n"
    assert other.living() == []


def test_a_home_of_bytes_that_are_no_text_works(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.fsdecode(os.fsencode(home.folder) + b"/x\xff\xfe"))
    folder.mkdir()
    profile = home.folder / "config" / "profiles" / f"{home.profile()}.toml"
    (folder / "config").mkdir()
    profile.parent.rename(folder / "config" / "profiles")
    monkeypatch.setenv("GLMCODE_HOME", str(folder))
    for language in ("C", "C.UTF-8"):
        monkeypatch.setenv("LC_ALL", language)
        assert engine("start")[0] == 0
        assert glmcode("engine", "status")[1].startswith("fake: ready")
        assert json.loads(engine("status", "--json")[1])["socket"].endswith("supervisor.sock")
        assert engine("stop")[:2] == (0, "fake: stopped\n")


def test_a_home_with_the_tilde_of_nobody_is_a_folder_of_that_name(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.folder)
    monkeypatch.setenv("GLMCODE_HOME", "~nobody-of-that-name/x")
    assert glmcode("engine", "status") == (0, "no engine was started on this machine\n", "")
    monkeypatch.delenv("HOME")
    assert glmcode("engine", "stop")[0] == 0


@pytest.mark.parametrize("mode", [0o777, 0o000, 0o500, 0o711, 0o2770])
def test_a_folder_of_ours_with_wrong_modes_is_cured(home: Home, mode: int) -> None:
    home.profile()
    make_folders(home.paths())
    home.paths().folder.chmod(mode)
    home.attach()
    assert home.paths().folder.stat().st_mode & 0o777 == 0o700


def test_what_else_lies_among_the_engines_is_not_one(home: Home) -> None:
    for name in ("a", "b"):
        home.profile(name)
        home.attach(name)
    root = home.paths().folder.parent
    (root.parent / "another-host" / "a").mkdir(parents=True)
    (root / "file").write_text("x")
    (root / "od d\n").mkdir()
    (root / os.fsdecode(b"x\xff")).mkdir()
    (root / "dangling").symlink_to(root / "none")
    shown = glmcode("engine", "status")[1]
    assert [line for line in shown.splitlines() if not line.startswith(" ")] == [
        "a: ready: a, window 9,000 tokens",
        "b: ready: b, window 9,000 tokens",
    ]
    assert len(json.loads(glmcode("engine", "status", "--json")[1])) == 2
    assert glmcode("engine", "stop")[1] == "a: stopped\nb: stopped\n"


def test_a_link_in_the_place_of_the_folder_is_named_by_every_command(
    home: Home, tmp_path: Path
) -> None:
    home.profile()
    folder = home.paths().folder
    folder.parent.mkdir(parents=True)
    for target in (tmp_path, tmp_path / "none"):
        folder.symlink_to(target)
        code, _, err = engine("start")
        assert code == 75 and f"{folder} is not a folder: remove it" in err
        assert engine("stop")[0] == 0 and engine("status")[0] == 0
        folder.unlink()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"[engine]\nidle_stop = 'x'\n", b"[engine]\nidle_stop = nan\n", b"DIR", b"FIFO"],
)
def test_settings_that_cannot_be_read_stop_no_engine(home: Home, content: bytes) -> None:
    home.profile()
    home.attach()
    settings = home.folder / "config" / "config.toml"
    match content:
        case b"DIR":
            settings.mkdir()
        case b"FIFO":
            os.mkfifo(settings)
        case _:
            settings.write_bytes(content)
    time.sleep(3.0)
    began = time.monotonic()
    assert engine_status("fake").state == "ready"
    assert time.monotonic() - began < 1
    assert home.paths().supervisor_log.read_text() == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_descriptors_are_closed_does_its_work(home: Home, closed: str) -> None:
    home.profile()
    for words, state in (("start", "ready"), ("wake", "ready"), ("stop", "absent")):
        line = f"{sys.executable} -m glmcode engine {words} --profile fake {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr
        assert engine_status("fake").state == state


def test_two_who_send_it_to_sleep_or_wake_it_both_succeed(home: Home) -> None:
    home.profile("fake", "--rests", "1")
    home.attach()
    for word, said in (("sleep", "fake: sleeping"), ("wake", "fake: ready")):
        for code, out, err in map(ended, [command(word) for _ in range(3)]):
            assert code == 0 and out.startswith(said), err
    assert home.noted().count("POST /sleep") == 1 and home.noted().count("POST /wake_up") == 1


def test_a_stop_wins_over_a_sleep_that_is_under_way(home: Home) -> None:
    home.profile("fake", "--rests", "40")
    home.attach()
    sleep = command("sleep")
    until(lambda: engine_status("fake").phase == "moving the weights out")
    assert engine("status")[1].startswith("fake: stopping: moving the weights out")
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    code, out, err = ended(sleep)
    assert (code, out) == (75, "") and "no sleep: " in err
    assert home.living() == []


def test_an_engine_that_dies_while_it_goes_to_sleep_is_never_called_ready(home: Home) -> None:
    home.profile("fake", "--rests", "10")
    home.attach()
    sleep = command("sleep")
    until(lambda: engine_status("fake").phase == "moving the weights out")
    os.kill(home.child(), signal.SIGKILL)
    seen = set()
    while (state := engine_status("fake").state) != "failed":
        seen.add(state)
    assert seen <= {"stopping"}
    assert ended(sleep)[0] == 75


@pytest.mark.parametrize("moment", ["out", "back"])
def test_a_supervisor_that_is_killed_over_a_move_leaves_nothing(home: Home, moment: str) -> None:
    home.profile("fake", "--rests", "8")
    home.attach()
    child = home.child()
    if moment == "back":
        assert engine("sleep")[0] == 0
    rest = command("sleep" if moment == "out" else "wake")
    until(lambda: engine_status("fake").phase == f"moving the weights {moment}")
    os.kill(home.supervisor(), signal.SIGKILL)
    assert ended(rest)[0] == 75
    home.attach()
    assert home.child() != child and engine_status("fake").state == "ready"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"is_sleeping": true}', True),
        (b'{"is_sleeping": false}', False),
        (b'{"is_sleeping": "no"}', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_what_an_engine_says_of_its_sleep_counts_after_a_move_that_failed(
    tmp_path: Path, body: bytes, said: bool | None
) -> None:
    async def asked() -> bool | None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            writer.close()

        path = tmp_path / "s"
        async with await asyncio.start_unix_server(answer, str(path)):
            return await is_asleep(path)

    assert asyncio.run(asked()) is said


def test_waking_one_that_is_awake_and_busy_is_no_fault(home: Home) -> None:
    home.profile("fake", "--rests", "1", "--gap", "0.05")
    home.attach()
    body = '{"token_ids": [1], "sampling_params": {"max_tokens": 200}}'
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(home.paths().socket))
        head = f"POST /inference/v1/generate HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall((head + body).encode())
        client.recv(100)
        assert engine("wake")[:2] == (
            0,
            "fake: busy: fake, window 9,000 tokens, 1 request(s) running\n",
        )
        code, _, err = engine("sleep", "--yes")
        assert code == 75 and "an engine that is busy with 1 request(s) can't sleep" in err
