"""Measures the terminal that people live in: launch, echo, processor time per chunk, memory.

    python benchmarks/screen.py [--chunks N] [--rate CHUNKS_PER_SECOND] [--runs N]

A server of its own streams an answer, one event a chunk; the real command runs on a real
pseudo-terminal. The floor is what reading and printing the same stream costs a bare client.
Nothing here judges: it prints, and writes benchmarks/results.json.
"""

from __future__ import annotations

import argparse
import compileall
import fcntl
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from results import keep

ROOT = Path(__file__).resolve().parent.parent
KEYS = "αβγδεζηθικλμνξοπρστυφχψωбвгджзийклмнпрстуфхцчшщъыьэюяБГДЖЗИЙЛПФЦЧШЩЪЫ"
KEYS = "".join(dict.fromkeys(KEYS))
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
TICKS = os.sysconf("SC_CLK_TCK")
REPLAYED = 1_000_000
FLOOR = """
import json, os, socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
head = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2"
peer.sendall(head + b"\\r\\n\\r\\n{}")
os.write(1, b"ready")
for line in peer.makefile("rb"):
    if line.startswith(b"data: {"):
        delta = json.loads(line[6:])["choices"][0]["delta"]
        os.write(1, delta.get("content", "").encode())
    elif line.startswith(b"data: [DONE]"):
        os.write(1, b"\\0end")
        sys.stdin.read()
"""


def pieces(count: int) -> Iterator[str]:
    """An answer in markdown, a word a chunk: paragraphs, a list, a block of code now and then."""
    for number in range(count):
        place = number % 600
        if place % 60 == 59:
            yield "end.\n\n"
        elif 300 <= place < 360:
            yield "- item " if place % 6 == 0 else ("point\n" if place % 6 == 5 else "of it ")
        elif place == 420:
            yield "```python\n"
        elif 420 < place < 478:
            yield "value = 1\n" if place % 2 else "    pass\n"
        elif place == 478:
            yield "```\n\n"
        else:
            yield f"word{place} "


def serve(chunks: int, rate: float) -> tuple[int, Callable[[], None]]:
    """Answer every request in a thread; the port, and how to begin a stream that waits."""
    listener = socket.create_server(("127.0.0.1", 0))
    go = threading.Event()

    def answer(peer: socket.socket) -> None:
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (head := _head(peer)) is not None:
                if head.startswith(b"POST /tokenize"):
                    peer.sendall(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
                elif head.startswith(b"GET"):
                    body = json.dumps({"data": [{"id": "glm", "max_model_len": 202_752}]})
                    peer.sendall(_whole(body))
                else:
                    go.wait()
                    with suppress(OSError):  # it was measured long enough
                        ids = b"/generate" in head.split(b"\r\n")[0]
                        _stream(peer, chunks, rate, ids=ids)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1], go.set


def _head(peer: socket.socket) -> bytes | None:
    """A request's head; its body is read and forgotten."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            if not (more := peer.recv(65_536)):
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                       if line.startswith(b"content-length:")), 0)  # fmt: skip
        while len(body) < length:
            body += peer.recv(65_536)
    except OSError:
        return None
    return head


def _whole(body: str) -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


def _stream(peer: socket.socket, chunks: int, rate: float, *, ids: bool) -> None:
    """The answer in pieces; ids: as token ids, of the protocol `tokens`."""
    deltas = _ids(chunks) if ids else [{"content": piece} for piece in pieces(chunks)]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    peer.sendall(head.encode() + b"\r\n\r\n")
    began = time.perf_counter()
    for number, delta in enumerate(deltas):
        _event(peer, delta, None)
        wait = began + (number + 1) / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
    _event(peer, {"token_ids": []} if ids else {}, "stop")
    end = b"data: [DONE]\n\n"
    peer.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))


def _ids(chunks: int) -> list[dict[str, Any]]:
    """The pieces as the demonstration model's ids, after thinking that is empty."""
    from glmcode.glm.pieces import text_pieces
    from glmcode.glm.tokenizer import GlmTokenizer

    tokenizer = GlmTokenizer.load(TOKENIZER)
    texts = [f"\n<think></think>\n{next(pieces(1))}", *list(pieces(chunks))[1:]]
    names = tokenizer.control_names
    return [{"token_ids": tokenizer.encode(text_pieces(text, names))} for text in texts]


def _event(peer: socket.socket, delta: dict[str, Any], finish: str | None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    if "token_ids" in delta:
        choice = {"index": 0, **delta, "finish_reason": finish}
    value = {"id": "c", "object": "chat.completion.chunk", "model": "glm", "choices": [choice]}
    line = f"data: {json.dumps(value)}\n\n".encode()
    peer.sendall(b"%x\r\n%s\r\n" % (len(line), line))


class Session:
    """A command on a pseudo-terminal. `seen` is all that it wrote, as bytes."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = {
            **os.environ, "TERM": "xterm-256color", "GLMCODE_HOME": str(folder / "home"),
        }  # fmt: skip
        for name in ("TMUX", "STY"):
            environment.pop(name, None)
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.seen = bytearray()

    def until(self, text: str, start: int = 0, limit_s: float = 120.0) -> float:
        """Read until the text was written after `start`; the time then."""
        wanted, end = text.encode(), time.perf_counter() + limit_s
        while wanted not in self.seen[max(0, start - 8) :]:
            if time.perf_counter() > end:
                raise SystemExit(f"never came: {text}")
            if select.select([self.master], [], [], 1.0)[0]:
                try:
                    self.seen += os.read(self.master, 65_536)
                except OSError:
                    break
        return time.perf_counter()

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def close(self) -> tuple[float, float]:
        """End it; its processor time and largest memory in MB."""
        self.process.kill()
        _, _, used = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        os.close(self.master)
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@contextmanager
def glmcode(folder: Path, port: int, protocol: str = "chat") -> Iterator[Session]:
    """`glmcode` on the server at a port."""
    url = f"http://127.0.0.1:{port}/v1"
    words = ["-m", "glmcode", "--base-url", url, "--protocol", protocol, "-m", "glm"]
    if protocol == "tokens":
        words += ["--set", f"engine.tokenizer={TOKENIZER}"]
    session = Session([sys.executable, *words], folder)
    try:
        yield session
    finally:
        if session.process.returncode is None:
            session.close()


def launch(runs: int) -> dict[str, float]:
    """Start to the first key's echo, with nothing that answers, in ms; and processor time."""
    times, processor = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name, glmcode(Path(name), 9) as session:
            session.until("❯")
            os.write(session.master, "ω".encode())
            times.append(1000 * (session.until("ω") - session.began))
            processor.append(1000 * session.close()[0])
    return {
        "launch_ms": round(statistics.median(times), 1),
        "launch_cpu_ms": round(statistics.median(processor), 1),
    }


def stream(chunks: int, rate: float, protocol: str = "chat") -> dict[str, float]:
    """Processor time per chunk, in microseconds."""
    name_of = "" if protocol == "chat" else f"_{protocol}"
    with tempfile.TemporaryDirectory() as name:
        port, go = serve(chunks, rate)
        with glmcode(Path(name), port, protocol) as session:
            session.until("ready")
            os.write(session.master, b"go\r")
            session.until("asking the model")
            time.sleep(0.5)
            before, start, began = session.cpu_s(), len(session.seen), time.perf_counter()
            go()
            end = session.until("ready", start)
            used = session.cpu_s() - before
        return {
            f"us_a_chunk{name_of}": round(1e6 * used / chunks, 1),
            f"chunks_a_second{name_of}": round(chunks / (end - began)),
        }


def floor(chunks: int, rate: float) -> float:
    """The same of a bare client."""
    with tempfile.TemporaryDirectory() as name:
        port, go = serve(chunks, rate)
        session = Session([sys.executable, "-c", FLOOR, str(port)], Path(name))
        session.until("ready")
        before = session.cpu_s()
        go()
        used = before
        while select.select([session.master], [], [], 30.0)[0]:
            try:
                if b"\0end" in os.read(session.master, 65_536):
                    break
            except OSError:
                break
        used = session.cpu_s()
        session.close()
        return round(1e6 * (used - before) / chunks, 1)


def echo(rate: float) -> dict[str, float]:
    """A key to its echo while an answer streams, in ms."""
    with tempfile.TemporaryDirectory() as name:
        port, go = serve(int(rate * (len(KEYS) * 0.1 + 3)), rate)
        with glmcode(Path(name), port) as session:
            session.until("ready")
            os.write(session.master, b"go\r")
            session.until("asking the model")
            go()
            session.until("word40")
            times = []
            for number, key in enumerate(KEYS):
                start = len(session.seen)
                pressed = time.perf_counter()
                os.write(session.master, key.encode())
                times.append(1000 * (session.until(key, start) - pressed))
                pause = time.perf_counter() + 0.05 + (number % 7) * 0.011
                while (left := pause - time.perf_counter()) > 0:
                    if select.select([session.master], [], [], left)[0]:
                        session.seen += os.read(session.master, 65_536)
        times.sort()
        return {
            "echo_ms_median": round(statistics.median(times), 1),
            "echo_ms_p95": round(times[int(0.95 * len(times))], 1),
        }


def replay() -> dict[str, float]:
    """Memory of what is shown, over answers of a million tokens (a word a token), in MB."""
    from glmcode.core.events import Appended, Delta, StepStarted, TurnStarted
    from glmcode.core.messages import AssistantMessage
    from glmcode.repl.paint import Painter
    from glmcode.repl.view import View

    view = View(Painter(100))
    marks: list[float] = []
    for turn in range(10):
        view.event(TurnStarted())
        view.event(StepStarted(number=1))
        text: list[str] = []
        for start in range(0, REPLAYED // 10, 200):
            joined = "".join(pieces(200)) if start % 400 else "thought " * 200
            kind: Any = "text" if start >= REPLAYED // 20 else "reasoning"
            if kind == "text":
                text.append(joined)
            view.event(Delta(kind=kind, text=joined))
            view.tail(6)
        view.event(Appended(message=AssistantMessage(text="".join(text))))
        if turn in (0, 1, 9):
            marks.append(_rss())
    return {"replay_mb_after_200k": round(marks[1], 1), "replay_mb_after_1m": round(marks[2], 1)}


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run, print, write results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=2_000.0)
    parser.add_argument("--runs", type=int, default=15)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    compileall.compile_dir(ROOT / "glmcode", quiet=1)
    results: dict[str, float] = launch(given.runs)
    print(json.dumps(results), flush=True)
    results["floor_us_a_chunk"] = floor(given.chunks, given.rate)
    ways = [stream(given.chunks, given.rate, way) for way in ("chat", "tokens")]
    for part in (*ways, echo(given.rate), replay()):
        print(json.dumps(part), flush=True)
        results |= part
    print("floor", results["floor_us_a_chunk"], "us a chunk")
    keep({"screen": results})


if __name__ == "__main__":
    main()
