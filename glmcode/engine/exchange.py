"""One reply from a server, whatever its protocol: ask, read the stream, retry, keep.

The protocols bring a Dialect (how to ask) and a Sink (what the objects of the stream mean);
here is what they share: patience with failures, a stream that broke off asked for again (no
call of it has run), silence shown as Waiting, what was generated handed on when the turn is
cancelled or the server is given up. There is no time limit on the first token or between
tokens. Must not know token ids or chat messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from glmcode.core.events import DeltasDiscarded
from glmcode.core.messages import AssistantMessage
from glmcode.core.model import Emit
from glmcode.engine.clock import Clock
from glmcode.engine.faults import Fault, Judge
from glmcode.engine.gather import Gather
from glmcode.engine.http import (
    CONNECT_S,
    Body,
    Response,
    Told,
    Transport,
    TransportError,
    read_refusal,
)
from glmcode.engine.introduce import Introduction
from glmcode.engine.lane import TOKENS
from glmcode.engine.mark import HEADER, EngineMark, read_mark
from glmcode.engine.pace import Pace
from glmcode.engine.retry import Patience
from glmcode.engine.sse import DONE, ObjectStream, StreamError
from glmcode.engine.watch import Rules, Watch

LINGER_S = 2.0
LOOK_S = 5.0
SMALL_S = 30.0
SMALL_BODY = 4 * 1024 * 1024


class Sink(Protocol):
    """Makes a message out of the objects of one stream.

    complete: the finish reason has come. enough: the stream may be broken off (the answer
    repeats itself). streamed: something was shown. broken_off: the answer stopped for somebody
    more urgent, and is to be gone on with.
    """

    complete: bool
    enough: bool
    streamed: bool
    broken_off: bool

    def feed(self, value: dict[str, Any], clock: Clock) -> bool:
        """Take an object; True when it brought something of the answer. Raises Fault."""
        ...

    def flush(self) -> None:
        """Show what has come since: called after each read."""
        ...

    def partial(self) -> AssistantMessage | None:
        """What can be kept of an answer that broke off; None when there is nothing."""
        ...


S = TypeVar("S", bound=Sink)
S_co = TypeVar("S_co", bound=Sink, covariant=True)


class Dialect(Protocol[S_co]):
    """How to ask for one reply. Asked anew for every try.

    prompt_tokens, and known_tokens: those at its head that the engine should have computed before.
    """

    prompt_tokens: int
    known_tokens: int

    def request(self) -> tuple[str, Body]:
        """Path and body. Raises ModelError."""
        ...

    def sink(self) -> S_co:
        """A fresh sink for the next try."""
        ...

    def adapt(self, fault: Fault) -> bool:
        """Whether the request was refused for something it can do without, now left out."""
        ...


class Exchange:
    """Replies of one server. tries: requests for one; mark: which engine took the last of them;
    pace: what prompts take there."""

    def __init__(
        self,
        transport: Transport,
        judge: Judge,
        rules: Rules | None = None,
        pace: Pace | None = None,
        introduction: Introduction | None = None,
    ) -> None:
        """rules: how an engine of ours is looked at while nothing comes; None: a foreign server.
        introduction: what is said to a supervisor; None: nothing."""
        self.tries = 0
        self.pace = pace or Pace()
        self.mark = EngineMark()
        self._transport = transport
        self._judge = judge
        self._rules = rules
        self._introduction = introduction or Introduction({}, known=False)

    async def reply(
        self,
        dialect: Dialect[S],
        emit: Emit,
        keep: Callable[[AssistantMessage], None],
        *,
        goes_on: bool = False,
    ) -> tuple[S, Clock]:
        """A sink that has seen a whole answer. Raises ModelError, CancelledError.

        Or one that was broken off for somebody more urgent; goes_on: that was so before. Where no
        try succeeds, what the last one that got anything had is kept.
        """
        patience = Patience(emit)
        held: AssistantMessage | None = None
        while True:
            sink = dialect.sink()
            path, body = dialect.request()
            try:
                with Clock(emit, dialect.prompt_tokens, goes_on=goes_on) as clock:
                    clock.guess = partial(
                        self.pace.share, dialect.known_tokens, dialect.prompt_tokens
                    )
                    tokens = {TOKENS: str(dialect.prompt_tokens)}
                    once = self._once(path, body, sink, clock, patience.connect_s, tokens)
                    await self._watched(once, clock, dialect.prompt_tokens, emit)
                return sink, clock
            except asyncio.CancelledError:
                _keep(sink.partial() or held, keep)
                raise
            except Fault as fault:
                if dialect.adapt(fault):
                    continue
                held = sink.partial() or held
                wait = patience.wait_for(fault, clock.began)
                if wait is None:
                    _keep(held, keep)
                    raise fault.error from fault
                if sink.streamed:
                    emit(DeltasDiscarded(why=str(fault)))
                try:
                    await patience.wait(fault, wait)
                except asyncio.CancelledError:
                    _keep(held, keep)
                    raise

    async def _watched(
        self, work: Coroutine[Any, Any, None], clock: Clock, prompt_tokens: int, emit: Emit
    ) -> None:
        """The work, with an eye on the engine; a Fault when that stands still for too long."""
        if self._rules is None:
            await work
            return
        try:
            async with asyncio.timeout(None) as limit:
                watch = Watch(self._rules, clock, prompt_tokens, self._look, emit, limit)
                watching = asyncio.ensure_future(watch.run())
                try:
                    await work
                finally:
                    watching.cancel()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._judge.stalled(self._rules.stall_s) from error

    async def _look(self, path: str) -> str:
        """The text of a GET in a moment; "" where it does not come."""
        try:
            async with asyncio.timeout(LOOK_S):
                body = await self.once("GET", path)
        except (Fault, TimeoutError):
            return ""
        return body.decode("utf-8", "replace")

    async def meet(self, path: str) -> None:
        """One small GET, whatever comes of it, so that it is known who answers."""
        if self._introduction.pending:
            await self._look(path)

    async def single(
        self, path: str, body: Body, sink: Sink, clock: Clock, extra: Mapping[str, str]
    ) -> None:
        """One try and no more: nothing is shown, nothing waited for. Raises Fault."""
        await self._once(path, body, sink, clock, CONNECT_S, extra)

    @property
    def introduced(self) -> bool:
        """Whether a supervisor of ours is known to answer, and who asks is said to it."""
        return self._introduction.known

    async def once(self, method: str, path: str) -> bytes:
        """The body of a 200 for a small request, in one try. Raises Fault, TimeoutError."""
        return await self._body(await self._open(method, path, (), LOOK_S))

    async def get(self, path: str, emit: Emit) -> bytes:
        """The body of a 200 for a GET, with patience. Raises Fault when it cannot be had."""
        return await self._small("GET", path, (), emit)

    async def post(self, path: str, body: bytes, emit: Emit) -> bytes:
        """The body of a 200 for a small POST, with patience. Raises Fault."""
        return await self._small("POST", path, (body,), emit)

    async def _small(self, method: str, path: str, body: Body, emit: Emit) -> bytes:
        patience = Patience(emit)
        while True:
            began = time.monotonic()
            try:
                return await self._within(method, path, body, patience.connect_s)
            except Fault as fault:
                wait = patience.wait_for(fault, began)
                if wait is None:
                    raise
                await patience.wait(fault, wait)

    async def _within(self, method: str, path: str, body: Body, connect_s: float) -> bytes:
        """One try; what is no generation must be answered in SMALL_S."""
        try:
            async with asyncio.timeout(SMALL_S):
                return await self._body(await self._open(method, path, body, connect_s))
        except TimeoutError as error:
            late = TransportError(f"no answer to {path} within {SMALL_S:.0f} s")
            raise self._judge.transport(late, cut=False) from error

    async def _body(self, response: Response) -> bytes:
        try:
            data = await _read_small(response)
        except TransportError as error:
            response.abort()
            raise self._judge.transport(error, cut=True) from error
        except BaseException:
            response.abort()
            raise
        response.release()
        return data

    async def _open(
        self,
        method: str,
        path: str,
        body: Body,
        connect_s: float,
        extra: Mapping[str, str] | None = None,
        told: Told | None = None,
    ) -> Response:
        try:
            said = self._introduction.says(extra or {})
            response = await self._transport.open(
                method, path, body, connect_s=connect_s, extra=said, told=told
            )
        except TransportError as error:
            raise self._judge.transport(error, cut=False) from error
        self._introduction.met(response.headers)
        if 200 <= response.status < 300:
            return response
        try:
            refusal = await read_refusal(response.read)
        except BaseException:
            response.abort()
            raise
        response.release()
        raise self._judge.status(response.status, response.headers, refusal)

    async def _once(
        self,
        path: str,
        body: Body,
        sink: Sink,
        clock: Clock,
        connect_s: float,
        extra: Mapping[str, str],
    ) -> None:
        self.tries += 1
        response = await self._open("POST", path, body, connect_s, extra, clock.queued)
        self.mark = read_mark(response.headers.get(HEADER))
        clock.answered(self.mark)
        ended = False
        try:
            ended = await self._pump(response, sink, clock)
        finally:
            if ended:
                response.release()
            else:
                response.abort()

    async def _pump(self, response: Response, sink: Sink, clock: Clock) -> bool:
        """Feed the sink until it has a whole answer; whether the stream came to its end."""
        objects = ObjectStream()
        gather = Gather()
        while True:
            gather.before()
            try:
                chunk = await _read(response, LINGER_S if sink.complete else None)
                values = objects.feed(chunk) if chunk else objects.close()
            except (TransportError, StreamError, TimeoutError) as error:
                if sink.complete:
                    return False
                if isinstance(error, StreamError) and error.cut:
                    raise self._judge.ended("the stream broke off") from error
                if isinstance(error, StreamError):
                    raise self._judge.stream(error) from error
                raise self._judge.transport(TransportError(str(error)), cut=True) from error
            try:
                for value in values:
                    if value is DONE:
                        break
                    self._take(value, sink, clock)
                    if sink.enough:
                        return False
            finally:
                sink.flush()
            if not chunk or (values and values[-1] is DONE):
                if not sink.complete:
                    raise self._judge.ended(_why(objects.head, chunk))
                return True
            await gather.after()

    def _take(self, value: Any, sink: Sink, clock: Clock) -> None:
        if not isinstance(value, dict):
            raise self._judge.stream(StreamError(f"it sent {str(value)[:80]!r}", again=True))
        if _is_broken_off(value):
            sink.broken_off = not sink.complete  # else only its last words are missing
            sink.complete = True
        elif _is_error(value):
            if not sink.complete:
                raise self._judge.error_object(value)
        elif sink.feed(value, clock):
            clock.touch()


def _keep(message: AssistantMessage | None, keep: Callable[[AssistantMessage], None]) -> None:
    if message is not None:
        keep(message)


def _is_broken_off(value: dict[str, Any]) -> bool:
    ours = value.get("glmcode")
    return isinstance(ours, dict) and ours.get("broken_off") is True


def _is_error(value: dict[str, Any]) -> bool:
    if value.get("error") or value.get("object") == "error":
        return True
    return not value.keys() & {"choices", "usage"} and bool(value.keys() & {"detail", "message"})


def _why(head: bytes, chunk: bytes) -> str:
    if not head:
        return "it sent nothing"
    if chunk:
        return "it gave no finish reason"
    known = head.startswith((b"data", b"event", b"id", b"retry", b":", b"{"))
    return "the stream broke off" if known else f"it sent {head[:120].decode('utf-8', 'replace')!r}"


async def _read(response: Response, limit_s: float | None) -> bytes:
    if limit_s is None:
        return await response.read()
    async with asyncio.timeout(limit_s):
        return await response.read()


async def _read_small(response: Response) -> bytes:
    data = b""
    while len(data) < SMALL_BODY and (piece := await response.read()):
        data += piece
    return data
