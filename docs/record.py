"""Makes the pictures of the README from one real session on a pseudo-terminal.

    python docs/record.py            # or: make pictures

A demonstration repository (a seed that the tiny model never saw) is made, glmcode is started in
it with the profile `tiny`, somebody's typing is played, and what the terminal received is kept:
docs/session.cast (asciinema's format), docs/session.svg (plays by itself) and a still for every
moment worth one. Waits longer than a reader's patience are shortened; nothing else is
touched. Must not show anything that did not run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyte

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from picture import Frame, Screen, frame_of, moving, still  # noqa: E402

from glmcode.demo_task import DemoTask, make_task  # noqa: E402
from tests.repl.pty_driver import PtySession  # noqa: E402

SIZE = (96, 28)
PROFILE = ("--profile", "tiny")
KEY_S = 0.045
PAUSE_S = 1.6
END_S = 4.0
APART_S = 0.08
ASKS = "waiting for your answer"


class Recorder:
    """An emulator for PtySession that also keeps every chunk with its time."""

    def __init__(self, columns: int, rows: int) -> None:
        self.chunks: list[tuple[float, str]] = []
        self.pyte = Screen(columns, rows)
        self._stream = pyte.Stream(self.pyte)

    def feed(self, data: str) -> None:
        self.chunks.append((time.monotonic(), data))
        self._stream.feed(data)

    @property
    def visible(self) -> str:
        return "\n".join(self.pyte.display)

    text = visible


class Scene:
    """One person at one terminal."""

    def __init__(self, session: PtySession) -> None:
        self._session = session
        self.stills: dict[str, Frame] = {}

    def type(self, text: str) -> None:
        for key in text:
            self._session.type(key)
            self._session.read(KEY_S)

    def enter(self, text: str) -> None:
        self.type(text)
        self._session.read(0.4)
        self._session.type("\r")

    def wait(self, text: str, seconds: float = 0.6) -> None:
        self._session.wait_until(lambda: text in self._session.screen.visible, text)
        self._session.read(seconds)

    def until(self, condition: Callable[[str], bool], what: str) -> None:
        self._session.wait_until(lambda: condition(self._session.screen.visible), what)

    def look(self, seconds: float) -> None:
        self._session.read(seconds)

    @property
    def shown(self) -> str:
        return str(self._session.screen.visible)

    def keep(self, name: str) -> None:
        self.stills[name] = frame_of(self._session.screen.pyte)


def play(scene: Scene, task: DemoTask) -> None:
    """The session that is shown."""
    scene.wait("❯", 1.0)
    scene.until(_rests, "an engine that answers")
    scene.look(0.8)
    scene.keep("start")
    scene.enter(task.prompt)
    scene.until(_busy, "the turn")
    while True:
        scene.until(lambda shown: ASKS in shown or _rests(shown), "a question or the end")
        scene.look(1.2)
        if ASKS not in scene.shown:
            break
        scene.keep("approval" if "Edit" in scene.shown else "command")
        scene.type("y")
        scene.until(lambda shown: ASKS not in shown, "the end of the question")
    scene.keep("done")
    scene.enter("/diff")
    scene.look(2.0)
    scene.keep("diff")
    scene.type("/")
    scene.look(1.5)
    scene.keep("commands")
    scene.type("\x15")
    scene.type("\x04")


def _busy(shown: str) -> bool:
    return not _rests(shown)


def _rests(shown: str) -> bool:
    return re.search(r"^ready\b", shown, re.MULTILINE) is not None


def frames_of(chunks: list[tuple[float, str]]) -> tuple[list[tuple[float, Frame]], float]:
    """Play the chunks once more: what stood there, waits shortened to PAUSE_S."""
    screen = Screen(*SIZE)
    stream = pyte.Stream(screen)
    now, last, frames = 0.0, chunks[0][0], []
    for at, data in chunks:
        now, last = now + min(at - last, PAUSE_S), at
        stream.feed(data)
        frame = frame_of(screen)
        if frames and now - frames[-1][0] < APART_S:
            frames[-1] = (frames[-1][0], frame)
        elif not frames or frames[-1][1] != frame:
            frames.append((now, frame))
    return frames, now + END_S


def cast_of(chunks: list[tuple[float, str]]) -> str:
    """asciinema's version 2: a head, then [seconds, "o", text] a line."""
    head = {"version": 2, "width": SIZE[0], "height": SIZE[1], "title": "glmcode"}
    lines, now, last = [json.dumps(head)], 0.0, chunks[0][0]
    for at, data in chunks:
        now, last = now + min(at - last, PAUSE_S), at
        lines.append(json.dumps([round(now, 3), "o", data], ensure_ascii=False))
    return "\n".join(lines) + "\n"


def make_repository(task: DemoTask, folder: Path) -> None:
    for name, text in task.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    identity = ["-c", "user.name=glmcode demo", "-c", "user.email=demo@localhost"]
    for command in (["init", "-qb", "main"], ["add", "--all"], ["commit", "-qm", "start"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)


def main() -> None:
    """Record, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task-seed", type=int, default=812_007)
    task = make_task(parser.parse_args().task_seed)
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        folder = Path(name) / "shop"
        folder.mkdir()
        make_repository(task, folder)
        python = str(Path(sys.executable).parent)
        environment = {
            **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
            "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{python}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "GLMCODE_HOME": str(Path(name) / "home"),
        }  # fmt: skip
        glmcode = [sys.executable, "-m", "glmcode"]
        subprocess.run([*glmcode, "engine", "start", *PROFILE], env=environment, check=True)
        session = PtySession([*glmcode, *PROFILE], folder, environment, SIZE, Recorder)
        scene = Scene(session)
        try:
            play(scene, task)
            session.wait_exit()
        finally:
            session.close()
            subprocess.run([*glmcode, "engine", "stop", "--yes"], env=environment, check=True)
    chunks = session.screen.chunks
    frames, seconds = frames_of(chunks)
    write("session.cast", cast_of(chunks))
    write("session.svg", moving(frames, seconds, "glmcode --profile tiny"))
    for name, frame in scene.stills.items():
        write(f"{name}.svg", still(frame, "glmcode --profile tiny"))
    print(f"{len(frames)} frames, {seconds:.0f} s; {', '.join(scene.stills)}")


def write(name: str, text: str) -> None:
    (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
