"""/mode, Shift-Tab, /thinking and /vim: how the session goes on from here, and changing it.

Only what a person types comes here; the model can't. The sandbox follows the mode unless a flag
or a setting said which it is to be, and the line that says so is the agent's. Must not judge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from glmcode.agent import Agent, AgentOptions
from glmcode.agent_thinking import set_thinking
from glmcode.base.config import ConfigError, parse_mode
from glmcode.base.settings import MODES, Mode
from glmcode.base.thinking import parse_thinking, thinking_words
from glmcode.repl.paint import Spans
from glmcode.repl.screen import NEXT_MODE, Screen
from glmcode.repl.slash import argument

MEANS: dict[Mode, str] = {
    "plan": "looks only: nothing is changed or run",
    "default": "edits and commands are asked for",
    "acceptEdits": "edits in the workspace run, commands are asked for",
    "dontAsk": "nobody is asked: only what a rule allows runs",
    "bypassPermissions": "everything runs, but for what a rule denies",
}
ROUND: tuple[Mode, ...] = ("default", "acceptEdits", "plan")
"""What Shift-Tab goes through; the other two must be named."""


class Host(Protocol):
    """The conversation, as far as this needs it."""

    options: AgentOptions
    screen: Screen

    def foresee(self, options: AgentOptions) -> None:
        """These shall hold once there is an agent."""

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def rows(self, rows: list[tuple[str, str]]) -> None:
        """Print labels and values."""


def change_mode(host: Host, agent: Agent | None, text: str) -> None:
    """Do what `/mode`, `/mode NAME` or `/mode next` asks. Without an agent: of the one to come."""
    wanted, now = argument(text), agent.policy.mode if agent is not None else host.options.mode
    if not wanted:
        shown = [(f"{mode}{' (now)' if mode == now else ''}", MEANS[mode]) for mode in MODES]
        host.rows([*shown, ("/mode NAME, Shift-Tab", "change it")])
        return
    try:
        mode = _after(now) if text == NEXT_MODE else _named(wanted)
    except ConfigError as error:
        host.say([("warning", str(error))])
        return
    told = ""
    if agent is not None:
        told = agent.set_mode(mode)
    else:
        host.foresee(replace(host.options, mode=mode))
    line = f"mode {mode}: {MEANS[mode]}"
    host.say([("warning" if mode == "bypassPermissions" else "good", line)])
    if told:
        host.say([("warning" if mode == "bypassPermissions" else "dim", told)])


def switch_keys(host: Host) -> None:
    """Do what `/vim` asks."""
    match host.screen.switch_keys():
        case "vi":
            host.say([("good", "vi keys"), ("dim", "; Esc, then its commands; i types again. /vim "
                       "ends it; for good: /config ui.keys vi")])  # fmt: skip
        case "emacs":
            host.say([("good", "emacs keys"), ("dim", "; for good: /config ui.keys emacs")])
        case _:
            host.say([("warning", "the lines are edited by the terminal here: set the keys there")])


def change_thinking(host: Host, agent: Agent | None, text: str) -> None:
    """Do what `/thinking` or `/thinking on|off|TOKENS` asks."""
    wanted, engine = argument(text), host.options.engine
    if not wanted:
        said = agent.client.thinking if agent is not None else parse_thinking(engine.thinking)
        now = thinking_words(said)
        host.rows([("thinking", now), ("/thinking on|off|TOKENS", "change it, from here on")])
        return
    try:
        thinking = parse_thinking(wanted)
        if agent is not None:
            host.say([("good", set_thinking(agent, thinking))])
        else:
            host.foresee(replace(host.options, engine=replace(engine, thinking=wanted)))
            host.say([("good", f"thinking: {thinking_words(thinking)}")])
    except ValueError as error:
        host.say([("warning", str(error))])


def _after(mode: Mode) -> Mode:
    place = ROUND.index(mode) if mode in ROUND else -1
    return ROUND[(place + 1) % len(ROUND)]


def _named(word: str) -> Mode:
    """Raises ConfigError."""
    plain = {mode.lower(): mode for mode in MODES}
    return plain.get(word.lower()) or parse_mode(word)
