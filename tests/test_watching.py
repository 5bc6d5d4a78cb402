from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from glmcode.core.events import EngineProgress
from glmcode.engine.halt import halt
from glmcode.moving import cut
from tests.engine.engine_kit import Home, new_home
from tests.repl.pty_driver import PtySession, glmcode

WORDS = ("engine", "status", "--profile", "fake", "--watch")
GLMCODE = f"{shlex.quote(sys.executable)} -m glmcode"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        made.profile("fake", "--say", "Initializing a V1 LLM engine", "--pause", "0.4")
        yield made


@contextmanager
def watching(
    home: Home, *words: str, size: tuple[int, int] = (100, 30), **env: str
) -> Iterator[PtySession]:
    where = {"GLMCODE_HOME": str(home.folder), **env}
    with glmcode(home.folder, *(words or WORDS), size=size, env=where) as session:
        yield session


def shell(script: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=seconds, cwd="/"
    )


def test_a_watch_on_a_narrow_terminal_draws_in_place_and_never_wraps(home: Home) -> None:
    with watching(home, size=(40, 12), NO_COLOR="1") as session:
        session.wait_for_visible("fake: absent")
        home.attach()
        session.wait_for_visible("fake: ready: ")
        session.read(1.5)
        lines = [line for line in session.screen.visible.splitlines() if line.strip()]
        assert sum(line.startswith("fake: ") for line in lines) == 1
        assert "absent" not in session.screen.text
        assert any(line.rstrip().endswith("…") for line in lines)
        assert not re.search(r"\x1b\[[0-9;]*m", session.raw), "NO_COLOR"
        session.type("\x03")
        assert session.wait_exit() == 130
        assert "Traceback" not in session.raw
        assert session.terminal_is_restored()


def test_a_terminal_that_becomes_narrower_or_wider_is_drawn_anew(home: Home) -> None:
    home.attach()
    with watching(home, size=(90, 12)) as session:
        session.wait_for_visible("fake: ready: ")
        for columns in (30, 100, 40):
            session.resize(columns, 12)
            before = len(session.raw)
            session.read(2.5)
            drawn = session.raw[before:].replace("\r", "").rpartition("\x1b[0J")[2]
            assert drawn.startswith("fake: ready")
            assert all(len(line) < columns for line in drawn.splitlines())
        asyncio.run(halt(home.paths()))
        session.wait_for_visible("fake: absent")
        session.type("\x03")
        assert session.wait_exit() == 130


def test_a_terminal_with_few_rows_shows_the_first_lines_only(home: Home) -> None:
    home.attach()
    with watching(home, size=(60, 2)) as session:
        session.wait_for_visible("fake: ready: ")
        session.read(2.5)
        assert session.screen.text.count("fake: ready") == 1
        session.type("\x03")
        assert session.wait_exit() == 130


def test_a_dumb_terminal_gets_lines(home: Home) -> None:
    with watching(home, TERM="dumb") as session:
        session.wait_for("fake: absent")
        home.attach()
        session.wait_for("fake: ready: ")
        session.type("\x03")
        assert session.wait_exit() == 130
        assert "\x1b" not in session.raw


def test_a_supervisor_that_dies_while_it_is_watched_is_gone_and_the_next_one_is_seen(
    home: Home,
) -> None:
    home.attach()
    with watching(home) as session:
        session.wait_for_visible("fake: ready: ")
        os.kill(home.supervisor(), signal.SIGKILL)
        session.wait_for_visible("fake: absent")
        home.attach()
        session.wait_for_visible("fake: ready: ")
        session.type("\x03")
        assert session.wait_exit() == 130
        assert "Traceback" not in session.raw


def test_a_supervisor_of_another_version_is_told_once_and_watched_on(home: Home) -> None:
    home.attach()
    os.kill(home.supervisor(), signal.SIGKILL)
    paths = home.paths()
    body = json.dumps({"protocol": 99, "state": "new"})
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}\n"

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode())
        writer.close()

    async def main() -> tuple[int | None, bytes, bytes]:
        paths.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(other, paths.socket)
        async with server:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "glmcode", *WORDS,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            await asyncio.sleep(3.0)
            process.send_signal(signal.SIGINT)
            out, errors = await process.communicate()
        return process.returncode, out, errors

    code, out, errors = asyncio.run(main())
    assert (code, errors) == (130, b"")
    assert out.decode().count("restart needed") == 1 and out.count(b"\n") == 1


@pytest.mark.parametrize("words", ["status --profile fake --watch", "logs --profile fake -f"])
def test_a_pipe_that_nobody_reads_any_more_ends_it_although_nothing_happens(
    home: Home, words: str
) -> None:
    home.attach()
    began = time.monotonic()
    done = shell(f"set -o pipefail; {GLMCODE} engine {words} | head -n 1")
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("words", ["status --profile fake --watch", "logs --profile fake -f"])
@pytest.mark.parametrize("end", [">&-", "2>&-", ">&- 2>&-", ">/dev/full"])
def test_streams_that_are_closed_or_full_are_no_traceback(home: Home, words: str, end: str) -> None:
    home.attach()
    done = shell(f"timeout 4 {GLMCODE} engine {words} {end}")
    # What is closed is nowhere to write, as /dev/null is, and stops nothing.
    assert done.returncode == (124 if "&-" in end else 1)
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1


@pytest.mark.parametrize("words", ["status", "status --profile fake", "profiles", "logs"])
def test_short_answers_to_nobody_are_no_traceback(home: Home, words: str) -> None:
    home.attach()
    for end in (">&-", ">/dev/full"):
        done = shell(f"{GLMCODE} engine {words} {end}")
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1


def test_a_start_on_a_narrow_terminal_never_wraps_and_on_a_dumb_one_is_lines(home: Home) -> None:
    home.profile(
        "fake", "--say", "Loading safetensors checkpoint shards: 25% 1/4", "--pause", "0.5"
    )
    start = ("engine", "start", "--profile", "fake")
    with watching(home, *start, size=(40, 12)) as session:
        assert session.wait_exit() == 0
        drawn = re.findall(r"\r\x1b\[K([^\r]*)", session.raw)
        assert drawn and all(len(text) < 40 for text in drawn[:-1])
        assert "importing" not in session.screen.text
    asyncio.run(halt(home.paths()))
    with watching(home, *start, TERM="dumb") as session:
        assert session.wait_exit() == 0
        assert "\x1b" not in session.raw
        lines = [line for line in session.screen.text.splitlines() if "loading weights" in line]
        assert len(lines) == 1


@pytest.mark.parametrize(
    "text",
    ['{"importing vLLM": NaN, "looking for vLLM": 1e999, "starting the workers": -5}',
     '{"importing vLLM": "long"}', "[1]", "3", "{", "\udcff"],
)  # fmt: skip
def test_what_the_last_start_left_may_be_nonsense(home: Home, text: str) -> None:
    home.attach()
    asyncio.run(halt(home.paths()))
    home.paths().last_start.write_text(text, encoding="utf-8", errors="surrogateescape")
    home.events.clear()
    home.attach()
    told = [event for event in home.events if isinstance(event, EngineProgress)]
    assert told and all(event.percent is None and event.eta_s is None for event in told)


def test_a_log_is_followed_byte_by_byte_when_it_is_cut_and_when_it_is_replaced(home: Home) -> None:
    home.attach()
    log = home.paths().log
    asyncio.run(halt(home.paths()))
    log.write_bytes("first\nsecond é\n".encode())
    command = [sys.executable, "-m", "glmcode", "engine", "logs", "--profile", "fake", "-f", "-n1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode() == "second é\n"
        for piece in (b"half of \xe4\xb8", b"\xad and a bad \xff byte\n"):
            with log.open("ab") as file:
                file.write(piece)
            time.sleep(0.4)
        assert (
            process.stdout.readline().decode()
            == "half of 中 and a bad \N{REPLACEMENT CHARACTER} byte\n"
        )
        log.write_bytes(b"")
        time.sleep(0.4)
        with log.open("ab") as file:
            file.write(b"after the cut\n")
        assert process.stdout.readline() == b"after the cut\n"
        with log.open("ab") as file:
            file.write(b"its last words\n")
            log.replace(log.with_suffix(".1"))
            log.write_bytes(b"the next start\n")
        assert process.stdout.readline() == b"its last words\n"
        assert process.stdout.readline() == b"the next start\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == b"" and process.returncode == 130


def test_a_locale_without_the_log_s_characters_is_no_traceback(home: Home) -> None:
    home.attach()
    asyncio.run(halt(home.paths()))
    home.paths().log.write_text("é 中\n", encoding="utf-8")
    done = shell(f"PYTHONIOENCODING=ascii {GLMCODE} engine logs --profile fake")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.isascii() and done.stdout.endswith("\n")


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("word", 4, "word"), ("words", 4, "wor…"), ("", 4, ""), ("words", 1, "…"), ("words", 0, ""),
        ("中中中", 6, "中中中"), ("中中中", 5, "中中…"), ("中中中", 4, "中…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)  # fmt: skip
def test_a_text_is_cut_by_the_columns_it_takes(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown
