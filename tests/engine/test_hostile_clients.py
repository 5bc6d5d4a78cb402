from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.desk import queues
from glmcode.engine.intake import Intake
from glmcode.engine.lane import QUEUED, read_place
from glmcode.engine.wire import Incoming, answer, parse_head
from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home, new_home, until


@pytest.fixture(scope="module")
def up() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as home:
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 20}
        home.profile("fake", "--gap", "0.02", "--prefill", "0.05", **keys)
        home.attach()
        yield home


@contextlib.contextmanager
def raw(home: Home) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(home.paths().socket))
        connection.settimeout(20.0)
        yield connection


def receive(connection: socket.socket, mark: bytes = b"") -> bytes:
    data = b""
    while not (mark and mark in data):
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def head(*lines: str, path: str = "/v1/echo", method: str = "POST", http: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{http}", "Host: x", *lines, "", ""]).encode(
        "latin-1"
    )


def answers_others(home: Home) -> None:
    """Another client is served as if nothing had happened."""
    began = time.monotonic()
    with raw(home) as connection:
        connection.sendall(head("Content-Length: 3") + b"abc")
        assert b'"length": 3' in receive(connection, b"}")
    assert engine_status("fake").state == "ready"
    assert time.monotonic() - began < 5.0


CHUNKS = "Transfer-Encoding: chunked"
HIDDEN = b"POST /sleep HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

REFUSED = {
    "a length that is a digit for Python only": head("Content-Length: \xb2"),
    "a length of 5,000 digits": head("Content-Length: " + "9" * 5000),
    "a length below zero": head("Content-Length: -1"),
    "a length with a sign": head("Content-Length: +3") + b"abc",
    "a length with an underscore": head("Content-Length: 1_0") + b"abc",
    "an empty length": head("Content-Length:"),
    "two lengths": head("Content-Length: 0", f"Content-Length: {len(HIDDEN)}") + HIDDEN,
    "a list of lengths": head("Content-Length: 3, 3") + b"abc",
    "a length and chunks": head("Content-Length: 4", CHUNKS) + b"0\r\n\r\n" + HIDDEN,
    "chunks and a length": head(CHUNKS, "Content-Length: 4") + b"0\r\n\r\n" + HIDDEN,
    "chunks of another name": head("Transfer-Encoding: xchunked") + b"0\r\n\r\n" + HIDDEN,
    "chunks of chunks": head("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "chunks said twice, once otherwise": head(CHUNKS, "Transfer-Encoding: identity") + b"0\r\n\r\n",
    "compressed chunks": head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "a space before a colon": head("Transfer-Encoding : chunked") + b"0\r\n\r\n" + HIDDEN,
    "a folded header": head("X: a", " Content-Length: 3") + b"abc",
    "a header without a colon": head("nonsense"),
    "a header without a name": head(": x"),
    "a bare line feed in a header": head("X: a\nTransfer-Encoding: chunked") + HIDDEN,
    "a bare carriage return in a header": head("X: a\rContent-Length: 3") + b"abc",
    "a line feed in the first line": head(path="/v1/echo\nX:"),
    "no version": b"GET /v1/models\r\n\r\n",
    "another version": head(http="2"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two spaces": b"GET  /v1/models HTTP/1.1\r\n\r\n",
    "lines that end without a carriage return": b"GET /v1/models HTTP/1.1\nHost: x\n\n",
    "a greeting of TLS": b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(range(200)) * 400,
    "zero bytes": bytes(70_000),
    "a head without end": b"GET /v1/models HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    "a chunk below zero, which would be read again and again": head(CHUNKS) + b"-6\r\nx",
    "a chunk of minus two": head(CHUNKS) + b"-2\r\n0\r\n\r\n",
    "a chunk with a sign": head(CHUNKS) + b"+3\r\nabc\r\n0\r\n\r\n",
    "a chunk with a prefix": head(CHUNKS) + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk with an underscore": head(CHUNKS) + b"1_0\r\n",
    "a chunk without a size": head(CHUNKS) + b"\r\n",
    "a chunk of 2,000 digits": head(CHUNKS) + b"f" * 2000 + b"\r\n",
    "a size line without end": head(CHUNKS) + b"3;" + b"x" * 70_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_engine_might_read_otherwise_than_we_do_is_refused_and_hurts_nobody(
    up: Home, name: str
) -> None:
    with raw(up) as connection, contextlib.suppress(ConnectionError):
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(REFUSED[name])
        said = receive(connection)
        assert said.startswith(b"HTTP/1.1 400 "), said[:200]
        assert said.count(b"HTTP/1.1 ") == 1
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["type"] == "bad_request"
    assert "POST /sleep" not in up.noted()
    answers_others(up)


TAKEN = {
    "one empty line before it": b"\r\n" + head("Content-Length: 3") + b"abc",
    "the same length twice": head("Content-Length: 3", "Content-Length: 3") + b"abc",
    "a length with zeros before it": head("Content-Length: 003") + b"abc",
    "the name in capitals": head("CONTENT-LENGTH: 3") + b"abc",
    "no space after the colon": head("Content-Length:3") + b"abc",
    "tabs around the length": head("Content-Length:\t3\t") + b"abc",
    "HTTP/1.0": head("Content-Length: 3", http="1.0") + b"abc",
    "HTTP/1.0 that stays": head("Content-Length: 3", "Connection: keep-alive", http="1.0") + b"abc",
    "an offer of HTTP/2": head("Content-Length: 3", "Upgrade: h2c", "Connection: Upgrade") + b"abc",
    "a header of 60,000 bytes": head("Content-Length: 3", "X: " + "y" * 60_000) + b"abc",
    "a name that is no word": head("Content-Length: 3", "x-`|~!: 1") + b"abc",
    "odd words about itself": head(
        "Content-Length: 3",
        "x-glmcode-class: \xff",
        "x-glmcode-parents: ,,,",
        "x-glmcode-wait: nan",
    )
    + b"abc",
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_read_in_one_way_only_is_taken(up: Home, name: str) -> None:
    with raw(up) as connection:
        connection.sendall(TAKEN[name])
        assert b'"length": 3' in receive(connection, b"}")


def test_a_request_is_taken_however_it_is_cut(up: Home) -> None:
    whole = TAKEN["one empty line before it"]
    with raw(up) as connection:
        for byte in whole:
            connection.sendall(bytes([byte]))
            time.sleep(0.0005)
        assert b'"length": 3' in receive(connection, b"}")


def test_who_leaves_in_the_middle_of_a_head_or_a_body_leaves_nothing(up: Home) -> None:
    whole = head("Content-Length: 30") + b"abc" * 10
    for cut in (0, 1, 20, len(whole) - 30, len(whole) - 1):
        with raw(up) as connection:
            connection.sendall(whole[:cut])
    until(lambda: not engine_status("fake").attached or not engine_status("fake").running)
    answers_others(up)


def test_a_body_that_waits_to_be_asked_for_is_asked_for_where_no_engine_takes_it(up: Home) -> None:
    for path in ("/nowhere", "/glmcode/status"):
        with raw(up) as connection:
            connection.sendall(head("Content-Length: 3", "Expect: 100-Continue", path=path))
            assert receive(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            assert b'"error"' in receive(connection, b"}}")


@pytest.fixture
def few(up: Home) -> Iterator[Home]:
    """The supervisor may have 128 descriptors, which are 32 connections."""
    pid = up.supervisor()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (128, hard))
    yield up
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_the_supervisor_may_have_as_many_descriptors_as_the_machine_allows(up: Home) -> None:
    soft, hard = resource.prlimit(up.supervisor(), resource.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536)


def test_who_holds_many_connections_and_says_nothing_keeps_nobody_out(few: Home) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(raw(few)) for _ in range(32)]
        time.sleep(2.1)
        held += [stack.enter_context(raw(few)) for _ in range(20)]
        answers_others(few)
        assert receive(held[0]) == b"", "the oldest made room"
        held[-1].sendall(head("Content-Length: 3") + b"abc")
        assert b'"length": 3' in receive(held[-1], b"}")


def test_a_connection_that_is_served_is_not_closed_for_others(few: Home) -> None:
    what = {"token_ids": [1], "sampling_params": {"max_tokens": 200}, "request_id": "long"}
    data = json.dumps(what).encode()
    with raw(few) as served, contextlib.ExitStack() as stack:
        served.sendall(head(f"Content-Length: {len(data)}", path="/inference/v1/generate") + data)
        receive(served, b"token_ids")
        for _ in range(3):
            for _ in range(40):
                stack.enter_context(raw(few))
            time.sleep(1.0)
        assert receive(served, b"\r\n0\r\n\r\n").count(b"token_ids") >= 195


def test_where_all_connections_are_at_work_one_more_is_told_so(few: Home) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(32):
            connection = stack.enter_context(raw(few))
            connection.sendall(head("Content-Length: 3"))  # and never the body
        with raw(few) as late:
            said = receive(late)
    assert said.startswith(b"HTTP/1.1 503 ") and b"too many connections" in said
    answers_others(few)


def test_three_hundred_who_connect_in_one_moment_are_all_let_in(up: Home) -> None:
    os.kill(up.supervisor(), signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(raw(up)) for _ in range(300)]
            for connection in connections:
                connection.sendall(head("Content-Length: 3") + b"abc")
            os.kill(up.supervisor(), signal.SIGCONT)
            for connection in connections:
                assert b'"length": 3' in receive(connection, b"}")
    finally:
        os.kill(up.supervisor(), signal.SIGCONT)


def test_who_sent_two_requests_at_once_and_is_gone_frees_its_place(up: Home) -> None:
    what = {"token_ids": [1], "sampling_params": {"max_tokens": 5000}, "request_id": "two"}
    data = json.dumps(what).encode()
    one = head(f"Content-Length: {len(data)}", path="/inference/v1/generate") + data
    with raw(up) as first, raw(up) as second:
        first.sendall(one + one)
        until(lambda: len(engine_status("fake").running) == 1)
        second.sendall(one + one)
        until(lambda: len(engine_status("fake").waiting) == 1)
        second.close()
        until(lambda: not engine_status("fake").waiting)
        assert len(engine_status("fake").running) == 1
    until(lambda: not engine_status("fake").running)
    assert "end two after" in up.noted() and "closed" in up.noted()


def generate(count: int, *lines: str) -> bytes:
    what = {"token_ids": [1], "sampling_params": {"max_tokens": count}, "request_id": "crowd"}
    data = json.dumps(what).encode()
    return head(f"Content-Length: {len(data)}", *lines, path="/inference/v1/generate") + data


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_who_wait_cost_little_time_and_memory_and_the_status_comes_at_once(
    up: Home,
) -> None:
    pid = up.supervisor()
    before = resident(pid)
    with contextlib.ExitStack() as stack:
        began = cpu_s(pid)
        for number in range(1000):
            connection = stack.enter_context(raw(up))
            named = (f"x-glmcode-run: r{number}", "x-glmcode-label: " + "%F0%9F%90%88" * 12)
            connection.sendall(generate(50_000, *named))
        until(lambda: len(engine_status("fake").waiting) == 999, 60.0)
        arrived = cpu_s(pid)
        time.sleep(3.0)
        assert arrived - began < 8.0
        assert cpu_s(pid) - arrived < 1.5, "half of a core at the most"
        assert resident(pid) - before < 60 << 20
        told = receive(connection, b"\r\n\r\n")
        assert len(told) < 30_000
        place = read_place(parse_head(told.partition(b"\r\n\r\n")[0] + b"\r\n\r\n").headers[QUEUED])
        assert place is not None and place.position > 500
        assert f"and {place.position - 1} more" in place.words()
    until(lambda: not (engine_status("fake").waiting or engine_status("fake").running), 60.0)


def test_requests_that_wait_are_kept_up_to_a_size_of_all_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("glmcode.engine.intake.MOST", 2_500)
    taken = Intake()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Incoming(reader)
        head_of = await client.head()
        assert head_of is not None
        async with taken.whole(client, writer, head_of) as request:
            if request is not None:
                writer.write(answer(200, {"size": len(request)}))
                await client.some()
        writer.close()

    async def run() -> None:
        async with await asyncio.start_unix_server(serve, str(tmp_path / "s")):
            request = head("Content-Length: 1000") + b"x" * 1000
            many = [await asyncio.open_unix_connection(str(tmp_path / "s")) for _ in range(3)]
            said = []
            for reader, writer in many:
                writer.write(request)
                said.append(await reader.readuntil(b"}"))
            assert [one[9:12] for one in said] == [b"200", b"200", b"503"]
            assert b"try again later" in said[2] and taken.held == 2000
            many[0][1].close()
            await held(1000)
            slow_reader, slow = await asyncio.open_unix_connection(str(tmp_path / "s"))
            slow.write(request[:-1])  # and never the last byte
            await held(1999)
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(request)
            assert b"200 OK" in await reader.readuntil(b"}")
            with contextlib.suppress(ConnectionError):
                assert await slow_reader.read() == b"", "it made room"
            writer.close()
            await held(1000)
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(request[:-1])
            await held(1999)
            writer.close()  # in the middle of its body
            many[1][1].close()
            await held(0)

    async def held(size: int) -> None:
        await asyncio.to_thread(until, lambda: taken.held == size)

    asyncio.run(run())


def test_a_label_is_one_line_without_power_over_a_terminal(up: Home) -> None:
    label = "git%0Ahook%0D%1B]0;title%07%E2%80%AEevil%C2%9B2J"
    with raw(up) as connection:
        connection.sendall(generate(5000, "x-glmcode-run: r", f"x-glmcode-label: {label}"))
        until(lambda: engine_status("fake").running)
        (one,) = engine_status("fake").running
        assert one["label"].startswith("git\ufffdhook") and one["label"].isprintable()
        shown = subprocess.run(
            [sys.executable, "-m", "glmcode", "engine", "status", "--profile", "fake"],
            capture_output=True,
        )
    assert b"git\xef\xbf\xbdhook" in shown.stdout and b"\x1b" not in shown.stdout


HEADERS = {
    "its own parent": {"x-glmcode-run": "me", "x-glmcode-parents": "me"},
    "a circle": {"x-glmcode-run": "a", "x-glmcode-parents": "b,a,b,a"},
    "a parent that never was": {"x-glmcode-run": "a", "x-glmcode-parents": "nobody"},
    "a hundred parents": {"x-glmcode-parents": ",".join(f"p{n}" for n in range(100))},
    "sixty thousand parents": {"x-glmcode-parents": "p," * 30_000},
    "a class that is none": {"x-glmcode-class": "urgent", "x-glmcode-run": "a"},
    "a class in capitals": {"x-glmcode-class": "INTERACTIVE"},
    "a run of 60,000 letters": {"x-glmcode-run": "r" * 60_000},
    "a run of odd bytes": {"x-glmcode-run": "\xff\x1b[2J"},
    "a negative wait": {"x-glmcode-wait": "-1", "x-glmcode-run": "a"},
    "a wait that is no number": {"x-glmcode-wait": "nan", "x-glmcode-run": "a"},
    "a wait without end": {"x-glmcode-wait": "inf", "x-glmcode-run": "a"},
    "a wait of a moment": {"x-glmcode-wait": "0.001", "x-glmcode-run": "a"},
    "no wait": {"x-glmcode-wait": "0", "x-glmcode-run": "a"},
    "tokens that are none": {"x-glmcode-tokens": "-5", "x-glmcode-run": "a"},
    "more tokens than there are": {"x-glmcode-tokens": "999999999", "x-glmcode-run": "a"},
    "a label of half a character": {"x-glmcode-label": "%ff%", "x-glmcode-run": "a"},
    "another way to resume": {"x-glmcode-resumes": "everything", "x-glmcode-run": "a"},
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("kind", ["", "hook", "background"])
def test_whatever_a_client_says_of_itself_a_free_engine_answers_it(
    up: Home, name: str, kind: str
) -> None:
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    said = {"x-glmcode-class": kind} if kind else {}
    lines = [f"{key}: {value}" for key, value in {**said, **HEADERS[name]}.items()]
    with raw(up) as connection:
        connection.sendall(generate(3, *lines))
        answered = receive(connection, b"\r\n0\r\n\r\n")
    assert answered.count(b"token_ids") == 3
    assert answered.count(b"HTTP/1.1 200") == 1


def test_who_names_many_runs_is_known_by_the_last_of_them(up: Home) -> None:
    until(lambda: not engine_status("fake").running)
    with raw(up) as connection:
        for number in range(400):
            lines = ("Content-Length: 2", f"x-glmcode-run: run-{number}")
            connection.sendall(head(*lines, path="/v1/models", method="GET") + b"ab")
            receive(connection, b"}]}")
        attached = engine_status("fake").attached
        assert len(attached) <= 256 + 16
        assert sum(one["connected"] for one in attached) <= 16
        assert attached[0]["run"] == "run-399"
    until(lambda: not any(one["connected"] for one in engine_status("fake").attached))


@pytest.mark.parametrize(
    ("method", "path", "waits"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/v1/chat/completions?x=/render", True),
        ("POST", "/v1/completions", True),
        ("POST", "/v1/embeddings", True),
        ("POST", "/v1/messages", True),
        ("POST", "/v1/responses", True),
        ("POST", "/inference/v1/generate", True),
        ("POST", "/v1/responses/resp_1/cancel", False),
        ("POST", "/v1/messages/count_tokens", False),
        ("POST", "/v1/chat/completions/render", False),
        ("POST", "/inference/v1/abort_requests", False),
        ("GET", "/v1/models", False),
        ("GET", "/v1/chat/completions", False),
    ],
)
def test_what_takes_the_engine_s_time_waits_and_nothing_else(
    method: str, path: str, waits: bool
) -> None:
    assert queues(parse_head(head(path=path, method=method))) is waits


def test_an_old_client_is_told_no_interim_words(up: Home) -> None:
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    with raw(up) as first, raw(up) as old:
        first.sendall(generate(20, "x-glmcode-run: first"))
        receive(first, b"token_ids")
        old.sendall(generate(2, "x-glmcode-run: old").replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        said = receive(old)
    assert said.count(b"HTTP/1.1 ") == 1 and said.count(b"token_ids") == 2


def odd_bytes(chance: random.Random) -> bytes:
    """A request or two with something wrong in them, or nothing."""
    whole = [one for one in (*REFUSED.values(), *TAKEN.values()) if len(one) < 3000]
    data = bytearray(chance.choice([*whole, generate(2), generate(1, CHUNKS)]))
    for _ in range(chance.choice([0, 1, 1, 3])):
        at = chance.randrange(len(data) + 1)
        piece = chance.choice([b"\r\n", b"\n", b"-6", b"chunked", b"0\r\n\r\n", b"\xff", b"9" * 30])
        if chance.random() < 0.3:
            del data[at : at + 3]
        else:
            data[at:at] = piece
    return bytes(data)


def test_no_bytes_whatever_stop_the_supervisor_or_make_it_stumble(up: Home) -> None:
    chance = random.Random(4)
    for _ in range(400):
        with raw(up) as connection, contextlib.suppress(OSError):
            connection.settimeout(0.02)
            connection.sendall(odd_bytes(chance) + odd_bytes(chance))
            connection.recv(65536)
    answers_others(up)
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    assert "Traceback" not in up.paths().supervisor_log.read_text()


def test_a_run_that_would_not_wait_and_has_begun_waits_quietly(up: Home) -> None:
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    begun = ("x-glmcode-run: begun", "x-glmcode-wait: 0")
    with raw(up) as first, raw(up) as other:
        first.sendall(generate(1, *begun))
        receive(first, b"\r\n0\r\n\r\n")
        other.sendall(generate(400, "x-glmcode-run: other", "x-glmcode-class: interactive"))
        receive(other, b"token_ids")
        first.sendall(generate(1, *begun))
        until(lambda: engine_status("fake").waiting)
        time.sleep(1.2)
        before = switches(up.supervisor())
        time.sleep(2.0)
        assert switches(up.supervisor()) - before < 180, (
            "the other's tokens, and a look now and then"
        )
        assert engine_status("fake").waiting


def switches(pid: int) -> int:
    """How often a process has gone to sleep."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
