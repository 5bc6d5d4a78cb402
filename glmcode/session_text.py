"""A stored session as text: for a terminal, as markdown, as JSON, and its ledger as a table.

All of the file is told, also what a compaction or a rewind took out of the conversation. Pure:
takes entries, gives lines. For a terminal every control character is made visible.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glmcode.context.ledger import ledger_rows
from glmcode.repl.clean import plain_output, visible

RESULT_LINES = 8
SUBJECT_KEYS = ("file_path", "command", "pattern", "path", "task_id")

Entry = Mapping[str, Any]


def plain_lines(entries: Iterable[Entry], *, full: bool = False) -> Iterator[str]:
    """The conversation for a terminal; full: whole results, and reasoning."""
    for entry in entries:
        for line in _plain(entry, full):
            yield from visible(line).split("\n")


def _plain(entry: Entry, full: bool) -> Iterator[str]:
    message = entry.get("message") if entry.get("t") == "message" else None
    if not isinstance(message, Mapping):
        yield from between_lines(entry)
        return
    match message.get("role"):
        case "user":
            said = str(entry.get("typed", message.get("text", "")))
            mark = "> " if message.get("origin") == "person" else "(to the model) "
            yield ""
            yield mark + said
        case "tool":
            shown = plain_output(str(message.get("text", ""))).strip("\n").split("\n")
            cut = shown if full else shown[:RESULT_LINES]
            yield from (f"    {line}" for line in cut)
            if len(cut) < len(shown):
                yield f"    … {len(shown) - len(cut):,} more lines (--full shows them)"
        case _:
            if full and message.get("reasoning"):
                yield ""
                yield from (f"  | {line}" for line in str(message["reasoning"]).split("\n"))
            if message.get("text"):
                yield ""
                yield str(message["text"]).strip("\n")
            for call in calls_of(message):
                yield f"* {call['name']} {_subject(call, full)}".rstrip()


def between_lines(entry: Entry) -> Iterator[str]:
    """What an entry that is no message says, if anything."""
    match entry.get("t"):
        case "header":
            yield f"session {entry.get('id')}"
            yield f"folder  {entry.get('workspace')}"
            yield f"model   {entry.get('model', '?')}, protocol {entry.get('protocol', '?')}"
            if entry.get("forked_from"):
                yield f"copy of {entry['forked_from']}"
            yield f"begun   {_moment(entry)}"
        case "compaction":
            yield ""
            yield f"--- compacted here ({_moment(entry)}): {entry.get('why', '')}"
        case "rewind":
            yield ""
            yield f"--- taken back to the first {entry.get('keep')} messages ({_moment(entry)})"
        case "note" if isinstance(entry.get("engine"), Mapping):
            yield ""
            yield f"--- from here on written by {entry['engine'].get('model')} ({_moment(entry)})"
        case _:
            pass


def markdown_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """The whole conversation as markdown; results and arguments in fenced blocks."""
    for entry in entries:
        message = entry.get("message") if entry.get("t") == "message" else None
        if not isinstance(message, Mapping):
            yield from _markdown_between(entry)
            continue
        match message.get("role"):
            case "user":
                person = message.get("origin") == "person"
                yield from ("## User" if person else "## glmcode, to the model", "")
                yield from (str(entry.get("typed", message.get("text", ""))), "")
            case "tool":
                yield from (f"Result of {message.get('name') or 'the call'}:", "")
                yield from (*_fenced(str(message.get("text", ""))), "")
            case _:
                yield from ("## Assistant", "")
                if message.get("reasoning"):
                    quoted = str(message["reasoning"]).split("\n")
                    yield from (*(f"> {line}".rstrip() for line in quoted), "")
                if message.get("text"):
                    yield from (str(message["text"]).strip("\n"), "")
                for call in calls_of(message):
                    yield from (f"**{call['name']}**", "")
                    arguments = json.dumps(call["arguments"], indent=2, ensure_ascii=False)
                    yield from (*_fenced(arguments, "json"), "")


def _markdown_between(entry: Entry) -> Iterator[str]:
    told = list(between_lines(entry))
    if entry.get("t") == "header":
        yield from (f"# Session {entry.get('id')}", "", *(f"- {line}" for line in told[1:]), "")
    elif told:
        yield from (f"*{told[-1].strip('- ')}*", "")


def as_json(entries: Iterable[Entry]) -> dict[str, Any]:
    """The session as one object: what its header says, all messages in order, the ledger.

    A compaction or a rewind stands between the messages as {"event": ...}.
    """
    told: dict[str, Any] = {"messages": [], "ledger": []}
    for entry in entries:
        match entry.get("t"):
            case "header":
                told = {k: v for k, v in entry.items() if k not in ("v", "t", "writer")} | told
            case "message":
                extra = {key: entry[key] for key in ("at", "typed") if key in entry}
                told["messages"].append({**entry["message"], **extra})
            case "compaction" | "rewind" as event:
                rest = {key: value for key, value in entry.items() if key not in ("v", "t")}
                told["messages"].append({"event": event, **rest})
            case "ledger":
                told["ledger"].append({k: v for k, v in entry.items() if k not in ("v", "t")})
            case _:
                pass
    return told


def ledger_table(entries: Iterable[Entry]) -> Iterator[str]:
    """The ledger's entries with totals: tokens and seconds of each request, and the cause."""
    table = ledger_rows(entries)
    if not table:
        yield "no requests are recorded in this session's ledger"
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, kind, *cells, cause in table:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[2:-1], strict=True)]
        row = [number.rjust(widths[0]), kind.ljust(widths[1]), *aligned, cause]
        yield "  ".join(row).rstrip()


def calls_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of a stored reply, rejected ones too: name and arguments."""
    calls = [{"name": c["name"], "arguments": c["arguments"]} for c in message.get("calls", ())]
    for call in message.get("rejected", ()):
        told = {"rejected": call["reason"], "raw": call["raw"]}
        calls.append({"name": call["name"] or "(a call)", "arguments": told})
    return calls


def _subject(call: Mapping[str, Any], full: bool) -> str:
    arguments = call["arguments"]
    if full:
        return json.dumps(arguments, ensure_ascii=False)
    found = next((str(arguments[key]) for key in SUBJECT_KEYS if key in arguments), "")
    return found.strip().split("\n")[0][:160]


def _fenced(text: str, language: str = "") -> list[str]:
    """A fenced block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", text.rstrip("\n"), fence]


def _moment(entry: Entry) -> str:
    at = entry.get("at")
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(at or "?")))
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"
