"""Random hours at the terminal: what a seed says is typed, resized, suspended and killed there.

The real command runs on a real pseudo-terminal under a little shell (jobs.py), an engine that
improvises answers it, and pyte is what a person sees. `Machine(folder, seed).run(steps)` does the
interactions and raises AssertionError, with the seed and what was done, where something does not
hold: the process goes on and tells no fault, the terminal is as it was whenever it is given back,
what was printed stays, what was typed is in the history or the conversation, what the engine was
given is in the session file, and that goes on in a new process, each message once.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_engine import FakeEngine, Reply, Seen
from tests.repl.pty_driver import PtySession, environment_of
from tests.repl.pyte_screen import PyteScreen

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
JOBS = Path(__file__).resolve().parent / "jobs.py"
WORDS = "alpha beta gamma delta 你好 world 🙂 naïve e\u0301 tab\ttab **bold** `code` <tag> \\ ' \""
SLASH = """/help /status /context /cache /permissions /mode /plan /todo /memory /diff /sessions
/config /theme /model /nonsense /undo /redo /compact /rename /btw /rewind /copy /fork /clear /resume
/doctor /engine /export /init /thinking"""
SETTINGS: tuple[dict[str, str], ...] = (
    {},
    {},
    {"GLMCODE_UI__KEYS": "vi"},
    {"NO_COLOR": "1", "GLMCODE_UI__VERBOSE": "true"},
    {"GLMCODE_UI__REASONING": "shown", "GLMCODE_UI__ENTER": "steer"},
    {"LC_ALL": "C"},
)
TWICE_S = 2.3
LIMIT_S = 60.0
EDITOR = """#!/bin/sh
case $(( $$ % 3 )) in
0) printf ' edited' >> "$1" ;;
1) exit 1 ;;
2) sleep 0.2; printf '\\nand a line' >> "$1" ;;
esac
"""


class Improviser(FakeEngine):
    """Answers whatever is asked, at its own speed; from a seed."""

    def __init__(self, chance: random.Random, port: int = 0) -> None:
        super().__init__([], port=port, tokenizer=TOKENIZER, window=120_000)
        self.chance = chance

    def _step(self, seen: Seen) -> Reply:
        chance = self.chance
        text = " ".join(chance.choices(WORDS.split(), k=chance.choice((3, 20, 150))))
        if chance.random() < 0.3:
            text = f"# Head\n\n{text}\n\n- one\n- two\n\n```python\nx = 1\n```\n\n{text}\n"
        shared: dict[str, Any] = {
            "reasoning": "so I think of it " * chance.choice((0, 3, 40)),
            "chunk": chance.choice((3, 8, 40)),
            "gap": chance.choice((0.0, 0.001, 0.01, 0.03)),
            "stall": chance.choice((0.0, 0.0, 0.3)),
        }
        dice = chance.random()
        if dice < 0.05:
            return Reply(text=text, cut_after_events=3, **shared)
        if dice < 0.08:
            return Reply(status=chance.choice((500, 503, 429)))
        if dice < 0.45:
            calls = [self._call() for _ in range(chance.choice((1, 1, 1, 2, 3)))]
            return Reply(text=text if chance.random() < 0.5 else "", calls=calls, **shared)
        return Reply(text=text, **shared)

    def _call(self) -> dict[str, Any]:
        chance = self.chance
        name = f"f{chance.randrange(9)}.txt"
        command = chance.choice(
            (
                "echo hi >> log.txt",
                "seq 300",
                "sleep 0.5; echo done",
                "cat nothing",
                "ls",
                "sleep 30",
            )
        )
        return chance.choice(
            (
                {"name": "Bash", "arguments": {"command": command}},
                {"name": "Write", "arguments": {"file_path": name, "content": "line\n" * 30}},
                {"name": "Read", "arguments": {"file_path": "a.txt"}},
                {"name": "Edit", "arguments": {
                    "file_path": "a.txt", "old_string": "one", "new_string": "one two"}},
                {"name": "Nonsense", "arguments": {}},
            )
        )  # fmt: skip


@dataclass
class Machine:
    """One terminal, from its start to its end. said: what was typed, by the tag it holds."""

    folder: Path
    seed: int
    said: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    prompts: str = ""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.engine_chance = random.Random(self.seed + 1)
        self.tokens = self.seed % 2 == 1
        self.recalls = self.seed % 4 >= 2
        self.repeated: set[str] = set()
        self.lost: set[str] = set()
        self.size = (100, 30)
        self.interrupted = 0.0
        self.work = self.folder / "workspace"
        self.work.mkdir()
        (self.work / "a.txt").write_text("one\n" * 20)
        editor = self.folder / "editor.sh"
        editor.write_text(EDITOR)
        editor.chmod(0o700)
        self.report = self.folder / "report"
        self.environment = environment_of(self.folder) | {"EDITOR": str(editor)}
        self.environment |= {"PYTHONPATH": str(ROOT)}
        self.environment |= self.chance.choice(SETTINGS)
        self.engine: Improviser | None = None

    def run(self, steps: int) -> None:
        """So many interactions, an end, and what must be true after it."""
        self._start_engine()
        command = [sys.executable, "-m", "glmcode", *self._reach()]
        argv = [sys.executable, str(JOBS), str(self.report), *command]
        self.session = PtySession(argv, self.work, self.environment, self.size, PyteScreen)
        try:
            self.session.wait_for_visible("ready")
            self.pid = int(self.report.read_text().split()[1])
            for _ in range(steps):
                self._interact()
            self._end()
            self._check_end()
        except AssertionError as error:
            tail = self.session.screen.text[-2500:]
            did = "\n".join(self.done[-40:])
            raise AssertionError(f"seed {self.seed}: {error}\n{did}\n{tail}") from error
        finally:
            self._stop_engine()
            self._kill()
            self.session.close()

    # The engine

    def _start_engine(self) -> None:
        if self.engine is None:
            port = getattr(self, "port", 0)
            self.engine = Improviser(self.engine_chance, port).__enter__()
            self.port = self.engine.port

    def _stop_engine(self) -> None:
        if self.engine is not None:
            self.engine.__exit__(None, None, None)
            self.prompts += "".join(seen.body.decode() for seen in self.engine.steps[-1:])
            for seen in self.engine.steps:
                self._heard(seen)
            self.engine = None

    def _heard(self, seen: Seen) -> None:
        if not self.tokens:
            self.prompts += json.dumps(seen.json["messages"], ensure_ascii=False)

    def _reach(self) -> list[str]:
        url = f"http://127.0.0.1:{self.port}/v1"
        words = ["--base-url", url, "-m", "glm"]
        if self.tokens:
            return [*words, "--protocol", "tokens", "--set", f"engine.tokenizer={TOKENIZER}"]
        return [*words, "--protocol", "chat"]

    # What is done

    def _interact(self) -> None:
        choices: list[tuple[int, Callable[[], None]]] = [
            (12, self._type),
            (14, self._send),
            (5, self._steer),
            (5, self._paste),
            (2, self._paste_much),
            (6, self._escape),
            (4, self._ctrl_c),
            (8, self._resize),
            (4, self._suspend),
            (10, self._answer),
            (8, self._slash),
            (4, self._key),
            (4, self._own),
            (3, self._editor),
            (3, self._kill_engine),
            (5, self._wait),
            (2, self._stall),
            (2, self._freeze),
        ]
        if self.recalls:
            choices += [(4, self._recall), (3, self._search)]
        (act,) = self.chance.choices([act for _, act in choices], [n for n, _ in choices])
        act()
        self.session.read(self.chance.choice((0.0, 0.02, 0.1, 0.3)))
        self._check()

    def _say(self, text: str) -> str:
        tag = f"m{len(self.said):03}z"
        self.said[tag] = text
        if "edit the rule" in self.session.screen.visible or "an answer" in self.done[-3:]:
            self.lost.add(tag)  # it may be part of a rule
        return f"{tag} {text}"

    def _did(self, what: str) -> None:
        self.done.append(what)

    def _keys(self, keys: str, what: str = "") -> None:
        self._did(what or f"keys {keys!r}")
        self.session.type(keys)

    def _words(self) -> str:
        return " ".join(self.chance.choices(WORDS.replace("\t", "").split(), k=4))

    def _type(self) -> None:
        self._keys(self._say(self._words()) + " ")

    def _send(self) -> None:
        self._keys(self._say(self._words()) + "\r")

    def _steer(self) -> None:
        self._keys(self._say(self._words()) + "\x13")

    def _paste(self) -> None:
        self._keys(f"\x1b[200~{self._say('pasted')}\nsecond line\n\x1b[201~")
        if self.chance.random() < 0.5:
            self._keys("\r")

    def _paste_much(self) -> None:
        body = "".join(f"line {n} of much\n" for n in range(self.chance.choice((200, 2000))))
        self._did(f"paste {len(body)}")
        data = f"\x1b[200~{self._say('much')}\n{body}\x1b[201~".encode()
        while data:
            data = data[os.write(self.session.master, data[:2000]) :]
            self.session.read()
        self._keys("\r" if self.chance.random() < 0.7 else " ")

    def _escape(self) -> None:
        self._keys("\x1b")
        self.session.read(0.1)  # else it is the head of a key

    def _ctrl_c(self) -> None:
        if time.monotonic() - self.interrupted < TWICE_S:
            return self._escape()  # twice would leave
        self._keys("\x03")
        self.interrupted = time.monotonic()

    def _resize(self) -> None:
        columns = self.chance.choice((10, 24, 40, 80, 100, 180, 300))
        self.size = (columns, self.chance.choice((6, 10, 24, 30, 60)))
        self._did(f"resize {self.size}")
        self.session.resize(*self.size)

    def _suspend(self) -> None:
        before = self._stops()
        self._keys("\x1a", "Ctrl-Z")
        end = time.monotonic() + LIMIT_S
        while self._stops() == before:
            self.session.read(0.02)
            assert time.monotonic() < end, "Ctrl-Z did not suspend it"
            assert self._alive(), "it ended at Ctrl-Z"
        self.session.read(0.1)
        assert self.report.read_text().split("\n")[-2] == "stopped 1", "stopped in raw mode"
        modes = self.session.screen.modes
        assert modes["25"] and not modes["2004"], f"suspended with modes {modes}"
        if self.chance.random() < 0.3:
            self._resize()
        self.session.process.send_signal(signal.SIGUSR1)
        self.session.wait_until(lambda: self._stat() != "T", "it goes on")

    def _answer(self) -> None:
        self.session.read(0.4)
        self._keys(self.chance.choice("1yy12s34n3"), "an answer")
        if self.chance.random() < 0.6:
            self.session.read(0.1)
            self._keys("\r")

    def _slash(self) -> None:
        word = self.chance.choice(SLASH.split())
        if word == "/rename":
            word = "/rename a title"
        if word == "/mode":
            word = self.chance.choice(("/mode", "/mode default", "/mode acceptEdits"))
        if word == "/btw":
            word = f"/btw {self._words()}"
        self._keys(f"\x05\x15{word}", word)  # Ctrl-E Ctrl-U: on an empty line
        self._cut()
        self.session.read(0.1)
        self._keys("\r")

    def _key(self) -> None:
        keys = [
            "\x0f",
            "\x1b[Z",
            "\t",
            "\x1b[D",
            "\x1b[H",
            "\x1b[F",
            "\x0c",
            "\x1b\r",
            "@a",
            "\x0b",
        ]
        key = self.chance.choice(keys)
        if key == "\x0b":
            self._cut()
        self._keys(key)

    def _cut(self) -> None:
        """A key takes away what stands in the line: that is lost on purpose."""
        kept = self._history() + "".join(self._stored_texts())
        self.lost |= {tag for tag in self.said if tag not in kept}

    def _own(self) -> None:
        self._keys(self.chance.choice(("!echo hello\r", "!!seq 50\r", "#remember this\r")))

    def _editor(self) -> None:
        self._keys("\x07", "Ctrl-G")
        self.session.read(0.6)

    def _recall(self) -> None:
        self.repeated |= set(self.said)
        self._keys(self.chance.choice(("\x1b[A", "\x1b[A\x1b[A", "\x1b[B")))

    def _search(self) -> None:
        self.repeated |= set(self.said)
        what, end = self.chance.choice(("m0", "m01")), self.chance.choice(("\r", "\x07"))
        self._keys(f"\x12{what}{end}")

    def _kill_engine(self) -> None:
        if self.engine is not None and self.chance.random() < 0.6:
            self._did("the engine is killed")
            self._stop_engine()
            self.session.read(self.chance.choice((0.0, 0.5)))
        self._did("the engine is there")
        self._start_engine()

    def _wait(self) -> None:
        self._did("wait")
        self.session.read(1.0)

    def _stall(self) -> None:
        """A connection that stands still while words are typed blindly."""
        self._keys(self._say(self._words()) + "\r")
        time.sleep(self.chance.choice((0.3, 1.5)))

    def _freeze(self) -> None:
        """The machine sleeps for a moment, with the process in the middle of anything."""
        self._did("SIGSTOP, SIGCONT")
        before = self._stops()
        os.kill(self.pid, signal.SIGSTOP)
        self.session.wait_until(lambda: self._stops() > before, "it stands still")
        self._keys(self._say(self._words()) + " ")
        self.session.process.send_signal(signal.SIGUSR1)
        self.session.wait_until(lambda: self._stat() != "T", "it goes on")

    # The end

    def _end(self) -> None:
        self.how = self.chance.choice(("leave", "leave", "term", "hang up", "kill"))
        self._did(self.how)
        self.session.read(0.5)
        read = self.session.screen.text
        self.lost |= {tag for tag in [*self.said][-3:] if tag not in read}  # perhaps never read
        if self.how == "leave":
            while self._alive() and self.done.count("Ctrl-C") < 40:
                self._keys("\x03", "Ctrl-C")
                self.session.read(0.15)
        elif self.how == "term":
            os.kill(self.pid, signal.SIGTERM)
        elif self.how == "hang up":
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self.session.master)
            os.close(null)
        else:
            os.kill(self.pid, signal.SIGKILL)
        end = time.monotonic() + LIMIT_S
        while self._alive():
            if self.how == "hang up":
                time.sleep(0.02)
            else:
                self.session.read(0.02)
            assert time.monotonic() < end, f"it did not end after: {self.how}"
        if self.how in ("leave", "term"):
            self.session.wait_exit()
            ended = self.report.read_text().split("\n")[-2].split()
            wanted = ("0", "-2") if self.how == "leave" else ("143",)
            assert ended[1] in wanted, ended  # -2: one Ctrl-C more, when all was over
            assert "Traceback" not in self.session.raw, "a traceback at the end"
            assert ended[2] == "1" and self.session.terminal_is_restored(), "the modes differ"

    def _check(self) -> None:
        assert self._alive(), "it died"
        assert "Traceback" not in self.session.raw, "a traceback"
        assert not re.search(r"\x1b\[\?(47|1047|1049)h", self.session.raw), "the other screen"
        assert not self.session.screen.committed.changed, self.session.screen.committed.changed
        self._check_faults()

    def _check_faults(self) -> None:
        for faults in self.folder.rglob("faults.log"):
            raise AssertionError(f"faults.log: {faults.read_text()[:3000]}")

    def _check_end(self) -> None:
        self._check_faults()
        self._stop_engine()
        texts = self._stored_texts()
        self.repeated |= self._rewound()
        for tag in self.said:
            count = sum(tag in text for text in texts)
            assert count <= 1 or tag in self.repeated, f"{tag} is in the sessions {count} times"
            assert count or tag not in self.prompts, f"{tag} reached the engine, no session has it"
            commands = "GLMCODE_UI__KEYS" in self.environment  # words may be vi's commands
            kept = (
                commands
                or self.how == "kill"
                or tag in self.lost
                or count
                or tag in self._history()
            )
            assert kept, f"{tag} is lost"
        self._check_resume()

    def _rewound(self) -> set[str]:
        """What a rewind may have given back, to be said again."""
        before = ""
        for path in self._sessions():
            lines = path.read_text()
            if '"t":"rewind"' in lines:
                before += lines
        return {tag for tag in self.said if tag in before}

    def _history(self) -> str:
        state = self.folder / "home" / "state"
        files = [*state.glob("history"), *state.glob("histories/*")]
        return "".join(file.read_text() for file in files)

    def _sessions(self) -> list[Path]:
        files = (self.folder / "home" / "state" / "sessions").rglob("*.jsonl")
        return sorted(files, key=lambda path: path.stat().st_mtime)

    def _stored_texts(self) -> list[str]:
        """What users and tools said, of all lines that the sessions' files ever got."""
        found: dict[str, str] = {}
        for path in self._sessions():
            for line in path.read_text().splitlines():
                value = json.loads(line)
                if value["t"] == "message" and value["message"]["role"] != "assistant":
                    found[json.dumps(value["message"]) + str(value.get("at"))] = value["message"][
                        "text"
                    ]
        return list(found.values())

    def _check_resume(self) -> None:
        """The last session goes on in a new process, with all that it holds, each once."""
        if not self._sessions():
            return
        last = self._sessions()[-1]
        with Improviser(random.Random(0), self.port) as engine:
            engine._step = lambda seen: Reply(text="I am back.")  # type: ignore[method-assign]
            command = [sys.executable, "-m", "glmcode", "-p", "go on", "--resume", last.stem]
            done = subprocess.run(
                [*command, *self._reach()],
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
            )
            asked = engine.steps
        assert done.returncode == 0, f"--resume: {done.returncode} {done.stderr}"
        assert done.stdout == "I am back.\n", done.stdout
        if self.tokens:
            return
        lines = [json.loads(line) for line in last.read_text().splitlines()]
        if {"rewind", "compaction"} & {line["t"] for line in lines}:
            return
        said = "\n".join(
            line["message"]["text"] for line in lines
            if line["t"] == "message" and line["message"]["role"] != "assistant"
        )  # fmt: skip
        got = json.dumps(asked[-1].json["messages"], ensure_ascii=False)
        for tag in self.said:
            assert got.count(tag) == said.count(tag), f"{tag} after --resume: {got.count(tag)}"

    # The process

    def _stops(self) -> int:
        return self.report.read_text().count("stopped")

    def _stat(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "gone"

    def _alive(self) -> bool:
        return self._stat() not in ("gone", "Z", "X")

    def _kill(self) -> None:
        if hasattr(self, "pid") and self._alive():
            os.kill(self.pid, signal.SIGKILL)


def main() -> None:
    """python -m tests.repl.machine SEED [STEPS]: one of them by hand; its folder stays."""
    import tempfile

    seed, steps = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    began = time.monotonic()
    machine = Machine(Path(tempfile.mkdtemp(prefix=f"machine-{seed}-")), seed)
    try:
        machine.run(steps)
    finally:
        took = time.monotonic() - began
        print(f"seed {seed}: {len(machine.done)} deeds in {took:.0f} s, {machine.folder}")


if __name__ == "__main__":
    main()
