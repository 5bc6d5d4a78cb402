"""Random operations against a real supervisor with a fake engine, and what must hold meanwhile.

One event loop in a thread holds all clients; a second thread counts engines all the time.
Everything is drawn from one seed. A request counts as answered only with the very ids that
follow from its prompt, and as failed only with a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from glmcode.core.messages import UserMessage
from glmcode.core.model import ModelError
from glmcode.engine.attach import EngineUnavailable, engine_status, wake
from glmcode.engine.client import Endpoint, connect
from glmcode.engine.control import ControlError
from glmcode.engine.control import ask as ask_supervisor
from glmcode.engine.family import processes
from glmcode.engine.halt import halt
from glmcode.engine.holder import holder
from glmcode.engine.lane import CLASSES, new_lane
from glmcode.engine.profile import load_profile
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, ask, new_transcript
from tests.engine.engine_kit import Home
from tests.engine.fake_vllm import next_id

OPERATIONS = {
    "request": 36,
    "cancel": 6,
    "stop reading": 3,
    "start": 14,
    "attach": 12,
    "look": 8,
    "sleep": 10,
    "stop": 1,
    "restart": 1,
    "kill engine": 3,
    "kill supervisor": 2,
    "freeze engine": 2,
}
"""What may happen, and how often it does relative to the rest."""

IN_FLIGHT = 8
ANSWER_S = 120.0


class Chaos:
    """A campaign. `run` does it, `finish` waits for what is open and looks for what is left."""

    def __init__(self, home: Home, seed: int) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.faults: list[str] = []
        self.most_engines = 0
        self._open: dict[int, Future[str]] = {}
        self._sockets: list[asyncio.StreamWriter] = []
        self._number = 0
        self._over = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._counter = threading.Thread(target=self._count_engines, daemon=True)
        self._counter.start()

    def run(self, count: int) -> None:
        names, weights = list(OPERATIONS), list(OPERATIONS.values())
        self._do("start")
        self._do("attach")
        for name in self.chance.choices(names, weights, k=count):
            self._do(name)
            self._collect()
            time.sleep(self.chance.uniform(0.0, 0.1))

    def finish(self) -> None:
        deadline = time.monotonic() + ANSWER_S
        while self._open and time.monotonic() < deadline:
            self._collect()
            time.sleep(0.05)
        assert not self._open, "requests that were neither answered nor failed"
        for writer in self._sockets:
            self._loop.call_soon_threadsafe(writer.close)
        asyncio.run(halt(self.home.paths()))
        self._over.set()
        self._counter.join()
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert not self.faults, self.faults
        assert self.most_engines <= 1, "two engines at once"
        assert self.home.living() == []
        paths = self.home.paths()
        assert not paths.socket.exists() and not paths.child.exists()
        assert engine_status("fake").state == "absent"

    def _do(self, name: str) -> None:
        match name:
            case "request" if len(self._open) < IN_FLIGHT:
                self._number += 1
                seed = self.chance.random()
                work = self._request(self._number, random.Random(seed))
                self._open[self._number] = asyncio.run_coroutine_threadsafe(work, self._loop)
            case "cancel" if self._open:
                self.chance.choice(list(self._open.values())).cancel()
            case "stop reading":
                asyncio.run_coroutine_threadsafe(self._deaf(), self._loop)
            case "start":
                self._tried(lambda: asyncio.run(wake(load_profile("fake"))))
            case "attach":
                self._tried(lambda: self.home.attach(timeout_s=5.0))
            case "look":
                self._tried(lambda: engine_status("fake"))
            case "sleep":
                time.sleep(self.chance.uniform(0.0, 0.4))
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

    async def _request(self, number: int, chance: random.Random) -> str:
        """Ask once, as some class; returns how it ended."""
        kind = chance.choice(CLASSES)
        wait = chance.choice([None, None, 0.0, 1.0])
        lane = replace(new_lane(kind, Path(f"/{number}"), {}, wait_s=wait), resumes=True)
        endpoint = Endpoint(
            socket=self.home.paths().socket,
            model="fake",
            protocol="tokens",
            tokenizer=TOKENIZER,
            window=9000,
            step_cap=chance.randint(1, 25),
            headers=lane.headers(),
        )
        try:
            client = await connect(endpoint, load_specs(), lambda event: None)
        except ModelError as error:
            return self._failed(error)
        try:
            transcript = new_transcript(UserMessage(text=f"request {number}"))
            asked = await ask(client, transcript)
            if asked.error is not None:
                return self._failed(asked.error)
            if asked.cancelled:
                return "cancelled"
            prompt = client._spoken._state(transcript).prompt.request_ids()  # type: ignore[union-attr]
            ids = list(asked.reply.token_ids or ())
            return "answered" if ids == follow(prompt, len(ids)) and ids else "another answer"
        finally:
            await client.close()

    def _failed(self, error: ModelError) -> str:
        text = str(error).replace(str(self.home.folder), "HOME")
        self.reasons[re.sub(r"[0-9]+", "N", text)[:110]] += 1
        return "failed" if text.strip() else "nothing said"

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
            if not future.done():
                continue
            del self._open[number]
            end = "cancelled" if future.cancelled() else future.result()
            self.ends[end] += 1
            if end in ("nothing said", "another answer"):
                self.faults.append(f"request {number}: {end}")

    def _count_engines(self) -> None:
        """How many engines' main processes live at once; a guard is a fork in the same group."""
        mark = os.fsencode(self.home.folder)
        while not self._over.wait(0.03):
            groups = set()
            for pid, kin in processes().items():
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if b"fake_vllm" in line and mark in line and pid == kin.group:
                        groups.add(kin.group)
            self.most_engines = max(self.most_engines, len(groups))


def follow(prompt: list[int], count: int) -> list[int]:
    """The answer of the fake engine to a prompt."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(next_id(ids))
    return ids[len(prompt) :]
