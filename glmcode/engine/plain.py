"""Which requests of a sandboxed command reach the model: plain questions, and nothing else.

An engine's generation routes can do more than generate: fetch pictures from the network that the
command must not reach, load adapters, answer a hundred times at once. So a body is read, only what
glmcode itself would send is taken from it, and it is written anew: what this reader and the
engine's could read differently does not exist in what is passed on. Pure. Must not know who asks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

MOST_STOPS = 64
MOST_REPEATS = 1000
_SAMPLING = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "n"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "repetition_detection"),
        *("stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos"),
        *("max_tokens", "max_completion_tokens", "min_tokens"),
        *("detokenize", "skip_special_tokens", "structured_outputs"),
    }
)
_COMMON = frozenset({"model", "stream", "stream_options"})
_KEYS: Mapping[str, frozenset[str]] = {
    "/inference/v1/generate": _COMMON
    | {"token_ids", "request_id", "output_mode", "sampling_params"},
    "/v1/completions": _COMMON | _SAMPLING | {"prompt", "return_token_ids"},
    "/v1/chat/completions": _COMMON
    | _SAMPLING
    | {"messages", "tools", "tool_choice", "response_format", "chat_template_kwargs"},
}


class NotPlain(Exception):
    """A request that is not passed on; one sentence."""


def plain_body(path: str, body: bytes) -> bytes:
    """The body of a request for one of the generation routes, written anew. Raises NotPlain."""
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NotPlain("the body is not JSON") from error
    if not isinstance(value, dict):
        raise NotPlain("the body is not a JSON object")
    _only(value, _KEYS[path])
    sampling = value.get("sampling_params", {})
    if not isinstance(sampling, dict):
        raise NotPlain("sampling_params is not an object")
    _only(sampling, _SAMPLING)
    for holder in (value, sampling):
        if holder.get("n", 1) != 1:
            raise NotPlain("n: one answer at a time")
        _bounded(holder)
    for message in _list(value.get("messages", [])):
        _text_only(message)
    if "request_id" in value:  # the engine's own name for it: nobody may guess another's
        value["request_id"] = uuid.uuid4().hex
    return json.dumps(value, separators=(",", ":")).encode()


def _only(value: Mapping[str, Any], known: frozenset[str]) -> None:
    odd = sorted(value.keys() - known)
    if odd:
        names = ", ".join(name[:40] for name in odd[:5])
        raise NotPlain(f"not passed on from inside a sandbox: {names}")


def _bounded(value: Mapping[str, Any]) -> None:
    """Nothing that costs the engine much for each token, and no grammar: what compiles those can
    be kept busy for ever. A JSON schema is taken."""
    for name in ("stop", "stop_token_ids"):
        if isinstance(listed := value.get(name), list) and len(listed) > MOST_STOPS:
            raise NotPlain(f"{name}: at most {MOST_STOPS}")
    repeats = value.get("repetition_detection")
    sizes = repeats.values() if isinstance(repeats, dict) else ()
    if repeats is not None and not (sizes and all(_small(size) for size in sizes)):
        raise NotPlain(f"repetition_detection: numbers up to {MOST_REPEATS}")
    wanted = value.get("structured_outputs")
    if wanted is not None and not (isinstance(wanted, dict) and wanted.keys() <= {"json"}):
        raise NotPlain("structured_outputs: only json is passed on from inside a sandbox")


def _small(size: object) -> bool:
    return isinstance(size, int) and 0 <= size <= MOST_REPEATS


def _text_only(message: Any) -> None:
    """Text, for a picture is fetched by the engine, which the sandbox does not hold."""
    content = message.get("content") if isinstance(message, dict) else 0
    parts = content if isinstance(content, list) else []
    texts = all(isinstance(part, dict) and part.keys() <= {"type", "text"} for part in parts)
    kinds = all(isinstance(part, dict) and part.get("type") == "text" for part in parts)
    if not (content is None or isinstance(content, str | list)) or not (texts and kinds):
        raise NotPlain("messages: only text is passed on from inside a sandbox")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise NotPlain("messages is not a list")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
