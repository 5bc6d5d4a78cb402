"""A streamed answer of token ids as far as it has come, so that its rest can be asked for.

For programs that say how urgent they are but can't go on by themselves: the supervisor does it
for them, where a request is plain enough that its rest is a request of the same kind. The
client sees one stream, and a usage as if it had been one. Must not send or wait.
"""

from __future__ import annotations

import json
from typing import Any

from glmcode.engine.wire import Head

ROUTE = "/inference/v1/generate"


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
        self.ended = self.ended or len(self._made) >= self._limit
        usage = value.get("usage")
        if self._before and isinstance(usage, dict):
            for name, more in (("prompt_tokens", -1), ("completion_tokens", 1)):
                if isinstance(usage.get(name), int):
                    usage[name] += more * self._before
            return b"data: " + json.dumps(value, separators=(",", ":")).encode()
        return event


def streamed(head: Head, body: bytes) -> Streamed | None:
    """The answer to a request whose rest can be asked for; None for all others."""
    if head.path != ROUTE or "content-length" not in head.headers:
        return None
    try:
        value: Any = json.loads(body)
        limit, ids = value["sampling_params"]["max_tokens"], value["token_ids"]
        plain = value["stream"] is True and value.get("output_mode", "tokens") == "tokens"
        plain = plain and value["sampling_params"].get("n", 1) == 1
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    if not (plain and isinstance(limit, int) and isinstance(ids, list)):
        return None
    return Streamed(value, limit)


def with_length(head: Head, length: int) -> bytes:
    """The head of a request with another length of its body."""
    lines = head.raw.split(b"\r\n")
    return b"\r\n".join(
        b"content-length: %d" % length if line.lower().startswith(b"content-length:") else line
        for line in lines
    )
