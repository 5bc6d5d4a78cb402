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

from glmcode.engine.child import end_leftover, spawn
from glmcode.engine.family import Family, boot, processes
from tests.engine.engine_kit import command_lines, until

SLEEP = "import time; time.sleep(99)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {SLEEP}"


def engine(code: str, tmp_path: Path) -> int:
    """Start something as an engine is started; returns its pid."""
    command = [sys.executable, "-S", "-c", code]
    child = spawn(command, os.environ, tmp_path / "log", tmp_path / "record")
    return child.pid


def test_a_deaf_process_is_killed_after_its_grace(tmp_path: Path) -> None:
    pid = engine(DEAF, tmp_path)
    until(lambda: (tmp_path / "log").read_bytes() == b"\n")
    began = time.monotonic()
    assert asyncio.run(Family(group=pid, mark="").end(0.4)) is True
    assert 0.4 < time.monotonic() - began < 5
    assert pid not in processes()


def test_a_stopped_process_is_ended_politely(tmp_path: Path) -> None:
    pid = engine(SLEEP, tmp_path)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    asyncio.run(Family(group=pid, mark="").end(20.0))
    assert time.monotonic() - began < 5
    assert os.waitpid(pid, 0)[1] == signal.SIGTERM


def test_a_worker_in_its_own_session_whose_parent_died_is_found_by_its_mark(
    tmp_path: Path,
) -> None:
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {SLEEP!r}], "
        "start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
    )
    pid = engine(code, tmp_path)
    until(lambda: (tmp_path / "log").read_text().strip())
    worker = int((tmp_path / "log").read_text())
    os.waitpid(pid, 0)
    assert worker in processes()
    assert asyncio.run(end_leftover(tmp_path / "record")) is True
    assert worker not in processes()
    assert not (tmp_path / "record").exists()


def test_shared_memory_of_a_killed_engine_is_removed_by_python_s_tracker(tmp_path: Path) -> None:
    code = (
        "from multiprocessing.shared_memory import SharedMemory; import time\n"
        "print(SharedMemory(create=True, size=4096).name, flush=True); time.sleep(99)\n"
    )
    pid = engine(code, tmp_path)
    until(lambda: (tmp_path / "log").read_text().endswith("\n"))
    shared = Path("/dev/shm") / (tmp_path / "log").read_text().strip()
    assert shared.exists()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    asyncio.run(end_leftover(tmp_path / "record"))
    assert not shared.exists()


def test_a_number_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-S", "-c", SLEEP], start_new_session=True)
    try:
        record = tmp_path / "record"
        note = {"pid": other.pid, "started": 1, "boot": boot(), "mark": "none-has-this"}
        record.write_text(json.dumps(note))
        assert asyncio.run(end_leftover(record)) is False
        note |= {"started": processes()[other.pid].started, "boot": "an earlier one"}
        record.write_text(json.dumps(note))
        assert asyncio.run(end_leftover(record)) is False
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_start_that_cannot_be_recorded_is_taken_back(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", SLEEP, str(tmp_path)]
    with pytest.raises(OSError, match="No such file"):
        spawn(command, os.environ, tmp_path / "log", tmp_path / "gone" / "record")
    assert not any(str(tmp_path) in line and "sleep" in line for line in command_lines())


def test_a_record_that_cannot_be_read_is_removed(tmp_path: Path) -> None:
    record = tmp_path / "record"
    assert asyncio.run(end_leftover(record)) is False
    record.write_text("{ half")
    assert asyncio.run(end_leftover(record)) is False
    assert not record.exists()


def test_a_worker_that_ended_before_its_engine_is_no_zombie_afterwards(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "middle = subprocess.Popen([sys.executable, '-S', '-c', "
        "'import os, subprocess, sys;"
        'print(subprocess.Popen([sys.executable, "-S", "-c", ""]).pid, flush=True);'
        "os._exit(0)'])\n"
        "middle.wait()\n"
        f"{SLEEP}\n"
    )
    script = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from glmcode.engine.family import Family, adopt_orphans\n"
        "from glmcode.engine.child import spawn\n"
        "import os\n"
        "adopt_orphans()\n"
        "log = Path(sys.argv[1])\n"
        "engine = spawn([sys.executable, '-S', '-c', sys.argv[3]], os.environ, log,"
        " Path(sys.argv[2])).pid\n"
        "while not log.read_text().strip(): time.sleep(0.02)\n"
        "worker = int(log.read_text())\n"
        "state = lambda: Path(f'/proc/{worker}/stat').read_text().rpartition(')')[2].split()\n"
        "while state()[0] != 'Z' or int(state()[1]) != os.getpid(): time.sleep(0.02)\n"
        "asyncio.run(Family(group=engine, mark='').end(5.0))\n"
        "print(Path(f'/proc/{worker}').exists())\n"
    )
    words = [str(tmp_path / "log"), str(tmp_path / "record"), code]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr
