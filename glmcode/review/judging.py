"""Asks the model for its judgement of a diff, part by part, and merges what it says.

Every part begins with the same words (what a review is, then which files changed), so that from
the second on they are a cache hit. With a deadline parts are as small as the known speed of the
engine demands, and one is begun only when it can end in time, by the speed of those before; what
was not judged is said. What was judged once is kept
by content, so that the same diff asks nothing. Must not block anybody itself (the caller does).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.agent_structured import ask_structured
from glmcode.base.data import prompt_text
from glmcode.base.paths import cache_folder, private_folder
from glmcode.core.faults import ModelError
from glmcode.core.messages import Usage, UserMessage
from glmcode.core.model import Emit
from glmcode.core.transcript import Preamble, Transcript
from glmcode.review.diff import FileDiff, name_bytes
from glmcode.review.findings import SCHEMA, Finding, Judged, merge, read_answer
from glmcode.review.showing import LATE, Part, overview, pack, show_file

if TYPE_CHECKING:
    from glmcode.base.settings import EngineSettings
    from glmcode.engine.client import Client

VERSION = 2
MOST_KEPT = 500
ANSWER_TOKENS = 1_536
MOST_FAILED = 3
MOST_NAMED = 3
UNKNOWN_WINDOW = 16_384
LEAST_PART = 256
PACKING_SHARE = 0.3
PROMPT_SHARE = 0.3
QUESTION = """\
Judge the changes above now. Answer with one JSON value and nothing else, an instance of this \
JSON Schema (`code` is the text of the line itself, without its number and sign):

{schema}"""


@dataclass(frozen=True, slots=True)
class Review:
    """The whole judgement. files: how many changed; requests: how many parts were asked about,
    0: it was known already. usage: of all requests together."""

    judged: Judged
    files: int
    requests: int
    usage: Usage


@dataclass(slots=True)
class Judge:
    """Judges diffs with one client. deadline: time.monotonic() that is not to be passed."""

    client: Client
    emit: Emit
    deadline: float | None = None
    progress: Callable[[int, int], None] = lambda done, parts: None

    async def review(self, files: Sequence[FileDiff]) -> Review:
        """Judge all files. Raises ModelError, TimeoutError where not even one part was judged.

        An engine that is gone, or fails MOST_FAILED parts in a row, is asked no more.
        """
        head = f"These files changed:\n{overview(files)}\n"
        until = None if self.deadline is None else _part_way(self.deadline)
        parts, left = pack(
            files,
            self.client.text_tokens,
            self._limit(head),
            lambda: until is not None and time.monotonic() > until,
        )
        told: list[Judged] = []
        usage, slowest, asked, failed = Usage(), 0.0, 0, 0
        gone = ""  # why the engine is asked no more
        for number, part in enumerate(parts):
            if gone or self._too_late(slowest):
                left += _unjudged(part, gone or LATE)
                continue
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._left()):
                    judged, cost = await self._part(head, part, number, len(parts))
            except TimeoutError:
                left += _unjudged(part, LATE)
                continue
            except ModelError as error:
                if not told:
                    raise
                left += _unjudged(part, str(error))
                failed += 1
                gone = str(error) if failed == MOST_FAILED or error.kind == "unavailable" else ""
                continue
            asked, failed = asked + 1, 0
            slowest = max(slowest, time.monotonic() - began)
            told.append(judged)
            usage = usage.plus(cost)
            self.progress(number + 1, len(parts))
        if parts and not told:
            raise TimeoutError
        if told and all(one.left_out for one in told):
            raise ModelError(f"nothing was judged: {_few(told)}")
        whole = merge([*told, Judged("pass", (), tuple(dict.fromkeys(left)))])
        return Review(whole, len(files), asked, usage)

    def _limit(self, head: str) -> int:
        """Tokens of the largest part."""
        window = self.client.window or UNKNOWN_WINDOW
        system = self.client.preamble_tokens(_preamble())
        schema = self.client.text_tokens(json.dumps(SCHEMA) + QUESTION)
        answer = min(ANSWER_TOKENS, window // 4)
        # The answer stands twice where it is asked for again, with what was wrong.
        above = system + self.client.text_tokens(head)
        room = window - above - 2 * schema - 3 * answer
        if self.deadline is not None:
            room = min(room, tokens_in_time(self.client, self.deadline) - above - schema)
        return max(LEAST_PART, room)

    def _left(self) -> float | None:
        return None if self.deadline is None else max(0.1, self.deadline - time.monotonic())

    def _too_late(self, slowest: float) -> bool:
        return self.deadline is not None and time.monotonic() + slowest > self.deadline

    async def _part(self, head: str, part: Part, number: int, parts: int) -> tuple[Judged, Usage]:
        of = f"This is part {number + 1} of {parts}.\n" if parts > 1 else ""
        transcript = Transcript(_preamble())
        transcript.append(UserMessage(text=f"{head}\n{of}\n{part.text}"))
        told = await ask_structured(
            self.client,
            transcript,
            SCHEMA,
            self.emit,
            question=QUESTION,
            max_tokens=min(ANSWER_TOKENS, (self.client.window or UNKNOWN_WINDOW) // 4),
        )
        if told.faults:
            return Judged("pass", (), tuple(_unjudged(part, "no usable answer"))), told.usage
        return read_answer(told.value, part.files), told.usage


def _unjudged(part: Part, why: str) -> list[str]:
    return [f"{file.shown_path} ({why})" for file in part.files]


def _few(told: Sequence[Judged]) -> str:
    """The first files that were not judged, and how many more."""
    names = list(dict.fromkeys(name for one in told for name in one.left_out))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def tokens_in_time(client: Client, deadline: float) -> int:
    """The tokens of a prompt that should take the engine no more than a share of what is left
    until then, by what is known of it: so a part of a large diff is judged, and not none of it."""
    window = client.window or UNKNOWN_WINDOW
    left = (deadline - time.monotonic()) * PROMPT_SHARE
    tokens = window
    while tokens > LEAST_PART and (client.prefill_seconds(tokens) or 0.0) > left:
        tokens = tokens * 3 // 4
    return tokens


def _part_way(deadline: float) -> float:
    """Until when packing may take: the most of the time is for judging."""
    now = time.monotonic()
    return now + (deadline - now) * PACKING_SHARE


def _preamble() -> Preamble:
    return Preamble(specs=(), system=prompt_text("review.md"))


def model_key(engine: EngineSettings) -> str:
    """Who judges, as far as it is known without asking."""
    if engine.base_url:
        return f"{engine.base_url} {engine.model}"
    from glmcode.engine.default import machine_profile
    from glmcode.engine.profile import ProfileError, load_profile

    name = engine.profile or machine_profile() or ""
    try:
        return f"{name} {load_profile(name).digest()}" if name else ""
    except ProfileError:
        return name


def review_key(files: Sequence[FileDiff], model: str) -> str:
    """What a judgement is kept under: what is shown of the diff, what is asked, and who answers.

    The names of objects are no part of it: after a rebase the same change has others.
    """
    asked = [VERSION, prompt_text("review.md"), QUESTION, SCHEMA, model]
    found = hashlib.sha256(json.dumps(asked).encode())
    for file in files:
        kind = [file.status, file.modes, file.binary, file.large]
        names = [name_bytes(file.path).hex(), name_bytes(file.old_path).hex()]
        found.update(json.dumps([kind, names]).encode() + show_file(file).encode())
    return found.hexdigest()


def kept_review(key: str) -> Judged | None:
    """A judgement that was kept; None: there is none that can be read."""
    told = kept_value(key)
    try:
        found = tuple(Finding(**one) for one in told["findings"])
        return Judged(told["verdict"], found, tuple(told["left_out"]))
    except (TypeError, KeyError):
        return None


def keep_review(key: str, judged: Judged) -> None:
    """Keep a judgement, if that can be done; the oldest go."""
    keep_value(key, asdict(judged))


def kept_value(key: str) -> Any:
    """What was kept under a key; None: nothing that can be read."""
    try:
        return json.loads((_folder() / f"{key}.json").read_bytes())
    except (OSError, ValueError):
        return None


def keep_value(key: str, value: Any) -> None:
    """Keep a value of JSON under a key, if that can be done; the oldest go."""
    with suppress(OSError):
        folder = private_folder(_folder())
        file = folder / f"{key}.json.{os.getpid()}"
        file.write_text(json.dumps(value, ensure_ascii=True), encoding="utf-8")
        file.chmod(0o600)
        file.replace(folder / f"{key}.json")
        kept = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[MOST_KEPT:]:
            old.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "reviews"
