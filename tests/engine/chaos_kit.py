"""Random operations against a real supervisor with a fake engine, and what must hold meanwhile.

One event loop in a thread holds most clients; others are processes that are stopped, gone on with
and killed, and `glmcode -p` itself. An eye (chaos_eye.py) follows the queue all the time. All is
drawn from one seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path

from glmcode.engine.attach import EngineUnavailable, engine_status, wake
from glmcode.engine.control import ControlError
from glmcode.engine.control import ask as ask_supervisor
from glmcode.engine.halt import halt
from glmcode.engine.holder import holder
from glmcode.engine.lane import CLASSES
from glmcode.engine.profile import load_profile
from tests.engine.chaos_client import End, Wish, wished
from tests.engine.chaos_eye import Eye
from tests.engine.engine_kit import Home, until

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = {
    "request": 46,
    "request of a process": 14,
    "headless run": 4,
    "cancel": 6,
    "stop reading": 3,
    "stop a client": 4,
    "go on": 6,
    "kill a client": 1,
    "start": 14,
    "attach": 12,
    "look": 8,
    "pause": 10,
    "sleep": 2,
    "wake": 4,
    "stop": 1,
    "restart": 1,
    "kill engine": 3,
    "kill supervisor": 2,
    "freeze engine": 2,
}
"""What may happen, and how often it does relative to the rest."""

IN_FLIGHT = 8
FRONTS = 3
HEADLESS = 2
ANSWER_S = 120.0
OPTIONS = ("--gap", "0.01", "--workers", "1", "--rests", "1", "--blocks", "20")
"""Of the fake engine; two of the conversations do not fit its cache together."""


class Front:
    """A process that asks as it is told."""

    def __init__(self, home: Home) -> None:
        self._said = os.memfd_create("front")
        self.open: set[int] = set()
        self.stopped = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.chaos_client", str(home.paths().socket)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def ask(self, wish: Wish) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(wish)).encode() + b"\n")
        self.process.stdin.flush()
        self.open.add(wish.number)

    def ends(self) -> list[End]:
        """Of what was asked and is over now."""
        found = []
        for line in os.pread(self._said, 1 << 26, 0).splitlines(keepends=True):
            assert line.startswith(b"{"), line
            if line.endswith(b"\n") and (end := End(**json.loads(line))).number in self.open:
                self.open.discard(end.number)
                found.append(end)
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.stopped = number == signal.SIGSTOP

    def close(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(60)
        os.close(self._said)
        assert kill or code == 0, code


class Chaos:
    """A campaign. `run` does it, `finish` waits for what is open and looks for what is left."""

    def __init__(self, home: Home, seed: int) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.faults: list[str] = []
        self.eye = Eye(home.paths(), home.folder)
        self._open: dict[int, Future[End]] = {}
        self._runs: list[str] = []
        self._fronts: list[Front] = []
        self._headless: list[subprocess.Popen[str]] = []
        self._sockets: list[asyncio.StreamWriter] = []
        self._number = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, count: int) -> None:
        names, weights = list(OPERATIONS), list(OPERATIONS.values())
        self._do("start")
        self._do("attach")
        for name in self.chance.choices(names, weights, k=count):
            self._do(name)
            self._collect()
            time.sleep(self.chance.uniform(0.0, 0.1))

    def finish(self) -> None:
        for front in self._fronts:
            front.signal(signal.SIGCONT)
        deadline = time.monotonic() + ANSWER_S
        while self._asked() and time.monotonic() < deadline:
            self._collect()
            time.sleep(0.05)
        assert not self._asked(), "requests that were neither answered nor failed"
        for writer in self._sockets:
            self._loop.call_soon_threadsafe(writer.close)
        for front in self._fronts:
            front.close()
        self._queue_is_empty()
        asyncio.run(halt(self.home.paths()))
        self.eye.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert not self.faults, self.faults
        assert not self.eye.faults, self.eye.faults
        assert self.eye.most_engines <= 1, "two engines at once"
        self._nothing_is_left()

    def _asked(self) -> bool:
        return bool(self._open or self._headless or any(front.open for front in self._fronts))

    def _queue_is_empty(self) -> None:
        """Of an engine that is up when all are gone: no place, no seat is held by nobody."""
        asyncio.run(wake(load_profile("fake")))
        if engine_status("fake").state == "sleeping":
            self._command("wake")
        self.home.attach(timeout_s=30.0)
        until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
        until(lambda: not any(one["connected"] for one in engine_status("fake").attached))

    def _nothing_is_left(self) -> None:
        assert self.home.living() == []
        paths = self.home.paths()
        assert holder(paths) is None
        assert not paths.socket.exists() and not paths.child.exists()
        assert not paths.engine_socket.exists()
        assert engine_status("fake").state == "absent"
        assert paths.supervisor_log.read_text() == "", paths.supervisor_log.read_text()

    def _do(self, name: str) -> None:
        self.done[name] += 1
        match name:
            case "request" if len(self._open) < IN_FLIGHT:
                wish = self._wish()
                work = wished(self.home.paths().socket, wish)
                self._open[wish.number] = asyncio.run_coroutine_threadsafe(work, self._loop)
            case "request of a process":
                self._of_a_process()
            case "headless run" if len(self._headless) < HEADLESS:
                self._headless_run()
            case "cancel" if self._open:
                self.chance.choice(list(self._open.values())).cancel()
            case "stop reading":
                asyncio.run_coroutine_threadsafe(self._deaf(), self._loop)
            case "stop a client" | "go on" | "kill a client" if self._fronts:
                self._to_a_client(name)
            case "start":
                self._tried(lambda: asyncio.run(wake(load_profile("fake"))))
            case "attach":
                self._tried(lambda: self.home.attach(timeout_s=5.0))
            case "look":
                self._tried(lambda: engine_status("fake"))
            case "pause":
                time.sleep(self.chance.uniform(0.0, 0.4))
            case "sleep" | "wake":
                self._command(name)
            case _:
                self._to_the_engine(name)

    def _to_the_engine(self, name: str) -> None:
        match name:
            case "stop":
                asyncio.run(halt(self.home.paths()))
            case "restart":
                with contextlib.suppress(ControlError):
                    asyncio.run(
                        ask_supervisor(self.home.paths().socket, "POST", "/glmcode/restart", {})
                    )
            case "kill engine":
                self._signal(self._engine(), signal.SIGKILL)
            case "kill supervisor":
                self._signal(holder(self.home.paths()) or 0, signal.SIGKILL)
            case "freeze engine":
                pid = self._engine()
                self._signal(pid, signal.SIGSTOP)
                time.sleep(self.chance.uniform(0.0, 0.3))
                self._signal(pid, signal.SIGCONT)

    def _wish(self) -> Wish:
        """As any class; sometimes nested in one that was there before, in one turn of many steps,
        or with a limit to its wait."""
        self._number += 1
        known = self._runs[-IN_FLIGHT:]
        parents = (self.chance.choice(known),) if known and self.chance.random() < 0.2 else ()
        wish = Wish(
            number=self._number,
            kind=self.chance.choice(CLASSES),
            run=f"run-{self._number}",
            parents=parents,
            wait_s=self.chance.choice([None, None, None, 0.0, 1.0]),
            cap=self.chance.randint(1, 25),
            steps=self.chance.choice([1, 1, 2, 3]),
            pause=self.chance.uniform(0.0, 0.3),
            tells=self.chance.random() < 0.7,
        )
        self._runs.append(wish.run)
        if parents:
            self.eye.nested.add(wish.run)
        return wish

    def _of_a_process(self) -> None:
        if len(self._fronts) < FRONTS:
            self._fronts.append(Front(self.home))
        front = self.chance.choice(self._fronts)
        if len(front.open) < IN_FLIGHT // 2 and not front.stopped:
            front.ask(self._wish())

    def _to_a_client(self, name: str) -> None:
        front = self.chance.choice(self._fronts)
        match name:
            case "stop a client":
                front.signal(signal.SIGSTOP)
            case "go on":
                front.signal(signal.SIGCONT)
            case "kill a client":
                self._fronts.remove(front)
                self._ended(front.ends())
                self.ends["killed"] += len(front.open)
                front.close(kill=True)

    def _headless_run(self) -> None:
        wait = self.chance.choice(["--no-wait", "--queue-timeout=0.5", "--queue-timeout=5"])
        command = [sys.executable, "-m", "glmcode", "-p", "hello", "--profile", "fake"]
        command += ["--max-turns", "1", "--no-instructions", wait]
        command += ["--queue-class", self.chance.choice(CLASSES)]
        nested = bool(self._runs) and self.chance.random() < 0.3
        folder = self.home.folder / ("nested" if nested else "alone")
        folder.mkdir(exist_ok=True)
        parents = {"GLMCODE_PARENT": self._runs[-1]} if nested else {}
        self._headless.append(
            subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **parents},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def _command(self, name: str) -> None:
        """`glmcode engine sleep` or `wake`, as a person types it."""
        yes = ["--yes"] if name == "sleep" else []
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "engine", name, "--profile", "fake", *yes],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        said = (done.stdout + done.stderr).strip()
        if done.returncode not in (0, 75) or not said or "Traceback" in said:
            self.faults.append(f"engine {name}: {done.returncode}: {said}")
        self.done[f"{name}: {'did' if done.returncode == 0 else 'refused'}"] += 1

    def _tried(self, work: object) -> None:
        try:
            assert callable(work)
            work()
        except EngineUnavailable as error:
            if not str(error).strip():
                self.faults.append("a failure without a reason")

    def _engine(self) -> int:
        try:
            return int(json.loads(self.home.paths().child.read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return 0

    def _signal(self, pid: int, number: signal.Signals) -> None:
        if pid > 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _deaf(self) -> None:
        """A client that asks for much and reads nothing."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.home.paths().socket))
        except OSError:
            return
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        what = json.dumps({"chunks": 300, "size": 100_000}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(what)}\r\n\r\n"
        writer.write(head.encode() + what)
        self._sockets.append(writer)

    def _collect(self) -> None:
        for number, future in list(self._open.items()):
            if future.done():
                del self._open[number]
                cancelled = End(number=number, how="cancelled")
                self._ended([cancelled if future.cancelled() else future.result()])
        for front in self._fronts:
            self._ended(front.ends())
        for run in list(self._headless):
            if run.poll() is not None:
                self._headless.remove(run)
                self._headless_ended(run)

    def _headless_ended(self, run: subprocess.Popen[str]) -> None:
        """75 with a reason, or the answer: the fake engine ends none before its length limit."""
        _, said = run.communicate()
        self.codes[run.returncode] += 1
        whole = run.returncode == 1 and "the answer reached its length limit" in said
        reason = said.strip().splitlines()[-1:] or [""]
        failed = run.returncode == 75 and reason[0]
        if not (whole or failed) or "Traceback" in said:
            self.faults.append(f"glmcode -p: {run.returncode}: {said}")
        if failed:
            self._because(f"-p: {reason[0]}")

    def _ended(self, ends: list[End]) -> None:
        for end in ends:
            self.ends[end.how] += 1
            if end.how in ("nothing said", "another answer"):
                self.faults.append(f"request {end.number}: {end.how}")
            if end.how == "failed":
                self._because(end.why)

    def _because(self, why: str) -> None:
        text = why.replace(str(self.home.folder), "HOME")
        self.reasons[re.sub(r"[0-9]+", "N", text)[:110]] += 1
