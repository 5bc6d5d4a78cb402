from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from glmcode.core.events import Event, Queued
from glmcode.core.messages import UserMessage
from glmcode.core.model import ModelError
from glmcode.engine.attach import engine_status, wake
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.lane import Lane, QueueClass, new_lane
from glmcode.engine.profile import load_profile
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, new_transcript
from tests.engine.engine_kit import Home, new_home, until

GAP_S = 0.02


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as home:
        options = ("--gap", str(GAP_S), "--prefill", "0.05")
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 20}
        home.profile("fake", *options, **keys)
        yield home


@pytest.fixture
def up(shared: Home) -> Home:
    """A home whose engine is up and idle, whatever the test before did to it."""
    asyncio.run(wake(load_profile("fake")))
    shared.attach()
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    Path(f"{shared.paths().engine_socket}.events").unlink(missing_ok=True)
    return shared


def lane(kind: QueueClass, name: str = "", **fields: Any) -> Lane:
    made = new_lane(kind, Path(f"/src/{name or kind}"), {})
    return replace(made, resumes=True, **fields)


def endpoint(home: Home, of: Lane, step_cap: int = 200) -> Endpoint:
    return Endpoint(
        socket=home.paths().socket,
        model="fake",
        protocol="tokens",
        tokenizer=TOKENIZER,
        window=9000,
        step_cap=step_cap,
        headers=of.headers(),
    )


class Front:
    """A front end in a thread of its own: one client, one question after the other."""

    def __init__(self, home: Home, of: Lane, cap: int = 200, text: str = "hello") -> None:
        self.asked = Asked()
        self.first = 0.0
        self.began = time.monotonic()
        self._home, self._lane, self._cap, self._text = home, of, cap, text
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    async def _run(self) -> None:
        client = await connect(endpoint(self._home, self._lane, self._cap), load_specs(), self._see)
        try:
            self.asked = await ask(client, new_transcript(UserMessage(text=self._text)), self._see)
        finally:
            await client.close()

    def _see(self, event: Event) -> None:
        if type(event).__name__ == "Delta" and not self.first:
            self.first = time.monotonic()

    def end(self) -> Asked:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.asked


def ids(asked: Asked) -> tuple[int, ...]:
    return asked.reply.token_ids or ()


def labels(key: str) -> list[str]:
    return [str(one["label"]).rpartition("/")[2] for one in getattr(engine_status("fake"), key)]


def running(name: str) -> None:
    until(lambda: labels("running") == [name])


def waiting(*names: str) -> None:
    until(lambda: labels("waiting") == list(names))


def never_two_at_once(home: Home) -> bool:
    return all(int(count) <= 1 for count in re.findall(r" now (\d+)", home.noted()))


def order(home: Home) -> list[int]:
    """The prompts' lengths, in the order in which the engine began with them."""
    return [int(count) for count in re.findall(r"begin \S+ prompt (\d+)", home.noted())]


def body(count: int, prompt: list[int], name: str = "raw", **more: Any) -> bytes:
    what = {"request_id": name, "token_ids": prompt, "sampling_params": {"max_tokens": count}}
    return json.dumps({**what, **more}).encode()


def request(count: int, headers: dict[str, str], name: str = "raw", **more: Any) -> bytes:
    data = body(count, [1, 2, 3], name, **more)
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    head = f"POST /inference/v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    return f"{head}{lines}\r\n".encode() + data


@contextlib.contextmanager
def raw(home: Home) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20.0)
        connection.connect(str(home.paths().socket))
        yield connection


def receive(connection: socket.socket, mark: bytes = b"") -> bytes:
    data = b""
    while not (mark and mark in data):
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    return data


def test_the_engine_gets_one_request_at_a_time_and_everybody_is_answered(up: Home) -> None:
    fronts = [Front(up, lane("scripted", f"run{n}"), cap=10) for n in range(6)]
    assert [len(ids(front.end())) for front in fronts] == [30] * 6  # the cap and two goings-on
    assert never_two_at_once(up)


def test_the_most_urgent_goes_first(up: Home) -> None:
    first = Front(up, lane("scripted", "first"), cap=60, text="1")
    running("first")
    kinds: list[QueueClass] = ["background", "hook", "scripted", "interactive"]
    fronts = []
    for number, kind in enumerate(kinds):
        fronts.append(Front(up, lane(kind), cap=5, text="word " * (number + 2)))
        until(lambda number=number: len(engine_status("fake").waiting) == number + 1)  # type: ignore[misc]
    waiting("interactive", "scripted", "hook", "background")
    for front in (first, *fronts):
        front.end()
    ends = [front.first for front in reversed(fronts)]
    assert ends == sorted(ends)
    assert never_two_at_once(up)


def test_who_waits_is_told_its_place_who_is_ahead_and_for_how_long(up: Home) -> None:
    Front(up, lane("scripted", "measured"), cap=5).end()
    first = Front(up, lane("scripted", "proj"), cap=60)
    running("proj")
    second = Front(up, lane("scripted", "second"), cap=5)
    waiting("second")
    third = Front(up, lane("hook", "third"), cap=5)
    waiting("second", "third")
    told = third.end().of(Queued)
    first.end()
    assert told[0].position == 2
    assert [(kind, label) for kind, label, _, _ in told[0].ahead] == [
        ("scripted", "scripted run in /src/proj"),
        ("scripted", "scripted run in /src/second"),
    ]
    assert [at_it for _, _, _, at_it in told[0].ahead] == [True, False]
    assert told[0].eta_s is not None
    assert told[-1].position == 1
    assert second.end().of(Queued)[0].position == 1
    assert third.asked.reply.usage.queue_s > 0.5


def test_the_status_shows_who_has_the_engine_and_who_waits(up: Home) -> None:
    first = Front(up, lane("scripted", "proj"), cap=60)
    running("proj")
    second = Front(up, lane("hook", "repo"), cap=5)
    waiting("repo")
    status = engine_status("fake")
    assert (status.state, status.requests, status.seats) == ("busy", 1, 1)
    (holder,), (waiter,) = status.running, status.waiting
    assert (holder["class"], holder["label"]) == ("scripted", "scripted run in /src/proj")
    assert 0 <= time.time() - holder["since"] < 20
    assert (waiter["position"], waiter["class"]) == (1, "hook")
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "engine", "status", "--profile", "fake"],
        capture_output=True,
        text=True,
    )
    assert "running: scripted run in /src/proj (scripted), for " in done.stdout
    assert "waiting 1: git hook in /src/repo (hook), for " in done.stdout
    first.end()
    second.end()


def test_a_hook_that_a_person_broke_off_goes_on_and_answers_the_same(up: Home) -> None:
    whole = ids(Front(up, lane("hook", "alone"), cap=100).end())
    hook = Front(up, lane("hook", "hook"), cap=100)
    until(lambda: hook.first)
    time.sleep(0.2)
    person = Front(up, lane("interactive", "person"), cap=20, text="quick")
    person.end()
    assert person.first - person.began < 2.5
    assert ids(hook.end()) == whole
    assert not hook.asked.retries
    assert " closed" in up.noted()
    assert never_two_at_once(up)
    prompts = order(up)
    assert len({count for count in prompts if count > prompts[0]}) >= 1, "it went on, not anew"


def test_it_is_broken_off_twice_and_then_answers_to_its_end(up: Home) -> None:
    whole = ids(Front(up, lane("hook", "alone"), cap=100).end())
    hook = Front(up, lane("hook", "hook"), cap=100)
    for number in range(3):
        until(lambda: labels("running") == ["hook"])
        time.sleep(0.15)
        person = Front(up, lane("interactive", "person"), cap=4, text="quick")
        if number < 2:
            person.end()
    assert ids(hook.end()) == whole
    person.end()
    assert up.noted().count(" closed") == 2


def test_a_request_of_which_nothing_was_seen_is_asked_again_without_a_word(up: Home) -> None:
    headers = lane("background", "old").headers() | {"x-glmcode-resumes": ""}
    with raw(up) as connection:
        connection.sendall(request(5, headers, prefill=3.0))
        running("old")
        person = Front(up, lane("interactive", "person"), cap=20)
        data = receive(connection, b"0\r\n\r\n")
        person.end()
    answers = data.split(b"HTTP/1.1 ")
    assert [a[:3] for a in answers if a] == [b"102"] * (len(answers) - 2) + [b"200"]
    assert data.count(b"token_ids") == 5
    assert up.noted().count("begin raw") == 2


def test_one_that_waited_is_told_when_it_is_its_turn_before_anything_of_its_answer(
    up: Home,
) -> None:
    first = Front(up, lane("scripted", "first"), cap=60)
    running("first")
    with raw(up) as connection:
        connection.sendall(request(2, lane("scripted", "second").headers(), prefill=2.0))
        data = receive(connection, b'"position":0')
        assert b" 200 " not in data
        assert labels("running") == ["second"]
        receive(connection, b"0\r\n\r\n")
    first.end()


def test_what_was_seen_of_an_answer_that_can_not_go_on_is_not_broken_off(up: Home) -> None:
    headers = lane("background", "old").headers() | {"x-glmcode-resumes": ""}
    with raw(up) as connection:
        connection.sendall(request(40, headers))
        receive(connection, b"data: {")
        person = Front(up, lane("interactive", "person"), cap=3)
        assert receive(connection, b"0\r\n\r\n").count(b"token_ids") >= 39
        person.end()
    assert "closed" not in up.noted()


def said(answer: bytes) -> tuple[list[int], list[dict[str, int]]]:
    """The ids and the usages of a raw answer; its chunks are read as a client reads them."""
    _, _, rest = answer.partition(b"HTTP/1.1 200 OK")
    rest = rest.partition(b"\r\n\r\n")[2]
    text = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    events = [e[6:] for e in text.split(b"\n\n") if e.startswith(b"data: {")]
    values = [json.loads(event) for event in events]
    ids = [i for value in values for choice in value["choices"] for i in choice["token_ids"]]
    return ids, [value["usage"] for value in values if "usage" in value]


def test_a_program_that_can_not_go_on_by_itself_gets_one_stream_all_the_same(up: Home) -> None:
    headers = {"x-glmcode-class": "hook"}
    with raw(up) as connection:
        connection.sendall(request(300, headers, "whole", stream=True))
        whole = said(receive(connection, b"\r\n0\r\n\r\n"))
        assert (len(whole[0]), whole[1]) == (300, [{"prompt_tokens": 3, "completion_tokens": 300}])
        connection.sendall(request(300, headers, "again", stream=True))
        data = b""
        for _ in range(2):
            data += receive(connection, b"token_ids")
            person = Front(up, lane("interactive", "person"), cap=5, text="quick")
            person.end()
            assert person.first - person.began < 2.5
            until(lambda: engine_status("fake").running and not engine_status("fake").waiting)
        data += receive(connection, b"\r\n0\r\n\r\n")
        assert said(data) == whole
        connection.sendall(request(2, headers, "next", stream=True))
        assert len(said(receive(connection, b"\r\n0\r\n\r\n"))[0]) == 2
    assert up.noted().count(" closed") == 2
    counts = [int(n) for n in re.findall(r"begin again\S* prompt (\d+)", up.noted())]
    assert counts == sorted(counts) and len(counts) == 3
    assert counts[1] > 3, "each part went on from the ids before it"


def test_a_client_that_is_killed_while_it_waits_or_is_served_frees_its_place(up: Home) -> None:
    script = "import socket, sys, time\n" + (
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(sys.stdin.buffer.read()); time.sleep(1000)"
    )

    def process(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", script, str(up.paths().socket)]
        made = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert made.stdin is not None
        made.stdin.write(request(5000, lane("scripted", name).headers()))
        made.stdin.close()
        return made

    first = process("first")
    running("first")
    second, third = process("second"), process("third")
    until(lambda: sorted(labels("waiting")) == ["second", "third"])
    second.kill()
    second.wait()
    waiting("third")
    first.kill()
    first.wait()
    running("third")
    third.kill()
    third.wait()
    until(lambda: not engine_status("fake").running)


def test_a_client_that_stops_reading_does_not_keep_the_engine_from_others(up: Home) -> None:
    with raw(up) as connection:  # never reads
        what = json.dumps({"chunks": 4000, "size": 100_000}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(what)
        connection.sendall(head + what)
        until(lambda: engine_status("fake").running)
        began = time.monotonic()
        assert len(ids(Front(up, lane("interactive", "person"), cap=5).end())) == 15
        assert time.monotonic() - began < 10.0
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 20):
                data += piece
        assert not data.endswith(b"0\r\n\r\n"), "it sees that its answer was cut"


def test_a_client_that_is_stopped_gets_its_answer_when_it_goes_on(up: Home) -> None:
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(sys.stdin.buffer.read()); data = b''\n"
        "while not data.endswith(b'0\\r\\n\\r\\n'): data += s.recv(65536)\n"
        "print(data.count(b'token_ids'))"
    )
    command = [sys.executable, "-S", "-c", script, str(up.paths().socket)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(request(100, lane("scripted", "stopped").headers()))
    client.stdin.close()
    running("stopped")
    os.kill(client.pid, signal.SIGSTOP)
    until(lambda: not engine_status("fake").running)
    assert len(ids(Front(up, lane("scripted", "other"), cap=5).end())) == 15
    os.kill(client.pid, signal.SIGCONT)
    assert client.stdout.read() == b"100\n"
    assert client.wait() == 0


def test_a_request_that_has_not_arrived_whole_takes_no_place(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(request(5, lane("interactive", "half").headers())[:-3])
        time.sleep(0.2)
        assert not engine_status("fake").running
        assert len(ids(Front(up, lane("background", "other"), cap=2).end())) == 6


def test_many_connections_of_one_program_are_one_that_waits(up: Home) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(raw(up)) for _ in range(30)]
        for connection in connections:
            connection.sendall(request(10, {}))
        until(lambda: len(engine_status("fake").waiting) == 29)
        assert engine_status("fake").waiting[0]["run"] == f"process-{os.getpid()}"
        Front(up, lane("scripted", "modest"), cap=3).end()
        done = up.noted().count("end raw")
        assert done <= 5, "it waited for one or two of them, not for all"
        for connection in connections:
            receive(connection, b"0\r\n\r\n")


def test_one_that_will_not_wait_is_refused_in_words_and_one_that_waits_so_long(up: Home) -> None:
    first = Front(up, lane("scripted", "proj"), cap=120)
    running("proj")
    began = time.monotonic()
    refused = Front(up, lane("scripted", "hasty", wait_s=0.0)).end().fault
    assert refused.kind == "unavailable"
    assert "the engine is busy" in str(refused) and "scripted run in /src/proj" in str(refused)
    assert time.monotonic() - began < 3.0
    began = time.monotonic()
    late = Front(up, lane("scripted", "patient", wait_s=1.0)).end().fault
    assert late.kind == "unavailable" and "busy for 1 s" in str(late)
    assert 0.9 < time.monotonic() - began < 5.0
    first.end()
    assert len(ids(Front(up, lane("scripted", "hasty", wait_s=0.0), cap=2).end())) == 6


def test_a_person_that_will_not_wait_breaks_a_hook_off_all_the_same(up: Home) -> None:
    hook = Front(up, lane("hook", "hook"), cap=60)
    until(lambda: hook.first)
    person = Front(up, lane("interactive", "person", wait_s=0.0), cap=3)
    assert len(ids(person.end())) == 9
    hook.end()


def test_an_engine_that_dies_tells_those_who_wait(up: Home) -> None:
    first = Front(up, lane("scripted", "first"), cap=5000)
    running("first")
    second = Front(up, lane("scripted", "second"), cap=5)
    waiting("second")
    os.kill(up.child(), signal.SIGKILL)
    for front in (first, second):
        fault = front.end().fault
        assert isinstance(fault, ModelError) and fault.kind == "unavailable"
        assert "killed by signal 9" in str(fault)
    status = engine_status("fake")
    assert not (status.running or status.waiting)


def test_a_large_body_that_asks_first_is_let_in(up: Home) -> None:
    with raw(up) as connection:
        data = b"x" * 3_000_000
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(data)
        )
        assert receive(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(data)
        assert b'"length": 3000000' in receive(connection, b"}")


def test_a_foreign_program_is_named_by_its_process(up: Home) -> None:
    transport = httpx.HTTPTransport(uds=str(up.paths().socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=30.0) as http:
        first = Front(up, lane("scripted", "first"), cap=40)
        running("first")
        asking = threading.Thread(
            target=lambda: http.post("/inference/v1/generate", content=body(2, [1, 2, 3]))
        )
        asking.start()
        until(lambda: engine_status("fake").waiting)
        (stranger,) = engine_status("fake").waiting
        assert stranger["class"] == "scripted"
        assert f"(process {os.getpid()})" in stranger["label"]
        asking.join()
        first.end()


async def _nested(home: Home) -> tuple[Asked, list[str]]:
    """A session whose turn runs a command, in which a hook asks; another session waits."""
    parent = lane("interactive", "parent")
    child = replace(lane("hook", "child"), parents=(parent.run,))
    clients: list[Client] = []
    for one in (parent, child, lane("interactive", "other")):
        clients.append(await connect(endpoint(home, one, 20), load_specs(), lambda event: None))
    seen: list[str] = []

    async def asked(number: int, name: str) -> Asked:
        result = await ask(clients[number], new_transcript())
        seen.append(name)
        return result

    await asked(0, "parent")
    blocker = asyncio.ensure_future(asked(2, "other"))
    await asyncio.sleep(0.6)
    others = [asyncio.ensure_future(asked(2, "other")) for _ in range(3)]
    await asyncio.sleep(0.1)
    result = await asked(1, "child")
    await asyncio.gather(blocker, *others)
    for client in clients:
        await client.close()
    return result, seen


def test_a_nested_run_goes_before_others_that_wait(up: Home) -> None:
    result, seen = asyncio.run(_nested(up))
    assert len(ids(result)) == 60
    assert seen.index("child") <= 2


def glmcode(home: Home, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glmcode", "-p", "hello", "--profile", "fake"]
    command += ["--max-turns", "1", "--no-instructions", *options]
    return subprocess.Popen(
        command, cwd=home.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_headless_run_shows_its_place_and_counts_its_time_in_the_queue(up: Home) -> None:
    first = Front(up, lane("scripted", "proj"), cap=100)
    running("proj")
    run = glmcode(up, "--verbose", "--output-format", "stream-json")
    out, err = run.communicate(timeout=60)
    lines = [json.loads(line) for line in out.splitlines()]
    (told, *_) = [line for line in lines if line.get("subtype") == "queued"]
    assert (told["position"], told["ahead"][0]["class"]) == (1, "scripted")
    assert told["ahead"][0]["label"] == "scripted run in /src/proj"
    assert "queue: 1st after the scripted run in /src/proj (for " in err
    assert lines[-1]["type"] == "result" and lines[-1]["engine"]["queue_s"] > 0.3
    first.end()


def test_no_wait_and_queue_timeout_end_with_75_and_a_sentence(up: Home) -> None:
    first = Front(up, lane("scripted", "proj"), cap=300)
    running("proj")
    hasty, late = glmcode(up, "--no-wait"), glmcode(up, "--queue-timeout", "1")
    for run, words in ((hasty, "waiting was ruled out"), (late, "busy for 1 s")):
        _, err = run.communicate(timeout=60)
        assert run.returncode == 75, err
        assert words in err and "scripted run in /src/proj" in err and "Traceback" not in err
    first.end()


def test_commands_of_a_session_know_which_run_they_belong_to(up: Home) -> None:
    from glmcode.agent_options import AgentOptions
    from glmcode.agent_setup import tool_context

    mine = replace(lane("interactive"), parents=("outer",))
    options = AgentOptions(workspace=up.folder, lane=mine)
    context = tool_context(options, lambda: 1000, lambda event: None)
    assert context.environment["GLMCODE_PARENT"] == f"outer,{mine.run}"


def test_a_supervisor_that_dies_while_one_waits_is_told_as_a_connection_that_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmcode.engine.retry.FIRST_WAIT_S", 0.01)

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 102 Processing\r\nx-glmcode-queue: nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run() -> Asked:
        path = tmp_path / "s"
        async with await asyncio.start_unix_server(dies, str(path)):
            place = Endpoint(
                socket=path, model="fake", protocol="tokens", tokenizer=TOKENIZER, window=9000
            )
            client = await connect(place, load_specs(), lambda event: None)
            try:
                return await ask(client, new_transcript())
            finally:
                await client.close()

    fault = asyncio.run(run()).fault
    assert fault.kind == "unavailable"
    assert "closed the connection" in str(fault) or "ended too early" in str(fault)
