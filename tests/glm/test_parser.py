from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.core.events import Delta
from glmcode.glm.parser import ReplyParser
from glmcode.glm.pieces import (
    STOP_NAMES,
    Control,
    Piece,
    ReplyPiece,
    Text,
    raw_pieces,
    text_pieces,
)
from glmcode.glm.tokenizer import GlmTokenizer
from tests.glm.samples import (
    CALLED,
    DONE,
    SCHEMAS,
    SOUP,
    THOUGHT,
    as_golden,
    call,
    cut_bytes,
    golden_parse,
    parse,
    parse_pieces,
)

GOLDEN = golden_parse()
READ = call("Read", file_path="a.py")


def write(content: str) -> str:
    return call("Write", file_path="a.py", content=content)


def expected(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in ("reasoning", "content", "calls", "rejected")}


def reasons(raw: str, finish: str = "stop") -> list[str]:
    return [rejected.reason for rejected in parse(raw, finish).rejected]


# Golden cases and how the stream is cut


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_answer_is_read_as_it_must(case: dict[str, Any]) -> None:
    assert as_golden(parse(case["raw"], case["finish_reason"])) == expected(case)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_answer_byte_by_byte_is_the_same(case: dict[str, Any]) -> None:
    pieces = cut_bytes(raw_pieces(case["raw"].encode()), [1])
    assert as_golden(parse_pieces(pieces, case["finish_reason"])) == expected(case)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_answer_as_token_ids_is_the_same(
    tokenizer: GlmTokenizer, case: dict[str, Any]
) -> None:
    ids = tokenizer.encode(text_pieces(case["raw"], tokenizer.control_names))
    pieces = [piece for number in ids for piece in tokenizer.pieces([number])]
    assert as_golden(parse_pieces(pieces, case["finish_reason"])) == expected(case)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_answer_cut_at_any_byte_gives_no_call_that_the_whole_has_not(
    case: dict[str, Any],
) -> None:
    raw = case["raw"].encode()
    whole = [(c["name"], c["arguments"]) for c in case["calls"]]
    for at in range(len(raw)):
        got = [(c.name, c.arguments) for c in parse(raw[:at], "length").calls]
        assert got == whole[: len(got)]


@settings(max_examples=400)
@given(pieces=SOUP, sizes=st.lists(st.integers(1, 5), min_size=1), data=st.data())
def test_any_cut_of_any_stream_gives_the_same_answer(
    pieces: list[ReplyPiece], sizes: list[int], data: st.DataObject
) -> None:
    finish = data.draw(st.sampled_from(["stop", "length", "interrupted"]))
    whole = parse_pieces(pieces, finish)
    assert parse_pieces(cut_bytes(pieces, sizes), finish) == whole


@settings(max_examples=400)
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_an_answer(raw: bytes) -> None:
    parse(raw)


@settings(max_examples=400)
@given(pieces=SOUP)
def test_every_call_that_is_accepted_stands_in_the_stream_byte_for_byte(
    pieces: list[ReplyPiece],
) -> None:
    raw = b"".join(p.name.encode() if isinstance(p, Control) else p for p in pieces)
    reply = parse_pieces(pieces)
    for accepted in reply.calls:
        for key, value in accepted.arguments.items():
            assert key.encode() in raw
            if isinstance(value, str) and accepted.name in ("Read", "Write"):
                assert value.encode() in raw
    ids = [c.id for c in reply.calls] + [r.id for r in reply.rejected]
    assert sorted(ids) == sorted(f"call_{n}" for n in range(len(ids)))
    assert all(0 <= r.before <= len(reply.calls) for r in reply.rejected)


# Tags as data


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_answer_written_to_a_file_is_exact_when_its_tags_are_ordinary_ids(
    tokenizer: GlmTokenizer, case: dict[str, Any]
) -> None:
    reply = parse_pieces(tokenizer.pieces(tokenizer.encode(write_pieces([Text(case["raw"])]))))
    assert [c.arguments["content"] for c in reply.calls] == [case["raw"]]
    assert reply.rejected == ()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_golden_answer_written_with_control_ids_is_exact_or_rejected_never_partial(
    tokenizer: GlmTokenizer, case: dict[str, Any]
) -> None:
    content = text_pieces(case["raw"], tokenizer.control_names)
    reply = parse_pieces(tokenizer.pieces(tokenizer.encode(write_pieces(content))))
    assert [c.arguments for c in reply.calls if c.name == "Write"] in (
        [],
        [{"file_path": "a.py", "content": case["raw"]}],
    )
    assert reply.calls or reply.rejected
    assert all(r.before == 0 for r in reply.rejected)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_the_same_where_the_engine_stops_at_the_first_stop_is_never_partial(
    tokenizer: GlmTokenizer, case: dict[str, Any]
) -> None:
    pieces = write_pieces(text_pieces(case["raw"], tokenizer.control_names))
    stop = next(i for i, p in enumerate(pieces) if isinstance(p, Control) and p.name in STOP_NAMES)
    reply = parse_pieces(tokenizer.pieces(tokenizer.encode(pieces[: stop + 1])))
    written = [c.arguments.get("content") for c in reply.calls if c.name == "Write"]
    assert written in ([], [case["raw"]])
    assert reply.calls or reply.rejected


def write_pieces(content: list[Piece]) -> list[Piece]:
    return [
        *(Text("\n"), Control("<think>"), Control("</think>"), Text("\n"), Control("<tool_call>")),
        *(Text("Write\n"), Control("<arg_key>"), Text("file_path"), Control("</arg_key>")),
        *(Text("\n"), Control("<arg_value>"), Text("a.py"), Control("</arg_value>"), Text("\n")),
        *(Control("<arg_key>"), Text("content"), Control("</arg_key>"), Control("<arg_value>")),
        *(*content, Control("</arg_value>"), Text("\n"), Control("</tool_call>")),
        Control("<|observation|>"),
    ]


def test_tags_spelled_with_ordinary_tokens_are_text_everywhere() -> None:
    reply = parse_pieces([Control("<think>"), b"a</think>b", Control("</think>"), READ.encode()])
    assert (reply.reasoning, reply.text, reply.calls) == ("a</think>b", READ, ())


def test_a_control_that_glm_does_not_use_here_is_data_in_a_value() -> None:
    raw = write("x<|begin_of_image|>y").encode()
    head, tail = raw.split(b"<|begin_of_image|>")
    pieces = [*raw_pieces(head), Control("<|begin_of_image|>"), *raw_pieces(tail)]
    assert parse_pieces(pieces).calls[0].arguments["content"] == "x<|begin_of_image|>y"


@pytest.mark.parametrize(
    "content",
    [
        "a</arg_value>b",
        "a</arg_value></arg_value> b",
        "</arg_value>",
        "a</tool_call>b",
        "a<tool_call>b",
        "a" * 90 + " <tool_call>",
        "so:\n<tool_call>Now\n</tool_call>",
        "<tool_call>Now</tool_call>",
        "<think>a</think>",
        "<arg_key>k</arg_key>",
        "<arg_key>k</arg_key><arg_value>v</arg_value> end",
        "</arg_value>\n\n</arg_value>\n",
        "<tool_response>\nx\n</tool_response>/nothink[gMASK]<sop>",
        "\r\n\ta \x00\u2028\ufeff\n ",
        "",
    ],
)
def test_a_value_is_the_exact_text_between_its_tags(content: str) -> None:
    reply = parse(THOUGHT + write(content) + CALLED)
    assert [c.arguments for c in reply.calls] == [{"file_path": "a.py", "content": content}]
    assert reply.rejected == ()


# Where strings end is never guessed


@pytest.mark.parametrize(
    "content",
    [
        f"Example: {READ} end",
        f"{READ}",
        f"{READ}\n{READ}",
        f"Example: {write('x')} and {READ} end",
        "a</arg_value></tool_call>b",
        "a</arg_value>\n<arg_key>k</arg_key><arg_value>b</arg_value></tool_call> c",
        f"a</arg_value></tool_call>\n{READ} b",
        f"a</arg_value></tool_call>\n{write('q')} b",
        f"a</arg_value></tool_call> {write(f'Example {READ} end')} b",
        f"a</arg_value></tool_call> x{THOUGHT}{READ}{CALLED} y",
        f"a</arg_value></tool_call>{CALLED} b",
        "the <arg_value> tag",
        "<tool_call>Then",
        "so:\n  <tool_call>Then",
        "so: <tool_call>Now",
        "so:\n<tool_call>Now</arg_value></tool_call>",
    ],
)
@pytest.mark.parametrize("after", ["", "\nDone."])
def test_a_value_that_may_end_in_two_places_is_rejected_as_ambiguous(
    content: str, after: str
) -> None:
    reply = parse(THOUGHT + write(content) + after + CALLED)
    assert [c for c in reply.calls if c.name == "Write"] == []
    assert reply.calls == ()
    assert [r.reason for r in reply.rejected] == ["ambiguous"]
    assert reply.rejected[0].name == "Write"


def test_the_raw_text_of_an_ambiguous_call_reaches_to_its_last_closing_tag() -> None:
    whole = write(f"Example: {READ} end")
    reply = parse(f"{THOUGHT}before\n{whole}\nafter{CALLED}")
    assert reply.rejected[0].raw == whole
    assert reply.text == "before\n\nafter"


def test_a_call_closed_before_one_that_quotes_a_call_still_runs() -> None:
    reply = parse(f"{THOUGHT}{READ}\n{write(f'Example: {READ} end')}{CALLED}")
    assert [c.name for c in reply.calls] == ["Read"]
    assert [(r.reason, r.before, r.id) for r in reply.rejected] == [("ambiguous", 1, "call_1")]


def test_closing_tags_left_over_reject_every_call_whose_value_may_reach_there() -> None:
    reply = parse(f"{THOUGHT}{call('Now')}{READ}\n{write('a</arg_value></tool_call> b')}{CALLED}")
    assert [c.name for c in reply.calls] == ["Now"]
    assert [(r.reason, r.name) for r in reply.rejected] == [("ambiguous", "Read")]


def test_a_call_after_a_rejected_one_says_that_it_stands_after_it() -> None:
    reply = parse(f"{THOUGHT}<tool_call>Now</arg_value></tool_call>\n{READ}{CALLED}")
    assert [c.id for c in reply.calls] == ["call_1"]
    assert [(r.id, r.before, r.name) for r in reply.rejected] == [("call_0", 0, "Now")]


def test_a_value_whose_closing_tag_was_forgotten_is_malformed() -> None:
    raw = READ.replace("</arg_value>", "") + "\n" + call("Bash", command="ls")
    reply = parse(THOUGHT + raw + CALLED)
    assert (reply.calls, [r.reason for r in reply.rejected]) == ((), ["malformed"])


# Broken calls


@pytest.mark.parametrize(
    "broken",
    [
        "<tool_call></tool_call>",
        "<tool_call>\n</tool_call>",
        "<tool_call>Read<arg_key>file_path</arg_key></tool_call>",
        "<tool_call>Read<arg_key>file_path</arg_key>x<arg_value>a</arg_value></tool_call>",
        "<tool_call>Read<arg_key></arg_key><arg_value>a</arg_value></tool_call>",
        "<tool_call>Read<arg_key> \n</arg_key><arg_value>a</arg_value></tool_call>",
        "<tool_call>Read<arg_key>file_path<arg_value>a</arg_value></tool_call>",
        "<tool_call>Read<arg_value>a</arg_value></tool_call>",
        "<tool_call>Read</arg_key><arg_value>a</arg_value></tool_call>",
        "<tool_call>Read<arg_key>a<arg_key>b</arg_key><arg_value>a</arg_value></tool_call>",
        "<tool_call>Re<think>ad<arg_key>a</arg_key><arg_value>a</arg_value></tool_call>",
        "<tool_call>Read<arg_key>a<think></arg_key><arg_value>a</arg_value></tool_call>",
        "<tool_call>Now",
        "<tool_call>Now\n",
        "<tool_call>Read<arg_key>file_path</arg_key><arg_value>a</arg_value>\n",
        '<tool_call>{"name": "Now"</tool_call>',
        '<tool_call>{"name": "No w", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "Now", "arguments": []}</tool_call>',
        '<tool_call>{"name": "Read", "arguments": {"a": 1, "a": 2}}</tool_call>',
        '<tool_call>{"name": "Read", "arguments": {"a": "\\ud800"}}</tool_call>',
        '<tool_call>{"name": "Read", "arguments": {"a": NaN}}</tool_call>',
        "<tool_call>" + '{"name":"Now","arguments":{"a":' + "[" * 5000 + "</tool_call>",
    ],
)
def test_a_call_that_breaks_the_grammar_is_malformed_as_a_whole(broken: str) -> None:
    reply = parse(THOUGHT + broken + CALLED)
    assert (reply.calls, reply.text) == ((), "")
    assert [(r.reason, r.raw) for r in reply.rejected] == [("malformed", broken)]


@pytest.mark.parametrize("part", ["name", "key", "value"])
def test_invalid_utf8_anywhere_in_a_call_is_malformed(part: str) -> None:
    words = {"name": b"Read", "key": b"file_path", "value": b"a.py", part: b"a\xffb"}
    raw = b"<tool_call>%s<arg_key>%s</arg_key><arg_value>%s</arg_value></tool_call>" % (
        words["name"],
        words["key"],
        words["value"],
    )
    reply = parse(THOUGHT.encode() + raw + CALLED.encode())
    assert (reply.calls, [r.reason for r in reply.rejected]) == ((), ["malformed"])
    assert "\ufffd" in reply.rejected[0].raw


def test_invalid_utf8_outside_of_calls_is_shown_as_replacement_characters() -> None:
    reply = parse(b"\n<think>a\xff</think>\nb\xc3")
    assert (reply.reasoning, reply.text) == ("a\ufffd", "b\ufffd")


def test_a_call_cut_by_the_limit_is_truncated_and_one_broken_before_it_is_malformed() -> None:
    for cut in ("Wri", "Read\n<arg_key>fi", "Read<arg_key>a</arg_key>", READ[11:-12]):
        assert reasons(f"{THOUGHT}<tool_call>{cut}", "length") == ["truncated"]
        assert reasons(f"{THOUGHT}<tool_call>{cut}", "interrupted") == ["truncated"]
    assert reasons(f"{THOUGHT}<tool_call>Now</arg_value>", "length") == ["malformed"]


def test_a_call_within_a_call_ends_the_first_wherever_it_stands_outside_of_a_value() -> None:
    for head in ("Now\n", "Read<arg_key>fi", "Read<arg_key>a</arg_key>", "Now</arg_value>"):
        reply = parse(f"{THOUGHT}<tool_call>{head}{READ}{CALLED}")
        assert [c.arguments for c in reply.calls] == [{"file_path": "a.py"}]
        assert [r.raw for r in reply.rejected] == [f"<tool_call>{head}"]


def test_a_call_in_json_notation_may_hold_tags_in_its_strings() -> None:
    text = '</tool_call> <arg_key>\\" {</arg_value>'
    raw = '<tool_call>\n{"name": "Write", "arguments": {"content": "' + text + '"}}\n</tool_call>'
    for size in (1, 2, 3, 1000):
        reply = parse_pieces(cut_bytes(raw_pieces((THOUGHT + raw + CALLED).encode()), [size]))
        assert [c.arguments for c in reply.calls] == [
            {"content": '</tool_call> <arg_key>" {</arg_value>'}
        ]
        assert (reply.text, reply.rejected) == ("", ())


def test_json_notation_takes_arguments_as_a_string_or_none() -> None:
    raw = '<tool_call>{"name": "Read", "arguments": "{\\"file_path\\": \\"a\\"}"}</tool_call>'
    reply = parse(THOUGHT + raw + '<tool_call>{"name": "Now"}</tool_call>' + CALLED)
    assert [(c.name, c.arguments) for c in reply.calls] == [
        ("Read", {"file_path": "a"}),
        ("Now", {}),
    ]


def test_white_space_between_tags_does_not_matter() -> None:
    raw = READ.replace("\n", "\r\n\t ").replace("><", "> \x0b\x0c<")
    assert parse(THOUGHT + raw + CALLED).calls[0].arguments == {"file_path": "a.py"}


# Prose


@pytest.mark.parametrize(
    "prose",
    [
        "Use the <tool_call> tag for that.",
        "The tag is <tool_call>.",
        "See the <tool_call> tag",
        "<tool_call> is how a call begins.",
        "The <tool_call> and </tool_call> tags.",
        "Tags: <tool_call>, <arg_key>, </arg_key>, <arg_value>, </arg_value>, </tool_call>.",
        "<tool_call>{function-name}\n<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>\n"
        "</tool_call>",
        "A value ends with </arg_value>, a call with </tool_call>.",
        "It thinks in <think> and </think> tags.",
        "After </think> comes the answer.",
        "`<tool_call></tool_call>`",
        "The <tool_call> and </tool_call> tags hold <arg_value> and </arg_value> tags.",
        "Write <tool_call>a name</tool_call>, never </tool_call> alone, nor </think>.",
    ],
)
def test_prose_that_mentions_tags_is_text(prose: str) -> None:
    for finish, stop in (("stop", DONE), ("stop", "<|endoftext|>"), ("stop", ""), ("length", "")):
        reply = parse(THOUGHT + prose + stop, finish)
        assert (reply.text, reply.calls, reply.rejected) == (prose, (), ())


def test_a_mention_before_a_real_call_is_text_and_the_call_counts() -> None:
    for prose in ("Use the <tool_call> tag.\n", "Use <tool_call> so: "):
        reply = parse(THOUGHT + prose + READ + CALLED)
        assert (reply.text, [c.name for c in reply.calls]) == (prose.strip(), ["Read"])
        assert reply.rejected == ()


def test_a_mention_that_stops_like_a_call_is_a_broken_call() -> None:
    assert reasons(f"{THOUGHT}Use the <tool_call> tag for that.{CALLED}") == ["malformed"]


def test_a_name_within_a_line_is_a_call_only_if_a_tool_has_it() -> None:
    reply = parse(f"{THOUGHT}I call <tool_call>Now</tool_call>{DONE}")
    assert ([c.name for c in reply.calls], reply.text) == (["Now"], "I call")
    reply = parse(f"{THOUGHT}I call <tool_call>Then</tool_call>{DONE}")
    assert (reply.calls, reply.text) == ((), "I call <tool_call>Then</tool_call>")


def test_a_name_on_a_line_of_its_own_is_a_call_whatever_it_is() -> None:
    reply = parse(f"{THOUGHT}I call:\n  <tool_call>Then</tool_call>{DONE}")
    assert [c.name for c in reply.calls] == ["Then"]
    assert reasons(f"{THOUGHT}I call:\n<tool_call>Then{DONE}") == ["malformed"]


def test_a_call_with_a_broken_name_is_rejected_even_where_another_one_is_whole() -> None:
    broken = READ.replace("Read", "Read it")
    reply = parse(f"{THOUGHT}{broken}\n{READ}{CALLED}")
    assert [r.raw for r in reply.rejected] == [broken]
    assert [c.id for c in reply.calls] == ["call_1"]


def test_text_around_calls_is_kept_in_order() -> None:
    reply = parse(f"{THOUGHT}one\n{READ}\ntwo\n{READ}\nthree{DONE}")
    assert reply.text == "one\n\ntwo\n\nthree"
    assert [c.id for c in reply.calls] == ["call_0", "call_1"]


# Reasoning


@pytest.mark.parametrize(
    ("raw", "reasoning", "text"),
    [
        ("\n<think>\n a \n</think>\n\n b \n", "a", "b"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("<think>a</think>\n</think>\nb", "a", "b"),
        ("<think>a</think>\n<think>b</think>c", "a\nb", "c"),
        ("<think>a<think>b</think>c", "a<think>b", "c"),
        ("a\n</think>\nb", "a", "b"),
        ("</think>b", "", "b"),
        ("<think>", "", ""),
        ("<think>a", "a", ""),
        ("b\n<think>a</think>", "", "b\n<think>a</think>"),
        ("", "", ""),
    ],
)
def test_reasoning_ends_with_the_first_closing_tag(raw: str, reasoning: str, text: str) -> None:
    reply = parse(raw + DONE)
    assert (reply.reasoning, reply.text, reply.calls, reply.rejected) == (reasoning, text, (), ())


def test_calls_at_the_very_end_of_unclosed_reasoning_count_and_others_do_not() -> None:
    reply = parse(f"\n<think>{READ} no.\n{READ}\n{call('Now')}\n{CALLED}")
    assert [c.name for c in reply.calls] == ["Read", "Now"]
    assert reply.reasoning == f"{READ} no."
    reply = parse(f"\n<think>{READ} no.{CALLED}")
    assert (reply.calls, reply.reasoning) == ((), f"{READ} no.")


def test_an_unclosed_call_at_the_end_of_unclosed_reasoning_is_rejected() -> None:
    assert reasons(f"\n<think>look\n{READ[:-12]}{CALLED}") == ["malformed"]


@pytest.mark.parametrize("finish", ["length", "interrupted"])
def test_reasoning_that_was_cut_holds_no_calls_for_it_may_go_on(finish: str) -> None:
    for raw in (f"look\n{READ}", f"look\n{READ[:-12]}", "use <tool_call>", f"a {READ} b"):
        reply = parse(f"\n<think>{raw}", finish)
        assert (reply.reasoning, reply.calls, reply.rejected) == (raw.strip(), (), ())


def test_a_call_is_open_only_where_a_cut_would_truncate_it() -> None:
    def state(raw: str) -> tuple[bool, bool, bool]:
        parser = ReplyParser(SCHEMAS, str)
        for piece in raw_pieces(raw.encode()):
            parser.feed(piece)
        return parser.in_call, parser.has_open_call, parser.in_reasoning

    assert state(f"{THOUGHT}{READ[:-12]}") == (True, True, False)
    assert state(f"{THOUGHT}{READ}") == (False, False, False)
    assert state(f"{THOUGHT}Use the <tool_call> tag for") == (False, False, False)
    assert state(f"<think>{READ[:-12]}") == (False, True, True)
    assert state(f"<think>{READ}") == (False, False, True)


def test_an_unclosed_call_quoted_in_reasoning_does_not_swallow_the_answer() -> None:
    reply = parse(f"\n<think>maybe {READ[:-25]}</think>\nanswer\n{READ}{CALLED}")
    assert (reply.text, len(reply.calls), reply.rejected) == ("answer", 1, ())


def test_a_call_quoted_between_think_tags_in_the_text_is_no_call() -> None:
    reply = parse(f"{THOUGHT}Like <think>{READ}</think> this.{DONE}")
    assert (reply.calls, reply.text) == ((), f"Like <think>{READ}</think> this.")


def test_a_second_closing_think_after_a_call_makes_it_ambiguous() -> None:
    assert reasons(f"\n<think>a </think> {READ} b</think>\nc{CALLED}") == ["ambiguous"]


# The end


def test_the_first_stop_ends_the_answer_wherever_it_stands() -> None:
    for stop in ("<|user|>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|observation|>"):
        reply = parse(f"{THOUGHT}a{stop}b {READ[:11]}Now</tool_call>{DONE}")
        assert (reply.text, reply.calls, reply.stop) == ("a", (), stop)
        assert reasons(THOUGHT + write(f"a{stop}b") + CALLED) == ["malformed"]


def test_a_stop_that_the_engine_named_counts_like_one_that_was_fed() -> None:
    parser = ReplyParser(SCHEMAS, str)
    for piece in raw_pieces(f"{THOUGHT}Use the <tool_call> tag.".encode()):
        parser.feed(piece)
    reply = parser.finish("stop", "<|observation|>")
    assert [r.reason for r in reply.rejected] == ["malformed"]
    assert reply.stop == "<|observation|>"
    assert parser.finish("stop", "<|user|>").rejected == ()


# What is shown while it streams


def shown(raw: str, sizes: list[int]) -> list[Delta]:
    parser = ReplyParser(SCHEMAS, str)
    return [d for p in cut_bytes(raw_pieces(raw.encode()), sizes) for d in parser.feed(p)]


@pytest.mark.parametrize("sizes", [[1], [3, 1], [1000]])
def test_reasoning_text_and_growing_arguments_are_shown_as_they_come(sizes: list[int]) -> None:
    raw = f"\n<think>\nhm é</think>\nI look.\n{write('x = 1</arg_value> ü')}{CALLED}"
    deltas = shown(raw, sizes)
    assert "".join(d.text for d in deltas if d.kind == "reasoning") == "hm é"
    assert "".join(d.text for d in deltas if d.kind == "text") == "I look.\n"
    calls = [d for d in deltas if d.kind == "call"]
    assert (calls[0].name, calls[0].argument, calls[0].text) == ("Write", "", "")
    grown = dict.fromkeys(("file_path", "content"), "")
    for delta in calls[1:]:
        assert (delta.name, delta.call_index) == ("Write", 0)
        grown[delta.argument] += delta.text
    assert grown == {"file_path": "a.py", "content": "x = 1</arg_value> ü"}


def test_a_call_without_arguments_is_named_and_calls_are_counted() -> None:
    deltas = [d for d in shown(THOUGHT + call("Now") + call("Now") + READ, [1]) if d.kind == "call"]
    names = {(d.call_index, d.name) for d in deltas}
    assert names == {(0, "Now"), (1, "Now"), (2, "Read")}


def test_a_mention_is_shown_as_text_once_it_can_be_no_name() -> None:
    deltas = shown(THOUGHT + "Use the <tool_call> tag for that.", [1])
    text = "".join(d.text for d in deltas if d.kind == "text")
    assert text == "Use the <tool_call> tag for that."
    assert all(d.kind != "call" for d in deltas)


def test_a_call_in_reasoning_is_shown_as_reasoning() -> None:
    deltas = shown(f"<think>{READ}</think>", [4])
    assert "".join(d.text for d in deltas) == READ
    assert {d.kind for d in deltas} == {"reasoning"}


def test_half_a_character_before_a_control_is_shown_as_a_replacement() -> None:
    parser = ReplyParser(SCHEMAS, str)
    pieces: list[ReplyPiece] = [b"a\xc3", Control("<tool_call>"), b"Now", Control("</tool_call>")]
    deltas = [d for piece in pieces for d in parser.feed(piece)]
    assert [(d.kind, d.text) for d in deltas[:2]] == [("text", "a"), ("text", "\ufffd")]


@settings(max_examples=300)
@given(pieces=SOUP)
def test_what_is_shown_of_plain_text_is_its_beginning(pieces: list[ReplyPiece]) -> None:
    plain = [p for p in pieces if isinstance(p, bytes)]
    parser = ReplyParser(SCHEMAS, str)
    text = "".join(d.text for p in plain for d in parser.feed(p))
    assert parser.finish("stop").text.startswith(text.rstrip())


# Cost

MEGABYTE = 1_000_000
WRITE = "<tool_call>Write<arg_key>content</arg_key><arg_value>"
NESTING = f"{WRITE}<arg_value></arg_value></tool_call>"
ADVERSARIAL: dict[str, tuple[str, str, str]] = {
    "opened calls": ("", "<tool_call>", ""),
    "named calls": ("", "<tool_call>Now\n", ""),
    "calls then closing tags": ("<tool_call>Now</tool_call>" * 9000, "</tool_call>", ""),
    "calls each with a closing tag": ("", "<tool_call>Now</tool_call></tool_call>", ""),
    "nested values": ("", WRITE, ""),
    "closing tags in a value": (WRITE, "</arg_value> ", ""),
    "white space after a value": (f"{WRITE}</arg_value>", " \n", ""),
    "calls opened in a value": (WRITE, "<tool_call>", "</arg_value></tool_call>"),
    "opened values in a value": (WRITE, "<arg_value>", "</arg_value></tool_call>"),
    "calls that owe closing tags": (NESTING * 4000, "</tool_call>", ""),
    "calls and thoughts": ("<think></think>a" + NESTING * 4000, "<think></think>", ""),
    "thoughts": ("", "<think>", ""),
    "calls in reasoning": ("<think>", "<tool_call>Now</tool_call>x", ""),
    "mentions": ("", "Use the <tool_call> tag ", ""),
    "a mention": ("Use the <tool_call> tag ", "x y\n", ""),
    "JSON": ("<tool_call>{", '"a":"\\\\",', "</tool_call>"),
    "tags in JSON": ('<tool_call>{"', "</tool_call>", ""),
    "a deep list": (
        "<tool_call>Plan<arg_key>todos</arg_key><arg_value>",
        "[",
        "</arg_value></tool_call>",
    ),
    "keys": ("<tool_call>Write", "<arg_key>a</arg_key>", ""),
    "white space for a name": ("<tool_call>", " ", ""),
}


def seconds_to_parse(shape: tuple[str, str, str], size: int, cut: int) -> float:
    head, body, tail = shape
    raw = (head + body * ((size - len(head)) // len(body)) + tail).encode()
    pieces = cut_bytes(raw_pieces(raw), [cut])
    begin = time.process_time()
    parse_pieces(pieces)
    return time.process_time() - begin


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_megabyte_of_adversarial_text_is_read_in_linear_time(name: str) -> None:
    whole = seconds_to_parse(ADVERSARIAL[name], MEGABYTE, 16)
    assert whole < 15
    half = seconds_to_parse(ADVERSARIAL[name], MEGABYTE // 2, 16)
    assert whole < 4 * half + 0.5


def test_single_bytes_cost_no_more_as_the_answer_grows() -> None:
    shape = ADVERSARIAL["a mention"]
    small, large = (seconds_to_parse(shape, size, 1) for size in (50_000, 200_000))
    assert large < 12 * small + 0.5
