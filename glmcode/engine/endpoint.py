"""Where the model answers: an engine's socket or a server's address, and how to ask it.

Pure values. Must not open anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote, urlsplit

from glmcode.base.thinking import Thinking
from glmcode.core.faults import ModelError

ProtocolName: TypeAlias = Literal["tokens", "chat"]
STEP_CAP = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One way to reach a model. Exactly one of socket and base_url is given.

    socket: of an engine of ours. base_url: http(s) address, with or without /v1, or unix:/PATH
    of a socket that speaks HTTP.
    model: the served name; None asks the server. protocol: None lets `connect` choose.
    tokenizer: a tokenizer.json or its folder, for `tokens`. window: context tokens, None
    asks the server. sampling: temperature, top_p, top_k, min_p, repetition_penalty, ...
    step_cap: the most tokens of one reply. headers ride on every request. lane: those
    that only a supervisor of ours gets (introduce.py), where one proves to answer; insists: the
    first request must not go without them. key_name: the
    variable that holds the key, for messages. reasoning: "template" does not send that of
    earlier turns again. stall_s: how long an engine of ours may stand still before that is said, 0:
    for ever; gives_up: it then ends the answer (nobody is there who could). thinking: what
    answers may think at first. speeds: the file in
    which learned speeds are kept, None: they are not; figures: what `engine bench` wrote.
    """

    socket: Path | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    key_name: str = ""
    model: str | None = None
    protocol: ProtocolName | None = None
    tokenizer: Path | None = None
    window: int | None = None
    sampling: Mapping[str, float | int] = field(default_factory=dict)
    step_cap: int = STEP_CAP
    reasoning: Literal["keep", "template"] = "keep"
    headers: Mapping[str, str] = field(default_factory=dict)
    lane: Mapping[str, str] = field(default_factory=dict)
    insists: bool = False
    stall_s: float = 0.0
    gives_up: bool = True
    thinking: Thinking = None
    speeds: Path | None = None
    figures: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An Endpoint's place, taken apart. root and api are path prefixes ("" and "/v1").

    ours: it is an engine of this glmcode, whose tokenizer is known and which it can start.
    """

    socket: Path | None
    host: str
    port: int
    tls: bool
    root: str
    api: str
    shown: str
    ours: bool = False

    @property
    def authority(self) -> str:
        """The Host header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port as an URL."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


_UNIX = "unix:"
_NO_SCHEME = re.compile(r"[\w.-]+:\d{1,5}(/\S*)?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?(/\S*)?")
_ROUTES = re.compile(r"/(chat/completions|completions|models|inference/v1/generate)/*$")
_BEHIND_SOCKET = re.compile(r"(\.sock(?:et)?)/v\d[^/]*(?:/.*)?$")
"""Of `unix:/run/x.sock/v1`: what people add because addresses of servers have it."""

_VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)")
_LAST_VERSION = re.compile(r"/v\d+[a-z0-9]*$")


def address_of(endpoint: Endpoint) -> Address:
    """Take an endpoint's address apart. Raises ModelError with what is wrong in it.

    A path without a version gets /v1 (`http://host`, `https://host/openai`); one that holds
    a version is taken as it stands (`https://host/api/paas/v4`).
    """
    if endpoint.socket is not None:
        return _at_socket(endpoint.socket, f"the engine at {endpoint.socket}", ours=True)
    text = (endpoint.base_url or "").strip()
    if text.startswith(_UNIX):
        return _at_socket(_socket(text), text, ours=False)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ModelError(f"the address {text[:200]!r} cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        meant = f" (did you mean http://{text[:200]}?)" if _NO_SCHEME.fullmatch(text) else ""
        raise ModelError(
            f"the address {text[:200]!r} is not a server's{meant}: give http://HOST:PORT/v1, "
            "https://... or unix:/PATH/OF/SOCKET"
        )
    if port == 0:
        raise ModelError(f"the address {text[:200]!r} names the port 0, which nobody can serve")
    if parts.username is not None or parts.query or parts.fragment:
        raise ModelError(
            "the address must hold no user, query or fragment; a key comes from --api-key-env"
        )
    path = quote(_ROUTES.sub("", parts.path.rstrip("/")), safe="/%:@!$&'()*+,;=-._~")
    api = path if _VERSION.search(path) else f"{path}/v1"
    tls = parts.scheme == "https"
    place = Address(
        socket=None,
        host=_host(host, text),
        port=port or (443 if tls else 80),
        tls=tls,
        root=_LAST_VERSION.sub("", api),
        api=api,
        shown="",
    )
    return replace(place, shown=f"{place.origin}{api}")


def _host(host: str, text: str) -> str:
    """As it goes to the resolver and into headers: letters of all languages become ASCII.

    Raises ModelError.
    """
    try:
        plain = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ModelError(f"the address {text[:200]!r} has no name of a host: {error}") from error
    labels = plain.removesuffix(".").split(".")
    if len(plain) > 255 or re.search(r"[^\w.:%~-]", plain) or not all(labels):
        raise ModelError(f"the address {text[:200]!r} has no name of a host")
    return plain


def _at_socket(socket: Path, shown: str, *, ours: bool) -> Address:
    return Address(
        socket=socket,
        host="localhost",
        port=80,
        tls=False,
        root="",
        api="/v1",
        shown=shown,
        ours=ours,
    )


def _socket(text: str) -> Path:
    """`unix:/run/x.sock` and `unix:///run/x.sock` are the same. Raises ModelError."""
    path = _BEHIND_SOCKET.sub(r"\1", text.removeprefix(_UNIX))
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if not path.strip("/").strip() or path[0] not in "/~" or "\0" in path:
        raise ModelError(f"the address {text[:200]!r} must hold a whole path: unix:/PATH/OF/SOCKET")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ModelError(f"the address {text[:200]!r}: {error}") from error
