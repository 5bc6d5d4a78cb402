"""The loop, by the sequence of its events and by what stands in the transcript."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from glmcode.core import words
from glmcode.core.calls import Loop, TurnStop, Verdict
from glmcode.core.events import Event, TurnFinished
from glmcode.core.loop import run_turn
from glmcode.core.messages import (
    AssistantMessage,
    Message,
    RejectedCall,
    Stop,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from glmcode.core.model import Emit, ModelError
from glmcode.core.tool import (
    Action,
    Effect,
    Preview,
    Tool,
    ToolError,
    ToolRefused,
    ToolResult,
    ToolSpec,
)
from glmcode.core.transcript import Preamble, Transcript


@dataclass
class World:
    """A loop's world: scripted replies, tools that note what happens, and a way to cancel."""

    replies: list[AssistantMessage | ModelError]
    events: list[Event] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    deny: set[str] = field(default_factory=set)
    stop_at: str = ""
    printed: dict[str, str] = field(default_factory=dict)
    chat: bool = False
    points: int = 0
    cancel_at: int | None = None
    task: asyncio.Task[Any] | None = None

    async def point(self, name: str) -> None:
        self.points += 1
        self.log.append(name)
        if self.cancel_at == self.points and self.task is not None:
            self.task.cancel()
        await asyncio.sleep(0)

    async def model(
        self, transcript: Transcript, emit: Emit, keep: Callable[[AssistantMessage], None]
    ) -> AssistantMessage:
        reply = self.replies.pop(0)
        try:
            await self.point("model")
            await self.point("model streams")
        except asyncio.CancelledError:
            keep(AssistantMessage(text="partial", stop="interrupted"))
            raise
        if isinstance(reply, ModelError):
            raise reply
        return reply

    def tool(self, name: str, effect: Effect) -> Tool:
        async def prepare(
            call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
        ) -> Action:
            await self.point(f"prepare {call_id}")
            if "refuse" in arguments:
                raise ToolRefused("the file changed")
            if "fail" in arguments:
                raise ToolError("no such file; look with Glob")
            if "crash" in arguments:
                raise ZeroDivisionError("oops")

            async def commit() -> ToolResult:
                await self.point(f"commit {call_id}")
                await self.point(f"committed {call_id}")
                return ToolResult(for_model=f"done {call_id}")

            preview = Preview(kind="text", title=name)
            return Action(effect=effect, subject=name, preview=preview, commit=commit)

        spec = ToolSpec(name=name, description="", effect=effect, parameters={})
        return Tool(
            spec=spec,
            check=lambda a: "unknown argument 'bad'" if "bad" in a else None,
            prepare=prepare,
        )

    async def authorize(self, call: ToolCall, spec: ToolSpec, action: Action) -> Verdict:
        await self.point(f"authorize {call.id}")
        if self.stop_at == call.id:
            raise TurnStop("the disk is full")
        if call.id in self.deny:
            return Verdict(allowed=False, why="the user said no")
        return Verdict(allowed=True)

    async def before_step(self, transcript: Transcript) -> None:
        await self.point("before step")

    def loop(self) -> Loop:
        tools = {
            "Look": self.tool("Look", Effect.READ),
            "Change": self.tool("Change", Effect.WRITE),
        }

        def steering() -> list[str]:
            typed, self.typed = self.typed, []
            return typed

        return Loop(
            model=self.model,
            tools=tools,
            authorize=self.authorize,
            emit=self.events.append,
            before_step=self.before_step,
            steering=steering,
            partial=lambda call_id: self.printed.get(call_id, ""),
            steer_in_results=self.chat,
        )

    def run(self, *, max_steps: int | None = None) -> tuple[TurnFinished | None, Transcript]:
        transcript = Transcript(Preamble(specs=(), system=""))

        async def main() -> TurnFinished | None:
            self.task = asyncio.ensure_future(
                run_turn(transcript, "go", self.loop(), max_steps=max_steps)
            )
            try:
                return await self.task
            except asyncio.CancelledError:
                return None

        return asyncio.run(main()), transcript

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


def calls(
    *ids: str, tool: str = "Look", stop: Stop = "calls", **arguments: Any
) -> AssistantMessage:
    listed = tuple(ToolCall(id=i, name=tool, arguments=arguments) for i in ids)
    return AssistantMessage(calls=listed, stop=stop)


def answers(transcript: Transcript) -> dict[str, str]:
    return {m.call_id: m.text for m in transcript.messages if isinstance(m, ToolMessage)}


DONE = AssistantMessage(text="all done")


def test_a_turn_with_one_call_emits_its_events_in_order() -> None:
    world = World([calls("a", tool="Change"), DONE])
    end, transcript = world.run()
    assert world.names() == [
        "TurnStarted", "Appended", "StepStarted", "Appended", "StepFinished",
        "CallStarted", "Appended", "StepStarted", "Appended", "StepFinished", "TurnFinished",
    ]  # fmt: skip
    assert end is not None and (end.reason, end.text, end.steps) == ("done", "all done", 2)
    roles = [type(m) for m in transcript.messages]
    assert roles == [UserMessage, AssistantMessage, ToolMessage, AssistantMessage]


def test_reads_side_by_side_run_together_and_changes_run_one_after_the_other() -> None:
    world = World([calls("a", "b"), calls("c", "d", tool="Change"), DONE])
    world.run()
    reads = [entry for entry in world.log if entry.split()[-1] in "ab"]
    assert reads.index("prepare b") < reads.index("commit a")
    changes = [entry for entry in world.log if entry.split()[-1] in "cd"]
    assert changes.index("committed c") < changes.index("prepare d")


def test_results_are_appended_in_call_order() -> None:
    world = World([calls("a", "b", "c"), DONE])
    _, transcript = world.run()
    assert list(answers(transcript)) == ["a", "b", "c"]


def test_every_call_is_answered_when_the_turn_is_cancelled_at_any_await_point() -> None:
    def replies() -> list[AssistantMessage | ModelError]:
        mixed = AssistantMessage(
            stop="calls",
            calls=(
                ToolCall(id="a", name="Look", arguments={}),
                ToolCall(id="b", name="Look", arguments={}),
                ToolCall(id="c", name="Change", arguments={}),
                ToolCall(id="d", name="Look", arguments={}),
                ToolCall(id="e", name="Nothing", arguments={}),
                ToolCall(id="f", name="Change", arguments={}),
            ),
            rejected=(RejectedCall(id="r", reason="malformed", raw="", before=5),),
        )
        return [mixed, calls("x", tool="Change"), DONE]

    whole = World(replies())
    whole.run()
    assert whole.points > 20
    for point in range(1, whole.points + 1):
        world = World(replies(), cancel_at=point)
        end, transcript = world.run()
        assert transcript.open_calls == ()
        assert end is None or point >= whole.points - 1
        for message in transcript.messages:
            if isinstance(message, AssistantMessage):
                position = transcript.messages.index(message)
                wanted = message.call_ids()
                following = transcript.messages[position + 1 : position + 1 + len(wanted)]
                assert [getattr(m, "call_id", None) for m in following] == list(wanted)


def test_a_cancelled_sibling_keeps_the_result_of_the_finished_one() -> None:
    world = World([calls("a", "b"), DONE], printed={"b": "half"})
    points = World([calls("a", "b"), DONE])
    points.run()
    last = points.log.index("committed b") + 1
    world.cancel_at = last
    _, transcript = world.run()
    given = answers(transcript)
    assert given["b"] == f"half\n[{words.CANCELLED}]"


def test_an_interrupted_answer_is_kept() -> None:
    world = World([DONE], cancel_at=3)
    _, transcript = world.run()
    kept = transcript.messages[-1]
    assert isinstance(kept, AssistantMessage)
    assert (kept.text, kept.stop) == ("partial", "interrupted")


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        ({"bad": 1}, "error: unknown argument 'bad'"),
        ({"fail": 1}, "error: no such file; look with Glob"),
        ({"refuse": 1}, "not run: the file changed"),
        ({"crash": 1}, "error: Look failed inside glmcode: ZeroDivisionError"),
    ],
)
def test_a_failing_call_is_answered_and_the_turn_goes_on(
    arguments: dict[str, int], begin: str
) -> None:
    world = World([calls("a", **arguments), DONE])
    end, transcript = world.run()
    assert answers(transcript)["a"].startswith(begin)
    assert end is not None and end.reason == "done"


def test_an_unknown_tool_is_answered_with_the_names_that_exist() -> None:
    world = World([calls("a", tool="Frobnicate"), DONE])
    _, transcript = world.run()
    assert answers(transcript)["a"] == (
        "error: there is no tool 'Frobnicate'; the tools are: Look, Change"
    )


def test_a_denied_action_is_not_committed() -> None:
    world = World([calls("a", tool="Change"), DONE], deny={"a"})
    _, transcript = world.run()
    assert answers(transcript)["a"] == "not run: the user said no"
    assert "commit a" not in world.log


def test_calls_before_a_rejected_one_run_and_changes_after_it_do_not() -> None:
    message = AssistantMessage(
        stop="calls",
        token_ids=(1,),
        calls=(
            ToolCall(id="a", name="Change", arguments={}),
            ToolCall(id="b", name="Change", arguments={}),
            ToolCall(id="c", name="Look", arguments={}),
        ),
        rejected=(RejectedCall(id="r", reason="ambiguous", raw="x", before=1),),
    )
    world = World([message, DONE])
    _, transcript = world.run()
    given = answers(transcript)
    assert list(given) == ["a", "r", "b", "c"]
    assert given["a"] == "done a" and given["c"] == "done c"
    assert given["b"] == words.AFTER_REJECTED
    assert given["r"] == words.rejected_answer(message.rejected[0])


def test_in_chat_a_rejected_call_is_told_about_json_and_not_about_tags() -> None:
    call = RejectedCall(id="r", reason="malformed", raw="{", name="Write")
    _, transcript = World([AssistantMessage(stop="calls", rejected=(call,)), DONE]).run()
    assert "JSON" in answers(transcript)["r"] and "<arg_key>" not in answers(transcript)["r"]


def test_in_chat_a_call_without_a_name_is_told_so() -> None:
    call = RejectedCall(id="r", reason="malformed", raw='{"a": 1}')
    _, transcript = World([AssistantMessage(stop="calls", rejected=(call,)), DONE]).run()
    assert "names no tool" in answers(transcript)["r"]


def test_three_rejected_steps_in_a_row_end_the_turn_as_an_error() -> None:
    def rejected(name: str) -> AssistantMessage:
        call = RejectedCall(id=name, reason="malformed", raw="x")
        return AssistantMessage(stop="calls", rejected=(call,))

    world = World([rejected("a"), rejected("b"), rejected("c"), DONE])
    end, _ = world.run()
    assert end is not None and end.reason == "rejected_calls" and end.steps == 3


def test_a_stop_for_a_call_without_a_call_is_a_rejected_step() -> None:
    empty = AssistantMessage(text="hm", stop="calls", token_ids=(1, 2))
    world = World([empty, DONE])
    end, transcript = world.run()
    assert end is not None and end.reason == "done"
    assert any(words.NO_CALL in text for text in answers(transcript).values())


def test_an_empty_message_is_asked_for_once_more_and_then_is_an_error() -> None:
    world = World([AssistantMessage(), DONE])
    end, transcript = world.run()
    assert end is not None and end.reason == "done"
    assert UserMessage(text=words.EMPTY, origin="glmcode") in transcript.messages
    world = World([AssistantMessage(), AssistantMessage(text="  ")])
    end, _ = world.run()
    assert end is not None and end.reason == "empty_answer"


def test_a_repeating_model_is_nudged_once_and_then_stopped() -> None:
    again = AssistantMessage(text="la la", stop="repetition")
    end, transcript = World([again, again]).run()
    assert end is not None and end.reason == "repetition"
    assert UserMessage(text=words.REPEATED, origin="glmcode") in transcript.messages


def test_an_answer_cut_in_chat_is_continued_at_most_twice_and_then_is_an_error() -> None:
    parts = [AssistantMessage(text=t, stop="length") for t in ("one ", "two ")]
    end, _ = World([*parts, AssistantMessage(text="three")]).run()
    assert end is not None and (end.reason, end.text) == ("done", "one two three")
    end, _ = World([*parts, AssistantMessage(text="x", stop="length")]).run()
    assert end is not None and end.reason == "length"


def test_the_step_limit_ends_a_turn_whose_model_wants_more() -> None:
    world = World([calls("a"), calls("b"), DONE])
    end, transcript = world.run(max_steps=2)
    assert end is not None and (end.reason, end.steps) == ("max_turns", 2)
    assert transcript.open_calls == ()


def test_a_full_disk_stops_the_turn_before_the_change() -> None:
    world = World([calls("a", "b", tool="Change"), DONE], stop_at="a")
    end, transcript = world.run()
    assert end is not None and (end.reason, end.detail) == ("error", "the disk is full")
    assert "commit a" not in world.log and "prepare b" not in world.log
    assert answers(transcript)["b"] == "not run: the disk is full"


def test_a_model_error_ends_the_turn_with_its_kind() -> None:
    end, _ = World([ModelError("engine died", kind="unavailable", detail="log")]).run()
    assert end is not None
    assert (end.reason, end.retryable, end.log) == ("error", True, "log")


def test_text_typed_during_a_turn_follows_the_results_as_a_user_message() -> None:
    world = World([calls("a"), DONE], typed=["use the other file"])
    _, transcript = world.run()
    assert [type(m).__name__ for m in transcript.messages] == [
        "UserMessage", "AssistantMessage", "ToolMessage", "UserMessage", "AssistantMessage",
    ]  # fmt: skip
    assert transcript.messages[3] == UserMessage(text="use the other file")


def test_in_chat_typed_text_rides_framed_at_the_end_of_the_last_result() -> None:
    world = World([calls("a", "b"), DONE], typed=["stop"], chat=True)
    _, transcript = world.run()
    given = answers(transcript)
    assert given == {"a": "done a", "b": "done b" + words.framed("stop")}


def test_text_typed_while_the_last_answer_streams_goes_on_with_the_turn() -> None:
    world = World([DONE, AssistantMessage(text="and that too")], typed=["and that"])
    end, _ = world.run()
    assert end is not None and end.text == "and that too"


def test_a_journal_that_fails_in_the_middle_still_leaves_pairs() -> None:
    world = World([calls("a", "b", tool="Change"), DONE])
    lines = 0

    def record(message: Message) -> None:
        nonlocal lines
        lines += 1
        if lines >= 3:
            raise TurnStop("the journal cannot be written")

    transcript = Transcript(Preamble(specs=(), system=""), record=record)
    end = asyncio.run(run_turn(transcript, "go", world.loop()))
    assert end.reason == "error" and "journal" in end.detail
    assert transcript.open_calls == ()
