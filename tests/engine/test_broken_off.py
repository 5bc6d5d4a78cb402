from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.core.events import RequestFinished
from glmcode.engine.attach import engine_status
from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home, new_home, until
from tests.engine.fake_vllm import next_id
from tests.engine.test_desk import Front, ids, lane, never_two_at_once, raw, receive, said, waiting

HOOK = {"x-glmcode-class": "hook"}
END = b"\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as home:
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 20}
        home.profile("fake", "--gap", "0.02", "--prefill", "0.2", **keys)
        yield home


@pytest.fixture
def up(shared: Home) -> Home:
    shared.attach()
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    Path(f"{shared.paths().engine_socket}.events").unlink(missing_ok=True)
    return shared


def generate(count: int, prompt: list[int], name: str = "hook", **said_of: str) -> bytes:
    value = {"request_id": name, "token_ids": prompt, "stream": True}
    value["sampling_params"] = {"max_tokens": count, "temperature": 0}
    data = json.dumps(value).encode()
    lines = {**HOOK, **said_of, "Content-Length": str(len(data))}
    text = "".join(f"{key}: {one}\r\n" for key, one in lines.items())
    return f"POST /inference/v1/generate HTTP/1.1\r\nHost: x\r\n{text}\r\n".encode() + data


def whole(count: int, prompt: list[int]) -> list[int]:
    made = list(prompt)
    for _ in range(count):
        made.append(next_id(made))
    return made[len(prompt) :]


def names(answer: bytes) -> set[str]:
    """Under which names the events of a stream come."""
    found = set()
    for part in answer.split(b"data: ")[1:]:
        with contextlib.suppress(ValueError):
            found.add(json.loads(part.partition(b"\n\n")[0]).get("request_id"))
    return found - {None}


def person(home: Home, cap: int = 3) -> Front:
    return Front(home, lane("interactive", "person"), cap=cap, text="quick")


def at_it(name: str) -> bool:
    return [one["run"] for one in engine_status("fake").running] == [name]


def test_whenever_a_person_comes_the_stream_of_a_hook_is_the_same(up: Home) -> None:
    chance = random.Random(7)
    for number in range(12):
        count, prompt = chance.randint(1, 30), [chance.randrange(300, 900) for _ in range(5)]
        with raw(up) as connection:
            connection.sendall(generate(count, prompt, f"hook{number}"))
            # In its prefill, at its first token, in the middle, at its last, when it is done.
            time.sleep(chance.choice([0.0, 0.1, 0.2, 0.21, 0.2 + 0.02 * count * chance.random()]))
            comes = person(up)
            answer = receive(connection, END)
            assert len(ids(comes.end())) == 9
        made, usages = said(answer)
        assert made == whole(count, prompt)
        assert usages == [{"prompt_tokens": 5, "completion_tokens": count}]
        assert names(answer) == {f"of-hook{number}"}, "one stream has one name"
        assert answer.count(b"HTTP/1.1 200") == 1 and answer.count(b"[DONE]") == 1


def test_broken_off_twice_before_its_first_token_it_is_then_left_alone(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(generate(20, [1, 2, 3], **{"x-glmcode-run": "hook"}))
        for _ in range(2):
            until(lambda: at_it("hook"))
            person(up).end()
        until(lambda: at_it("hook"))
        late = person(up)
        until(lambda: engine_status("fake").waiting)
        answer = receive(connection, END)
        late.end()
    assert said(answer)[0] == whole(20, [1, 2, 3])
    assert up.noted().count("begin hook prompt 3") == 3


def test_two_persons_break_a_hook_off_once(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(generate(60, [1, 2, 3]))
        begun = receive(connection, b"token_ids")
        comers = [person(up, 4), person(up, 4)]
        answer = receive(connection, END)
        for one in comers:
            one.end()
    assert said(begun + answer)[0] == whole(60, [1, 2, 3])
    assert up.noted().count("begin hook") == 2


def test_an_engine_that_dies_while_a_stream_is_broken_off_cuts_it_and_says_nothing_in_it(
    up: Home,
) -> None:
    with raw(up) as connection:
        connection.sendall(generate(200, [1, 2, 3], **{"x-glmcode-run": "hook"}))
        begun = receive(connection, b"token_ids")
        comes = Front(up, lane("interactive", "person"), cap=2000)
        until(lambda: [one["run"] for one in engine_status("fake").waiting] == ["hook"])
        os.kill(up.child(), signal.SIGKILL)
        answer = begun + receive(connection)
        assert comes.end().fault.kind == "unavailable"
    assert answer.count(b"HTTP/1.1 ") == 1, "no other answer stands in it"
    assert not answer.endswith(b"0\r\n\r\n"), "and its end is missing"
    up.attach()
    assert len(ids(person(up).end())) == 9


@pytest.mark.parametrize("seen", [False, True])
def test_who_leaves_while_it_is_broken_off_frees_its_place(up: Home, seen: bool) -> None:
    with raw(up) as connection:
        connection.sendall(generate(400, [1, 2, 3], **{"x-glmcode-run": "hook"}))
        until(lambda: at_it("hook"))
        if seen:
            receive(connection, b"token_ids")
        comes = Front(up, lane("interactive", "person"), cap=40)
        until(lambda: [one["run"] for one in engine_status("fake").waiting] == ["hook"])
    until(lambda: not engine_status("fake").waiting)
    comes.end()
    until(lambda: not engine_status("fake").running)


def test_two_requests_of_one_run_at_once_are_both_answered(up: Home) -> None:
    with raw(up) as first, raw(up) as second:
        for number, connection in enumerate((first, second)):
            connection.sendall(generate(15, [number + 1], **{"x-glmcode-run": "twice"}))
        answers = [receive(connection, END) for connection in (first, second)]
    assert [said(answer)[0] for answer in answers] == [whole(15, [1]), whole(15, [2])]
    assert never_two_at_once(up)


def test_one_that_reads_byte_by_byte_gets_all_and_keeps_the_engine_from_nobody(up: Home) -> None:
    with raw(up) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.sendall(generate(100, [1, 2, 3], **{"x-glmcode-class": "scripted"}))
        data = connection.recv(1)
        began = time.monotonic()
        comes = Front(up, lane("scripted", "other"), cap=2)
        while comes._thread.is_alive():
            data += connection.recv(1)
            time.sleep(0.01)
        assert time.monotonic() - began < 15.0
        data += receive(connection, END)
    assert said(data)[0] == whole(100, [1, 2, 3])


SCRIPT = """
import os, signal, socket, sys
data, at = sys.stdin.buffer.read(), int(sys.argv[2])
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(data[:at]); print(flush=True); sys.argv[3:] and os.kill(os.getpid(), signal.SIGSTOP)
s.sendall(data[at:]); print(flush=True); got = b''
while not got.endswith(b'\\r\\n0\\r\\n\\r\\n'):
    piece = s.recv(65536)
    if not piece: break
    got += piece
print(got.count(b'token_ids'), flush=True)
"""


def process(home: Home, request: bytes, at: int = 0, *stops: str) -> subprocess.Popen[bytes]:
    """A client; it stops itself after so many bytes of its request if it is told to."""
    command = [sys.executable, "-S", "-c", SCRIPT, str(home.paths().socket), str(at), *stops]
    made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert made.stdin is not None and made.stdout is not None
    made.stdin.write(request)
    made.stdin.close()
    made.stdout.readline()
    return made


@pytest.mark.parametrize("at", [0, 10, 150, -1])
@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL])
def test_a_client_that_stops_before_it_has_asked_keeps_nobody(
    up: Home, at: int, then: signal.Signals
) -> None:
    request = generate(10, [1, 2, 3])
    client = process(up, request, at % len(request), "stops")
    assert len(ids(Front(up, lane("background", "other"), cap=2).end())) == 6
    os.kill(client.pid, then)
    assert client.stdout is not None
    out = client.stdout.read().split()
    client.wait()
    assert out == ([b"10"] if then == signal.SIGCONT else [])
    until(lambda: not engine_status("fake").running)


@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL])
def test_a_client_that_stops_in_the_queue_or_in_its_answer_keeps_nobody(
    up: Home, then: signal.Signals
) -> None:
    first = Front(up, lane("scripted", "first"), cap=20)
    until(lambda: engine_status("fake").running)
    clients = [
        process(up, generate(40, [number], **{"x-glmcode-run": f"stopped{number}"}))
        for number in range(3)
    ]
    until(lambda: len(engine_status("fake").waiting) == 3)
    for client in clients:
        os.kill(client.pid, signal.SIGSTOP)
    first.end()
    until(lambda: not (engine_status("fake").running or engine_status("fake").waiting))
    assert len(ids(Front(up, lane("background", "other"), cap=2).end())) == 6
    for client in clients:
        os.kill(client.pid, then)
    for client in clients:
        assert client.stdout is not None
        out = client.stdout.read().split()
        client.wait()
        assert out == ([b"40"] if then == signal.SIGCONT else [])
    assert up.noted().count("begin hook") == 3, "nothing was asked for twice"


def test_a_supervisor_that_is_stopped_for_a_while_goes_on_where_it_was(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(generate(60, [1, 2, 3]))
        begun = receive(connection, b"token_ids")
        pid = up.supervisor()
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(2.0, os.kill, (pid, signal.SIGCONT)).start()
        answer = begun + receive(connection, END)
    assert said(answer)[0] == whole(60, [1, 2, 3])


def test_a_person_that_leaves_at_once_lets_the_hook_go_on(up: Home) -> None:
    with raw(up) as connection:
        connection.sendall(generate(80, [1, 2, 3]))
        answer = receive(connection, b"token_ids")
        for _ in range(4):
            with raw(up) as hasty:
                hasty.sendall(generate(50, [9], "hasty", **{"x-glmcode-class": "interactive"}))
                time.sleep(0.1)
        answer += receive(connection, END)
    assert said(answer)[0] == whole(80, [1, 2, 3])
    waiting()


@pytest.mark.parametrize("seen", [True, False])
def test_the_time_that_it_ran_before_is_no_time_in_the_queue(up: Home, seen: bool) -> None:
    hook = Front(up, lane("hook", "hook"), cap=100)
    until(lambda: hook.first if seen else engine_status("fake").running)
    if seen:
        time.sleep(1.0)
    began = time.monotonic()
    person(up).end()
    waited = time.monotonic() - began
    usage = hook.end().reply.usage
    assert 0.0 < usage.queue_s <= waited + 0.3
    assert usage.output_tokens == 300
    parts = [event.queue_s for event in hook.asked.of(RequestFinished)]
    assert sum(parts) == pytest.approx(usage.queue_s, abs=0.01)
