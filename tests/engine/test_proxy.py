from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glmcode.engine.attach import engine_status, wake
from glmcode.engine.mark import EngineMark, read_mark
from glmcode.engine.profile import load_profile
from glmcode.engine.proxy import is_public
from tests.engine.engine_kit import Home, new_home, until


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as home:
        home.profile()
        yield home


@pytest.fixture
def up(shared: Home) -> Home:
    """A home whose engine is up, whatever the test before did to it."""
    asyncio.run(wake(load_profile("fake")))
    shared.attach()
    Path(f"{shared.paths().engine_socket}.events").unlink(missing_ok=True)
    return shared


def client(home: Home) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(home.paths().socket))
    return httpx.Client(transport=transport, base_url="http://engine", timeout=30.0)


@contextlib.contextmanager
def raw(home: Home) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20.0)
        connection.connect(str(home.paths().socket))
        yield connection


def request(what: dict[str, object], path: str = "/v1/completions") -> bytes:
    body = json.dumps(what).encode()
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        len(body),
        body,
    )


def receive(connection: socket.socket, mark: bytes = b"") -> bytes:
    """Read until the mark was seen, or to the end."""
    data = b""
    while not (mark and mark in data):
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def resident(pid: int) -> int:
    """KiB of memory that a process holds."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def test_a_body_of_five_megabytes_arrives_as_it_was_sent(up: Home) -> None:
    body = os.urandom(5 << 20)
    with client(up) as http:
        said = http.post("/v1/echo", content=body).json()
    assert said == {"length": len(body), "sha": hashlib.sha256(body).hexdigest()}


def test_an_answer_tells_which_start_of_the_engine_gave_it_and_how_many_were_asked_for(
    up: Home,
) -> None:
    with client(up) as http:
        listed = read_mark(http.get("/v1/models").headers["x-glmcode-engine"])
        marks = [
            read_mark(http.post("/v1/completions", json={}).headers["x-glmcode-engine"])
            for _ in range(2)
        ]
    assert {mark.engine for mark in marks} == {listed.engine}
    assert [mark.served - listed.served for mark in marks] == [1, 2]
    assert marks[0].block == engine_status("fake").block == 128
    os.kill(engine_status("fake").engine_pid, signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    up.attach()
    with client(up) as http:
        after = read_mark(http.post("/v1/completions", json={}).headers["x-glmcode-engine"])
    assert after.engine != listed.engine


def test_a_server_that_is_not_ours_has_no_mark() -> None:
    assert read_mark(None) == read_mark("something else") == EngineMark()


def test_one_connection_serves_many_requests(up: Home) -> None:
    with raw(up) as connection:
        for number in range(5):
            connection.sendall(request({"chunks": number + 1}))
            data = receive(connection, b"0\r\n\r\n")
            assert data.count(b"\r\n8\r\n") == number + 1
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"max_model_len" in receive(connection)


def test_requests_sent_ahead_are_answered_in_their_order(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(request({"chunks": 2}) + request({"a": 1}, "/v1/echo"))
        data = receive(connection, b'"sha"')
    assert data.index(b"0\r\n\r\n") < data.index(b'"length": 8')


def test_chunks_pass_as_they_come(up: Home) -> None:
    with raw(up) as connection:
        began = time.monotonic()
        connection.sendall(request({"chunks": 3, "gap": 0.5}))
        receive(connection, b"1.......")
        assert time.monotonic() - began < 0.45
        receive(connection, b"0\r\n\r\n")


def test_a_request_is_counted_as_busy_while_it_is_served(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(request({"chunks": 2, "gap": 5.0}))
        receive(connection, b"1.......")
        status = engine_status("fake")
        assert (status.state, status.requests) == ("busy", 1)
    until(lambda: engine_status("fake").state == "ready")


def test_when_the_client_leaves_the_engine_is_told_at_once(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(request({"chunks": 50, "gap": 2.0}))
        receive(connection, b"1.......")
        left = time.time()
    until(lambda: "closed after 1" in up.noted())
    line = next(line for line in up.noted().splitlines() if "closed" in line)
    assert float(line.split()[0]) - left < 0.5


def test_when_the_client_leaves_before_any_answer_the_engine_is_told_too(up: Home) -> None:
    os.kill(up.child(), signal.SIGSTOP)
    with raw(up) as connection:
        connection.sendall(request({"chunks": 50, "gap": 2.0}))
        until(lambda: engine_status("fake").requests == 1)
    until(lambda: engine_status("fake").requests == 0)
    os.kill(up.child(), signal.SIGCONT)
    until(lambda: "closed after 1" in up.noted())


def test_a_slow_reader_slows_the_engine_down_and_not_the_supervisor_s_memory_up(up: Home) -> None:
    before = resident(up.supervisor())
    with raw(up) as connection:
        connection.sendall(request({"chunks": 400, "size": 1 << 20}))
        receive(connection, b"1..")
        time.sleep(1.0)
        sent = up.noted().count("chunk ")
        assert sent < 40, "the engine was not held back"
        assert resident(up.supervisor()) - before < 20_000
        with client(up) as http:
            assert http.get("/health").status_code == 200
        got = 0
        while got < 60 << 20:
            got += len(connection.recv(1 << 20))
        assert resident(up.supervisor()) - before < 20_000
    assert up.noted().count("chunk ") > sent


def test_an_engine_that_dies_in_the_middle_of_an_answer_cuts_the_connection(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(request({"chunks": 9, "die": 3}))
        data = receive(connection)
    assert b"3......." in data
    assert not data.endswith(b"0\r\n\r\n")
    until(lambda: engine_status("fake").state == "failed")
    assert "killed by signal 9" in engine_status("fake").reason


def test_an_http_client_sees_the_cut_as_an_error(up: Home) -> None:
    with client(up) as http, pytest.raises(httpx.RemoteProtocolError):
        http.post("/v1/completions", json={"chunks": 9, "die": 3})


def test_an_engine_that_dies_before_its_answer_is_explained(up: Home) -> None:
    with client(up) as http:
        answer = http.post("/v1/completions", json={"die": 0})
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["type"] == "engine_failed"
    assert "killed by signal 9" in error["message"]


def test_a_request_to_an_engine_that_starts_or_failed_is_answered_with_the_state(
    home: Home,
) -> None:
    home.profile("fake", "--say", "slowly", "--pause", "1.0", "--exit", "3")
    with pytest.raises(Exception, match="not ready after"):
        home.attach(timeout_s=0.8)
    with client(home) as http:
        body = {"prompt": "x" * (3 << 20)}
        answer = http.post("/v1/completions", json=body)
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "engine_starting"
        until(lambda: engine_status("fake").state == "failed")
        answer = http.post("/v1/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (503, "engine_failed")
    assert "exit code 3" in error["message"]
    assert error["log"] == ["slowly"]


@pytest.mark.parametrize(
    "path", ["/sleep", "/collective_rpc", "/wake_up", "/reset_prefix_cache", "/docs", "/glmcode/x"]
)
def test_development_routes_are_not_passed_on(up: Home, path: str) -> None:
    with client(up) as http:
        assert http.post(path).status_code == 404
        assert http.get("/v1/models").status_code == 200
    assert path not in up.noted()


@pytest.mark.parametrize("path", ["/v1/../sleep", "/v1/%2e%2e/sleep", "/sleep/v1/", "//sleep"])
def test_no_spelling_of_a_path_reaches_a_development_route(path: str) -> None:
    assert not is_public(path)


def test_what_is_not_http_is_answered_and_hurts_nobody(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400 Bad Request" in receive(connection)
    with raw(up) as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        receive(connection)
    assert engine_status("fake").up
    with client(up) as http:
        assert http.get("/health").status_code == 200


def test_twenty_clients_at_once_are_all_served(up: Home) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(raw(up)) for _ in range(20)]
        for number, connection in enumerate(connections):
            connection.sendall(request({"n": number}, "/v1/echo"))
        for connection in connections:
            assert b'"sha"' in receive(connection, b'"sha"')
    until(lambda: engine_status("fake").requests == 0)
