"""The cache ledger: for each request what was computed again, why, and what that cost.

A request should reuse every whole block that the prompt before it shares with it. Where fewer
tokens were reused, the cause is looked for in what is known: which start of the engine
answered, how many requests of others it served in between, whether the conversation began a
new segment, whether the head differs from the last one in this workspace. What cannot be known
is called unknown. Pure: events and values in, values out. Must not read, write or ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from glmcode.core.events import RequestFinished

RESTARTED = "the engine restarted"
EVICTED = "evicted by another session"
COMPACTED = "compacted"
RESUMED = "resumed"
REASONING = "reasoning of earlier turns left out"
NEW_PREAMBLE = "new preamble"
INSTRUCTIONS = "instructions changed"
MAP = "the repository map changed"
NOT_REPORTED = "the server does not report cached tokens"
UNKNOWN = "unknown"

FORKS = ("compaction", "question")
"""Requests whose answer does not become part of the conversation."""
BLOCK = 128
"""Tokens of a cache block where the server does not say: as many as any known one has."""
LARGE = 256
"""New tokens from which on a prefill tells a speed: smaller ones are mostly waiting."""
SHOWN = 12
MOST = 1e15
"""A number in a stored line from which on it can be none of ours."""

_COUNTS = ("prompt", "cached", "new", "expected", "again")
_TIMES = ("queue", "prefill", "decode")
_STORED = (
    "kind", "prompt", "cached", "new", "expected", "again", "again_s", "output", "held",
    "queue_s", "prefill_s", "decode_s", "cause", "mark", "served",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What is known when a conversation makes its first request here.

    prefix: tokens at the head of that prompt that an earlier request held. engine and served:
    who answered that one, "" where nobody knows. cause: why its head is new, or "".
    """

    kind: Literal["new", "resumed"] = "new"
    prefix: int = 0
    engine: str = ""
    served: int = 0
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a workspace's last session, and who answered it.

    fixed: a digest of the model's name, the tools and the system prompt; instructed: of these
    and the instructions; whole: of these and the repository map. ids: its token ids (none in
    `chat`).
    """

    fixed: str
    instructed: str
    whole: str
    ids: tuple[int, ...] = ()
    engine: str = ""
    served: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `head_from_json` gives the same head back."""
        return {
            "fixed": self.fixed,
            "instructed": self.instructed,
            "whole": self.whole,
            "ids": list(self.ids),
            "engine": self.engine,
            "served": self.served,
        }


def head_from_json(value: Any) -> Head | None:
    """Read a head back; None when it is none of ours."""
    try:
        return Head(
            fixed=str(value["fixed"]),
            instructed=str(value["instructed"]),
            whole=str(value["whole"]),
            ids=tuple(int(number) for number in value["ids"]),
            engine=str(value["engine"]),
            served=int(value["served"]),
        )
    except (LookupError, TypeError, ValueError, OverflowError):
        return None


def earlier_head(old: Head | None, new: Head) -> Earlier:
    """What a new session in a workspace can expect of the last one's head."""
    if old is None:
        return Earlier(cause=NEW_PREAMBLE)
    cause = "" if old.whole == new.whole else MAP
    if old.instructed != new.instructed:
        cause = INSTRUCTIONS if old.fixed == new.fixed else NEW_PREAMBLE
    prefix = _common(old.ids, new.ids) if old.engine else 0
    return Earlier(prefix=prefix, engine=old.engine, served=old.served, cause=cause)


def earlier_line(line: Mapping[str, Any], reasoning: str = "keep") -> Earlier:
    """What a resumed session can expect, from the last ledger line of its segment.

    reasoning: the policy from now on; under `template`, or after it, the prompt is another one.
    """
    cause = REASONING if "template" in (reasoning, line.get("reasoning")) else ""
    try:
        held, served, engine = int(line["held"]), int(line["served"]), str(line["mark"])
    except (LookupError, TypeError, ValueError, OverflowError):
        return Earlier(kind="resumed", cause=cause)
    return Earlier(kind="resumed", prefix=held, engine=engine, served=served, cause=cause)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices are compared at the speed of memory
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


@dataclass(slots=True)
class Totals:
    """Sums over requests. causes: cause -> [requests, tokens computed again].

    again_s: an estimate, None where no speed is known. head: tokens of the preamble (0 where
    they are not known, in `chat`), and head_cached those of them that the first request found in
    the cache (None: not reported).
    """

    requests: int = 0
    head: int = 0
    head_cached: int | None = None
    prompt: int = 0
    cached: int = 0
    expected: int = 0
    again: int = 0
    again_s: float | None = None
    causes: dict[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For `result.engine`."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt,
            "cached_tokens": self.cached,
            "expected_tokens": self.expected,
            "again_tokens": self.again,
            "again_s": None if self.again_s is None else round(self.again_s, 3),
            "preamble": {"tokens": self.head, "cached_tokens": self.head_cached},
            "causes": [
                {"cause": cause, "requests": requests, "again_tokens": tokens}
                for cause, (requests, tokens) in self.causes.items()
            ],
        }


class Ledger:
    """The requests of one conversation, in order. `last`: the newest lines, as they are stored."""

    def __init__(self, earlier: Earlier) -> None:
        self.totals = Totals()
        self.last: deque[dict[str, Any]] = deque(maxlen=SHOWN)
        self._earlier = earlier
        self._before: RequestFinished | None = None
        self._own: RequestFinished | None = None
        self._strays = 0
        self._speeds: deque[tuple[int, float]] = deque(maxlen=64)

    def take(self, request: RequestFinished) -> RequestFinished:
        """The request with what was expected, what was computed again, and why."""
        block = request.block or BLOCK
        prefix = request.prefix if self._before or request.prefix else self._earlier.prefix
        expected = max(0, min(prefix, request.prompt_tokens - 1)) // block * block
        cause, again = self._judge(request, expected, prefix, block)
        self._measure(request)
        speed = self.speed()
        again_s = round(again / speed, 3) if again and speed else None
        judged = replace(request, expected=expected, cause=cause, again=again, again_s=again_s)
        if request.kind == "warm" and not request.whole:
            self._strays += request.tries  # how far it came is not known: nothing is built on it
        else:
            self._before, self._strays = request, 0
            self._own = self._own if request.kind in FORKS else request
        self._add(judged)
        return judged

    def speed(self) -> float | None:
        """Tokens a second of this conversation's larger prefills; None when there was none."""
        largest = max((tokens for tokens, _ in self._speeds), default=0)
        large = [(tokens, seconds) for tokens, seconds in self._speeds if tokens * 2 >= largest]
        spent = sum(seconds for _, seconds in large)
        return sum(tokens for tokens, _ in large) / spent if spent > 0 else None

    def _judge(
        self, request: RequestFinished, expected: int, prefix: int, block: int
    ) -> tuple[str, int]:
        """(cause, tokens computed again)."""
        if request.cached_tokens is None:
            return (NOT_REPORTED if request.whole else ""), 0
        missing = expected - request.cached_tokens
        if missing > block or (missing > 0 and not request.cached_tokens):
            return self._why(request), missing
        own, new = self._own, request.prompt_tokens - request.cached_tokens
        if own is None:
            new_head = not request.prefix and self._earlier.kind == "new"
            return (self._earlier.cause if new_head else ""), 0
        if request.segment != own.segment:
            return COMPACTED, new
        if prefix + block < own.held and request.kind not in (*FORKS, "warm"):
            return REASONING, new
        return "", 0

    def _why(self, request: RequestFinished) -> str:
        """Why fewer tokens were reused than an earlier request had left."""
        before = self._before or self._earlier
        resumed = self._before is None and self._earlier.kind == "resumed"
        if request.engine and before.engine and request.engine != before.engine:
            return RESTARTED
        if resumed and self._earlier.cause:
            return self._earlier.cause
        if request.engine and before.engine:
            others = request.served - before.served - request.tries - self._strays
            return EVICTED if others > 0 else UNKNOWN
        return RESUMED if resumed else UNKNOWN

    def _measure(self, request: RequestFinished) -> None:
        if request.cached_tokens is not None and request.prefill_s > 0:
            new = request.prompt_tokens - request.cached_tokens
            if new >= LARGE:
                self._speeds.append((new, request.prefill_s))

    def _add(self, request: RequestFinished) -> None:
        totals = self.totals
        totals.requests += 1
        if totals.requests == 1 and request.cached_tokens is not None:
            totals.head_cached = min(request.cached_tokens, totals.head)
        totals.prompt += request.prompt_tokens
        totals.cached += request.cached_tokens or 0
        totals.expected += request.expected
        totals.again += request.again
        if request.again_s is not None:
            totals.again_s = (totals.again_s or 0.0) + request.again_s
        if request.cause:
            entry = totals.causes.setdefault(request.cause, [0, 0])
            entry[0] += 1
            entry[1] += request.again
        self.last.append(ledger_json(request))


def ledger_json(request: RequestFinished) -> dict[str, Any]:
    """The journal's line for a request that was judged."""
    cached = request.cached_tokens
    values = {
        "kind": request.kind,
        "prompt": request.prompt_tokens,
        "cached": cached,
        "new": None if cached is None else request.prompt_tokens - cached,
        "output": request.output_tokens,
        "mark": request.engine,
    }
    return {name: values.get(name, getattr(request, name, None)) for name in _STORED}


def ledger_rows(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A session's ledger lines as a table: heading, requests, sums; [] where there is no line.

    Other lines of the session are passed over.
    """
    lines = [entry for entry in entries if entry.get("t", "ledger") == "ledger"]
    if not lines:
        return []
    rows: list[tuple[str, ...]] = [("#", "request", *_COUNTS, *_TIMES, "cause")]
    for number, line in enumerate(lines, 1):
        counts = (_count(line.get(key)) for key in _COUNTS)
        times = (_seconds(line.get(f"{key}_s")) for key in _TIMES)
        kind = str(line.get("kind", "step")).replace("_", " ")
        rows.append((str(number), kind, *counts, *times, cause_text(line)))
    sums = {key: sum(_number(line.get(key)) for line in lines) for key in _COUNTS}
    spent = (sum(_number(line.get(f"{key}_s")) for line in lines) for key in _TIMES)
    hit = 100 * sums["cached"] / sums["prompt"] if sums["prompt"] else 0.0
    counts = (_count(round(sums[key])) for key in _COUNTS)
    rows.append(("", "all", *counts, *map(_seconds, spent), f"{hit:.1f} % not computed again"))
    return rows


def cause_text(entry: Mapping[str, Any]) -> str:
    """The cause of a line and, where it is known, what computing again took."""
    cause, seconds = str(entry.get("cause") or ""), entry.get("again_s")
    return f"{cause} (about {seconds:.1f} s)" if cause and isinstance(seconds, float) else cause


def request_line(request: RequestFinished) -> str:
    """One line about tokens that were computed again; "" when there is nothing to say."""
    if not request.cause or request.cause == NOT_REPORTED:
        return ""
    tokens = f"{request.again:,} tokens computed again" if request.again else "cache"
    ahead = "warmed: " if request.kind == "warm" else ""
    return f"{ahead}{tokens}{_about(request.again_s)}: {request.cause}"


def summary_rows(ledger: Ledger | None) -> list[tuple[str, str]]:
    """What `/cache` says, as (label, value): sums, causes, then the newest requests."""
    if ledger is None or not ledger.totals.requests:
        return [("cache", "nothing was asked yet")]
    totals = ledger.totals
    hit = 100 * totals.cached / totals.prompt if totals.prompt else 0.0
    rows = [
        ("requests", f"{totals.requests:,}"),
        ("prompt", f"{totals.prompt:,} tokens, {totals.cached:,} of them cached ({hit:.0f} %)"),
        ("expected", f"{totals.expected:,} tokens to be reused"),
        ("again", f"{totals.again:,} tokens computed again{_about(totals.again_s)}"),
    ]
    if speed := ledger.speed():
        rows.append(("prefill", f"{speed:,.0f} tokens a second"))
    for cause, (requests, tokens) in totals.causes.items():
        rows.append(("cause", f"{cause}: {_times(requests)}, {tokens:,} tokens again"))
    first = totals.requests - len(ledger.last) + 1
    for number, line in enumerate(ledger.last, first):
        rows.append((f"#{number} {line['kind'].replace('_', ' ')}", _line_text(line)))
    return rows


def _line_text(line: Mapping[str, Any]) -> str:
    text = f"prompt {_count(line['prompt'])} = cached {_count(line['cached'])}"
    text += f" + new {_count(line['new'])}, expected {_count(line['expected'])}"
    text += f"; prefill {_seconds(line['prefill_s'])} s"
    cause = cause_text(line)
    return f"{text}; {cause}" if cause else text


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < MOST else 0.0


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def _seconds(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "?"


def _about(seconds: float | None) -> str:
    return "" if seconds is None else f" (about {seconds:.1f} s)"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
