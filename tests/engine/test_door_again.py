from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.door import Door, DoorError
from glmcode.engine.door_key import DoorKey, Remembered, WeakKey, recall, remember
from tests.engine.engine_kit import Home, new_home, until
from tests.engine.test_door import KEY, ask, code, connect, free_port, listen, start

GENERATE = {"token_ids": [1, 2], "sampling_params": {"max_tokens": 2}, "stream": True}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        made.profile()
        yield made


def kill_supervisor(home: Home) -> None:
    pid = home.supervisor()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not home.living())


def generate(port: int, key: str = KEY) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    address = f"http://127.0.0.1:{port}/inference/v1/generate"
    return httpx.post(address, json=GENERATE, headers=headers, timeout=30)


def test_a_door_opens_again_after_its_supervisor_was_killed_and_its_key_is_on_no_disk(
    home: Home,
) -> None:
    port = listen(home)
    kill_supervisor(home)
    for words in ((), ("--profile", "fake")):
        told = subprocess.run(
            [sys.executable, "-m", "glmcode", "engine", "status", *words],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        assert f"NOT listening on 127.0.0.1:{port} any more" in told
        assert "engine start --profile fake" in told
    home.attach()
    assert engine_status("fake").listening == f"127.0.0.1:{port}"
    assert engine_status("fake").door == ""
    assert code(port, "/v1/models") == 401 and code(port, "/v1/models", KEY + "x") == 401
    assert code(port, "/v1/models", KEY) == 200
    assert code(port, "/v1/models", KEY + "x") == 401
    assert stat.S_IMODE(home.paths().door.stat().st_mode) == 0o600
    for path in home.folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
            assert DoorKey.of(KEY).told().encode() not in path.read_bytes(), path


def test_what_was_kept_of_a_key_is_enough_to_hand_the_door_on(home: Home) -> None:
    port = listen(home)
    kill_supervisor(home)
    home.attach()  # nobody shows the key to this one
    restart = start(home)
    assert restart.returncode == 0 and f"listening on 127.0.0.1:{port}" in restart.stdout
    home.profile("fake", "--gap", "0.01")
    again = start(home, "--yes")
    assert "started again with these" in again.stderr and again.returncode == 0
    assert code(port, "/v1/models", KEY + "x") == 401 and code(port, "/v1/models", KEY) == 200


@pytest.mark.parametrize("how", ["off", "stop"])
def test_a_door_that_a_person_closed_stays_closed(home: Home, how: str) -> None:
    port = listen(home)
    if how == "off":
        assert start(home, "--listen", "off").returncode == 0
        kill_supervisor(home)
    else:
        home.close()
        assert engine_status("fake").door == ""
    home.attach()
    assert engine_status("fake").listening == "" and not home.paths().door.exists()
    with pytest.raises(httpx.TransportError):
        code(port, "/v1/models", KEY)


def test_a_door_that_can_not_open_again_is_told_loudly_and_opens_as_soon_as_it_can(
    home: Home,
) -> None:
    port = listen(home)
    kill_supervisor(home)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = start(home)
        assert done.returncode == 0
        assert f"NOT listening on 127.0.0.1:{port}" in done.stderr
        assert "in use" in done.stderr and "--listen off" in done.stderr
        home.attach()
        assert any("NOT listening" in str(event) for event in home.events)
    until(lambda: engine_status("fake").listening == f"127.0.0.1:{port}")
    assert engine_status("fake").door == ""
    assert code(port, "/v1/models", KEY) == 200


def test_what_a_door_left_and_cannot_be_read_opens_nothing_and_is_told(home: Home) -> None:
    home.attach()
    home.close()
    for text in ("{", "[]", '{"address": "127.0.0.1:1"}', '{"address": "a", "key": "xyz"}'):
        home.paths().door.write_text(text)
        home.attach()
        status = engine_status("fake")
        assert status.listening == "" and "--listen HOST:PORT opens it again" in status.door
        home.close()


def test_who_asks_from_afar_brings_a_dead_engine_back(home: Home) -> None:
    port = listen(home)
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    assert code(port, "/v1/models", KEY) == 503  # to look costs no start
    assert engine_status("fake").state == "failed"
    assert generate(port).status_code == 503
    until(lambda: generate(port).status_code == 200)


def test_an_engine_that_crashes_again_and_again_is_not_started_from_afar_for_ever(
    home: Home,
) -> None:
    port = listen(home)
    for _ in range(3):
        until(lambda: generate(port).status_code == 200)
        os.kill(home.child(), signal.SIGKILL)
        until(lambda: engine_status("fake").state == "failed")
    said = generate(port)
    assert said.status_code == 503 and "3rd time" in said.text
    assert engine_status("fake").state == "failed"


def test_an_idle_engine_that_is_stopped_leaves_its_door_open(home: Home) -> None:
    port = listen(home)
    config = home.folder / "config" / "config.toml"
    config.write_text("[engine]\nidle_stop = 0.02\n")
    supervisor = home.supervisor()
    until(lambda: engine_status("fake").state == "absent", 40)
    config.write_text("")
    assert home.supervisor() == supervisor
    assert generate(port).status_code == 503
    until(lambda: generate(port).status_code == 200)


def test_a_sleeping_engine_is_not_woken_from_afar_and_its_door_stays_open(home: Home) -> None:
    home.profile("fake", "--rests", "1")
    port = listen(home)
    for words, expected in ((("sleep", "--yes"), 503), (("wake",), 200)):
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "engine", *words, "--profile", "fake"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        said = generate(port)
        assert said.status_code == expected, said.text
        if expected == 503:
            assert "sleeping" in said.text and engine_status("fake").state == "sleeping"


def test_one_port_moves_from_this_machine_alone_to_all_of_them(home: Home) -> None:
    port = listen(home)
    words = ("--listen", f"0.0.0.0:{port}", "--api-key-env", "THE_KEY")
    done = start(home, *words, key=KEY)
    assert done.returncode == 0 and f"listening on 0.0.0.0:{port}" in done.stdout, done.stderr
    assert code(port, "/v1/models", KEY) == 200


def test_two_engines_do_not_share_an_address(home: Home) -> None:
    port = listen(home)
    home.profile("other")
    done = start(home, "--listen", f"127.0.0.1:{port}", "--profile", "other")
    assert done.returncode == 2 and "address already in use" in done.stderr
    assert code(port, "/v1/models", KEY) == 200


def test_an_address_of_another_machine_is_one_sentence(home: Home) -> None:
    words = ("--listen", "192.0.2.1:8001", "--api-key-env", "THE_KEY")
    done = start(home, *words, key=KEY)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "192.0.2.1:8001 can't be served: cannot assign requested address" in done.stderr


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_an_address_of_ipv6_is_served(home: Home) -> None:
    port = free_port()
    done = start(home, "--listen", f"[::1]:{port}")
    if not has_ipv6():
        assert done.returncode == 2 and "can't be served" in done.stderr
        return
    assert f"listening on [::1]:{port}" in done.stdout
    assert httpx.get(f"http://[::1]:{port}/v1/models", timeout=10).status_code == 200


@pytest.mark.parametrize("key", ["sixteen-\nletters-", "with-umlaut-äöüäöü", "a" * 15])
def test_a_key_that_no_header_could_carry_is_refused_and_not_shown(home: Home, key: str) -> None:
    done = start(home, "--listen", f"127.0.0.1:{free_port()}", "--api-key-env", "THE_KEY", key=key)
    assert done.returncode == 2 and "too weak" in done.stderr and key not in done.stderr
    with pytest.raises(WeakKey):
        DoorKey.of(key)


def test_a_key_s_end_of_line_is_no_part_of_it(home: Home) -> None:
    port = listen(home, key=KEY + "\n")
    assert code(port, "/v1/models", KEY) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8001", 200),
        ("localhost:8001", 200),
        ("[::1]:8001", 200),
        ("rebound.example:8001", 403),
        ("rebound.example", 403),
        ("127.0.0.1.rebound.example", 403),
    ],
)
def test_a_name_that_somebody_pointed_here_is_not_served_without_a_key(
    home: Home, host: str, expected: int
) -> None:
    port = listen(home, key="")
    with connect(port) as connection:
        assert ask(connection, more=f"Host: {host}\r\n") == b"HTTP/1.1 %d" % expected


HIDDEN = b"POST /collective_rpc HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
SMUGGLED = [
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding : chunked",
    b"Content-Length: 0\r\nContent-Length: 55",
    b"Content-Length: +0",
    b"Content-Length: \xb2",
    b"Content-Length: " + b"9" * 5000,
    b"X: y\nContent-Length: 55",
    b"X: y\rContent-Length: 55",
    b"X: y\r\n Content-Length: 55",
]


@pytest.mark.parametrize("head", SMUGGLED)
def test_a_request_hidden_in_another_one_s_body_reaches_no_closed_route(
    home: Home, head: bytes
) -> None:
    port = listen(home)
    for path in (b"/v1/completions", b"/tokenize"):  # by the queue, and past it
        with connect(port) as connection:
            connection.sendall(
                b"POST %s HTTP/1.1\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n0\r\n\r\n%s"
                % (path, KEY.encode(), head, HIDDEN)
            )
            said = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(4096):
                    said += piece
            assert said.startswith(b"HTTP/1.1 400") and said.count(b"HTTP/1.1") == 1
    assert "collective_rpc" not in home.noted()
    assert home.paths().supervisor_log.read_text() == ""


CHUNKS = [b"5\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n"]


@pytest.mark.parametrize("body", [*CHUNKS, b"-1\r\n", b"1_0\r\n", b"f" * 400 + b"\r\n"])
def test_a_chunk_that_could_be_read_in_two_ways_is_refused(home: Home, body: bytes) -> None:
    port = listen(home)
    with connect(port) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nAuthorization: Bearer %s\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n%s" % (KEY.encode(), body)
        )
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_a_huge_head_is_refused_and_the_door_stays_open(home: Home) -> None:
    port = listen(home)
    with connect(port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 1_000_000)
        assert connection.recv(12) in (b"HTTP/1.1 400", b"")
    assert code(port, "/v1/models", KEY) == 200


def test_two_hundred_connections_are_answered_and_the_machine_s_own_as_well(home: Home) -> None:
    port = listen(home)
    with contextlib.ExitStack() as stack:
        many = []
        for _ in range(200):
            many.append(one := stack.enter_context(connect(port)))
            assert ask(one, KEY) == b"HTTP/1.1 200"
        assert engine_status("fake").state == "ready"
        assert all(ask(one, KEY) == b"HTTP/1.1 200" for one in many)


def test_who_watches_from_afar_is_let_go_when_the_door_closes(home: Home) -> None:
    port = listen(home)
    with connect(port) as watching:
        watching.sendall(
            f"GET /glmcode/events HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        )
        assert b"200 OK" in watching.recv(4096)
        assert start(home, "--listen", "off").returncode == 0
        with contextlib.suppress(ConnectionError):
            while watching.recv(4096):
                pass


def test_a_key_that_is_known_by_its_slow_hash_alone_is_known_again() -> None:
    async def run() -> None:
        kept = await DoorKey.of(KEY).keep()
        assert kept.startswith("scrypt$") and kept != await DoorKey.of(KEY).keep()
        again = DoorKey.read(kept)
        assert again and again.told() == kept
        assert not await again.fits(KEY + "x") and not await again.fits("")
        assert again.told() == kept
        assert await again.fits(KEY)
        assert again.told() == DoorKey.of(KEY).told() and await again.keep() == kept
        assert not await again.fits(KEY + "x") and await again.fits(KEY)
        nobody = DoorKey.read("")
        assert not nobody and await nobody.keep() == ""

    asyncio.run(run())


def test_what_is_remembered_is_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "door.json"
    assert recall(path) is None
    path.write_text("old")
    path.chmod(0o644)
    remember(path, "127.0.0.1:1", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = recall(path)
    assert isinstance(found, Remembered) and found.address == "127.0.0.1:1" and not found.key
    assert json.loads(path.read_text()) == {"address": "127.0.0.1:1", "key": ""}
    assert [item.name for item in tmp_path.iterdir()] == ["door.json"]


def test_a_door_that_cannot_be_remembered_is_open_and_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async def accept(*_: object) -> None:
            raise AssertionError

        door = Door(accept, tmp_path / "no folder" / "door.json")
        await door.open("127.0.0.1", 0, DoorKey())
        assert door.address and "can't remember" in door.note
        with pytest.raises(DoorError):
            await door.open("192.0.2.1", 1, DoorKey.of(KEY))
        assert door.address
        await door.close()

    asyncio.run(run())
