"""Whether a server encodes as the tokenizer on this machine does, asked with one text.

Must not choose a protocol: it says why `tokens` can't be spoken, or that it can.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glmcode.core.model import Emit
from glmcode.engine.endpoint import Address
from glmcode.engine.exchange import Exchange
from glmcode.engine.faults import Fault
from glmcode.engine.served import parsed, token_count

if TYPE_CHECKING:
    from glmcode.glm.tokenizer import GlmTokenizer

PROBE = (
    "<|user|>\ndef naïve(x):\n\treturn {'π': [1, 22, 333]}  # 😀\n\n<think></think>\n<tool_call>"
)
"""Text with and without tags; a server with the same tokenizer gives the same ids for it."""


class Unfit(Exception):
    """`tokens` cannot be spoken here; the text says why."""


@dataclass(frozen=True, slots=True)
class Probed:
    """It can; window: as the server told, 0: it did not."""

    reason: str
    window: int = 0


@dataclass(frozen=True, slots=True)
class SameIds:
    """Asks one server."""

    _exchange: Exchange
    _address: Address
    _emit: Emit

    async def probe(self, tokenizer: GlmTokenizer, model: str, *, asked: bool) -> Probed:
        """Whether the server encodes as we do. Raises Unfit when it does not."""
        if self._address.ours and asked:
            return Probed("the engine is our own and runs with this tokenizer")
        from glmcode.glm.pieces import text_pieces

        request = {"model": model, "prompt": PROBE, "add_special_tokens": False}
        body = json.dumps(request).encode()
        try:
            answer = parsed(
                await self._exchange.post(f"{self._address.root}/tokenize", body, self._emit)
            )
            theirs, window = answer["tokens"], answer.get("max_model_len")
        except Fault as fault:
            if fault.error.kind == "unavailable" or fault.status == 401:
                raise fault.error from fault
            theirs, window = None, None
        except (ValueError, TypeError, LookupError):
            theirs, window = None, None
        if theirs is None and asked:
            return Probed("it was asked for (the server has no /tokenize to check the ids with)")
        if theirs is None:
            raise Unfit("the server has no /tokenize to check token ids with")
        if theirs != tokenizer.encode(text_pieces(PROBE, tokenizer.control_names)):
            raise Unfit("the server's tokenizer gives other ids than the one on this machine")
        return Probed("the server's tokenizer gives the same ids", token_count(window))
