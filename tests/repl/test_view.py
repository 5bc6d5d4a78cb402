from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.core.events import (
    Appended,
    ApprovalAsked,
    CallStarted,
    Delta,
    DeltasDiscarded,
    Event,
    Notice,
    Retrying,
    StepStarted,
    ToolOutput,
    TurnFinished,
    TurnStarted,
)
from glmcode.core.messages import (
    AssistantMessage,
    RejectedCall,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from glmcode.core.tool import Preview
from glmcode.core.words import framed
from glmcode.repl.paint import Painter
from glmcode.repl.view import View

DIFF = "@@ -1,1 +1,1 @@\n-old\n+new\n"


def view(width: int = 80, *, verbose: bool = False) -> View:
    return View(Painter(width, colour=False), verbose=verbose, clock=lambda: 5.0)


def shown(view: View, *events: Event) -> list[str]:
    return [line for event in events for line in view.event(event)]


def call(name: str, number: int = 1, **arguments: object) -> ToolCall:
    return ToolCall(id=f"call_{number}", name=name, arguments=arguments)


def result(text: str, number: int = 1, *, name: str = "Bash", is_error: bool = False) -> Appended:
    message = ToolMessage(call_id=f"call_{number}", name=name, text=text, is_error=is_error)
    return Appended(message=message)


def started(name: str, title: str, number: int = 1, body: str = "") -> CallStarted:
    kind = "command" if name == "Bash" else "diff"
    preview = Preview(kind=kind, title=title, body=body)  # type: ignore[arg-type]
    return CallStarted(call_id=f"call_{number}", name=name, preview=preview)


def test_text_is_printed_block_by_block_and_the_rest_is_in_the_tail() -> None:
    seen = view()
    assert shown(seen, TurnStarted(), StepStarted(number=1)) == []
    assert shown(seen, Delta(kind="text", text="Hello **wor")) == []
    assert seen.tail(5) == ["Hello **wor"]
    assert shown(seen, Delta(kind="text", text="ld**.\n\nNext")) == ["Hello world."]
    assert seen.tail(5) == ["", "Next"]
    end = Appended(message=AssistantMessage(text="Hello **world**.\n\nNext one."))
    assert shown(seen, end) == ["", "Next one."]
    assert seen.tail(5) == []


def test_a_message_that_did_not_stream_is_printed_whole() -> None:
    end = Appended(message=AssistantMessage(text="All of it.", reasoning="So be it."))
    assert shown(view(), end) == ["  reasoning: 3 words in 0.0 s", "", "All of it."]


def test_reasoning_is_a_line_with_a_count_while_it_streams_and_afterwards() -> None:
    seen = view()
    shown(seen, Delta(kind="reasoning", text="one tw"), Delta(kind="reasoning", text="o\nthree"))
    assert seen.tail(5) == ["  … reasoning: 3 words in 0.0 s  (Ctrl-O shows it)"]
    assert shown(seen, Delta(kind="text", text="Go.")) == ["  reasoning: 3 words in 0.0 s"]


def test_ctrl_o_unfolds_reasoning_while_it_streams_and_what_was_folded_afterwards() -> None:
    seen = view()
    assert seen.unfold() == ["nothing is folded"]
    shown(seen, Delta(kind="reasoning", text="one two\nthree"))
    assert seen.unfold() == []
    assert seen.tail(5) == ["  one two", "  three"]
    assert seen.unfold() == []
    assert seen.tail(5) == ["  … reasoning: 3 words in 0.0 s  (Ctrl-O shows it)"]
    shown(seen, Delta(kind="text", text="Go."))
    assert seen.unfold() == ["", "reasoning, all of it", "  one two", "  three"]
    assert seen.unfold() == ["nothing is folded"]


def test_ctrl_o_shows_the_whole_of_a_result_that_was_cut_then_what_was_before_it() -> None:
    seen = view()
    shown(seen, Delta(kind="reasoning", text="hm"))
    shown(seen, Appended(message=AssistantMessage(calls=(call("Bash", command="make"),))))
    shown(seen, started("Bash", "make"))
    body = "".join(f"line {n}\n" for n in range(20))
    shown(seen, result(body + "[exit 0 in 0.1 s]"))
    lines = seen.unfold()
    assert lines[:2] == ["", "Bash make, all of it"]
    assert [line.strip() for line in lines][-20:] == body.split("\n")[:-1]
    assert "reasoning, all of it" in seen.unfold()


def test_reasoning_that_is_shown_moves_in_the_tail_and_is_printed_whole() -> None:
    told = view(verbose=True)
    shown(told, Delta(kind="reasoning", text="one two\nthree"))
    assert shown(told, Delta(kind="text", text="Go.")) == ["  one two", "  three"]


def test_a_call_that_is_being_written_is_never_called_running() -> None:
    seen = view()
    shown(seen, Delta(kind="call", text="a.py", name="Write", argument="file_path"))
    shown(seen, Delta(kind="call", text="x\n" * 9, name="Write", argument="content"))
    assert seen.tail(5) == ["  … writing a call: Write a.py (9 lines so far)"]


def test_a_command_shows_its_live_end_then_its_last_lines_and_how_it_ended() -> None:
    seen = view()
    shown(seen, Appended(message=AssistantMessage(calls=(call("Bash", command="make"),))))
    assert shown(seen, started("Bash", "make")) == ["● Bash make"]
    shown(seen, ToolOutput(call_id="call_1", text="\x1b[31mone\x1b[0m\ntwo\n"))
    assert seen.tail(5) == ["  … running Bash make (0 s)", "    one", "    two"]
    output = "".join(f"line {n}\n" for n in range(20)) + "[exit 0 in 0.1 s]"
    lines = shown(seen, result(output))
    assert lines[0] == "  … 12 lines before" and lines[1] == "  line 12"
    assert lines[-1] == "  └ [exit 0 in 0.1 s]"
    assert seen.tail(5) == []


def test_an_edit_that_was_allowed_shows_its_diff_once() -> None:
    seen = view()
    shown(seen, Appended(message=AssistantMessage(calls=(call("Edit", file_path="a.py"),))))
    assert shown(seen, started("Edit", "Edit a.py", body=DIFF)) == [
        "● Edit a.py", "  1 - old", "  1 + new",
    ]  # fmt: skip
    done = result("edited a.py: 1 replacement at line 1 (+1 -1)", name="Edit")
    done = Appended(
        message=done.message, for_user=Preview(kind="diff", title="Edit a.py", body=DIFF)
    )
    assert shown(seen, done) == ["  └ edited a.py: 1 replacement at line 1 (+1 -1)"]


def test_a_question_shows_all_of_a_command_and_a_cut_preview_can_be_seen_whole() -> None:
    seen = view()
    command = "cat <<X\nhidden \u202e line\nX"
    preview = Preview(kind="command", title=command)
    asked = ApprovalAsked(call_id="call_1", name="Bash", subject=command, preview=preview)
    lines = shown(seen, asked)
    assert lines[1:] == ["  cat <<X", "  hidden <U+202E> line", "  X"]
    body = "@@ -0,0 +1,300 @@\n" + "".join(f"+row {n}\n" for n in range(300))
    preview = Preview(kind="diff", title="Write b", body=body)
    asked = ApprovalAsked(call_id="call_2", name="Write", subject="b", preview=preview)
    assert seen.calls.is_cut(asked)
    assert any("more lines (+221 -0)" in line for line in shown(seen, asked))
    assert len(seen.everything(asked)) == 301


def test_reads_side_by_side_are_each_shown_with_their_result() -> None:
    seen = view()
    calls = (call("Read", 1, file_path="a.py"), call("Grep", 2, pattern="x"))
    shown(seen, Appended(message=AssistantMessage(calls=calls)))
    both = [started("Read", "Read a.py", 1), started("Grep", "Grep x", 2)]
    assert shown(seen, *both) == []
    assert shown(seen, result("1\tone\n2\ttwo", 1, name="Read")) == ["● Read a.py", "  └ 2 lines"]
    assert shown(seen, result("a.py:1:x", 2, name="Grep")) == ["● Grep x", "  a.py:1:x"]


def test_errors_are_shown_with_their_text_and_a_failed_command_with_its_exit() -> None:
    seen = view()
    calls = (call("Edit", 1, file_path="a.py"), call("Bash", 2, command="false"))
    shown(seen, Appended(message=AssistantMessage(calls=calls)))
    lines = shown(seen, result("error: not found\nclosest: 3", 1, name="Edit", is_error=True))
    assert lines == ["● Edit a.py", "  error: not found", "  closest: 3"]
    shown(seen, started("Bash", "false", 2))
    lines = shown(seen, result("oops\n[exit 1 in 0.1 s]", 2, is_error=True))
    assert lines == ["  oops", "  └ [exit 1 in 0.1 s]"]


def test_a_rejected_call_is_said_once_and_in_plain_words() -> None:
    seen = view()
    rejected = RejectedCall(id="call_1", reason="ambiguous", raw="<x>", name="Write")
    lines = shown(seen, Appended(message=AssistantMessage(rejected=(rejected,))))
    assert lines == ["✗ Write: not run, the model wrote it in a way that is ambiguous"]
    assert shown(seen, result("not run: a tag", 1, name="Write", is_error=True)) == []


def test_notices_and_retries_are_said_once_in_a_turn() -> None:
    seen = view()
    retry = Retrying(why="connection refused", attempt=1, wait_s=2.0)
    assert shown(seen, TurnStarted(), retry, retry, Notice(text="mind"), Notice(text="mind")) == [
        "connection refused; trying again in 2.0 s", "mind",
    ]  # fmt: skip
    assert len(shown(seen, TurnStarted(), retry)) == 1


def test_a_reply_that_is_asked_for_again_is_said_to_be_void_only_when_some_was_printed() -> None:
    seen = view()
    shown(seen, Delta(kind="text", text="half"))
    assert shown(seen, DeltasDiscarded(why="cut")) == []
    shown(seen, Delta(kind="text", text="whole\n\n"))
    assert "asked for again: cut" in shown(seen, DeltasDiscarded(why="cut"))[-1]
    assert seen.tail(5) == []


def test_an_error_ends_a_turn_with_its_sentence_its_log_and_what_to_do() -> None:
    seen = view()
    log = "".join(f"log {n}\n" for n in range(30)) + "\x1b[31mlast\x1b[0m"
    end = TurnFinished(reason="error", steps=1, detail="it died", retryable=True, log=log)
    lines = shown(seen, Delta(kind="text", text="so far"), end)
    assert lines[:3] == ["so far", "", "✗ it died"]
    assert lines[-2:] == ["  | last", "Your next message tries again."]
    assert len(lines) < 20


def test_a_steering_word_is_printed_when_the_model_has_it() -> None:
    seen = view()
    first = Appended(message=UserMessage(text="Working directory: /\n\nthe task"))
    assert shown(seen, TurnStarted(), first) == []
    seen.steering += ["be brief", "in chat"]
    assert shown(seen, Appended(message=UserMessage(text="be brief"))) == ["> be brief"]
    shown(seen, Appended(message=AssistantMessage(calls=(call("Read", file_path="a"),))))
    lines = shown(seen, result("1\tx" + framed("in chat"), name="Read"))
    assert lines[-1] == "> in chat" and seen.steering == []


TEXT = st.text(st.sampled_from("ab \n`*#-|>1.\x1b[]52;c\x07\r\t\u202e日😀_~<&"), max_size=60)
EVENTS = st.one_of(
    st.builds(
        Delta, kind=st.sampled_from(["reasoning", "text", "call"]), text=TEXT, name=TEXT,
        argument=st.sampled_from(["", "command"]),
    ),
    st.builds(lambda t: Appended(message=AssistantMessage(text=t, calls=(call("Bash", x=t),))),
              TEXT),
    st.builds(lambda t, e: result(t, is_error=e), TEXT, st.booleans()),
    st.builds(lambda t: started("Bash", t, body=t), TEXT),
    st.builds(lambda t: started("Edit", t, body="@@ -1 +1 @@\n" + t), TEXT),
    st.builds(lambda t: ToolOutput(call_id="call_1", text=t), TEXT),
    st.builds(lambda t: ApprovalAsked(call_id="call_1", name=t, subject=t,
                                      preview=Preview(kind="text", title=t, body=t)), TEXT),
    st.builds(lambda t: Notice(text=t), TEXT),
    st.builds(lambda t: TurnFinished(reason="error", steps=1, detail=t, log=t), TEXT),
    st.builds(StepStarted, number=st.just(1)),
)  # fmt: skip
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=8), st.sampled_from([1, 20, 33, 80]))
def test_whatever_events_come_only_colours_reach_the_terminal(
    events: list[Event], width: int
) -> None:
    painter = Painter(width, colour=True)
    seen = View(painter, verbose=True)
    for event in events:
        for line in [*seen.event(event), *seen.tail(6)]:
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", COLOUR.sub("", line)), line
        assert len(seen.tail(6)) <= 6


@pytest.mark.parametrize("depth", [3, 12, 60, 400])
@pytest.mark.parametrize("mark", ["> ", "- ", "* > "])
def test_markdown_nested_deeper_than_the_screen_is_wide_is_still_shown(
    depth: int, mark: str
) -> None:
    lines = Painter(20, colour=False).markdown(mark * depth + "word")
    assert "word" in " ".join(lines)


def test_an_entity_does_not_bring_back_what_was_cleaned() -> None:
    text = "a &#x202E;b &#27;[2J [l](x&#x202E; &#155;) `&#27;` &lt;T&gt;"
    lines = Painter(80, colour=False).markdown(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", "".join(lines))
    assert "<U+202E>b" in lines[0] and "<T>" in lines[0]


WORDS = st.sampled_from(
    [
        "w{} ",
        "w{}\n",
        "\n\n",
        "- w{} ",
        "\n- w{}\n",
        "1. w{}\n",
        "> w{}\n",
        "<w{}> ",
        "</w{}>\n",
        "`w{}` ",
        "**w{}** ",
        "\n```\nw{}\n",
        "```\n",
        "# w{}\n",
        "| w{} | w{} |\n|---|---|\n",
        "| w{} |\n",
        "    w{}\n",
        "\n<div>\nw{}\n",
        "~~w{}~~ ",
        "[w{}](u) ",
        "\n---\n",
        "  - w{}\n",
        "![w{}](u) ",
        "&amp;w{} ",
        "*w{} ",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=14), st.sampled_from([20, 24, 40, 100]))
def test_no_word_of_the_model_is_swallowed_by_the_layout(pieces: list[str], width: int) -> None:
    text = "".join(piece.replace("{}", f"{n}x") for n, piece in enumerate(pieces))
    joined = "".join("".join(Painter(width, colour=False).markdown(text)).split())
    for word in re.findall(r"w\d+x", text):
        assert word in joined.replace("▌", "").replace("•", ""), (word, joined)


def test_a_diff_that_was_cut_after_an_edit_is_shown_whole_by_a_key() -> None:
    seen = view()
    body = "@@ -0,0 +1,90 @@\n" + "\n".join(f"+line {number}" for number in range(90))
    preview = Preview(kind="diff", title="Write b.py", body=body)
    shown = "\n".join(seen.event(CallStarted(call_id="c", name="Write", preview=preview)))
    assert "61 more lines (+61 -0)" in shown and "line 60" not in shown
    whole = "\n".join(seen.unfold())
    assert all(f"line {number}" in whole for number in range(90))
    assert "nothing is folded" in "\n".join(seen.unfold())
