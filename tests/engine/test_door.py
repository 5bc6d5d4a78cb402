from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.door import KNOCK_S, KNOCKING, Door, DoorError, Gate, is_loopback, parse_address
from glmcode.engine.door_key import DoorKey
from glmcode.engine.gauges import read_gauges
from glmcode.engine.halt import halt
from glmcode.engine.lane import TURN_OVER
from glmcode.engine.wire import Incoming, answer
from tests.engine.engine_kit import Home, new_home, until

STATUS = [sys.executable, "-m", "glmcode", "engine", "status", "--profile", "fake"]
KEY = "a-key-that-is-long-enough"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        made.profile()
        yield made


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def start(home: Home, *words: str, key: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "engine", "start", "--profile", "fake", *words],
        env={**os.environ, "THE_KEY": key},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def code(port: int, path: str, key: str = "", method: str = "GET") -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    address = f"http://127.0.0.1:{port}{path}"
    return httpx.request(method, address, headers=headers, timeout=10).status_code


def test_with_a_key_the_engine_is_used_but_not_ruled_from_afar(home: Home) -> None:
    port = free_port()
    done = start(home, "--listen", f"127.0.0.1:{port}", "--api-key-env", "THE_KEY", key=KEY)
    assert done.returncode == 0, done.stderr
    assert f"listening on 127.0.0.1:{port}" in done.stdout
    assert code(port, "/v1/models", KEY) == 200
    assert code(port, "/v1/models") == 401 and code(port, "/v1/models", KEY + "x") == 401
    assert code(port, "/glmcode/status") == 401 and code(port, "/glmcode/status", KEY) == 200
    for path in ("/glmcode/stop", "/glmcode/start", "/glmcode/restart", "/glmcode/listen"):
        assert code(port, path, KEY, "POST") == 403, path
    assert code(port, "/collective_rpc", KEY, "POST") == 404
    assert code(port, TURN_OVER, "", "POST") == 401 and code(port, TURN_OVER, KEY, "POST") == 200
    assert engine_status("fake").state == "ready"
    # The key stands nowhere but in the supervisor's memory.
    for pid in (home.supervisor(), home.child()):
        for name in ("cmdline", "environ"):
            assert KEY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert start(home, "--listen", "off").returncode == 0
    with pytest.raises(httpx.TransportError):
        code(port, "/v1/models", KEY)


def listen(home: Home, *more: str, key: str = KEY) -> int:
    """Listen on a free port of this machine, with the key unless it is ""."""
    port = free_port()
    words = ["--listen", f"127.0.0.1:{port}", *more]
    words += ["--api-key-env", "THE_KEY"] if key else []
    done = start(home, *words, key=key)
    assert done.returncode == 0, done.stderr
    return port


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(20.0)
    return connection


def ask(connection: socket.socket, key: str = "", more: str = "") -> bytes:
    """The first bytes of the whole answer; b"" where the connection is over."""
    allowed = f"Authorization: Bearer {key}\r\n" if key else ""
    with contextlib.suppress(ConnectionError):
        connection.sendall(f"GET /v1/models HTTP/1.1\r\n{allowed}{more}\r\n".encode())
        data = b""
        while not data.endswith((b"]}", b"}}")) and (piece := connection.recv(4096)):
            data += piece
        return data[:12]
    return b""


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_many_who_show_no_key_take_neither_memory_nor_the_place_of_others(home: Home) -> None:
    port = listen(home)
    supervisor = home.supervisor()
    before = descriptors(supervisor)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            one = stack.enter_context(connect(port))
            with contextlib.suppress(ConnectionError):
                one.sendall(b"GET /v1/models HTTP/1.1\r\nx: ")  # and never more
        until(lambda: descriptors(supervisor) <= before + KNOCKING, 0.6 * KNOCK_S)
        assert engine_status("fake").state == "ready"
        assert code(port, "/v1/models", KEY) == 200
    until(lambda: descriptors(supervisor) <= before)


def test_who_says_nothing_has_little_time_and_who_was_let_in_has_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both() -> None:
        served: list[bool] = []

        async def accept(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: Gate
        ) -> None:
            while (await gate.head(Incoming(reader))) is not None:
                served.append(True)
                writer.write(answer(200, {}))
            writer.close()

        monkeypatch.setattr("glmcode.engine.door.KNOCK_S", 0.3)
        door, port = Door(accept, tmp_path / "door.json"), free_port()
        await door.open("127.0.0.1", port, DoorKey.of(KEY))
        silent, _ = await asyncio.open_connection("127.0.0.1", port)
        known, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET / HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        writer.write(request)
        assert await asyncio.wait_for(silent.read(), 10) == b""
        await asyncio.sleep(0.5)
        writer.write(request)
        while len(served) < 2:
            assert await asyncio.wait_for(known.read(4096), 10)
        writer.close()
        await door.close()

    asyncio.run(both())


def test_who_is_refused_is_told_even_with_a_body_and_sends_no_more(home: Home) -> None:
    port = listen(home)
    address = f"http://127.0.0.1:{port}/v1/completions"
    assert httpx.post(address, content=b"x" * 300_000, timeout=10).status_code == 401
    with connect(port) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("said", "expected"),
    [(b"\xff\xfe", 401), (b"Bearer \xed\xa0\x80" * 9, 401), (b"Bearer", 401), (b"\0" * 50, 400)],
)
def test_odd_bytes_for_a_key_are_a_wrong_key(home: Home, said: bytes, expected: int) -> None:
    port = listen(home)
    with connect(port) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nAuthorization: " + said + b"\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 %d" % expected
    assert home.paths().supervisor_log.read_text() == ""


def test_a_new_key_counts_at_once_and_a_closed_door_is_closed_to_all(home: Home) -> None:
    port = listen(home)
    other = "another-key-that-is-long"
    with connect(port) as first, connect(port) as second:
        assert ask(first, KEY) == ask(second, KEY) == b"HTTP/1.1 200"
        words = ("--listen", f"127.0.0.1:{port}", "--api-key-env", "THE_KEY")
        assert start(home, *words, key=other).returncode == 0
        assert ask(first, KEY) == b"HTTP/1.1 401"
        assert ask(second, other) == b"HTTP/1.1 200"
        # Elsewhere without a key: who came in by the old address has none of that.
        elsewhere = listen(home, key="")
        assert ask(second) == b""
        with connect(elsewhere) as third:
            assert ask(third) == b"HTTP/1.1 200"
            assert start(home, "--listen", "off").returncode == 0
            assert ask(third) == b""


def test_an_address_that_cannot_be_had_leaves_the_old_one_open(home: Home) -> None:
    port = listen(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = start(home, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert done.returncode == 2 and "can't be served" in done.stderr
    assert code(port, "/v1/models", KEY) == 200 and code(port, "/v1/models") == 401


def test_without_a_key_no_page_in_a_browser_gets_at_the_engine(home: Home) -> None:
    port = listen(home, key="")
    for more in ("Origin: http://evil.example\r\n", "Sec-Fetch-Site: same-origin\r\n"):
        with connect(port) as connection:
            assert ask(connection, more=more) == b"HTTP/1.1 403"
    port = listen(home)
    with connect(port) as connection:
        assert ask(connection, KEY, more="Origin: http://ours.example\r\n") == b"HTTP/1.1 200"


def test_an_engine_that_dies_and_comes_back_is_still_reached_there(home: Home) -> None:
    port = listen(home)
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    address, headers = f"http://127.0.0.1:{port}/v1/models", {"authorization": f"Bearer {KEY}"}
    said = httpx.get(address, headers=headers, timeout=10)
    assert said.status_code == 503 and "died" in said.text
    home.attach()
    assert code(port, "/v1/models", KEY) == 200
    assert engine_status("fake").listening == f"127.0.0.1:{port}"


def test_requests_from_afar_pass_the_queue(home: Home) -> None:
    port = free_port()
    home.profile("fake", "--gap", "0.2")
    assert start(home, "--listen", f"127.0.0.1:{port}").returncode == 0
    body = {"token_ids": [1, 2], "sampling_params": {"max_tokens": 8}, "stream": True}

    def ask() -> httpx.Response:
        address = f"http://127.0.0.1:{port}/inference/v1/generate"
        return httpx.post(address, json=body, timeout=30)

    async def both() -> list[httpx.Response]:
        first = asyncio.create_task(asyncio.to_thread(ask))
        second = asyncio.create_task(asyncio.to_thread(ask))
        seen = False
        while not (first.done() and second.done()):
            status = await asyncio.to_thread(engine_status, "fake")
            seen = seen or (len(status.running) == 1 and len(status.waiting) == 1)
            await asyncio.sleep(0.02)
        assert seen, "both were at the engine at once"
        return [first.result(), second.result()]

    assert [answer.status_code for answer in asyncio.run(both())] == [200, 200]


def test_without_a_key_only_this_machine_is_served(home: Home) -> None:
    port = free_port()
    refused = start(home, "--listen", f"0.0.0.0:{port}")
    assert refused.returncode == 2 and "--api-key-env" in refused.stderr
    weak = start(home, "--listen", f"0.0.0.0:{port}", "--api-key-env", "THE_KEY", key="short")
    assert weak.returncode == 2 and "too weak" in weak.stderr and "short" not in weak.stderr
    unset = start(home, "--listen", f"127.0.0.1:{port}", "--api-key-env", "NO_SUCH_KEY")
    assert unset.returncode == 2 and "NO_SUCH_KEY" in unset.stderr
    assert start(home, "--listen", f"127.0.0.1:{port}").returncode == 0
    assert code(port, "/v1/models") == 200


def test_an_address_that_is_taken_or_none_is_one_sentence(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start(home, "--listen", f"127.0.0.1:{port}")
        assert done.returncode == 2 and "can't be served" in done.stderr
    for text in ("nonsense", "host:port", "127.0.0.1:99999"):
        done = start(home, "--listen", text)
        assert done.returncode == 2 and "no address" in done.stderr, text


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("127.0.0.1:8001", ("127.0.0.1", 8001)),
        (":8001", ("127.0.0.1", 8001)),
        ("[::1]:80", ("::1", 80)),
        ("box.local:1", ("box.local", 1)),
    ],
)
def test_addresses_are_read(text: str, there: tuple[str, int]) -> None:
    assert parse_address(text) == there


def test_what_is_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "box", "")))
    with pytest.raises(DoorError):
        parse_address("box")


def test_a_watched_status_tells_every_state_until_the_engine_is_gone(home: Home) -> None:
    watching = subprocess.Popen(
        [*STATUS, "--watch", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        states = [json.loads(watching.stdout.readline())["state"]]
        home.attach()
        until(lambda: engine_status("fake").state == "ready")
        time.sleep(1.5)
        asyncio.run(halt(home.paths()))
        time.sleep(1.5)
    finally:
        watching.terminate()
    states += [json.loads(line)["state"] for line in watching.stdout.read().splitlines()]
    assert states[0] == "absent" and states[-1] == "absent"
    assert "ready" in states and "stopping" in states


def test_gauges_are_read_from_what_vllm_says_and_what_is_absent_is_not_told() -> None:
    text = (
        "# HELP x\n"
        'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25\n'
        'vllm:prefix_cache_queries_total{engine="0"} 1000.0\n'
        'vllm:prefix_cache_hits_total{engine="0"} 900.0\n'
        'vllm:generation_tokens_total{engine="0"} 1.5e+03\n'
        'vllm:num_requests_running{engine="0"} 1.0\n'
    )
    gauges = read_gauges(text)
    assert (gauges.hit_rate, gauges.running, gauges.generated) == (0.9, 1, 1500)
    assert gauges.words(8_000) == (
        "KV cache 25% of 8,000 tokens in use, 90% of 1,000 prompt tokens were cached, "
        "1,500 tokens generated"
    )
    assert read_gauges("").words() == "" and read_gauges("").hit_rate is None
    both = read_gauges(text + text.replace('engine="0"', 'engine="1"'))
    assert (both.hit_rate, both.running, both.generated) == (0.9, 2, 3000)
    early = "vllm:prefix_cache_queries_total 10\nvllm:prefix_cache_hits_total 30\n"
    assert read_gauges(early).hit_rate == 1.0, "they are not counted at one moment"
