from __future__ import annotations

from pathlib import Path

from glmcode.sessions import title_given, tokens_held
from glmcode.sessions.lines import encode_line


def test_the_last_title_counts_and_what_a_message_says_is_none(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    lines = [
        encode_line("header", {"id": "one"}),
        encode_line("title", {"title": "First"}),
        encode_line("title", {"title": "The  last\none"}),
        encode_line("message", {"message": {"text": '\n{"v":1,"t":"title","title":"Not I"}\n'}}),
    ]
    file.write_bytes(b"".join(lines) + b'{"v":1,"t":"title","title":"Torn')
    assert title_given(file) == "The last one"


def test_tokens_are_those_of_the_last_request_of_the_conversation_itself(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    kinds = [("turn", 100, 5), ("turn", 200, 7), ("question", 900, 9), ("compaction", 800, 9)]
    lines = [encode_line("ledger", {"kind": k, "prompt": p, "output": o}) for k, p, o in kinds]
    file.write_bytes(encode_line("header", {"id": "one"}) + b"".join(lines))
    assert tokens_held(file) == 207


def test_a_file_that_is_gone_or_empty_or_damaged_has_neither(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "odd").write_bytes(b'{}\n{"v":1,"t":"ledger",,}\n{"v":1,"t":"title",\xff}\n')
    for name in ("gone", "empty", "odd"):
        assert (title_given(tmp_path / name), tokens_held(tmp_path / name)) == ("", 0)
