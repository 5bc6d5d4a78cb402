"""A server whose socket was brought here as ssh does it: relay.py in its own process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.events import Delta
from glmcode.core.messages import Usage
from glmcode.engine import retry
from glmcode.engine.attach import engine_status
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, new_transcript
from tests.engine.engine_kit import Home, new_home, until
from tests.engine.test_door import free_port
from tests.fake_engine import FakeEngine, Reply

RELAY = Path(__file__).resolve().parents[1] / "relay.py"
TEXT = "Read this, é and ☃, and then go on for a while so that there is something to stream."
CALL = {"name": "Read", "arguments": {"file_path": "a.py"}}


class Relay:
    """One forwarded socket: `unix:PATH` here, a socket or a port there."""

    def __init__(self, here: Path | int, there: Path | int, *options: str) -> None:
        self.here, self.there, self.options = here, there, options
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, str(RELAY), str(self.here), str(self.there), *self.options]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"listening\n"
        return process

    @property
    def address(self) -> str:
        return f"unix:{self.here}" if isinstance(self.here, Path) else f"127.0.0.1:{self.here}"

    def cut(self) -> None:
        """The line is gone, without a word; the socket's file stays."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def again(self) -> None:
        self.process = self._start()


@pytest.fixture
def relays() -> Iterator[Callable[..., Relay]]:
    made: list[Relay] = []

    def make(*given: Any) -> Relay:
        made.append(Relay(*given))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.cut()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once, and not for half a minute."""
    monkeypatch.setattr(retry.Patience, "wait_for", lambda self, fault, began: None)


def endpoint(relay: Relay, protocol: str) -> Endpoint:
    tokenizer = TOKENIZER if protocol == "tokens" else None
    return Endpoint(base_url=relay.address, model="glm", tokenizer=tokenizer)


def with_client(given: Endpoint, run: Callable[[Client], Any]) -> Any:
    async def main() -> Any:
        client = await connect(given, load_specs(), lambda event: None)
        try:
            return await run(client)
        finally:
            await client.close()

    return asyncio.run(main())


@pytest.mark.parametrize("protocol", ["chat", "tokens"])
@pytest.mark.parametrize("options", [("--piece", "7"), ("--delay", "0.01", "--piece", "300")])
def test_an_answer_that_came_through_a_relay_is_the_same(
    relays: Callable[..., Relay], tmp_path: Path, protocol: str, options: tuple[str, ...]
) -> None:
    reply = Reply(reasoning="I look.", text=TEXT, calls=[CALL], chunk=4)
    there = tmp_path / "there.sock"
    with FakeEngine([reply, reply], socket=there, tokenizer=TOKENIZER) as engine:
        relay = relays(tmp_path / "here.sock", there, *options)
        found = []
        for address in (f"unix:{there}", relay.address):
            given = replace(endpoint(relay, protocol), base_url=address)

            async def run(client: Client) -> Asked:
                assert client.protocol == protocol
                return await ask(client, new_transcript())

            found.append(with_client(given, run).reply)
        assert found[0].text.strip() == TEXT and len(found[0].calls) == 1
        same = [replace(one, usage=Usage()) for one in found]
        assert same[0] == same[1]
        what = "token_ids" if protocol == "tokens" else "messages"
        assert engine.steps[0].json[what] == engine.steps[1].json[what]


@pytest.mark.parametrize("protocol", ["chat", "tokens"])
def test_an_answer_is_shown_while_it_comes(
    relays: Callable[..., Relay], tmp_path: Path, protocol: str
) -> None:
    there = tmp_path / "there.sock"
    with FakeEngine([Reply(text=TEXT, chunk=2, gap=0.05)], socket=there, tokenizer=TOKENIZER):
        relay = relays(tmp_path / "here.sock", there)
        seen: list[float] = []

        def watch(event: Any) -> None:
            if isinstance(event, Delta):
                seen.append(time.monotonic())

        async def run(client: Client) -> Asked:
            return await ask(client, new_transcript(), watch)

        began = time.monotonic()
        with_client(endpoint(relay, protocol), run)
        assert len(seen) > 5 and seen[0] - began < (seen[-1] - began) / 2


@pytest.mark.parametrize("protocol", ["chat", "tokens"])
def test_a_line_that_is_cut_in_the_middle_is_an_error_and_what_came_is_kept(
    relays: Callable[..., Relay], tmp_path: Path, impatient: None, protocol: str
) -> None:
    there = tmp_path / "there.sock"
    slow = Reply(text=TEXT, chunk=2, gap=0.05)
    with FakeEngine([slow, Reply(text="fine")], socket=there, tokenizer=TOKENIZER) as engine:
        relay = relays(tmp_path / "here.sock", there)
        seen: list[Delta] = []

        def watch(event: Any) -> None:
            if isinstance(event, Delta):
                seen.append(event)
                if len(seen) == 4:
                    relay.cut()

        async def run(client: Client) -> tuple[Asked, Asked]:
            first = await ask(client, new_transcript(), watch)
            relay.again()
            return first, await ask(client, new_transcript())

        first, second = with_client(endpoint(relay, protocol), run)
        assert first.fault.kind == "unavailable" and "here.sock" in str(first.fault)
        assert [message.stop for message in first.kept] == ["interrupted"]
        kept = first.kept[0].text.strip()
        assert kept and TEXT.startswith(kept)
        assert second.reply.text.strip() == "fine"  # the same client, over the new line
        until(lambda: engine.steps[0].aborted is not None)


def test_who_stops_an_answer_frees_the_engine_at_the_other_end(
    relays: Callable[..., Relay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = Reply(text=TEXT, chunk=1, gap=0.1)
    there = tmp_path / "there.sock"
    with FakeEngine([body], socket=there, tokenizer=TOKENIZER) as engine:
        relay = relays(tmp_path / "here.sock", there)

        async def run(client: Client) -> Asked:
            first = asyncio.Event()
            task = asyncio.create_task(ask(client, new_transcript(), lambda event: first.set()))
            await first.wait()
            await asyncio.sleep(0.3)
            task.cancel()
            return await task

        asked = with_client(endpoint(relay, "tokens"), run)
        assert asked.cancelled and [message.stop for message in asked.kept] == ["interrupted"]
        until(lambda: engine.steps[0].aborted is not None, 5)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        made.profile("fake", "--gap", "0.2")
        yield made


ENDLESS = b'{"token_ids": [1, 2], "sampling_params": {"max_tokens": 999999}, "stream": true}'
GENERATE = b"POST /inference/v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ENDLESS),
    ENDLESS,
)


def test_our_own_engine_is_idle_again_when_the_line_to_it_is_cut(
    home: Home, relays: Callable[..., Relay], tmp_path: Path
) -> None:
    home.attach()
    relay = relays(tmp_path / "rig.sock", home.paths().socket)

    async def run() -> None:
        reader, writer = await asyncio.open_unix_connection(str(relay.here))
        writer.write(GENERATE)
        assert b"200" in await reader.readline()
        await asyncio.to_thread(until, lambda: engine_status("fake").state == "busy")
        relay.cut()
        await asyncio.to_thread(until, lambda: engine_status("fake").state == "ready", 5)
        writer.close()

    asyncio.run(run())
    until(lambda: home.noted().rstrip().endswith(" closed"))


def test_a_line_whose_other_end_is_gone_is_told_as_an_engine_that_cannot_be_reached(
    relays: Callable[..., Relay], tmp_path: Path
) -> None:
    relay = relays(tmp_path / "here.sock", tmp_path / "nobody.sock")
    words = ["-p", "--base-url", relay.address, "-m", "glm", "--protocol", "chat", "hello"]
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", *words],
        env={**os.environ, "GLMCODE_HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 75 and "Traceback" not in done.stderr
    assert "here.sock" in done.stderr


def test_a_run_over_a_cut_line_ends_with_75_and_the_session_goes_on_over_the_new_one(
    relays: Callable[..., Relay], tmp_path: Path
) -> None:
    there = tmp_path / "there.sock"
    slow = Reply(text=TEXT, chunk=1, gap=0.2)
    with FakeEngine([slow, Reply(text="fine")], socket=there, tokenizer=TOKENIZER) as engine:
        relay = relays(tmp_path / "here.sock", there)
        server = [
            "--base-url",
            relay.address,
            "-m",
            "glm",
            "--set",
            f"engine.tokenizer={TOKENIZER}",
        ]
        run = subprocess.Popen(
            [sys.executable, "-m", "glmcode", "-p", *server, "hello"],
            env={**os.environ, "GLMCODE_HOME": str(tmp_path / "home")},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: engine.steps)
        time.sleep(1.0)
        relay.cut()
        _, said = run.communicate(timeout=90)
        assert run.returncode == 75 and "Traceback" not in said and "here.sock" in said
        relay.again()
        again = subprocess.run(
            [sys.executable, "-m", "glmcode", "-p", "-c", *server, "go on"],
            env={**os.environ, "GLMCODE_HOME": str(tmp_path / "home")},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert (again.returncode, again.stdout.strip()) == (0, "fine"), again.stderr
        first, second = (step.json["token_ids"] for step in (engine.steps[0], engine.steps[-1]))
        assert second[: len(first)] == first  # what came before the cut was kept as ids
        assert len(second) > len(first) + 3


def test_a_port_that_was_brought_here_is_served_by_its_loopback_name(
    home: Home, relays: Callable[..., Relay]
) -> None:
    import httpx

    from tests.engine.test_door import listen

    there, here = listen(home, key=""), free_port()
    relays(here, there)
    assert httpx.get(f"http://localhost:{here}/v1/models", timeout=10).status_code == 200
    os.kill(home.child(), signal.SIGKILL)
