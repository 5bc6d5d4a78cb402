"""How a hook reaches an engine: only one that is up, as class `hook`, and within a deadline.

A hook never waits for a model to load and never starts one unless it was told to: the person
waits for a commit. Judgements and messages are kept by content, so that the second try of the
same commit asks nothing. Must not print.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glmcode.agent_structured import ask_structured
from glmcode.base.data import prompt_text
from glmcode.base.nested import way_out
from glmcode.core.faults import ModelError
from glmcode.core.messages import UserMessage
from glmcode.core.model import Emit
from glmcode.core.transcript import Preamble, Transcript
from glmcode.review.judging import Judge, Review, keep_value, kept_value, model_key, tokens_in_time

if TYPE_CHECKING:
    from glmcode.cli_options import Arguments
    from glmcode.engine.client import Client
    from glmcode.review.diff import FileDiff

QUICK_S = 0.5
MARGIN_S = 1.0
MESSAGE_TOKENS = 512
SHOWN_SHARE = 2
CHARS_PER_TOKEN = 16


class NoAnswer(Exception):
    """Nothing was judged; the text says why, as a clause."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is asked, and until when (time.monotonic())."""

    arguments: Arguments
    deadline: float
    start: bool = False

    def check(self) -> None:
        """Raises NoAnswer where no engine is up; starts one in the background if so told."""
        engine = self.arguments.engine
        if engine.base_url:
            return _reachable(engine.base_url)
        if way_out(os.environ):
            from glmcode.agent_nested import state_outside

            if (state := asyncio.run(state_outside())) not in ("ready", "busy"):
                raise NoAnswer(f"the engine of the run around this one is {state}")
            return None
        from glmcode.engine.default import machine_profile
        from glmcode.engine.profile import ProfileError, load_profile

        name = engine.profile or machine_profile()
        if not name:
            raise NoAnswer("no engine is configured (--profile NAME or --base-url URL)")
        try:
            profile = load_profile(name)
        except ProfileError as error:
            raise NoAnswer(str(error)) from error
        if profile.base_url:
            return _reachable(profile.base_url)
        return self._up(name)

    def _up(self, name: str) -> None:
        """Raises NoAnswer where this engine of ours can't be asked now."""
        from glmcode.engine.attach import EngineUnavailable, engine_status

        try:
            state = engine_status(name).state
        except EngineUnavailable as error:
            raise NoAnswer(str(error)) from error
        if state in ("ready", "busy"):
            return
        if state == "absent" and self.start:
            _start(name)
            raise NoAnswer(f"the engine {name} is being started for the next time")
        words = {"absent": "not running", "starting": "still loading", "sleeping": "asleep"}
        raise NoAnswer(f"the engine {name} is {words.get(state, state)}")

    def review(self, files: list[FileDiff]) -> Review:
        """Judge a diff. Raises NoAnswer."""

        async def judge(client: Client) -> Review:
            left = self.deadline - time.monotonic()
            until = self.deadline - min(MARGIN_S, left / 10)  # so that what is judged comes back
            return await Judge(client, lambda event: None, until).review(files)

        review: Review = self._with_client(judge)
        return review

    def structured(self, system: str, text: str, schema: Mapping[str, Any]) -> Any:
        """The answer to one question, as an instance of a schema. Raises NoAnswer."""
        key = hashlib.sha256(
            json.dumps(
                [prompt_text(system), text, schema, model_key(self.arguments.engine)]
            ).encode()
        ).hexdigest()
        if (kept := kept_value(key)) is not None:
            return kept
        self.check()

        async def ask(client: Client) -> Any:
            most = tokens_in_time(client, self.deadline)
            return await answered(client, system, text, schema, lambda event: None, most)

        value = self._with_client(ask)
        keep_value(key, value)
        return value

    def _with_client(self, work: Any) -> Any:
        from glmcode.opening import OpenError, open_asker

        async def run() -> Any:
            left = max(0.1, self.deadline - time.monotonic())
            async with asyncio.timeout(left):
                client = await open_asker(
                    self.arguments.engine,
                    lambda event: None,
                    self.arguments.context,
                    self.arguments.lane,
                )
                try:
                    return await work(client)
                finally:
                    await client.close()

        try:
            return asyncio.run(run())
        except TimeoutError as error:
            raise NoAnswer("the deadline was reached") from error
        except (ModelError, OpenError) as error:
            raise NoAnswer(str(error)) from error


async def answered(
    client: Client,
    system: str,
    text: str,
    schema: Mapping[str, Any],
    emit: Emit,
    most: int | None = None,
) -> Any:
    """One question to one client; system: the name of a prompt; most: tokens of the text. Raises
    NoAnswer, ModelError."""
    transcript = Transcript(Preamble(specs=(), system=prompt_text(system)))
    room = (client.window or 16_384) - 4 * MESSAGE_TOKENS
    room = room if most is None else max(MESSAGE_TOKENS, min(room, most))
    transcript.append(UserMessage(text=_shortened(client, text, room)))
    told = await ask_structured(client, transcript, schema, emit, max_tokens=MESSAGE_TOKENS)
    if told.faults:
        raise NoAnswer("the model gave no usable answer")
    return told.value


def _shortened(client: Client, text: str, room: int) -> str:
    """The text, cut in the middle of nothing: lines from its end go until it fits."""
    text = text[: room * CHARS_PER_TOKEN]  # what is far too long is not even counted
    while client.text_tokens(text) > room:
        lines = text.split("\n")
        if len(lines) < SHOWN_SHARE:
            return text[: room * 2]
        text = "\n".join(lines[: len(lines) * 3 // 4]) + "\n[the rest is not shown]"
    return text


def _reachable(url: str) -> None:
    """Raises NoAnswer where nothing takes connections there, found out at once."""
    from glmcode.engine.endpoint import Endpoint, address_of

    try:
        address = address_of(Endpoint(base_url=url))
        if address.socket is not None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(QUICK_S)
                connection.connect(str(address.socket))
        else:
            from urllib.parse import urlsplit

            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), QUICK_S).close()
    except (OSError, ValueError, ModelError) as error:
        raise NoAnswer(f"nothing answers at {url}") from error


def _start(name: str) -> None:
    """Start an engine that goes on after the hook has ended, and knows nothing of its commit."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GIT_", "GLMCODE_GIT", "GLMCODE_HOOK"))
    }
    subprocess.Popen(
        [sys.executable, "-P", "-m", "glmcode", "engine", "start", "--no-wait", "--profile", name],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
