from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent_resume import preamble_from_json
from glmcode.context.compaction import carried_from
from glmcode.context.ledger import earlier_line
from glmcode.core.messages import (
    AssistantMessage,
    RejectedCall,
    ToolCall,
    ToolMessage,
    UserMessage,
    message_to_json,
)
from glmcode.core.transcript import Transcript
from glmcode.glm.prompt import TokenPrompt
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.permissions import RuleError, parse_rule
from glmcode.session_text import as_json, ledger_table, markdown_lines, plain_lines
from glmcode.sessions import SessionError, fold, read_checked, summarise
from glmcode.sessions.lines import damaged

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny" / "tokenizer.json"
TOOL = {"function": {"name": "Read", "description": "d", "parameters": {"type": "object"}}}
HEADER = {"id": "s", "workspace": "/w", "model": "m", "protocol": "tokens", "tokenizer": "t"}
ASKED = AssistantMessage(
    reasoning="r",
    text="t",
    calls=(ToolCall(id="a", name="Read", arguments={"file_path": "x"}),),
    rejected=(RejectedCall(id="b", reason="malformed", raw="<", before=1),),
    token_ids=(5, 6),
    stop="calls",
)
STATE = {"cwd": "/w", "todos": [{"content": "c", "status": "done"}], "seen": {"/w/x": "h"}}
CHANGE = {"path": "/w/x", "before": None, "after": "h"}
LEDGER = {"kind": "step", "prompt": 9, "cached": 1, "held": 3, "served": 1, "mark": "e"}
LINES: list[tuple[str, dict[str, Any]]] = [
    ("header", {**HEADER, "preamble": {"tools": [TOOL], "system": "s"}}),
    ("message", {"message": message_to_json(UserMessage(text="u")), "typed": "t"}),
    ("message", {"message": message_to_json(ASKED)}),
    ("intent", {"call": "a", "tool": "Edit", "subject": "x", "changes": [CHANGE]}),
    ("message", {"message": message_to_json(ToolMessage(call_id="a", name="Read", text="r"))}),
    (
        "message",
        {"message": message_to_json(ToolMessage(call_id="b", name="", text="r")), "state": STATE},
    ),
    ("ledger", {**LEDGER, "prefill_s": 0.5, "cause": "unknown", "again_s": 1.0}),
    ("grant", {"rule": "Bash(ls)"}),
]
COMPACTED = {
    "messages": [message_to_json(UserMessage(text="sum", origin="glmcode"))],
    "requests": ["a"],
    "files": {"x": "read"},
    "carried": "s",
    "seen": ["/w/x"],
    "why": "asked",
}
WRONG = (None, 5, -1, float("inf"), "x", [], {}, [1], [{}], {"a": 1}, 10**30)


def stored(lines: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"v": 1, "t": kind, "at": 1.5, **fields} for kind, fields in lines]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    keys: Any = range(len(value)) if isinstance(value, list) else ()
    for key in value if isinstance(value, dict) else keys:
        yield from places(value[key], (*path, key))


def go_on_with(path: Path, tokenizer: GlmTokenizer) -> None:
    told = fold(path)
    if "preamble" not in told.header:
        return
    try:
        preamble = preamble_from_json(told.header["preamble"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, 1, str(error)) from error
    messages, _ = told.messages_for(told.known_writers[-1])
    Transcript(preamble, messages=messages)
    prompt = TokenPrompt(tokenizer, preamble)
    prompt.extend(messages)
    for todo in told.todos:
        assert "".join((todo["status"], todo["content"]))
    assert all(Path(name) for name in (told.cwd or "/", *told.seen))
    for rule in told.grants:
        try:
            parse_rule(rule)
        except RuleError:
            pass
    carried_from(told.compaction)
    if told.ledger:
        earlier_line(told.ledger)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_value_of_a_wrong_kind_anywhere_in_a_session_is_damage_and_no_fault(
    tmp_path: Path, compacted: bool
) -> None:
    path, tokenizer = tmp_path / "s.jsonl", GlmTokenizer.load(TINY)
    entries = stored([*LINES, ("compaction", COMPACTED)] if compacted else LINES)
    readers = (
        lambda: go_on_with(path, tokenizer),
        lambda: summarise(path),
        lambda: list(plain_lines(read_checked(path), full=True)),
        lambda: list(markdown_lines(read_checked(path))),
        lambda: json.dumps(as_json(read_checked(path))),
        lambda: list(ledger_table(read_checked(path))),
    )
    refused = tried = 0
    for number, entry in enumerate(entries):
        for place in places(entry):
            for wrong in WRONG:
                changed = copy.deepcopy(entry)
                holder = changed
                for key in place[:-1]:
                    holder = holder[key]
                holder[place[-1]] = wrong
                lines = [*entries[:number], changed, *entries[number + 1 :]]
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
                for read in readers:
                    tried += 1
                    try:
                        read()
                    except SessionError as error:
                        assert "damaged" in str(error) or "newer" in str(error)
                        refused += 1
    assert refused > tried // 4


def test_a_line_of_endless_brackets_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    lines = [json.dumps(line).encode() for line in stored(LINES)]
    path.write_bytes(b"\n".join([*lines, b"[" * 100_000, b""]))
    with pytest.raises(SessionError, match="line 9 is damaged"):
        fold(path)
