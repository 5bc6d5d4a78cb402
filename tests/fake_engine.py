"""An HTTP engine that answers from a script: both protocols, TCP or a Unix socket, with faults.

As a library: `with FakeEngine([Reply(text="hi")]) as engine: ... engine.base_url`. The
server runs in a thread of its own, so that the code under test keeps its event loop.
As a program, for benchmarks and end-to-end tests:

    python tests/fake_engine.py --script FILE.json [--port 0 | --socket PATH]
        [--record FILE.jsonl] [--slim] [--tokenizer tokenizer.json] [--model glm]
        [--window 16384]

FILE.json is a list of objects with the fields of Reply. It prints its address on a line of
its own, then serves until it is killed. Each request becomes a line of the record: `at`,
`received` and `answered` (seconds, one monotonic clock: the head is there, the body is there,
the answer is out), method, path, body, `grows` (the prompt starts with the prompt before and
what was kept of its answer; null for the first), `bytes` and `tokens` (of the body, of the
prompt). --slim leaves the bodies out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

STEP_PATHS = ("/v1/chat/completions", "/v1/completions", "/inference/v1/generate")
READ_LIMIT = 1 << 24
"""Larger than any body, so that a client that is measured never waits for our reading."""


@dataclass(kw_only=True)
class Reply:
    """One scripted answer. Without faults it is a whole, correct stream.

    calls: [{"name", "arguments", "id"?}]. finish None: as the content demands; "": left out.
    ids: generated ids for `tokens`, in place of those made from text and calls.
    events: JSON chunks sent in place of those made from the content. raw: the whole body.
    chunk: characters (chat) or ids (tokens) in an event. Times are seconds.
    """

    text: str = ""
    reasoning: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    finish: str | None = None
    stop: int | str | None = None
    usage: Mapping[str, Any] | None = None
    ids: Sequence[int] | None = None
    events: Sequence[Any] | None = None
    raw: str | bytes | None = None
    reasoning_field: str = "reasoning_content"
    chunk: int = 8
    # faults
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    drop: bool = False
    delay: float = 0.0
    stall: float = 0.0
    gap: float = 0.0
    cut_after_bytes: int | None = None
    cut_after_events: int | None = None
    hang_after_events: int | None = None
    error_line: Any = None
    html: bool = False
    whole: bool = False
    no_done: bool = False
    newline: str = "\n"
    split: int = 0
    framing: str = "chunked"
    close: bool = False
    times: int = 1


@dataclass
class Seen:
    """A request as it arrived. aborted: when the client went away before the end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    received: float = 0.0
    answered: float | None = None
    aborted: float | None = None
    grows: bool | None = None
    tokens: int | None = None

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


class FakeEngine:
    """The server. `requests` lists what arrived; `steps` only the requests for a reply."""

    def __init__(
        self,
        script: Sequence[Reply | Mapping[str, Any]],
        *,
        socket: Path | None = None,
        port: int = 0,
        record: Path | None = None,
        slim: bool = False,
        tokenizer: Path | None = None,
        model: str = "glm",
        window: int = 16_384,
        routes: Sequence[str] = ("models", "tokenize", "generate", "completions", "chat"),
        reject: Sequence[str] = (),
    ) -> None:
        replies = [entry if isinstance(entry, Reply) else Reply(**entry) for entry in script]
        self.replies = [reply for reply in replies for _ in range(reply.times)]
        self.socket, self.port, self.record, self.slim = socket, port, record, slim
        self.tokenizer: Any = None
        if tokenizer is not None:
            from glmcode.glm.tokenizer import GlmTokenizer

            self.tokenizer = GlmTokenizer.load(tokenizer)
        self.model, self.window, self.routes, self.reject = model, window, set(routes), reject
        self.requests: list[Seen] = []
        self.connections = 0
        self._served = 0
        self._unwritten: list[Seen] = []
        self._expected: Any = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def steps(self) -> list[Seen]:
        return [seen for seen in self.requests if seen.path in STEP_PATHS]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    # Lifecycle

    def __enter__(self) -> FakeEngine:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(120):
            raise RuntimeError("the fake engine did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def drop_connections(self) -> None:
        """Close every open connection, as a server that is tired of idle clients does."""
        assert self._loop is not None
        done = threading.Event()

        def close() -> None:
            for writer in self._writers:
                writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(close)
        done.wait(5)

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._main(ready))

    async def _main(self, ready: threading.Event | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self.listen()
        if ready is not None:
            ready.set()
        await self._stop.wait()
        self._write_record()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def listen(self) -> asyncio.Server:
        if self.socket is not None:
            return await asyncio.start_unix_server(self._client, str(self.socket), limit=READ_LIMIT)
        server = await asyncio.start_server(self._client, "127.0.0.1", self.port, limit=READ_LIMIT)
        self.port = server.sockets[0].getsockname()[1]
        return server

    # One connection

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first_byte = await reader.readexactly(1)
        if first_byte == b"\x16":  # a TLS hello: answer as plain servers do
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            return False
        head = first_byte + await reader.readuntil(b"\r\n\r\n")
        at = time.monotonic()
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(method, path, headers, body, at, time.monotonic())
        self._write_record()
        self.requests.append(seen)
        try:
            reply = self._route(seen)
            keep = await self._answer(seen, reply, reader, writer)
        finally:
            # Not now: the next request must not wait for it, nor be seen late.
            self._unwritten.append(seen)
            asyncio.get_running_loop().call_later(0.2, self._write_record)
        return keep

    def _route(self, seen: Seen) -> Reply:
        match seen.method, seen.path:
            case "GET", "/v1/models" if "models" in self.routes:
                entry = {"id": self.model, "object": "model", "max_model_len": self.window}
                return _json(200, {"object": "list", "data": [entry]})
            case "POST", "/tokenize" if "tokenize" in self.routes and self.tokenizer is not None:
                ids = self._encode(seen.json["prompt"])
                answer = {"count": len(ids), "max_model_len": self.window, "tokens": ids}
                return _json(200, answer)
            case "POST", path if path in STEP_PATHS and path.rsplit("/")[-1] in self._open():
                return self._step(seen)
        return _json(404, {"detail": "Not Found"})

    def _open(self) -> set[str]:
        return {"completions" if route == "chat" else route for route in self.routes}

    def _step(self, seen: Seen) -> Reply:
        if seen.path == "/v1/chat/completions" and "chat" not in self.routes:
            return _json(404, {"detail": "Not Found"})
        if seen.path == "/v1/completions" and "completions" not in self.routes:
            return _json(404, {"detail": "Not Found"})
        flat = {**seen.json, **seen.json.get("sampling_params", {})}
        for name in self.reject:
            if name in flat:
                message = f"Unknown parameter: '{name}'"
                return _json(400, {"error": {"message": message, "code": 400}})
        if self._served >= len(self.replies):
            return _json(500, {"error": {"message": "the script has no more replies"}})
        reply = self.replies[self._served]
        self._served += 1
        seen.grows = self._check_growth(seen)
        return reply

    def _check_growth(self, seen: Seen) -> bool | None:
        prompt = _prompt(seen)
        grows = None if self._expected is None else prompt[: len(self._expected)] == self._expected
        self._expected = prompt
        return grows

    # One answer

    async def _answer(
        self,
        seen: Seen,
        reply: Reply,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if reply.drop:
            return False
        try:
            return await self._send(seen, reply, reader, writer)
        except (OSError, _Gone):
            seen.aborted = time.monotonic()
            raise OSError("the client went away") from None

    async def _send(
        self,
        seen: Seen,
        reply: Reply,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        await _pause(reply.delay, reader, writer)
        kind, events = self._body(seen, reply)
        framing = reply.framing
        head = [f"HTTP/1.1 {reply.status} X", f"content-type: {kind}"]
        if framing == "length":
            head.append(f"content-length: {sum(len(event) for event in events)}")
        elif framing == "chunked":
            head.append("transfer-encoding: chunked")
        else:
            head.append("connection: close")
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        await writer.drain()
        await _pause(reply.stall, reader, writer)
        sent = 0
        for number, event in enumerate(events):
            if reply.cut_after_events == number:
                return False
            if reply.hang_after_events == number:
                await _pause(3600, reader, writer)
            if number:
                await _pause(reply.gap, reader, writer)
            if reply.cut_after_bytes is not None:
                event = event[: reply.cut_after_bytes - sent]
            size = reply.split or max(1, len(event))
            for start in range(0, len(event), size):
                piece = event[start : start + size]
                frame = b"%x\r\n%s\r\n" % (len(piece), piece) if framing == "chunked" else piece
                writer.write(frame)
                if reply.split:
                    await writer.drain()
                    await asyncio.sleep(0)
            sent += len(event)
            if reply.cut_after_bytes is not None and sent >= reply.cut_after_bytes:
                await writer.drain()
                return False
        seen.answered = time.monotonic()
        if framing == "chunked":
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return framing != "close" and not reply.close

    def _body(self, seen: Seen, reply: Reply) -> tuple[str, list[bytes]]:
        if reply.html:
            page = "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
            return "text/html", [page.encode()]
        if reply.body is not None:
            return "application/json", [reply.body.encode()]
        if reply.status >= 300:
            error = {"message": f"scripted status {reply.status}", "code": reply.status}
            return "application/json", [json.dumps({"error": error}).encode()]
        if reply.raw is not None:
            raw = reply.raw.encode() if isinstance(reply.raw, str) else reply.raw
            return "text/event-stream", [raw]
        chunks = self._chunks(seen, reply)
        if reply.whole:
            return "application/json", [json.dumps(chunks[0]).encode()]
        lines = [json.dumps(chunk, ensure_ascii=False) for chunk in chunks]
        if reply.error_line is not None:
            error = reply.error_line
            lines = lines[: len(lines) // 2]
            lines.append(json.dumps({"error": error}) if not isinstance(error, str) else error)
        if not reply.no_done:
            lines.append("[DONE]")
        end = reply.newline * 2
        return "text/event-stream", [f"data: {line}{end}".encode() for line in lines]

    def _chunks(self, seen: Seen, reply: Reply) -> list[Any]:
        if reply.events is not None:
            return list(reply.events)
        if seen.path == "/v1/chat/completions":
            return _chat_whole(reply) if reply.whole else _chat_chunks(reply, seen.json)
        prompt = seen.json.get("token_ids", seen.json.get("prompt"))
        seen.tokens = len(prompt)
        ids, finish, stop = self._generated(reply)
        cap = {**seen.json, **seen.json.get("sampling_params", {})}["max_tokens"]
        if len(ids) >= cap:
            ids, finish, stop = ids[:cap], "length", None
        stop_ids = self.tokenizer.stop_ids if self.tokenizer else ()
        self._expected = [*prompt, *(i for i in ids if i not in stop_ids)]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        return _token_chunks(reply, ids, finish, stop, {**usage, **(reply.usage or {})})

    def _generated(self, reply: Reply) -> tuple[list[int], str, int | str | None]:
        if reply.ids is not None:
            finish = "stop" if reply.finish is None else reply.finish
            return list(reply.ids), finish, reply.stop
        assert self.tokenizer is not None, "tokens needs ids or a tokenizer"
        ids = self._encode(raw_text(reply))
        finish = "stop" if reply.finish is None else reply.finish
        if finish != "stop":
            return ids, finish, reply.stop
        name = "<|observation|>" if reply.calls else "<|user|>"
        stop = self.tokenizer.control_id(name)
        return [*ids, stop], finish, stop

    def _encode(self, text: str) -> list[int]:
        """The ids of text whose spelled tags are controls, as vLLM's /tokenize gives them."""
        from glmcode.glm.pieces import text_pieces

        return self.tokenizer.encode(text_pieces(text, self.tokenizer.control_names))

    def _write_record(self) -> None:
        seen, self._unwritten = self._unwritten, []
        if self.record is None or not seen:
            return
        with self.record.open("a", encoding="utf-8") as file:
            for one in seen:
                line = {
                    "at": one.at,
                    "received": one.received,
                    "answered": one.answered,
                    "method": one.method,
                    "path": one.path,
                    "grows": one.grows,
                    "bytes": len(one.body),
                    "tokens": one.tokens,
                    "body": None if self.slim else one.json,
                }
                file.write(json.dumps(line) + "\n")


class _Gone(Exception):
    """The client closed its side while an answer was on its way."""


async def _pause(
    seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if writer.transport.is_closing() or reader.at_eof():
            raise _Gone
        await asyncio.sleep(min(left, 0.005))


def raw_text(reply: Reply) -> str:
    """What GLM writes for this content, tags and all, without the stop token."""
    text = f"\n<think>{reply.reasoning}</think>"
    text += f"\n{reply.text}" if reply.text else ""
    for call in reply.calls:
        text += f"\n<tool_call>{call['name']}\n"
        for key, value in call["arguments"].items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            text += f"<arg_key>{key}</arg_key>\n<arg_value>{shown}</arg_value>\n"
        text += "</tool_call>"
    return text


def _prompt(seen: Seen) -> Any:
    body = seen.json
    return body.get("token_ids", body.get("prompt", body.get("messages")))


def _json(status: int, value: Any) -> Reply:
    return Reply(status=status, body=json.dumps(value), framing="length")


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _finish(reply: Reply) -> str | None:
    if reply.finish is not None:
        return reply.finish or None
    return "tool_calls" if reply.calls else "stop"


def _usage(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(body.get("messages", "")))
    usage = {"prompt_tokens": size // 4, "completion_tokens": 10, "total_tokens": size // 4 + 10}
    return {**usage, **(reply.usage or {})}


def _chat_chunks(reply: Reply, body: Mapping[str, Any]) -> list[Any]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if reply.reasoning_field == "content" and reply.reasoning:
        text = f"<think>{reply.reasoning}</think>{reply.text}"
        deltas += [{"content": piece} for piece in _pieces(text, reply.chunk)]
    else:
        name = reply.reasoning_field
        deltas += [{name: piece} for piece in _pieces(reply.reasoning, reply.chunk)]
        deltas += [{"content": piece} for piece in _pieces(reply.text, reply.chunk)]
    for index, call in enumerate(reply.calls):
        function = {"name": call["name"], "arguments": ""}
        first = {"index": index, "id": call.get("id", f"tc_{index}"), "type": "function"}
        deltas.append({"tool_calls": [{**first, "function": function}]})
        for piece in _pieces(json.dumps(call["arguments"]), reply.chunk):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    base = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "glm"}

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    chunks = [chunk(delta) for delta in deltas]
    if finish := _finish(reply):
        chunks.append(chunk({}, finish))
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**base, "choices": [], "usage": _usage(reply, body)})
    return chunks


def _chat_whole(reply: Reply) -> list[Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.reasoning:
        message[reply.reasoning_field] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.get("id", f"tc_{index}"),
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
            }
            for index, call in enumerate(reply.calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    usage = {"prompt_tokens": 50, "completion_tokens": 10, **(reply.usage or {})}
    return [{"object": "chat.completion", "choices": [choice], "usage": usage}]


def _token_chunks(
    reply: Reply,
    ids: Sequence[int],
    finish: str,
    stop: int | str | None,
    usage: Mapping[str, Any],
) -> list[Any]:
    groups = [ids[start : start + reply.chunk] for start in range(0, len(ids), reply.chunk)] or [[]]
    chunks: list[Any] = []
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        chunks.append(
            {
                "request_id": "r",
                "choices": [
                    {
                        "index": 0,
                        "token_ids": list(group),
                        "finish_reason": (finish or None) if last else None,
                        "stop_reason": stop if last else None,
                    }
                ],
            }
        )
    chunks.append({"request_id": "r", "choices": [], "usage": dict(usage)})
    return chunks


def main() -> None:
    """Serve a script from the command line until killed."""
    parser = argparse.ArgumentParser(description="an engine that answers from a script")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--slim", action="store_true")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--model", default="glm")
    parser.add_argument("--window", type=int, default=16_384)
    options = parser.parse_args()
    engine = FakeEngine(
        json.loads(options.script.read_text(encoding="utf-8")),
        socket=options.socket,
        port=options.port,
        record=options.record,
        slim=options.slim,
        tokenizer=options.tokenizer,
        model=options.model,
        window=options.window,
    )

    async def serve() -> None:
        server = await engine.listen()
        print(options.socket or engine.base_url, flush=True)
        async with server:
            await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
