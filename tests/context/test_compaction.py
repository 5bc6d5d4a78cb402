from __future__ import annotations

from pathlib import Path

import pytest

from tests.context.compaction_kit import SummingEngine, Talk, read
from tests.fake_engine import Reply

SUMMARY = Reply(
    text="## Request\nWrite out.txt.\n## Done\nRead files.\n## Files\nf1.txt\n## Left\nWrite."
)
PROTOCOLS = ("tokens", "chat")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    for number in range(1, 31):
        lines = [f"line {row} of file {number}: value = {row * number}" for row in range(40)]
        (folder / f"f{number}.txt").write_text("\n".join(lines) + "\n")
    return folder


def long_task() -> list[Reply]:
    script = [read(f"f{number}.txt") for number in range(1, 25)]
    write = {"file_path": "out.txt", "content": "done\n"}
    script.append(Reply(calls=[{"name": "Write", "arguments": write}]))
    return [*script, Reply(text="Written.")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_turn_that_runs_into_the_window_several_times_finishes_its_task(
    work: Path, protocol: str
) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work, protocol)
        (end,) = talk.say("Read all files, then write out.txt")
    assert end.reason == "done" and end.text == "Written." and end.steps == 26
    assert (work / "out.txt").read_bytes() == b"done\n"
    assert len(talk.compacted) >= 2 and len(engine.questions) == len(talk.compacted)
    for seen, done in zip(engine.questions, talk.compacted, strict=True):
        assert seen.grows is True
        assert done.after < done.before and done.why == "automatic" and done.summary
    if protocol == "tokens":
        for step in engine.steps:
            wanted = step.json["sampling_params"]["max_tokens"]
            assert wanted > 0 and len(step.json["token_ids"]) + wanted <= 8_192
