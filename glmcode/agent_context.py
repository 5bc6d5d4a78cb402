"""What the context window holds now, by kind, in tokens: the numbers behind /context.

Computed only when somebody asks, by counting every message once. Must not change or show
anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glmcode.agent import Agent
from glmcode.base.data import prompt_text
from glmcode.context.preamble import system_parts
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Tokens by kind. `exact` is False where a server's count is estimated.

    parts: (name, tokens) of the preamble and the messages, without those of 0. earlier:
    reasoning of turns before the last user message; the policy `template` cuts it. again:
    tokens after the first of it, which would be computed again by cutting it now. reserved: what
    is kept free at the point where the conversation is compacted, or (automatic False) where
    nothing fits any more. window 0: not known.
    """

    used: int
    window: int
    reserved: int
    parts: tuple[tuple[str, int], ...]
    reasoning: str
    earlier: int
    again: int
    exact: bool
    automatic: bool


def holdings(agent: Agent) -> Holdings:
    """Count what the window of this conversation holds."""
    client, messages = agent.client, agent.transcript.messages
    earlier, again = _earlier(agent, messages)
    kinds = dict.fromkeys(("user messages", "words of glmcode", "answers and calls"), 0)
    kinds |= {"reasoning": 0, "tool results": 0}
    for message in messages:
        tokens = client.count(agent.transcript, message)
        thought = client.reasoning_tokens(message) if isinstance(message, AssistantMessage) else 0
        kinds[_kind(message)] += tokens - thought
        kinds["reasoning"] += thought
    policy = agent.options.context.reasoning
    if policy == "template":
        kinds["reasoning"] -= earlier
    parts = [*_preamble(agent), *kinds.items()]
    budget, automatic = agent.window.budget, agent.options.context.compact
    end = budget.trigger if automatic else budget.limit
    return Holdings(
        used=agent.context_tokens()[0],
        window=client.window,
        reserved=budget.window - end if client.window else 0,
        automatic=automatic,
        parts=tuple((name, tokens) for name, tokens in parts if tokens > 0),
        reasoning=policy,
        earlier=earlier,
        again=again,
        exact=client.protocol == "tokens",
    )


def _preamble(agent: Agent) -> list[tuple[str, int]]:
    """The preamble's parts, each as what it adds to those before it."""
    preamble = agent.transcript.preamble
    headings = prompt_text("instructions.md"), prompt_text("map.md")
    texts = system_parts(preamble.system, *headings)
    names = ("system prompt", "instructions", "repository map")
    before = agent.client.preamble_tokens(Preamble(specs=preamble.specs, system=""))
    parts = [("tool specs", before)]
    for number, name in enumerate(names, 1):
        system = "".join(texts[:number])
        tokens = agent.client.preamble_tokens(Preamble(specs=preamble.specs, system=system))
        parts.append((name, tokens - before))
        before = tokens
    return parts


def _earlier(agent: Agent, messages: Sequence[Message]) -> tuple[int, int]:
    """Reasoning tokens before the last user message, and all tokens after the first of them."""
    last = max((n for n, m in enumerate(messages) if isinstance(m, UserMessage)), default=0)
    tokens, again = 0, 0
    for number, message in enumerate(messages):
        thought = 0
        if number < last and isinstance(message, AssistantMessage):
            thought = agent.client.reasoning_tokens(message)
        if tokens or thought:
            again += agent.client.count(agent.transcript, message) - thought
        tokens += thought
    return tokens, again


def _kind(message: Message) -> str:
    match message:
        case UserMessage(origin="person"):
            return "user messages"
        case UserMessage():
            return "words of glmcode"
        case AssistantMessage():
            return "answers and calls"
        case ToolMessage():
            return "tool results"
