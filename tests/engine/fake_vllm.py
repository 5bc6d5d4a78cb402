"""Stands in for vLLM's server module: ready in a moment, and fails in any way on demand.

Run by bootstrap.py as `--module fake_vllm` or directly; standard library only.

    python fake_vllm.py --uds PATH [--workers N] [--say LINE]... [--pause SECONDS] [--exit CODE]

It says its lines (with a pause after each), then serves. `--workers` are children that do
nothing, one of them in a session of its own. A POST to /v1/completions answers what its
JSON body asks for: {"chunks": N, "size": BYTES, "gap": SECONDS, "die": after K chunks}.
A POST to /inference/v1/generate makes ids that follow from those before, one each --gap seconds,
the first after --prefill or the body's own "prefill". --blocks: how many its cache has, of 128
tokens. What happened to each request is appended to PATH.events.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def _options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        found.setdefault(name, []).append(value)
    return found


def next_id(ids: list[int]) -> int:
    """The id that follows, as if a model at temperature 0 had chosen it."""
    return 300 + int.from_bytes(hashlib.sha256(json.dumps(ids[-40:]).encode()).digest()[:4]) % 700


class Server:
    def __init__(self, path: str, gap: float = 0.0, prefill: float = 0.0) -> None:
        self._events = Path(path + ".events")
        self._gap = gap
        self._prefill = prefill
        self._now = 0
        self.rests = 0
        self.blocks = "0"

    def note(self, text: str) -> None:
        with self._events.open("a", encoding="utf-8") as file:
            file.write(f"{time.time():.3f} {text}\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        length = 0
        for line in head.split("\r\n"):
            if line.lower().startswith("content-length:"):
                length = int(line.partition(":")[2])
        body = await reader.readexactly(length)
        self.note(f"{method} {path} {length}")
        if path == "/v1/completions":
            await self._stream(json.loads(body), reader, writer)
        elif path == "/inference/v1/generate":
            await self._generate(json.loads(body), reader, writer)
        elif path == "/v1/echo":
            self._answer(writer, {"length": length, "sha": hashlib.sha256(body).hexdigest()})
        elif path == "/v1/models":
            self._answer(writer, {"data": [{"id": "fake", "max_model_len": 9000}]})
        elif path in ("/sleep?level=1", "/wake_up") and not self.rests:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif path in ("/sleep?level=1", "/wake_up"):
            await asyncio.sleep(0.3 * self.rests)
            self._answer(writer, {})
        elif path == "/metrics":
            told = f'block_size="128",cache_dtype="auto",num_gpu_blocks="{self.blocks}"'
            text = f"vllm:cache_config_info{{{told}}} 1.0\n".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        else:
            self._answer(writer, {"path": path})
        await writer.drain()
        return "connection: close" not in head.lower()

    def _answer(self, writer: asyncio.StreamWriter, value: Any) -> None:
        text = json.dumps(value).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    async def _generate(
        self, what: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Ids that follow from all ids before them, so that an answer can be gone on with."""
        self._now += 1
        ids, sampling = list(what["token_ids"]), what["sampling_params"]
        name = what.get("request_id", "?")
        self.note(f"begin {name} prompt {len(ids)} now {self._now}")
        gone = asyncio.create_task(reader.read(1))
        made = 0
        try:
            await asyncio.wait({gone}, timeout=what.get("prefill", self._prefill))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            while made < sampling["max_tokens"] and not gone.done():
                ids.append(next_id(ids))
                made += 1
                choice: dict[str, Any] = {"token_ids": ids[-1:], "finish_reason": None}
                if made == sampling["max_tokens"]:
                    choice["finish_reason"] = "length"
                value = {"request_id": f"of-{name}", "choices": [choice]}
                event = b"data: %s\n\n" % json.dumps(value).encode()
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                await writer.drain()
                if made < sampling["max_tokens"]:
                    await asyncio.wait({gone}, timeout=self._gap)
            if not gone.done():
                usage = {"prompt_tokens": len(ids) - made, "completion_tokens": made}
                event = b"data: %s\n\n" % json.dumps({"choices": [], "usage": usage}).encode()
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                event = b"data: [DONE]\n\n"
                writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
        finally:
            self._now -= 1
            self.note(f"end {name} after {made}{' closed' if gone.done() else ''}")
            gone.cancel()
            await asyncio.wait({gone})  # the next request is read by somebody else

    async def _stream(
        self, what: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if what.get("die") == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        gone = asyncio.create_task(reader.read(1))
        for number in range(1, what.get("chunks", 3) + 1):
            data = str(number).encode().ljust(what.get("size", 8), b".")
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await asyncio.wait({gone}, timeout=what.get("gap", 0.0))
            if gone.done():
                self.note(f"closed after {number}")
                return
            await writer.drain()
            self.note(f"chunk {number}")
            if what.get("die") == number:
                os.kill(os.getpid(), signal.SIGKILL)
        writer.write(b"0\r\n\r\n")
        gone.cancel()
        self.note("complete")


def main() -> None:
    options = _options(sys.argv[1:])
    path = options["--uds"][0]
    idle = [sys.executable, "-S", "-c", "import time; time.sleep(1000)", path]
    count = int(options.get("--workers", ["0"])[0])
    for number in range(count):
        subprocess.Popen(idle, start_new_session=number == 1)
    for line in options.get("--say", []):
        print(line, flush=True)
        time.sleep(float(options.get("--pause", ["0"])[0]))
    if "--exit" in options:
        sys.exit(int(options["--exit"][0]))
    shared = [_share(name) for name in options.get("--shared", [])]
    if "--stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--linger" in options:
        signal.signal(signal.SIGTERM, lambda *_: _linger(float(options["--linger"][0])))
    gap, prefill = (float(options.get(name, ["0"])[0]) for name in ("--gap", "--prefill"))
    server = Server(path, gap, prefill)
    server.rests = int(options.get("--rests", ["0"])[0])
    server.blocks = options.get("--blocks", ["0"])[0]
    asyncio.run(_serve(server, path))
    del shared


def _linger(seconds: float) -> None:
    time.sleep(seconds)
    os._exit(0)


def _share(name: str) -> mmap.mmap:
    """Shared memory that nobody removes when this process is killed."""
    with Path("/dev/shm", name).open("wb+") as file:
        file.truncate(4096)
        return mmap.mmap(file.fileno(), 4096)


async def _serve(fake: Server, path: str) -> None:
    server = await asyncio.start_unix_server(fake.serve, path)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    main()
