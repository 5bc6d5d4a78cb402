from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.attach import engine_status, wake
from glmcode.engine.client import Endpoint, connect
from glmcode.engine.hatch import LARGEST, MOST, NAMES, VISITS
from glmcode.engine.lane import PARENTS, RUN, Lane
from glmcode.engine.lease import Lease
from glmcode.engine.profile import load_profile
from glmcode.engine.queue import OWN_S
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, new_transcript
from tests.engine.engine_kit import Home, new_home, until
from tests.engine.test_desk import Front, body, labels, lane, running

FACTS = {"tokenizer": "somewhere"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as home:
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 20}
        home.profile("fake", "--gap", "0.02", "--prefill", "0.05", **keys)
        yield home


@pytest.fixture
def up(shared: Home) -> Home:
    asyncio.run(wake(load_profile("fake")))
    shared.attach()
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    Path(f"{shared.paths().engine_socket}.events").unlink(missing_ok=True)
    return shared


@pytest.fixture
def parent() -> Lane:
    return lane("scripted", "parent")


@pytest.fixture
def hatch(up: Home, parent: Lane) -> Iterator[Path]:
    lease = Lease(up.paths().socket, parent, lambda: FACTS)
    path = lease.path()
    assert path is not None
    yield path
    lease.close()
    until(lambda: not path.exists())


@contextlib.contextmanager
def knock(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30.0)
        connection.connect(str(path))
        yield connection


def served(path: Path) -> bool:
    """False while those who hung up still fill the kernel's queue."""
    try:
        return http(path, "GET", "/glmcode/hatch")[0] == 200
    except BlockingIOError:
        return False


def http(path: Path, method: str, route: str, data: bytes = b"", *lines: str) -> tuple[int, Any]:
    """One request; its status, and the JSON that came (or the text)."""
    length = [f"Content-Length: {len(data)}"] if data else []
    head = "\r\n".join([f"{method} {route} HTTP/1.1", *length, *lines, "Connection: close", "", ""])
    with knock(path) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head.encode() + data)
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                got += piece
    text = got.partition(b"\r\n\r\n")[2].decode()
    code = int(got.split(b" ", 2)[1])
    return code, json.loads(text) if text.startswith("{") else text


def stream(count: int, prompt: list[int] | None = None, **more: Any) -> bytes:
    return body(count, prompt or [1, 2, 3], stream=True, output_mode="tokens", **more)


class Asking:
    """A program in the sandbox that asks once, in a thread. text: all that came back."""

    def __init__(self, path: Path, data: bytes, *lines: str) -> None:
        self.text = b""
        self.ended = 0.0
        self._path, self._data, self._lines = path, data, lines
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        head = ["POST /inference/v1/generate HTTP/1.1", f"Content-Length: {len(self._data)}"]
        with contextlib.suppress(OSError), knock(self._path) as connection:
            text = "\r\n".join([*head, *self._lines, "Connection: close", "", ""])
            connection.sendall(text.encode() + self._data)
            while piece := connection.recv(1 << 16):
                self.text += piece
        self.ended = time.monotonic()

    def end(self) -> bytes:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.text

    @property
    def whole(self) -> bool:
        return self.text.endswith(b"0\r\n\r\n") and b"[DONE]" in self.text


def inner(path: Path, of: Lane, cap: int = 20) -> Asked:
    """A glmcode client that asks through a hatch."""

    async def run() -> Asked:
        place = Endpoint(
            socket=path,
            model="fake",
            protocol="tokens",
            tokenizer=TOKENIZER,
            window=9000,
            step_cap=cap,
            headers=of.headers(),
        )
        client = await connect(place, load_specs(), lambda event: None)
        try:
            return await ask(client, new_transcript())
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_hatch_answers_questions_and_tells_what_a_nested_run_must_know(
    hatch: Path, up: Home, parent: Lane
) -> None:
    code, told = http(hatch, "GET", "/glmcode/hatch")
    assert code == 200 and told["state"] == "ready" and told["facts"] == FACTS
    assert "running" not in told and "waiting" not in told and "log" not in told
    assert http(hatch, "GET", "/v1/models")[1]["data"][0]["id"] == "fake"
    assert "block_size" in http(hatch, "GET", "/metrics")[1]
    child = replace(lane("interactive", "child"), parents=(parent.run,))
    assert len(inner(hatch, child).reply.token_ids or ()) > 0


@pytest.mark.parametrize(
    ("method", "route"),
    [
        *(("POST", f"/glmcode/{name}") for name in ("start", "stop", "sleep", "wake", "restart")),
        *(("POST", f"/glmcode/{name}") for name in ("hatch", "listen", "start?asked=1")),
        *(("GET", f"/glmcode/{name}") for name in ("status", "events", "listen", "hatch?x=1")),
        *(("POST", route) for route in ("/sleep", "/collective_rpc", "/v1/load_lora_adapter")),
        *(("POST", route) for route in ("/abort_requests", "/v1/responses", "/v1/embeddings")),
        *(("GET", route) for route in ("/v1/responses/resp_1", "/v1/models/../../sleep", "/")),
        *(("POST", f"/v1/completions{tail}") for tail in ("/", "?x=1", "/render", "%2f")),
        ("PUT", "/v1/completions"),
        ("DELETE", "/v1/models"),
    ],
)
def test_nothing_but_questions_passes(hatch: Path, up: Home, method: str, route: str) -> None:
    before = up.child()
    code, told = http(hatch, method, route, b"{}" if method == "POST" else b"")
    assert code == 403 and told["error"]["type"] == "forbidden"
    assert up.noted() == "" and up.child() == before
    assert engine_status("fake").state == "ready"


@pytest.mark.parametrize(
    ("route", "value"),
    [
        ("/v1/completions", {"prompt": [1], "lora_request": "x"}),
        ("/v1/completions", {"prompt": [1], "n": 100}),
        ("/v1/completions", {"prompt": [1], "structured_outputs": {"regex": "(a+)+$"}}),
        ("/v1/completions", {"prompt": [1], "stop": ["x"] * 1000}),
        ("/v1/completions", {"prompt": [1], "repetition_detection": {"max_pattern_size": 10**6}}),
        ("/inference/v1/generate", {"token_ids": [1], "sampling_params": {"logprobs": 10**6}}),
        ("/inference/v1/generate", {"token_ids": [1], "sampling_params": [1]}),
        ("/inference/v1/generate", {"token_ids": [1], "kv_transfer_params": {}}),
        (
            "/v1/chat/completions",
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://h"}}]}]},
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"content": [{"type": "text", "text": "", "video_url": "file:///"}]}]},
        ),
        ("/v1/chat/completions", {"messages": [{"content": {"type": "text"}}]}),
        ("/v1/chat/completions", {"messages": {}, "chat_template": "{{ 9 * 9 }}"}),
        ("/v1/completions", [1, 2]),
    ],
)
def test_what_a_question_could_do_besides_asking_is_not_passed_on(
    hatch: Path, up: Home, route: str, value: Any
) -> None:
    code, told = http(hatch, "POST", route, json.dumps(value).encode())
    assert code == 400 and told["error"]["type"] == "bad_request"
    assert up.noted() == ""


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"n": NaN}', b"{", b"\xff{}", b"1"])
def test_a_body_that_is_no_plain_object_is_refused(hatch: Path, up: Home, data: bytes) -> None:
    assert http(hatch, "POST", "/v1/completions", data)[0] == 400
    assert up.noted() == ""


def test_a_request_cannot_hide_another_behind_its_end(hatch: Path, up: Home) -> None:
    hidden = b"POST /sleep HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    data = stream(1)
    for lines in (
        ["Transfer-Encoding: chunked"],
        ["Transfer-Encoding:\r\n chunked"],
        [f"Content-Length: {len(data) + len(hidden)}"],
    ):
        http(hatch, "POST", "/inference/v1/generate", data + hidden, *lines)
    code, _ = http(hatch, "GET", "/v1/models", hidden)
    assert code == 403
    assert "/sleep" not in up.noted()


def test_headers_of_a_command_do_not_reach_the_engine(
    hatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmcode.engine.hatch import _fresh
    from glmcode.engine.wire import parse_head

    given = b"POST /v1/completions HTTP/1.1\r\nX-Request-Id: other\r\nx-glmcode-tokens: 7\r\n\r\n"
    assert _fresh(parse_head(given), 12).headers == {
        "host": "engine",
        "content-type": "application/json",
        "content-length": "12",
        "x-glmcode-tokens": "7",
    }


def test_a_command_counts_as_its_run_whatever_it_says(hatch: Path, up: Home, parent: Lane) -> None:
    victim = lane("interactive", "victim")
    first = Front(up, victim, cap=120)
    running("victim")
    claims = [f"{RUN}: {victim.run}", f"{PARENTS}: {victim.run}", "x-glmcode-class: interactive"]
    hasty = Asking(hatch, stream(2), f"{RUN}: hasty", "x-glmcode-wait: 0")
    assert b"after the session (for" in hasty.end() and b"/src/" not in hasty.text
    liar = Asking(hatch, stream(2), *claims, "x-glmcode-label: session%20in%20~/work")
    until(lambda: engine_status("fake").waiting)
    (one,) = engine_status("fake").waiting
    assert one["class"] == "scripted"
    assert one["label"] == "command of the scripted run in /src/parent"
    assert one["run"].startswith(parent.run) and one["run"] != parent.run
    first.end()
    assert liar.end().startswith(b"HTTP/1.1 102") and liar.whole
    assert b'"session",' in liar.text and b"victim" not in liar.text


def test_names_of_runs_do_not_grow_without_end(hatch: Path, up: Home, parent: Lane) -> None:
    for number in range(NAMES + 9):
        asking = Asking(hatch, stream(1), f"{RUN}: run-{number}")
        assert b" 200 OK" in asking.end()
    runs = {str(one["run"]) for one in engine_status("fake").attached}
    assert 0 < len([run for run in runs if run.startswith(parent.run)]) <= NAMES


def test_a_large_body_and_one_without_a_length_are_refused(hatch: Path, up: Home) -> None:
    size = LARGEST + 1
    head = f"POST /v1/completions HTTP/1.1\r\nContent-Length: {size}\r\n\r\n"
    with knock(hatch) as connection:
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            connection.sendall(b" " * size)
        assert connection.recv(12) == b"HTTP/1.1 413"
    assert http(hatch, "POST", "/v1/completions", b"", "Transfer-Encoding: chunked")[0] == 413
    assert up.noted() == ""


def test_a_hatch_closes_with_the_run_and_takes_its_requests_along(up: Home, parent: Lane) -> None:
    lease = Lease(up.paths().socket, parent, lambda: FACTS)
    path = lease.path()
    assert path is not None and path == lease.path()
    asking = Asking(path, stream(2000))
    until(lambda: "begin" in up.noted())
    lease.close()
    until(lambda: "closed" in up.noted())
    asking.end()
    assert not asking.whole and not path.exists()
    with pytest.raises(OSError, match="No such file"), knock(path):
        pass


def test_a_front_end_that_is_killed_takes_its_hatch_along(up: Home, parent: Lane) -> None:
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        lease = Lease(up.paths().socket, parent, lambda: FACTS)
        os.write(tell, str(lease.path()).encode())
        time.sleep(60)
        os._exit(0)
    path = Path(os.read(told, 4096).decode())
    assert path.is_socket()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: not path.exists())


def test_another_supervisor_gives_another_hatch_and_removes_those_of_a_killed_one(
    up: Home, parent: Lane
) -> None:
    lease = Lease(up.paths().socket, parent, lambda: FACTS)
    first = lease.path()
    os.kill(up.supervisor(), signal.SIGKILL)
    until(lambda: lease.path() is None)
    assert first is not None and first.exists()
    up.attach()
    second = lease.path()
    assert second is not None and second != first and not first.exists()
    assert http(second, "GET", "/glmcode/hatch")[0] == 200
    lease.close()


def test_there_are_not_more_hatches_than_so_many(up: Home, parent: Lane) -> None:
    leases = [Lease(up.paths().socket, parent, lambda: FACTS) for _ in range(MOST + 1)]
    paths = [lease.path() for lease in leases]
    assert all(paths[:MOST]) and paths[MOST] is None
    leases[0].close()
    until(lambda: leases[MOST].path() is not None)
    for lease in leases:
        lease.close()
    until(lambda: not list(up.paths().socket_folder.glob("h*")))


def test_a_run_waits_a_few_seconds_at_most_for_what_its_commands_ask(
    hatch: Path, up: Home, parent: Lane
) -> None:
    greedy = [Asking(hatch, stream(5000), f"{RUN}: {number}") for number in range(12)]
    until(lambda: len(engine_status("fake").waiting) >= 7)
    began = time.monotonic()
    assert len(Front(up, parent, cap=5).end().reply.token_ids or ()) == 15  # three requests
    assert time.monotonic() - began < 3 * OWN_S + 4.0
    os.kill(up.child(), signal.SIGKILL)  # ends them all
    for one in greedy:
        one.end()


def test_an_answer_that_a_client_of_ours_lost_to_its_own_run_goes_on(
    hatch: Path, up: Home, parent: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = replace(lane("scripted", "child"), parents=(parent.run,))
    alone = inner(hatch, child, cap=130).reply.token_ids
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(inner(hatch, child, cap=130)))
    thread.start()
    until(lambda: labels("running") == ["parent"])
    Front(up, parent, cap=5).end()
    thread.join(60)
    assert found[0].reply.token_ids == alone
    assert "closed" in up.noted()


def test_hundreds_of_connections_cost_the_run_and_others_nothing(
    hatch: Path, up: Home, parent: Lane
) -> None:
    supervisor = up.supervisor()
    descriptors = Path(f"/proc/{supervisor}/fd")
    before = len(list(descriptors.iterdir()))
    stop = threading.Event()

    def flood() -> None:
        kept = []
        while not stop.is_set():
            with contextlib.suppress(OSError):
                one = socket.socket(socket.AF_UNIX)
                one.settimeout(0.2)
                one.connect(str(hatch))
                one.send(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n ")
                kept.append(one)
        for one in kept:
            one.close()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(2.0)
    try:
        assert len(list(descriptors.iterdir())) <= before + VISITS + 8
        assert len(Front(up, parent, cap=5).end().reply.token_ids or ()) > 0
        assert len(Front(up, lane("scripted", "other"), cap=5).end().reply.token_ids or ()) > 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    until(lambda: len(list(descriptors.iterdir())) <= before)
    until(lambda: served(hatch))
