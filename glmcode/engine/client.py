"""The model client: one function that answers for a transcript, over `tokens` or `chat`.

`connect` decides the protocol, and asks a server no more than it must: with `-m` and
`--protocol chat` the first request is the first completion. Everything that differs between
the protocols lies behind them (tokens.py, chat.py). Must not print; what a person should
know goes out as events or as ModelError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.base.thinking import Thinking
from glmcode.core.events import Delta, DeltasDiscarded, Event, Notice
from glmcode.core.messages import AssistantMessage, Message
from glmcode.core.model import Emit, ModelError
from glmcode.core.tool import ToolSpec
from glmcode.core.transcript import Preamble, Transcript
from glmcode.engine.allowance import Allowance
from glmcode.engine.endpoint import Address, Endpoint, ProtocolName, address_of
from glmcode.engine.exchange import Exchange
from glmcode.engine.faults import Fault, Judge
from glmcode.engine.http import Transport
from glmcode.engine.introduce import Introduction
from glmcode.engine.pace import Pace
from glmcode.engine.same_ids import SameIds, Unfit
from glmcode.engine.served import (
    cached_tokenizer,
    parsed,
    served_models,
    served_window,
)
from glmcode.engine.speeds import known_pace
from glmcode.engine.turns import TurnEnds
from glmcode.engine.watch import Rules

if TYPE_CHECKING:
    from glmcode.engine.chat import ChatProtocol
    from glmcode.engine.tokens import TokensProtocol
    from glmcode.engine.warming import Warmed
    from glmcode.glm.tokenizer import GlmTokenizer

__all__ = ["Client", "Endpoint", "cached_tokenizer", "connect"]

BYTES_PER_TOKEN = 3
"""Of code and prose, on the safe side, where no tokenizer is at hand."""

_NO_LIST = (400, 404, 405, 501)


class Client:
    """core.model.Model on one endpoint.

    protocol and protocol_reason: which of the two is spoken, and why. model: the served
    name. window: tokens of the context window; 0 when the server does not say. step_cap:
    the most tokens of one answer. allowance: of all answers.
    """

    def __init__(
        self,
        spoken: TokensProtocol | ChatProtocol,
        protocol: ProtocolName,
        reason: str,
        window: int,
        transport: Transport,
    ) -> None:
        self.protocol: ProtocolName = protocol
        self.protocol_reason = reason
        self.model = spoken.model
        self.window = window
        self.step_cap = spoken.endpoint.step_cap
        self._spoken = spoken
        self.allowance = Allowance(spoken)
        self._transport = transport
        self._turns = TurnEnds(spoken.exchange, spoken.address, spoken.endpoint)

    @property
    def supervisor(self) -> Path | None:
        """The socket of the supervisor that answers; None for any other server."""
        return self._spoken.endpoint.socket

    @property
    def tokenizer_id(self) -> str:
        """What tells the tokenizer of the ids that are sent: sha256 hex; "" in `chat`."""
        return getattr(getattr(self._spoken, "tokenizer", None), "fingerprint", "")

    def text_tokens(self, text: str) -> int:
        """Tokens of a text: exact in `tokens`, else one for every three bytes, rounded up."""
        tokenizer: GlmTokenizer | None = getattr(self._spoken, "tokenizer", None)
        if tokenizer is not None:
            return len(tokenizer.encode_text(text))
        return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)

    @property
    def thinking(self) -> Thinking:
        """What the next answers may think."""
        return self._spoken.thinking

    def think(self, thinking: Thinking) -> str:
        """What answers may think from now on; why that can't be, or what it means, or ""."""
        return self._spoken.think(thinking)

    async def __call__(
        self, transcript: Transcript, emit: Emit, keep: Callable[[AssistantMessage], None]
    ) -> AssistantMessage:
        """See core.model.Model."""
        return await self.allowance.reply(transcript, emit, keep)

    def prompt_tokens(self, transcript: Transcript) -> int:
        """Tokens of the next prompt: exact in `tokens`, else the last usage and an estimate."""
        return self._spoken.prompt_tokens(transcript)

    async def ask(
        self,
        transcript: Transcript,
        question: str,
        max_tokens: int,
        emit: Emit,
        schema: Mapping[str, Any] | None = None,
    ) -> AssistantMessage:
        """The answer to a question after the transcript, which stays as it is.

        schema: a JSON Schema that the answer's text should be an instance of; a server that
        can't see to that is not told (the text must be checked all the same). What streams is
        not shown, its calls mean nothing, and when it breaks off nothing is kept. Raises
        ModelError, CancelledError.
        """

        def quiet(event: Event) -> None:
            if not isinstance(event, Delta | DeltasDiscarded):
                emit(event)

        return await self.allowance.ask(transcript, question, max_tokens, quiet, schema)

    @property
    def warms(self) -> bool:
        """Whether `warm` does anything: an engine of ours, in `tokens`."""
        return getattr(self._spoken, "warms", False)

    async def warm(self, transcript: Transcript, emit: Emit) -> Warmed:
        """Have the engine compute what the next prompt begins with, if nobody needs it.

        "busy": somebody does, another time may be better; "failed": it cannot be had. Tells
        Warming and RequestFinished. Cancelling it frees the engine at once.
        """
        warm = getattr(self._spoken, "warm", None)
        return await warm(transcript, emit) if warm is not None else "failed"

    def leave_free(self, tokens: int) -> None:
        """Answers leave this many tokens of the window free, where they can."""
        self._spoken.reserve = tokens

    def count(self, transcript: Transcript, message: Message) -> int:
        """Tokens that a message would take there: exact in `tokens`, else an estimate."""
        return self._spoken.count(transcript, message)

    def head_tokens(self, transcript: Transcript) -> int:
        """Tokens of its preamble."""
        return self._spoken.head_tokens(transcript)

    def preamble_tokens(self, preamble: Preamble) -> int:
        """Tokens that another preamble would take."""
        return self._spoken.preamble_tokens(preamble)

    def reasoning_tokens(self, message: AssistantMessage) -> int:
        """How many of a reply's tokens are its reasoning."""
        return self._spoken.reasoning_tokens(message)

    def head_ids(self, transcript: Transcript) -> tuple[int, ...]:
        """The ids of its preamble; none in `chat`."""
        return self._spoken.head_ids(transcript)

    async def models(self) -> Sequence[str]:
        """The names of the models that the server lists. Raises ModelError."""
        exchange, address = self._spoken.exchange, self._spoken.address
        try:
            body = await exchange.get(f"{address.api}/models", lambda event: None)
            return [str(entry["id"]) for entry in served_models(parsed(body))]
        except Fault as fault:
            raise fault.error from fault
        except ValueError as error:
            raise ModelError(f"{address.shown} does not list its models") from error

    def prefill_seconds(self, tokens: int) -> float | None:
        """What a prompt of which nothing is cached should take there; None: it is not known."""
        return self._spoken.exchange.pace.seconds(0, tokens)

    def turn_over(self) -> None:
        """Nothing is asked now until a person says something; others need not wait for it."""
        self._turns.tell()

    async def close(self) -> None:
        """Close all connections."""
        await self._turns.close()
        await self._transport.close()


async def connect(endpoint: Endpoint, specs: Sequence[ToolSpec], emit: Emit) -> Client:
    """Reach a server, learn what is not known, choose the protocol. Raises ModelError."""
    key = (endpoint.api_key or "").strip()
    if not (key.isascii() and all(c.isprintable() and c != " " for c in key)):
        raise ModelError("the API key holds characters that no key has: check its variable")
    endpoint = replace(endpoint, api_key=key or None)
    client = await _Opening(endpoint, specs, emit).open()
    if endpoint.thinking is not None and (told := client.think(endpoint.thinking)):
        emit(Notice(text=f"thinking: {told}"))
    return client


class _Opening:
    def __init__(self, endpoint: Endpoint, specs: Sequence[ToolSpec], emit: Emit) -> None:
        self._endpoint = endpoint
        self._specs = specs
        self._emit = emit
        self._address: Address = address_of(endpoint)
        self._judge = Judge(endpoint, self._address)
        self._introduction = Introduction(endpoint.lane, known=self._address.ours)

    async def open(self) -> Client:
        endpoint = self._endpoint
        if endpoint.protocol == "chat":
            return await self._chat("it was asked for")
        if endpoint.tokenizer is None:
            return await self._guess(asked=endpoint.protocol == "tokens")
        return await self._tokens(endpoint.tokenizer, {})

    async def _guess(self, *, asked: bool) -> Client:
        """No tokenizer named: perhaps one lies in a cache. asked: for `tokens`, nothing else."""
        transport = self._chat_transport()
        entry: Mapping[str, Any] = {}
        try:
            if self._endpoint.model is None or asked:
                needed = self._endpoint.model is None
                entry = await self._entry(self._exchange(transport), needed=needed)
            elif self._endpoint.window is None:
                entry = await self._offered(self._exchange(transport))
            name = entry.get("root") or self._endpoint.model or entry.get("id")
            path = cached_tokenizer(str(name))
            if path is None and asked:
                raise ModelError(
                    "the tokens protocol needs the model's tokenizer.json on this machine: name it "
                    "(engine.tokenizer, or a profile), or use --protocol chat"
                )
            if path is None:
                reason = "no tokenizer of the served model is at hand"
                return await self._chat(reason, entry, transport)
        except BaseException:
            await transport.close()
            raise
        await transport.close()
        return await self._tokens(path, entry)

    async def _chat(
        self,
        reason: str,
        entry: Mapping[str, Any] | None = None,
        transport: Transport | None = None,
    ) -> Client:
        from glmcode.engine.chat import ChatProtocol

        endpoint = self._endpoint
        self._introduction.no_ids()
        transport = transport or self._chat_transport()
        exchange = self._exchange(transport)
        try:
            if endpoint.model is None and not entry:
                entry = await self._entry(exchange)
            elif endpoint.insists:
                await exchange.meet(f"{self._address.api}/models")
            model = endpoint.model or str((entry or {})["id"])
        except BaseException:
            await transport.close()
            raise
        exchange.pace = self._pace(model)
        spoken = ChatProtocol(exchange, endpoint, self._address, self._judge, model)
        window = endpoint.window or served_window(entry or {})
        return Client(spoken, "chat", reason, window, transport)

    async def _tokens(self, path: Path, entry: Mapping[str, Any]) -> Client:
        from glmcode.engine.tokens import TokensProtocol
        from glmcode.glm.tokenizer import GlmTokenizer, TokenizerError

        endpoint, asked = self._endpoint, self._endpoint.protocol == "tokens"
        loading = asyncio.ensure_future(asyncio.to_thread(GlmTokenizer.load, path))
        transport = self._plain_transport()
        exchange = self._exchange(transport)
        try:
            if not entry and (endpoint.model is None or endpoint.window is None):
                entry = await self._entry(exchange, needed=endpoint.model is None)
            model = endpoint.model or str(entry["id"])
            try:
                tokenizer = await loading
            except TokenizerError as error:
                raise Unfit(str(error)) from error
            same = SameIds(exchange, self._address, self._emit)
            probed = await same.probe(tokenizer, model, asked=asked)
        except Unfit as unfit:
            await transport.close()
            if asked:
                raise ModelError(f"{unfit}; use --protocol chat") from unfit
            return await self._chat(str(unfit), entry)
        except BaseException:
            loading.cancel()
            await transport.close()
            raise
        window = endpoint.window or served_window(entry) or probed.window
        exchange.pace = self._pace(model)
        schemas = {spec.name: spec.parameters for spec in self._specs}
        spoken = TokensProtocol(
            exchange, endpoint, self._address, self._judge, model, window, tokenizer, schemas
        )
        return Client(spoken, "tokens", probed.reason, window, transport)

    def _exchange(self, transport: Transport) -> Exchange:
        return Exchange(transport, self._judge, self._rules(), introduction=self._introduction)

    def _rules(self) -> Rules | None:
        if not self._address.ours:
            return None
        endpoint = self._endpoint
        path = f"{self._address.root}/metrics"
        return Rules(path=path, stall_s=endpoint.stall_s, gives_up=endpoint.gives_up)

    def _pace(self, model: str) -> Pace:
        endpoint, address = self._endpoint, self._address
        name = f"{address.socket or address.shown} {model}"
        return known_pace(endpoint.speeds, name, endpoint.figures)

    def _chat_transport(self) -> Transport:
        if self._address.socket is not None:
            return self._plain_transport()
        from glmcode.engine.sdk import SdkTransport

        return SdkTransport(self._address, self._endpoint.api_key, self._endpoint.headers)

    def _plain_transport(self) -> Transport:
        from glmcode.engine.http import HttpTransport

        headers = dict(self._endpoint.headers)
        if self._endpoint.api_key:
            headers["authorization"] = f"Bearer {self._endpoint.api_key}"
        return HttpTransport(self._address, headers)

    async def _offered(self, exchange: Exchange) -> Mapping[str, Any]:
        """The entry of the model that was named, for its window; {} where the server won't say."""
        try:
            return await self._entry(exchange, needed=False)
        except ModelError as error:
            if error.kind != "failed":
                raise
            return {}

    async def _entry(self, exchange: Exchange, *, needed: bool = True) -> Mapping[str, Any]:
        """The served model's entry in /v1/models; {} where there is none and none is needed."""
        where = self._address.shown
        no_list = f"{where} does not list its models (/v1/models): name the model with -m"
        try:
            body = await exchange.get(f"{self._address.api}/models", self._emit)
            entries = served_models(parsed(body))
        except Fault as fault:
            if fault.status not in _NO_LIST:
                raise fault.error from fault
            if needed:
                raise ModelError(no_list) from fault
            return {}
        except ValueError as error:
            if needed:
                raise ModelError(no_list) from error
            return {}
        wanted = self._endpoint.model
        if wanted is not None:
            return next((e for e in entries if e["id"] == wanted), {})
        if len(entries) > 1:
            names = ", ".join(e["id"] for e in entries[:10])
            raise ModelError(f"{where} serves several models: name one with -m ({names})")
        if not entries:
            raise ModelError(no_list)
        return entries[0]
