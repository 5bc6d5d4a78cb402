"""/export and /copy: the conversation into a file, the last answer into the clipboard.

A file that stands there already is never replaced. Everything is read from the journal, so that
an export in the middle of a turn holds what was said so far. Must not change the session.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from glmcode.agent import Agent
from glmcode.core.messages import AssistantMessage
from glmcode.repl.paint import Spans
from glmcode.repl.screen import Screen
from glmcode.session_html import html_page
from glmcode.session_text import as_json, markdown_lines
from glmcode.sessions import SessionError, read_checked

SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html",
            ".json": "json"}  # fmt: skip


class CannotExport(Exception):
    """Nothing was written; the text says why."""


class Host(Protocol):
    """The conversation, as far as this needs it."""

    screen: Screen

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""


def export(agent: Agent, wanted: str) -> list[tuple[str, str]]:
    """Write the conversation to a file and tell it as rows. Blocks. Raises CannotExport."""
    name = wanted or f"glmcode-{agent.session_id}.md"
    path = agent.options.workspace / Path(name).expanduser()
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise CannotExport(f"{path.name}: as what? It may end in {', '.join(SUFFIXES)}")
    try:
        entries = list(read_checked(agent.journal.path))
    except SessionError as error:
        raise CannotExport(str(error)) from error
    if form == "json":
        text = json.dumps(as_json(entries), indent=2) + "\n"
    elif form == "html":
        text = html_page(entries, f"Session {agent.session_id}")
    else:
        text = "".join(f"{line}\n" for line in markdown_lines(entries))
    data = text.encode("utf-8", "replace")
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise CannotExport(f"{path} is there already: give another name") from error
    except (OSError, ValueError) as error:
        raise CannotExport(f"{path} cannot be written: {error}") from error
    return [("written", f"{path} ({form}, {len(data):,} bytes)")]


def copy(host: Host, agent: Agent) -> None:
    """Do what `/copy` asks."""
    said = (m.text for m in reversed(agent.transcript.messages) if isinstance(m, AssistantMessage))
    text = next((text for text in said if text.strip()), "").strip("\n")
    if not text:
        host.say([("warning", "there is no answer yet that could be copied")])
        return
    done, told = host.screen.copy(text)
    words = f"the last answer ({len(text):,} characters) went to the clipboard; {told}"
    host.say([("good", words) if done else ("warning", told)])
