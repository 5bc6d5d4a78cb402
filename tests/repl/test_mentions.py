from __future__ import annotations

from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode


def test_a_mention_is_told_in_one_line_and_only_the_person_s_words_are_shown(
    tmp_path: Path,
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "calc.py").write_text("SECRET_OF_THE_FILE = 1\n")
    server = ("--protocol", "chat", "-m", "glm")
    with (
        FakeEngine([Reply(text="I have read it.")]) as engine,
        glmcode(tmp_path, "--base-url", engine.base_url, *server) as session,
    ):
        session.wait_for_visible("ready")
        session.type("explain @calc.py and @gone.py\r")
        session.wait_for("I have read it.")
        shown = session.screen.text
        sent = engine.steps[0].json["messages"][-1]["content"]
    assert "> explain @calc.py and @gone.py" in shown and "@calc.py: read, 1 line" in shown
    assert "SECRET_OF_THE_FILE" not in shown
    assert "1\tSECRET_OF_THE_FILE = 1\n" in sent and "@gone.py was" not in sent
