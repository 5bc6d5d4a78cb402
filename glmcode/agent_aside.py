"""Questions beside the conversation: on a fork of it, which leaves it as it was.

The engine has the conversation's beginning cached, so that only the question is computed. Nothing
of it is recorded as a message. Must not show anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glmcode.agent_structured import Structured, ask_structured
from glmcode.core.model import Emit

if TYPE_CHECKING:
    from glmcode.agent import Agent

ASIDE = """\
[Answer this in words, from what you know by now. You can use no tools for it, and neither the \
question nor your answer will be part of the conversation.]

{question}"""


async def ask_bound(agent: Agent, schema: Mapping[str, Any], observe: Emit) -> Structured:
    """One answer bound to a JSON Schema. Raises ModelError, CancelledError."""
    told = await ask_structured(
        agent.client, agent.transcript, schema, observe, max_tokens=_most(agent)
    )
    agent.usage = agent.usage.plus(told.usage)
    return told


async def ask_aside(agent: Agent, question: str, emit: Emit) -> str:
    """One answer in words, between turns. Raises ModelError, CancelledError."""
    await agent.bring_back(beside=True)
    try:
        text = ASIDE.replace("{question}", question)
        reply = await agent.client.ask(agent.transcript, text, _most(agent), emit)
    finally:
        agent.client.turn_over()
    agent.usage = agent.usage.plus(reply.usage)
    return reply.text


def _most(agent: Agent) -> int:
    """Tokens that the answer may have: half of the room that is left, at most."""
    room = agent.window.budget.window - agent.window.used
    return max(1, min(agent.client.step_cap, room // 2))
