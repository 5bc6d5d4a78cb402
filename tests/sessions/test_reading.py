from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
    message_to_json,
)
from glmcode.sessions import SessionError, Writer, fold, read_entries
from glmcode.sessions.reading import LOST


def call(step: int, number: int = 1, name: str = "Read") -> ToolCall:
    return ToolCall(id=f"call_{step}_{number}", name=name, arguments={"file_path": "a"})


def asks(step: int, *names: str, ids: tuple[int, ...] | None = None) -> AssistantMessage:
    calls = tuple(call(step, number, name) for number, name in enumerate(names, 1))
    return AssistantMessage(text=f"step {step}", calls=calls, stop="calls", token_ids=ids)


def result(step: int, number: int = 1, text: str = "ok") -> ToolMessage:
    return ToolMessage(call_id=f"call_{step}_{number}", name="Read", text=text)


class File:
    """A session file written by hand, line by line."""

    def __init__(self, tmp_path: Path, **header: Any) -> None:
        self.path = tmp_path / "20260101-000000-abcdef.jsonl"
        fields = {"id": self.path.stem, "workspace": "/w", "model": "m", "protocol": "tokens"}
        self.line("header", **{**fields, "tokenizer": "t1", **header})

    def line(self, kind: str, **fields: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"v": 1, "t": kind, "at": 1.5, **fields}) + "\n")

    def say(self, *messages: Message, **fields: Any) -> None:
        for message in messages:
            self.line("message", message=message_to_json(message), **fields)

    def messages(self) -> list[Message]:
        return fold(self.path).messages


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


ONE, TWO, THREE = UserMessage(text="one"), AssistantMessage(text="two"), UserMessage(text="three")


def test_a_compaction_begins_anew_with_its_own_messages_and_later_ones_follow(file: File) -> None:
    file.say(ONE, TWO)
    summary = UserMessage(text="what was", origin="glmcode")
    file.line("compaction", messages=[message_to_json(m) for m in (summary, TWO)], why="full")
    assert file.messages() == [summary, TWO]
    file.say(THREE)
    assert file.messages() == [summary, TWO, THREE]


def test_a_compaction_in_the_middle_of_a_turn_may_end_with_results(file: File) -> None:
    file.say(ONE, asks(1, "Read"), result(1))
    kept = (UserMessage(text="so far"), asks(1, "Read"), result(1))
    file.line("compaction", messages=[message_to_json(m) for m in kept], why="full")
    file.say(asks(2, "Read"), result(2))
    assert file.messages() == [*kept, asks(2, "Read"), result(2)]


def test_a_rewind_keeps_the_first_messages_of_the_segment(file: File) -> None:
    file.say(ONE, TWO, THREE)
    file.line("rewind", keep=1)
    assert file.messages() == [ONE]
    file.say(AssistantMessage(text="other"))
    assert file.messages() == [ONE, AssistantMessage(text="other")]
    file.line("compaction", messages=[message_to_json(THREE)], why="")
    file.say(TWO)
    file.line("rewind", keep=1)
    assert file.messages() == [THREE]


@pytest.mark.parametrize("keep", [-1, 4, "two", None])
def test_a_rewind_to_what_is_not_there_is_damage_with_its_line(file: File, keep: object) -> None:
    file.say(ONE, TWO, THREE)
    file.line("rewind", keep=keep)
    with pytest.raises(SessionError, match="line 5 is damaged"):
        fold(file.path)


def test_a_rewind_that_would_leave_calls_without_results_is_damage(file: File) -> None:
    file.say(ONE, asks(1, "Read"), result(1))
    file.line("rewind", keep=2)
    with pytest.raises(SessionError, match="line 5 is damaged"):
        fold(file.path)


def test_a_ledger_a_note_and_kinds_of_the_future_change_nothing(file: File) -> None:
    file.say(ONE)
    file.line("ledger", prompt=10, cached=5, new=5, queue_s=0, prefill_s=1, decode_s=1, cause="")
    file.line("note", text="x")
    file.line("hologram", messages=[])
    file.say(TWO)
    assert file.messages() == [ONE, TWO]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{}",
        '"x"',
        "",
        '{"v":"1","t":"message"}',
        '{"v":1}',
        '{"v":1,"t":"message"}',
        '{"v":1,"t":"message","message":{"role":"ghost"}}',
        '{"v":1,"t":"message","message":{"role":"tool","call_id":"a","name":"","text":"",'
        '"is_error":false}}',
        '{"v":1,"t":"intent","call":"a"}',
        '{"v":1,"t":"compaction","messages":[1]}',
    ],
)
def test_damage_is_a_sentence_with_the_number_of_the_line_and_changes_no_byte(
    file: File, line: str
) -> None:
    file.say(ONE)
    with file.path.open("a") as open_file:
        open_file.write(line + "\n")
    file.say(TWO)
    before = file.path.read_bytes()
    with pytest.raises(SessionError, match="line 3 is damaged"):
        fold(file.path)
    assert file.path.read_bytes() == before


def test_messages_that_no_conversation_can_hold_are_damage(file: File) -> None:
    good = file.path.read_bytes()
    twice = AssistantMessage(calls=(call(1), call(1)), stop="calls")
    file.say(twice)
    with pytest.raises(SessionError, match=r"line 2 is damaged.*call ids repeat"):
        fold(file.path)
    file.path.write_bytes(good)
    unanswered = [message_to_json(m) for m in (ONE, asks(1, "Read"), THREE)]
    file.line("compaction", messages=unanswered, why="")
    with pytest.raises(SessionError, match=r"line 2 is damaged.*has no result"):
        fold(file.path)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "text": 5, "origin": "person"},
        {**message_to_json(asks(1)), "token_ids": ["a"]},
        {**message_to_json(asks(1)), "calls": [{"id": "a", "name": "Read", "arguments": []}]},
        {**message_to_json(asks(1)), "calls": [{"id": "a", "name": 7, "arguments": {}}]},
    ],
)
def test_a_message_whose_parts_are_of_another_kind_is_damage(file: File, message: object) -> None:
    file.line("message", message=message)
    with pytest.raises(SessionError, match="line 2 is damaged"):
        fold(file.path)


def test_a_line_nested_too_deep_is_damage(file: File) -> None:
    with file.path.open("a") as open_file:
        open_file.write('{"v":1,"t":"note","x":' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(SessionError, match="line 2 is damaged"):
        fold(file.path)


def test_a_fifo_in_the_place_of_a_session_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jsonl")
    with pytest.raises(SessionError, match="no regular file"):
        fold(tmp_path / "x.jsonl")


def test_a_file_without_a_header_and_an_empty_one_are_no_sessions(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"v":1,"t":"note"}\n')
    with pytest.raises(SessionError, match="begins with its header"):
        fold(path)
    path.write_bytes(b"")
    with pytest.raises(SessionError, match="is empty"):
        fold(path)
    path.unlink()
    with pytest.raises(SessionError, match="cannot be read"):
        fold(path)


def test_every_cut_of_the_file_is_a_conversation_that_the_whole_one_begins_with(
    file: File,
) -> None:
    file.say(ONE, asks(1, "Read", "Read"), result(1), result(1, 2), TWO)
    data, whole = file.path.read_bytes(), file.messages()
    head = data.index(b"\n") + 1
    for size in range(head, len(data) + 1):
        file.path.write_bytes(data[:size])
        told = fold(file.path)
        assert told.messages == whole[: len(told.messages)]
        assert len(told.messages) == data[:size].count(b"\n") - 1
        assert told.end == data[:size].rindex(b"\n") + 1


def test_token_ids_belong_to_the_model_and_tokenizer_that_made_them(file: File) -> None:
    first = AssistantMessage(text="a", token_ids=(1, 2))
    second = AssistantMessage(text="b", token_ids=(3,))
    file.say(ONE, first)
    file.line("note", engine={"model": "m", "protocol": "tokens", "tokenizer": "t2"})
    file.say(THREE, second)
    told = fold(file.path)
    mine, dropped = told.messages_for(Writer("m", "tokens", "t1"))
    assert (mine[1], dropped) == (first, 1) and mine[3] == AssistantMessage(text="b")
    theirs, dropped = told.messages_for(Writer("m", "tokens", "t2"))
    assert (theirs[3], dropped) == (second, 1) and theirs[1] == AssistantMessage(text="a")
    nobody, dropped = told.messages_for(Writer("other", "tokens", "t1"))
    assert dropped == 2 and [getattr(m, "token_ids", None) for m in nobody] == [None] * 4


def test_what_the_tools_knew_is_the_sum_of_what_changed(file: File) -> None:
    file.say(ONE, asks(1, "Read"))
    file.say(result(1), state={"seen": {"/a": "1", "/b": "1"}, "cwd": "/w/x"})
    file.say(asks(2, "Edit"))
    file.say(
        result(2),
        state={"seen": {"/a": "2", "/b": None}, "todos": [{"content": "t", "status": "pending"}]},
    )
    told = fold(file.path)
    assert (told.seen, told.cwd, told.todos) == (
        {"/a": "2"},
        "/w/x",
        [{"content": "t", "status": "pending"}],
    )


def test_of_a_step_that_a_crash_tore_no_file_counts_as_known(file: File) -> None:
    file.say(ONE, asks(1, "Read", "Read"))
    file.say(result(1, 1), state={"seen": {"/a": "1", "/b": "1"}})
    assert fold(file.path).seen == {}
    file.say(result(1, 2, "not run"), closed=True)
    assert fold(file.path).seen == {}
    file.say(asks(2, "Edit"))
    file.say(result(2), closed=True, state={"seen": {"/c": "1"}})
    assert fold(file.path).seen == {"/c": "1"}


def test_a_mention_in_the_message_after_a_torn_step_counts_as_read(file: File) -> None:
    file.say(ONE, asks(1, "Read"))
    file.say(result(1), closed=True)
    file.say(THREE, state={"seen": {"/m": "1"}})
    assert fold(file.path).seen == {"/m": "1"}


def test_a_rewind_forgets_what_the_messages_it_took_out_had_taught(file: File) -> None:
    file.say(ONE, asks(1, "Read"))
    file.say(
        result(1), state={"seen": {"/a": "1"}, "todos": [{"content": "old", "status": "pending"}]}
    )
    file.say(TWO, THREE, asks(2, "Read"))
    file.say(result(2), state={"seen": {"/b": "1", "/a": "2"}, "todos": []})
    file.line("rewind", keep=4)
    told = fold(file.path)
    assert told.seen == {} and told.todos == [{"content": "old", "status": "pending"}]


def test_results_that_a_full_disk_swallowed_are_said_to_be_lost(file: File) -> None:
    file.say(ONE, asks(1, "Read", "Edit"), result(1, 1), THREE)
    lost = file.messages()[3]
    assert isinstance(lost, ToolMessage) and (lost.call_id, lost.text) == ("call_1_2", LOST)
    assert file.messages()[4] == THREE


def test_a_session_of_200_000_tokens_is_folded_quickly_and_in_little_memory(file: File) -> None:
    ids = tuple(range(100_000, 100_400))
    with file.path.open("a") as out:
        for step in range(500):
            for message in (asks(step, "Read", ids=ids), result(step, text="line\n" * 400)):
                entry = {"v": 1, "t": "message", "at": 1, "message": message_to_json(message)}
                out.write(json.dumps(entry) + "\n")
    assert file.path.stat().st_size > 2_500_000
    started = time.monotonic()
    told = fold(file.path)
    assert time.monotonic() - started < 2.0
    assert len(told.messages) == 1000
    file.line("compaction", messages=[message_to_json(ONE)], why="full")
    del told
    tracemalloc.start()
    for _ in read_entries(file.path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert fold(file.path).messages == [ONE]


def test_a_grant_of_another_kind_is_a_rule_that_allows_nothing(file: File) -> None:
    file.say(ONE)
    file.line("grant", rule=5)
    assert fold(file.path).grants == ["5"]
