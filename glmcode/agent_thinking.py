"""How much a conversation's model may think, changed while it goes on.

It holds from the next answer on, and nothing that was said is touched, so that the prompt only
grows. Must not ask the model anything.
"""

from __future__ import annotations

from glmcode.agent import Agent
from glmcode.base.thinking import Thinking, thinking_words


def set_thinking(agent: Agent, thinking: Thinking) -> str:
    """Change it; a sentence about what holds now, and what that means."""
    told = agent.client.think(thinking)
    agent.transcript.thinking = agent.client.thinking != 0
    return f"thinking: {thinking_words(agent.client.thinking)}{f' ({told})' if told else ''}"
