"""A streamed answer of token ids as far as it has come, so that its rest can be asked for.

For programs that say how urgent they are but can't go on by themselves: the supervisor does it
for them, where a request is plain enough that its rest is a request of the same kind. What counts
or reads the tokens of the answer so far (a grammar, a stop string that was half said, penalties, a
seed) would begin anew with the rest: only what is known not to is let through. The client sees one
stream under one name, and a usage as if it had been one. Must not send or wait.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from glmcode.engine.wire import Head

ROUTE = "/inference/v1/generate"

_PLAIN = frozenset(
    {
        "request_id",
        "token_ids",
        "sampling_params",
        "model",
        "output_mode",
        "stream",
        "stream_options",
        "cache_salt",
        "priority",
    }
)
"""Of a request; everything else must say nothing."""
_PLAIN_SAMPLING = frozenset(
    {
        "max_tokens",
        "min_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "stop_token_ids",
        "ignore_eos",
        "logit_bias",
        "allowed_token_ids",
        "logprobs",
        "logprob_token_ids",
        "flat_logprobs",
        "detokenize",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "include_stop_str_in_output",
        "output_kind",
        "skip_reading_prefix_cache",
        "repetition_detection",
    }
)
"""Of its sampling: what looks at the prompt and the answer alike, or at one token. The detection of
repetition counts from the rest's beginning, so that it is later by what stood before."""


class Streamed:
    """One such answer. begun: an earlier part of it was passed on; ended: it is complete."""

    def __init__(self, request: dict[str, Any], limit: int) -> None:
        self.begun = False
        self.ended = False
        self._request = request
        self._limit = limit
        self._made: list[int] = []
        self._before = 0
        self._parts = 1
        self._held = b""
        self._name: object = None

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body, without its chunks; what of it goes to the client now.

        Whole events only, but for those that are no events.
        """
        *events, self._held = (self._held + data).split(b"\n\n")
        return b"".join(self._event(event) + b"\n\n" for event in events)

    @property
    def inside(self) -> bool:
        """Whether an event has come in part."""
        return bool(self._held)

    def rest(self) -> bytes:
        """The body of the request for what is left; the next part begins."""
        self.begun, self._held = True, b""
        self._before, self._parts = len(self._made), self._parts + 1
        sampling = dict(self._request["sampling_params"])
        sampling["max_tokens"] = self._limit - self._before
        if isinstance(least := sampling.get("min_tokens"), int):
            sampling["min_tokens"] = max(0, least - self._before)
        value = {
            **self._request,
            "token_ids": [*self._request["token_ids"], *self._made],
            "sampling_params": sampling,
        }
        if isinstance(name := value.get("request_id"), str):
            value["request_id"] = f"{name}-{self._parts}"
        return json.dumps(value, separators=(",", ":")).encode()

    def _event(self, event: bytes) -> bytes:
        try:
            value = json.loads(event.partition(b"data:")[2])
            choices = value.get("choices") or ()
        except (ValueError, AttributeError):
            return event
        for choice in choices:
            self._made += choice.get("token_ids") or ()
            self.ended = self.ended or bool(choice.get("finish_reason"))
        self.ended = self.ended or len(self._made) >= self._limit or "error" in value
        self._name = self._name or value.get("request_id")
        if self._parts == 1:
            return event
        if "request_id" in value:
            value["request_id"] = self._name
        if isinstance(usage := value.get("usage"), dict):
            self._add_up(usage)
        return b"data: " + json.dumps(value, separators=(",", ":")).encode()

    def _add_up(self, usage: dict[str, Any]) -> None:
        """Let the usage of a later part be that of the whole answer."""
        for name, more in (("prompt_tokens", -1), ("completion_tokens", 1)):
            if isinstance(usage.get(name), int):
                usage[name] += more * self._before
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict) and isinstance(cached := details.get("cached_tokens"), int):
            # Of what had been generated, some was read back: that is no part of the prompt.
            details["cached_tokens"] = min(cached, len(self._request["token_ids"]))


def streamed(head: Head, body: bytes) -> Streamed | None:
    """The answer to a request whose rest can be asked for; None for all others."""
    if head.path != ROUTE or "content-length" not in head.headers:
        return None
    try:
        value: Any = json.loads(body)
        sampling, ids = value["sampling_params"], value["token_ids"]
        limit = sampling["max_tokens"]
        plain = value["stream"] is True and value.get("output_mode", "tokens") == "tokens"
        plain = plain and _says_no_more(value, _PLAIN) and goes_on_the_same(sampling)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    if not (plain and isinstance(limit, int) and isinstance(ids, list)):
        return None
    return Streamed(value, limit)


def goes_on_the_same(sampling: Mapping[str, Any]) -> bool:
    """Whether an answer that is broken off and gone on with is the one that it would have been."""
    if sampling.get("n", 1) != 1:
        return False
    if sampling.get("seed") is not None and sampling.get("temperature") != 0:
        return False
    return _says_no_more(sampling, _PLAIN_SAMPLING | {"n", "seed"})


def _says_no_more(value: Mapping[str, Any], known: frozenset[str]) -> bool:
    return all(not said or name in known for name, said in value.items())


def with_length(head: Head, length: int) -> bytes:
    """The head of a request with another length of its body."""
    lines = head.raw.split(b"\r\n")
    return b"\r\n".join(
        b"content-length: %d" % length if line.lower().startswith(b"content-length:") else line
        for line in lines
    )
