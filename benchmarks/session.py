"""A session of a million tokens at the real terminal: its memory on the way, and its resuming.

    python benchmarks/session.py [--tokens N] [--window N] [--dry]

A server of its own answers: in each turn files are read and edited and a long answer is
streamed; the window is 200,000 tokens, so that the session is compacted several times. Then it is
gone on with in a new process. Tokens are those that were on their way, each once. Nothing here
judges: it prints, and writes benchmarks/results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from results import keep

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from screen import Session, pieces  # noqa: E402

from tests.fake_engine import FakeEngine, Reply, Seen  # noqa: E402

WINDOW = 200_000
SUMMARY = 4_096
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
READ = "".join(
    f"line {n} of a file that is read again and again in this session\n" for n in range(900)
)
THOUGHT = " ".join(f"thought {n} of it" for n in range(300))
SAID = " ".join(f"Thing {n} was done." for n in range(100))
END = "All of it is told."
ANSWER = "".join(pieces(5_000)) + f"\n\n{END}\n"
MARKS = 5


class Talker(FakeEngine):
    """Three steps a turn: read, edit, a long answer; a few words where a summary is asked for.

    told: tokens that were on their way, each once.
    """

    def __init__(self, window: int) -> None:
        super().__init__([], window=window, tokenizer=TOKENIZER)
        self.told = 0
        self.summaries = 0
        self._turn_step = 0
        self._before = 0

    def _step(self, seen: Seen) -> Reply:
        held = len(seen.json["token_ids"])
        self.told += max(0, held - self._before)
        self._before = held
        if seen.json["sampling_params"]["max_tokens"] == SUMMARY:
            self.summaries += 1
            return Reply(text=SAID, chunk=50)
        step, self._turn_step = self._turn_step, (self._turn_step + 1) % 3
        number = len(self.steps)
        if step == 0:
            files = ("notes.txt", f"f{number % 3}.txt")
            calls = [{"name": "Read", "arguments": {"file_path": file}} for file in files]
            return Reply(reasoning=THOUGHT, text="I look.", calls=calls, chunk=50)
        if step == 1:
            edit = {"file_path": "notes.txt", "old_string": "end", "new_string": f"x{number}\nend"}
            return Reply(calls=[{"name": "Edit", "arguments": edit}], chunk=50)
        return Reply(text=ANSWER, chunk=50)


def rss_mb(pid: int) -> float:
    """Memory of a process now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def started(folder: Path, engine: FakeEngine, *more: str) -> Session:
    """`glmcode` on this engine."""
    words = ["-m", "glmcode", "--base-url", engine.base_url, "--protocol", "tokens", "-m", "glm"]
    words += ["--set", f"engine.tokenizer={TOKENIZER}", "--permission-mode", "acceptEdits"]
    return Session([sys.executable, *words, *more], folder)


def live(folder: Path, engine: Talker, tokens: int) -> dict[str, float]:
    """Turn after turn until so many tokens were on their way; memory at MARKS places."""
    marks: dict[str, float] = {}
    session = started(folder, engine)
    session.until("ready")
    turns = 0
    while engine.told < tokens:
        start = len(session.seen)
        os.write(session.master, f"turn {turns}\r".encode())
        session.until(END, start)
        session.until("ready", session.seen.find(END.encode(), start))
        turns += 1
        share = int(MARKS * engine.told / tokens)
        marks.setdefault(f"live_mb_{share}_of_{MARKS}", round(rss_mb(session.process.pid), 1))
        session.seen.clear()
    marks |= {"turns": turns, "compactions": engine.summaries}
    os.write(session.master, b"\x04")
    session.process.wait(30)
    os.close(session.master)
    return marks


def resumed(folder: Path, engine: Talker) -> dict[str, float]:
    """Seconds from start to a usable prompt with all of it shown, the same of a new session."""
    took: dict[str, float] = {}
    for name, more in (("resume", ["--continue"]), ("new", [])):
        session = started(folder, engine, *more)
        end = session.until("ready")
        took[f"{name}_s"] = round(end - session.began, 2)
        took[f"{name}_mb"] = round(rss_mb(session.process.pid), 1)
        session.close()
    return took


def main() -> None:
    """Run, print, write results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Talker(given.window) as engine:
        folder = Path(name)
        for number in range(3):
            (folder / f"f{number}.txt").write_text(READ)
        (folder / "notes.txt").write_text("end\n")
        began = time.perf_counter()
        results = live(folder, engine, given.tokens)
        results["live_s"] = round(time.perf_counter() - began, 1)
        sessions = list((folder / "home" / "state" / "sessions").rglob("*.jsonl"))
        results["file_mb"] = round(sum(path.stat().st_size for path in sessions) / 1e6, 1)
        print(json.dumps(results), flush=True)
        results |= resumed(folder, engine)
    print(json.dumps(results))
    if not given.dry:
        keep({"session": results})


if __name__ == "__main__":
    main()
