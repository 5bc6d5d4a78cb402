"""What went wrong with a request, judged once: is it worth another try, and what to say.

A Fault carries the sentence for the person (a ModelError) and how patient to be. Texts
quote the server, bounded and on one line, and never the key. Must not wait or send anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from glmcode.core.model import ModelError
from glmcode.engine.endpoint import Address, Endpoint
from glmcode.engine.http import TransportError
from glmcode.engine.sse import StreamError, mask

QUOTE = 300
TITLE_WITHIN = 4_000
UNAVAILABLE = frozenset({408, 425, 502, 503, 504, *range(520, 531)})
_CONTEXT = re.compile(
    r"context.?(length|window|size)|maximum context|max_model_len|prompt is too long"
    r"|too many (input )?tokens|context_length_exceeded|exceed_context",
    re.IGNORECASE,
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>|<h1[^>]*>(.*?)</h1>", re.IGNORECASE | re.DOTALL)


class Fault(Exception):
    """One failed try. tries: how often such a request may be sent in all.

    cut: the answer had begun. retry_after: seconds that the server asked for. status and
    body: of the answer that refused, for those who can do with less.
    """

    def __init__(
        self,
        error: ModelError,
        *,
        tries: int = 1,
        cut: bool = False,
        retry_after: float | None = None,
        status: int = 0,
        body: str = "",
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.tries = tries
        self.cut = cut
        self.retry_after = retry_after
        self.status = status
        self.body = body


class Judge:
    """Turns failures of one endpoint into Faults."""

    def __init__(self, endpoint: Endpoint, address: Address) -> None:
        self._endpoint = endpoint
        self._shown = address.shown
        self._ours = address.ours

    def transport(self, error: TransportError, *, cut: bool) -> Fault:
        """The network failed before or (cut) during an answer."""
        why = str(error).rstrip(".")
        if cut:
            text = f"{self._shown} broke off in the middle of an answer: {why}"
            return Fault(ModelError(text, kind="unavailable"), tries=3, cut=True)
        text = f"{self._shown} cannot be reached: {why}"
        return Fault(ModelError(f"{text}. {self._advice()}", kind="unavailable"), tries=5)

    def stream(self, error: StreamError) -> Fault:
        """The body of a 200 is not a model's answer."""
        text = f"{self._shown} did not answer as a model's server does: {error}. Check the address"
        return Fault(ModelError(text), tries=3 if error.again else 1, cut=True)

    def ended(self, why: str, *, tries: int = 3) -> Fault:
        """The stream ended, and the answer is not whole."""
        text = f"{self._shown} ended its answer before it was whole ({why})"
        return Fault(ModelError(text, kind="unavailable"), tries=tries, cut=True)

    def stalled(self, seconds: float) -> Fault:
        """No token came, and the engine's scheduler stood still all the while."""
        text = (
            f"{self._shown} stands still: no token and no progress of its scheduler for "
            f"{seconds:.0f} s. `glmcode engine logs` shows what it said last, `glmcode engine "
            "restart` starts it again"
        )
        return Fault(ModelError(text, kind="unavailable"), cut=True)

    def status(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        """An answer whose status is not 200."""
        text = body.decode("utf-8", "replace")
        value = _json(text)
        fault = self._by_status(status, headers, self._quote(value, text, headers), value)
        fault.status, fault.body = status, text[:20_000]
        return fault

    def error_object(self, value: Any) -> Fault:
        """An error inside a stream that began well (`data: {"error": ...}`)."""
        error = value.get("error") if isinstance(value, dict) and "error" in value else value
        code = _number(error.get("code")) if isinstance(error, dict) else None
        said = self._quote({"error": error}, "", {})
        if code is not None and (400 <= code < 500 or code in UNAVAILABLE):
            fault = self._by_status(code, {}, said, {"error": error})
            fault.cut = True
            fault.tries = min(fault.tries, 3)
            return fault
        kind: Literal["unavailable", "failed"] = "unavailable" if _died(said) else "failed"
        text = f"{self._shown} reported an error in the middle of its answer: {said}"
        return Fault(ModelError(text, kind=kind), tries=3, cut=True)

    def _by_status(self, status: int, headers: Mapping[str, str], said: str, value: Any) -> Fault:
        where, after = self._shown, _retry_after(headers)
        if 300 <= status < 400:
            target = self._safe(headers.get("location", "another address"))
            text = f"{where} redirects to {target}: give that address as --base-url"
            return Fault(ModelError(text))
        if status == 429:
            text = f"{where} accepts no more requests now (429): {said}. Try again later"
            return Fault(ModelError(text, kind="unavailable"), tries=5, retry_after=after)
        if status in UNAVAILABLE:
            return self._unavailable(status, said, value, after)
        if status >= 500:
            text = f"{where} failed ({status}): {said}"
            return Fault(ModelError(text), tries=3, retry_after=after)
        if status in (400, 413, 422) and _CONTEXT.search(said):
            text = f"the conversation does not fit the model's window: {where} says: {said}"
            return Fault(ModelError(text, kind="context_full"))
        return Fault(ModelError(f"{where} {self._refusal(status, said)}"))

    def _unavailable(self, status: int, said: str, value: Any, after: float | None) -> Fault:
        error = value.get("error") if isinstance(value, dict) else None
        name = error.get("type") if isinstance(error, dict) else None
        log = error.get("log") if isinstance(error, dict) else None
        detail = "\n".join(self._safe(str(line)) for line in log) if isinstance(log, list) else ""
        if name == "engine_failed":
            text = f"the engine failed: {said}"
            return Fault(ModelError(text, kind="unavailable", detail=detail))
        if name in ("queue_busy", "queue_timeout"):
            return Fault(ModelError(f"{said}. Try again later", kind="unavailable"))
        text = f"{self._shown} is not available ({status}): {said}"
        if name == "engine_starting":
            text = f"the engine is still starting: {said}. Try again in a while"
        error_text = ModelError(text, kind="unavailable", detail=detail)
        return Fault(error_text, tries=5, retry_after=after)

    def _refusal(self, status: int, said: str) -> str:
        name = self._endpoint.key_name
        match status:
            case 401 if not self._endpoint.api_key:
                return f"asks for a key (401): {said}. Give --api-key-env VAR"
            case 401:
                return f"refuses the key (401): {said}. Check {name or 'what --api-key-env names'}"
            case 403:
                return f"forbids this (403): {said}. Check the rights of the key and the model"
            case 404 | 405:
                check = "-m" if self._ours else "--base-url and -m"
                return f"does not know this address or model ({status}): {said}. Check {check}"
            case 413:
                return f"finds the request too large (413): {said}"
        return f"refused the request ({status}): {said}"

    def _advice(self) -> str:
        if self._ours:
            return "Try again, or look at: glmcode engine status"
        return "Check the address (--base-url) and that the server runs"

    def _quote(self, value: Any, text: str, headers: Mapping[str, str]) -> str:
        said = _message(value)
        if said is None and text.lstrip().startswith("<"):
            match = _TITLE.search(text[:TITLE_WITHIN])
            title = (match.group(1) or match.group(2)) if match else ""
            said = f"a web page, {title.strip()!r}" if title else "a web page"
        return self._safe(said if said is not None else text) or "no reason given"

    def _safe(self, text: str) -> str:
        key = self._endpoint.api_key
        if key:
            text = text.replace(key, "***")
        text = re.sub(r"(?i)bearer\s+[\w.~+/=-]{8,}", "Bearer ***", text)
        text = " ".join(mask(text).split())
        text = text.rstrip(".") if len(text) <= QUOTE else text[:QUOTE] + "…"
        return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _message(value: Any) -> str | None:
    """The words of an error body, in the forms that servers use."""
    match value:
        case {"error": {"message": str(said)}} | {"error": str(said)} | {"message": str(said)}:
            return said
        case {"detail": str(said)} | {"error": {"msg": str(said)}}:
            return said
        case {"detail": [{"msg": str(said), "loc": [*loc]}, *_]}:
            return f"{'.'.join(str(part) for part in loc)}: {said}"
        case {"error": dict() | list() as inner} if inner:
            return json.dumps(inner, ensure_ascii=False)
    return None


def _number(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch("[0-9]{3}", value):
        return int(value)
    return value if isinstance(value, int) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return _seconds_until(text)


def _seconds_until(date: str) -> float | None:
    import time
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, LookupError, OverflowError):
        return None


def _died(said: str) -> bool:
    return re.search(r"engine.?(core|dead|died|process)", said, re.IGNORECASE) is not None
