"""A stored session as one HTML page that needs nothing else: no scripts, no fonts, no network.

Everything that people and models said is escaped, so that no text of a session becomes markup.
Pure: takes entries, gives text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from glmcode.session_text import between_lines, calls_of

_STYLE = """\
body{max-width:54rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 sans-serif;
color:#222;background:#fff}
pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.6rem;background:#8881;border-radius:4px}
.user pre{border-left:4px solid #06c}.note{color:#777}summary{cursor:pointer;color:#777}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}}"""


def html_page(entries: Iterable[Mapping[str, Any]], title: str) -> str:
    """The whole conversation; results, arguments and reasoning are folded."""
    body = "\n".join(part for entry in entries for part in _entry(entry))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def _entry(entry: Mapping[str, Any]) -> Iterator[str]:
    message = entry.get("message") if entry.get("t") == "message" else None
    if not isinstance(message, Mapping):
        yield from (f'<p class="note">{escape(line)}</p>' for line in between_lines(entry) if line)
        return
    text = str(message.get("text", ""))
    match message.get("role"):
        case "user":
            person = message.get("origin") == "person"
            said = str(entry.get("typed", text))
            yield f'<section class="{"user" if person else "note"}">'
            yield f"<h2>{'User' if person else 'glmcode, to the model'}</h2>"
            yield f"<pre>{escape(said)}</pre></section>"
        case "tool":
            yield _folded(f"Result of {message.get('name') or 'the call'}", text)
        case _:
            yield '<section class="assistant"><h2>Assistant</h2>'
            if message.get("reasoning"):
                yield _folded("Reasoning", str(message["reasoning"]))
            if text:
                stripped = text.strip("\n")
                yield f"<pre>{escape(stripped)}</pre>"
            for call in calls_of(message):
                arguments = json.dumps(call["arguments"], indent=2, ensure_ascii=False)
                yield _folded(str(call["name"]), arguments)
            yield "</section>"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
