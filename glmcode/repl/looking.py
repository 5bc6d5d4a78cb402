"""Slash commands that only tell: /todo, /memory, /model, /engine and /doctor.

Each gives (label, value) rows; what blocks says so and is called in a thread. Must not change
anything, nor send anything anywhere.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event

from glmcode.agent import Agent, AgentOptions
from glmcode.agent_head import found_instructions
from glmcode.base.thinking import thinking_words

Rows = list[tuple[str, str]]

TODO_MARKS = {"completed": "[x]", "in_progress": "[>]"}


def todo_rows(agent: Agent) -> Rows:
    """The model's todo list."""
    todos = agent.context.todos
    if not todos:
        return [("todo", "nothing: the model writes a list when a task has several steps")]
    return [(TODO_MARKS.get(one["status"], "[ ]"), one["content"]) for one in todos]


def memory_rows(options: AgentOptions) -> Rows:
    """The instruction files that count here. Blocks."""
    if not options.context.instructions:
        return [("memory", "none: context.instructions is false (or --no-instructions)")]
    found = found_instructions(options)
    rows = [(_near(Path(path), options.workspace), _size(path)) for path in sorted(found.files)]
    if not rows:
        rows = [("memory", "no AGENTS.md (or CLAUDE.md) here: /init has the model write one")]
    rows += [("not", notice) for notice in found.notices]
    return [*rows, ("", "read when a session begins: /clear begins one")]


def model_rows(options: AgentOptions, agent: Agent | None) -> Rows:
    """Which model answers."""
    if agent is None:
        return [("engine", f"{where(options)} (not reached)"), *_HOW]
    client = agent.client
    return [
        ("model", client.model),
        ("engine", where(options)),
        ("protocol", f"{client.protocol}: {client.protocol_reason}"),
        ("window", f"{client.window:,} tokens" if client.window else "not known"),
        ("thinking", thinking_words(client.thinking)),
        *_HOW,
    ]


_HOW = (
    ("another", "/model NAME or /profile NAME goes on with it in this session"),
    ("for good", "/config engine.profile NAME"),
)


def engine_rows(options: AgentOptions) -> Rows:
    """How the engine is. Blocks."""
    from glmcode.engine.attach import EngineUnavailable, engine_status
    from glmcode.engine.default import machine_profile
    from glmcode.status_commands import status_lines

    settings = options.engine
    if settings.base_url:
        return [("engine", f"{settings.base_url}: a server that glmcode does not run")]
    name = settings.profile or machine_profile()
    if not name:
        return [("engine", "none is configured: --profile NAME, or --base-url URL")]
    try:
        lines = status_lines(engine_status(name))
    except EngineUnavailable as error:
        lines = [str(error)]
    return [("engine" if not number else "", line.strip()) for number, line in enumerate(lines)]


def doctor_rows(options: AgentOptions, stop: Event) -> Rows:
    """What works on this machine. Blocks for up to a minute, or until `stop` is set."""
    from glmcode.doctor.command import look_around

    rows: Rows = []
    for line in look_around(options.engine, stop):
        rows.append((f"{line.state} {line.name}", line.text))
        rows += [("", f"- {text}") for text in line.details]
        if line.todo:
            rows.append(("", f"-> {line.todo}"))
    return rows


def where(options: AgentOptions) -> str:
    """Which engine is meant."""
    engine = options.engine
    return engine.base_url or f"profile {engine.profile or 'of this machine'}"


def _near(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _size(path: str) -> str:
    try:
        return f"{Path(path).stat().st_size:,} bytes"
    except OSError:
        return "gone"
