"""Slash commands: which one a text is, what they say. The conversation does what they ask.

A text is a command only when its first word is a slash and a plain word, so that a message
about /etc/passwd stays a message. Pure but for what it is handed. Must not act.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from glmcode.agent import Agent, AgentOptions
from glmcode.base.data import prompt_text
from glmcode.base.thinking import thinking_words
from glmcode.context.ledger import summary_rows
from glmcode.repl.slash_table import ALIASES, COMMANDS, TABLE

KEYS = (
    ("Enter", "send; while a turn runs: queue, for when it has ended"),
    ("Ctrl-S", "while a turn runs: steer it, the model reads it after the next step"),
    ("Up", "on an empty input: take back what is queued; else the history"),
    ("Shift-Enter, Alt-Enter, Ctrl-J, \\ Enter", "a new line (Shift-Enter: docs/terminal.md)"),
    ("Esc, Ctrl-C", "stop the turn; what was generated is kept"),
    ("Esc Esc", "on an empty input: back to before the last turn"),
    ("Ctrl-O", "the whole of what is folded or cut: a paste in the input, reasoning, a result"),
    ("Ctrl-C", "clear the input; twice on an empty one: leave"),
    ("Ctrl-D", "leave, on an empty input"),
    ("Shift-Tab", "the next mode: default, acceptEdits, plan"),
    ("Ctrl-R", "search the history of this folder"),
    ("Ctrl-Z", "to the shell; fg comes back to what stands here"),
    ("Ctrl-G", "your editor ($VISUAL, $EDITOR) on the draft"),
    ("Tab", "after / or @: take what is offered; the arrows choose, Enter takes, Esc closes"),
    ("@file, @folder/", "read along with your message; @file:10-40 for some lines"),
    ("!command", "run it in the shell; the model sees it with your next message (!!: it does not)"),
    ("#line", "add a line to the repository's AGENTS.md, after it was shown where"),
    ("1 2 3 4, y s a n", "answer: yes, for this session, always (edit its rule), no with advice"),
    ("e, 5", "edit what is proposed first, in your editor: it is asked about again as it then is"),
    ("1 2 4, y o n", "several questions at once: yes to all, one by one, none"),
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not a command; `hint` says what is nearest."""

    hint: str


def find_command(text: str) -> str | Unknown | None:
    """The command that a text is, Unknown for one that does not exist, None for a message."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    if not re.fullmatch(r"/(\?|[A-Za-z][\w-]*)", word):
        return None
    name = ALIASES.get(word.lower(), word.lower())
    if name in COMMANDS:
        return name
    near = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=1, cutoff=0.5)
    if near:
        return Unknown(f"unknown command {word}; did you mean {near[0]}?")
    return Unknown(f"unknown command {word}; there are {', '.join(COMMANDS)}")


def argument(text: str) -> str:
    """What follows the command's word."""
    return "".join(text.split(maxsplit=1)[1:]).strip()


def asked_for(text: str) -> str:
    """What the model is asked where a person typed a text: of /init the words that ask for it."""
    if find_command(text) != "/init":
        return text
    more = argument(text)
    return prompt_text("init.md") + (f"\n\nIn particular: {more}" if more else "")


def help_rows(word: str = "") -> list[tuple[str, str]]:
    """Commands and keys, each with what it does; word: those whose name holds it, else about."""
    rows = [*((one.usage, one.about) for one in TABLE), *KEYS]
    low = word.lower()
    if not low:
        return rows
    names = {alias: one.name for one in TABLE for alias in one.aliases}
    name = names.get(f"/{low.removeprefix('/')}", low)
    found = [row for row in rows if name in row[0].lower()]
    found = found or [row for row in rows if low in row[1].lower()]
    return found or [(word, "nothing here is called so: /help lists all")]


def cache_rows(agent: Agent | None) -> list[tuple[str, str]]:
    """What /cache says, as (label, value) rows."""
    return summary_rows(agent.requests.ledger if agent is not None else None)


def status_rows(options: AgentOptions, agent: Agent | None) -> list[tuple[str, str]]:
    """What /status says, as (label, value) rows."""
    engine = options.engine
    where = engine.base_url or f"profile {engine.profile or 'of this machine'}"
    if agent is None:
        return [
            ("engine", f"{where} (not ready yet)"),
            ("mode", options.mode),
            ("folder", str(options.workspace)),
        ]
    client, usage = agent.client, agent.usage
    used, window = agent.context_tokens()
    full = f" ({100 * used / window:.0f} %)" if window else ""
    share = f" of {window:,}" if window else ""
    hit = f"{100 * usage.cached_tokens / usage.prompt_tokens:.0f} %" if usage.prompt_tokens else "-"
    return [
        ("engine", where),
        ("model", client.model),
        ("protocol", f"{client.protocol}: {client.protocol_reason}"),
        ("thinking", thinking_words(client.thinking)),
        ("mode", agent.policy.mode),
        ("folder", str(agent.context.workspace)),
        ("session", agent.session_id),
        ("journal", str(agent.journal.path)),
        ("context", f"{used:,}{share} tokens{full}"),
        ("usage", f"{usage.prompt_tokens:,} prompt + {usage.output_tokens:,} answer tokens"),
        ("cache", f"{usage.cached_tokens:,} tokens not computed again ({hit})"),
        ("time", f"prefill {usage.prefill_s:.1f} s, decode {usage.decode_s:.1f} s"),
    ]
