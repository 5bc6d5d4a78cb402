"""How much a run may still have generated, over all its requests: `--max-output-tokens`.

Every token that the model generates counts: reasoning, text, calls, summaries of compactions,
answers to a schema, and what an interrupted answer had. A request never asks for more than is left;
an answer that is cut by that is kept as it stands, and its calls are not run. Where a server does
not count, bytes are counted instead. Must not know a protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from glmcode.core.faults import ModelError
from glmcode.core.messages import AssistantMessage
from glmcode.core.model import Emit, Keep
from glmcode.core.transcript import Transcript

if TYPE_CHECKING:
    from glmcode.engine.chat import ChatProtocol
    from glmcode.engine.tokens import TokensProtocol

BYTES_PER_TOKEN = 3


class Allowance:
    """Passes questions on as long as something is left. limit None: always."""

    def __init__(self, speaker: TokensProtocol | ChatProtocol) -> None:
        self.limit: int | None = None
        self.spent = 0
        self._speaker = speaker

    async def reply(self, transcript: Transcript, emit: Emit, keep: Keep) -> AssistantMessage:
        """core.model.Model. Raises ModelError of kind "allowance"."""
        self._next()
        message = await self._speaker.reply(transcript, emit, self._counting(keep))
        self._count(message)
        if message.stop == "length" and self._left() == 0:
            keep(message)
            raise self._used_up()
        return message

    async def ask(
        self,
        transcript: Transcript,
        question: str,
        max_tokens: int,
        emit: Emit,
        schema: Mapping[str, Any] | None,
    ) -> AssistantMessage:
        """As Client.ask. Raises ModelError of kind "allowance"."""
        self._next()
        message = await self._speaker.ask(transcript, question, max_tokens, emit, schema)
        self._count(message)
        if message.stop == "length" and self._left() == 0:
            raise self._used_up()
        return message

    def _next(self) -> None:
        left = self._left()
        if left == 0:
            raise self._used_up()
        self._speaker.most = left

    def _left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.spent)

    def _counting(self, keep: Keep) -> Callable[[AssistantMessage], None]:
        def kept(message: AssistantMessage) -> None:
            self._count(message)
            keep(message)

        return kept

    def _count(self, message: AssistantMessage) -> None:
        self.spent += message.usage.output_tokens or _estimated(message)

    def _used_up(self) -> ModelError:
        return ModelError(
            f"stopped: the {self.limit:,} tokens that the model may generate in this run "
            "(--max-output-tokens) are used up",
            kind="allowance",
        )


def _estimated(message: AssistantMessage) -> int:
    if message.token_ids is not None:
        return len(message.token_ids)
    calls = "".join(json.dumps(dict(call.arguments)) + call.name for call in message.calls)
    size = len((message.reasoning + message.text + calls).encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN)
