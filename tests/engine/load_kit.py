"""An engine under load that is killed: several front ends ask all the time, and all is counted."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from glmcode.engine.attach import EngineUnavailable, engine_status, wake
from glmcode.engine.family import processes, shared_memory
from glmcode.engine.halt import halt
from glmcode.engine.holder import holder
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import load_profile
from tests.engine.asker import QUESTIONS
from tests.engine.engine_kit import until

ROOT = Path(__file__).resolve().parents[2]
Victim: TypeAlias = Literal["supervisor", "server", "core", "front end"]


class Asker:
    """One front end, and what it said."""

    def __init__(self, profile: str, name: str) -> None:
        self._said = os.memfd_create(f"asker {name}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.asker", profile, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def lines(self) -> list[dict[str, Any]]:
        """All that it said; the line that a kill cut in two is left out."""
        text = os.pread(self._said, 1 << 26, 0).decode()
        found = []
        for line in text.splitlines(keepends=True):
            assert line.startswith("{"), f"an asker fell over:\n{text[-3000:]}"
            if line.endswith("\n"):
                found.append(json.loads(line))
        return found

    def answered_after(self, moment: float) -> bool:
        """Whether a question that was asked after it was answered."""
        asked = {one["asked"] for one in self.lines() if "asked" in one and one["at"] > moment}
        return any(one.get("answered", -1) in asked for one in self.lines())

    def end(self) -> None:
        """Let it have its last answer."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(300) == 0, self.lines()[-3:]


class Load:
    """Front ends at one engine. limit_s: how long the next answer may take after a kill."""

    def __init__(self, profile: str, count: int, limit_s: float, chance: random.Random) -> None:
        self.profile = profile
        self.limit_s = limit_s
        self.chance = chance
        self.ended: list[Asker] = []
        self.askers = [Asker(profile, f"asker-{number}") for number in range(count)]
        self.slowest = 0.0
        self.shared: set[str] = set()

    def all_go_on(self, moment: float, but: Asker | None = None) -> None:
        """Wait until everybody was answered a question that is younger than that."""
        began = time.monotonic()
        self.until(lambda: all(a.answered_after(moment) for a in self.askers if a is not but))
        self.slowest = max(self.slowest, time.monotonic() - began)

    def until(self, true: Callable[[], object]) -> None:
        """Wait; a person is there who starts again what gave up."""
        deadline = time.monotonic() + self.limit_s
        while not true():
            assert time.monotonic() < deadline, self.report()
            try:
                status = engine_status(self.profile)
                if status.state == "failed" and status.final:
                    asyncio.run(wake(load_profile(self.profile)))
            except EngineUnavailable:
                pass  # killed in this moment
            time.sleep(0.05)

    def report(self) -> str:
        last = [json.dumps(asker.lines()[-2:])[:400] for asker in self.askers]
        return "\n".join([f"{engine_status(self.profile)}"[:1500], *last])

    def kill(self, victim: Victim) -> None:
        """kill -9 at a random moment; everybody must go on, and nothing of the dead may stay."""
        time.sleep(self.chance.uniform(0.0, 1.0))
        moment = time.time()
        if victim == "front end":
            one = self.askers.pop(self.chance.randrange(len(self.askers)))
            one.process.kill()
            one.process.wait()
            self.ended.append(one)
            self.askers.append(Asker(self.profile, f"asker-{len(self.ended) + 100}"))
        else:
            living = self.family()
            self.shared |= shared_memory(living)
            os.kill(self._pid(victim), signal.SIGKILL)
            if victim != "core" or self.core_is_vital:
                self.until(lambda: not living & processes().keys())
        self.all_go_on(moment)

    core_is_vital = True

    def family(self) -> set[int]:
        """All processes of the engine now."""
        leader = json.loads(engine_paths(self.profile).child.read_text())["pid"]
        return {pid for pid, kin in processes().items() if kin.group == leader}

    def _pid(self, victim: Victim) -> int:
        leader = int(json.loads(engine_paths(self.profile).child.read_text())["pid"])
        if victim == "supervisor":
            return holder(engine_paths(self.profile)) or 0
        if victim == "server":
            return leader
        # The first process is the guard, which is a fork of the leader with its command line.
        return max(self.family() - {leader})

    def stop_one(self, seconds: float) -> int:
        """SIGSTOP one front end for so long; returns how many answers the others got meanwhile."""
        one = self.chance.choice(self.askers)
        one.process.send_signal(signal.SIGSTOP)
        began, moment = time.monotonic(), time.time()
        try:
            while time.monotonic() - began < seconds:
                self.all_go_on(time.time(), but=one)
        finally:
            one.process.send_signal(signal.SIGCONT)
        self.all_go_on(time.time())
        lines = [line for asker in self.askers if asker is not one for line in asker.lines()]
        return sum("answered" in line and line["at"] > moment for line in lines)

    def close(self) -> Counter[str]:
        """End all; check that every question was answered once and the same; count."""
        for asker in self.askers:
            asker.end()
        counts: Counter[str] = Counter()
        seen: dict[int, set[tuple[int, ...]]] = {}
        for asker in [*self.askers, *self.ended]:
            lines = asker.lines()
            counts["failed"] += sum("failed" in line for line in lines)
            assert all(line["why"].strip() for line in lines if "failed" in line)
            asked = [line["asked"] for line in lines if "asked" in line]
            answers = [line for line in lines if "answered" in line]
            # Each was asked once, answered once, in order; a killed one lacks its last answer.
            assert asked == list(range(len(asked)))
            missing = len(asked) - len(answers)
            assert missing == 0 or (asker in self.ended and missing == 1)
            assert [line["answered"] for line in answers] == asked[: len(answers)]
            for line in answers:
                seen.setdefault(line["answered"] % QUESTIONS, set()).add(tuple(line["ids"]))
            counts["answered"] += len(answers)
        assert all(len(answers) == 1 for answers in seen.values()), "answers differ"
        assert not (engine_status(self.profile).running or engine_status(self.profile).waiting)
        return counts

    def nothing_is_left(self) -> None:
        """After the end no process lives, no lock is held, no shared memory lies there."""
        living = self.family()
        self.shared |= shared_memory(living)
        asyncio.run(halt(engine_paths(self.profile)))
        assert holder(engine_paths(self.profile)) is None
        until(lambda: not living & processes().keys())
        assert not [name for name in self.shared if Path("/dev/shm", name).exists()]

    def abandon(self) -> None:
        """End what is left of a campaign that failed."""
        for asker in self.askers:
            if asker.process.poll() is None:
                asker.process.kill()
                asker.process.wait()


def doubled(noted: str) -> list[str]:
    """Requests that the fake engine answered to the end more than once, by what it wrote down."""
    ends = Counter(re.findall(r"end (\S+) after \d+$", noted, re.MULTILINE))
    return [name for name, count in ends.items() if count > 1]
