from __future__ import annotations

import re
from pathlib import Path

from tests.context.compaction_kit import SummingEngine
from tests.fake_engine import Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import ready

SUMMARY = Reply(text="## Request\nCount lines.\n## Done\nNothing.\n## Files\n-\n## Left\nAll.")

NUMBERS = " ".join(f"n{number}" for number in range(900))


def reach(engine: SummingEngine) -> tuple[str, ...]:
    return ("--base-url", engine.base_url, "--protocol", "chat")


def test_compact_asks_once_says_both_numbers_and_the_next_message_follows_the_summary(
    tmp_path: Path,
) -> None:
    script = [Reply(text=NUMBERS), Reply(text="Go on.")]
    with SummingEngine(script, [SUMMARY]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("say much\r")
        session.wait_for("n898")
        ready(session)
        session.type("/compact only the numbers\r")
        session.wait_for("tokens became")
        ready(session)
        assert re.search(r"compacted: [\d,]+ tokens became [\d,]+", session.screen.text)
        session.type("and now?\r")
        session.wait_for("Go on.")
        messages = engine.steps[-1].json["messages"]
    assert (
        "keep in particular: only the numbers"
        in engine.questions[0].json["messages"][-1]["content"]
    )
    assert "Count lines." in messages[1]["content"] and messages[-1]["content"] == "and now?"
    assert len(engine.questions) == 1


def test_context_shows_a_bar_and_a_message_without_room_comes_back_to_the_input(
    tmp_path: Path,
) -> None:
    script = [Reply(text="hello")]
    with SummingEngine(script, [SUMMARY]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/context\r")
        session.wait_for("tool specs")
        assert re.search(r"window +\[█+·+░+\]", session.screen.text)
        session.type("\x1b[200~" + "way too long " * 3_000 + "\x1b[201~\r")
        session.wait_for("name the file")
        ready(session)
        assert not engine.steps
        after = session.screen.text.partition("name the file")[2]
        assert "[pasted 1 line, 39 KB]" in after


def test_escape_stops_a_compaction_and_says_that_nothing_changed(tmp_path: Path) -> None:
    slow = Reply(text="a slow summary that never ends", chunk=1, gap=0.3)
    script = [Reply(text=NUMBERS), Reply(text="Still here.")]
    with SummingEngine(script, [slow]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("say much\r")
        session.wait_for("n898")
        ready(session)
        session.type("/compact\r")
        session.wait_for("compacting")
        session.type("\x1b")
        session.wait_for("the conversation is as it was")
        ready(session)
        session.type("and now?\r")
        session.wait_for("Still here.")
        assert len(engine.steps[-1].json["messages"]) == 4
