"""Going on with a session in a new process: the same tokens, the same messages, the truth."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from glmcode.agent import AgentOptions
from glmcode.base.settings import ContextSettings, EngineSettings
from glmcode.core.messages import AssistantMessage, ToolMessage, UserMessage
from glmcode.opening import open_agent
from glmcode.sessions import fold, open_session, read_entries
from tests.fake_engine import FakeEngine, Reply

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
READ = Reply(reasoning="é", calls=[{"name": "Read", "arguments": {"file_path": "a.py"}}])
EDIT = Reply(
    calls=[
        {
            "name": "Edit",
            "arguments": {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"},
        }
    ]
)
HOLD = """
import sys, pathlib
from glmcode.sessions import open_session
open_session(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


class Runs:
    """Processes of glmcode in one folder against one engine."""

    def __init__(self, tmp_path: Path, engine: FakeEngine, protocol: str = "tokens") -> None:
        self.work = tmp_path / "work"
        self.work.mkdir(exist_ok=True)
        if not (self.work / "a.py").exists():
            (self.work / "a.py").write_bytes(b"x = 1\n")
        self.environment = {**os.environ, "GLMCODE_HOME": str(tmp_path / "home")}
        self.engine = engine
        self.protocol = protocol
        self.model = "glm"
        self.tokenizer = TOKENIZER

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", "glmcode", "-p", "-y", "--output-format", "json",
            "--base-url", self.engine.base_url, "--protocol", self.protocol, "-m", self.model,
            "--set", f"engine.tokenizer={self.tokenizer}", *arguments,
        ]  # fmt: skip

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, encoding="utf-8", cwd=self.work,
            env=self.environment, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        self.stderr = done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def path(self, session_id: str) -> Path:
        (path,) = (self.work.parent / "home").rglob(f"{session_id}.jsonl")
        return path

    def prompts(self) -> list[list[int]]:
        bodies = [step.json for step in self.engine.steps]
        return [body.get("token_ids", body.get("prompt")) for body in bodies]


def test_a_resumed_prompt_is_the_one_before_and_what_was_kept_token_by_token(
    tmp_path: Path,
) -> None:
    script = [READ, EDIT, Reply(text="One: é."), Reply(text="Two."), READ, Reply(text="Three.")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        runs = Runs(tmp_path, engine)
        first = runs.run("one")
        second = runs.run("-c", "two")
        third = runs.run("-r", first["session_id"][:18], "--", "three")
    assert {first["session_id"], second["session_id"]} == {third["session_id"]}
    prompts = runs.prompts()
    replies = [
        m for m in fold(runs.path(first["session_id"])).messages if isinstance(m, AssistantMessage)
    ]
    assert len(prompts) == len(replies) == 6
    for before, after, reply in zip(prompts, prompts[1:], replies, strict=False):
        kept = [*before, *(reply.token_ids or ())]
        assert after[: len(kept)] == kept
    assert [step.grows for step in engine.steps] == [None, *[True] * 5]
    assert (first["result"], third["result"]) == ("One: é.", "Three.")


def test_in_chat_the_resumed_messages_begin_with_those_of_before(tmp_path: Path) -> None:
    script = [READ, Reply(text="One.", reasoning="why"), Reply(text="Two.")]
    with FakeEngine(script) as engine:
        runs = Runs(tmp_path, engine, "chat")
        runs.run("one")
        runs.run("-c", "two")
        bodies = [step.json for step in engine.steps]
    before, after = bodies[1], bodies[2]
    assert after["tools"] == before["tools"]
    assert after["messages"][: len(before["messages"])] == before["messages"]
    last = after["messages"][len(before["messages"])]
    assert (last["content"], last["reasoning_content"]) == ("One.", "why")
    assert after["messages"][-1] == {"role": "user", "content": "two"}


def test_the_head_is_that_of_the_session_even_when_glmcode_has_another_by_now(
    tmp_path: Path,
) -> None:
    with FakeEngine([Reply(text="One."), Reply(text="Two.")]) as engine:
        runs = Runs(tmp_path, engine, "chat")
        path = runs.path(runs.run("--system-prompt", "You are old.", "one")["session_id"])
        header, rest = path.read_bytes().split(b"\n", 1)
        old = header.replace(b"Read", b"Peruse")
        path.write_bytes(old + b"\n" + rest)
        runs.run("-c", "two")
        body = engine.steps[1].json
    assert body["messages"][0] == {"role": "system", "content": "You are old."}
    assert body["tools"][0]["function"]["name"] == "Peruse"


def test_a_file_that_was_read_and_is_unchanged_needs_no_new_read(tmp_path: Path) -> None:
    again = {"file_path": "a.py", "old_string": "x = 2", "new_string": "x = 3"}
    second = Reply(calls=[{"name": "Edit", "arguments": again}])
    script = [READ, Reply(text="One."), EDIT, Reply(text="Two.")]
    script += [second, Reply(text="Three."), EDIT, Reply(text="Four.")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        runs = Runs(tmp_path, engine)
        path = runs.path(runs.run("read it")["session_id"])
        runs.run("-c", "edit it")
        assert (runs.work / "a.py").read_bytes() == b"x = 2\n"
        runs.run("-c", "edit it once more")
        assert (runs.work / "a.py").read_bytes() == b"x = 3\n"
        (runs.work / "a.py").write_bytes(b"x = 1  # by an editor\n")
        runs.run("-c", "edit it again")
    answers = [m for m in fold(path).messages if isinstance(m, ToolMessage)]
    assert [answer.is_error for answer in answers] == [False, False, False, True]
    assert "changed since" in answers[3].text
    assert (runs.work / "a.py").read_bytes() == b"x = 1  # by an editor\n"


def test_the_shells_folder_and_the_todo_list_come_back(tmp_path: Path) -> None:
    todos = [{"content": "a thing", "status": "pending"}]
    script = [
        Reply(calls=[{"name": "Bash", "arguments": {"command": "mkdir d && cd d"}}]),
        Reply(calls=[{"name": "TodoWrite", "arguments": {"todos": todos}}]),
        Reply(text="One."),
        Reply(calls=[{"name": "Bash", "arguments": {"command": "pwd"}}]),
        Reply(text="Two."),
    ]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        runs = Runs(tmp_path, engine)
        path = runs.path(runs.run("one")["session_id"])
        runs.run("-c", "two")
    told = fold(path)
    answers = [m.text for m in told.messages if isinstance(m, ToolMessage)]
    assert answers[-1].startswith(f"{runs.work}/d\n")
    assert told.todos == todos


def test_a_fork_has_an_id_of_its_own_the_same_prefix_and_leaves_the_old_one_alone(
    tmp_path: Path,
) -> None:
    script = [READ, Reply(text="One."), Reply(text="In the fork."), Reply(text="In the old.")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        runs = Runs(tmp_path, engine)
        first = runs.run("one")
        before = runs.path(first["session_id"]).read_bytes()
        fork = runs.run("-c", "--fork-session", "two")
        assert runs.path(first["session_id"]).read_bytes() == before
        old = runs.run("-r", first["session_id"], "--", "three")
    assert fork["session_id"] != first["session_id"] == old["session_id"]
    header = next(iter(read_entries(runs.path(fork["session_id"]))))
    assert (header["forked_from"], header["id"]) == (first["session_id"], fork["session_id"])
    prompts = runs.prompts()
    shared = len(prompts[1])
    assert prompts[2][:shared] == prompts[3][:shared] == prompts[1]
    assert runs.run("-r", "", code=2)["is_error"]


@pytest.mark.parametrize("kind", ["model", "tokenizer", "protocol"])
def test_another_model_or_tokenizer_is_rendered_again_and_said(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "tokenizer.json"
    other.write_bytes(TOKENIZER.read_bytes() + b"\n")
    odd = Reply(ids=[300, 301, 302, 303], finish="stop", stop="<|user|>", text="x")
    script = [odd, Reply(text="Two."), Reply(text="Three.")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        runs = Runs(tmp_path, engine)
        session = runs.run("one")["session_id"]
        if kind == "model":
            runs.model = engine.model = "other"
        elif kind == "tokenizer":
            runs.tokenizer = other
        else:
            runs.protocol = "chat"
        assert runs.run("-c", "two")["session_id"] == session
        assert "this session was written by glm (tokens)" in runs.stderr
        assert "rendered again" in runs.stderr
        bodies = [step.json for step in engine.steps]
        runs.run("-c", "three")
        assert "rendered again" not in runs.stderr
    writers = [e["engine"] for e in read_entries(runs.path(session)) if "engine" in e]
    assert len(writers) == 1
    if kind == "protocol":
        assert bodies[1]["messages"][1]["content"].endswith("one")
    else:
        assert engine.steps[1].grows is False and engine.steps[2].grows is True


def test_a_session_in_use_is_told_with_its_holder_and_the_way_out(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="One."), Reply(text="Two.")]) as engine:
        runs = Runs(tmp_path, engine, "chat")
        session = runs.run("one")["session_id"]
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(runs.path(session))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=runs.environment, cwd=ROOT,
        )  # fmt: skip
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            told = runs.run("-c", "two", code=1)
            assert f"in use by process {holder.pid}" in told["error"]
            assert "--fork-session" in told["error"]
            assert len(engine.steps) == 1
            fork = runs.run("-c", "--fork-session", "two")
            assert fork["result"] == "Two." and fork["session_id"] != session
        finally:
            holder.communicate()


def test_what_a_crash_left_open_is_told_to_the_model_and_stands_in_the_file(
    tmp_path: Path,
) -> None:
    script = [READ, EDIT, Reply(text="never reached"), Reply(text="I see.")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        runs = Runs(tmp_path, engine)
        path = runs.path(runs.run("one")["session_id"])
        lines = path.read_bytes().splitlines(keepends=True)
        intent = next(n for n, line in enumerate(lines) if b'"t":"intent"' in line)
        path.write_bytes(b"".join(lines[: intent + 1]))
        runs.run("-c", "two")
        assert "1 call(s) had no result" in runs.stderr
    answer, user = fold(path).messages[4:6]
    assert isinstance(answer, ToolMessage) and "The change was applied: a.py" in answer.text
    assert isinstance(user, UserMessage)
    assert user.text == "[The previous turn was not finished.]\n\ntwo"
    prompts = runs.prompts()
    call = fold(path).messages[3]
    assert isinstance(call, AssistantMessage) and call.token_ids
    kept = [*prompts[1], *call.token_ids]
    assert prompts[3][: len(kept)] == kept


def test_the_file_keeps_what_the_person_typed_beside_what_was_sent(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="One."), Reply(text="Two.")]) as engine:
        runs = Runs(tmp_path, engine, "chat")
        path = runs.path(runs.run("one\nline")["session_id"])
        runs.run("-c", "two")
    entries = [e for e in read_entries(path) if e["t"] == "message"]
    assert entries[0]["typed"] == "one\nline" != entries[0]["message"]["text"]
    assert "typed" not in entries[2]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["-c"], 1, "no session"),
        (["-r", "2026", "--"], 2, "no session begins with '2026'"),
        (["-r", "fix the bug"], 2, "no session begins with 'fix the bug'"),
        (["-r"], 2, "sessions list"),
        (["-c", "-r", "x"], 2, "exclude each other"),
        (["--fork-session"], 2, "-c or -r"),
        (["-c", "--system-prompt", "x"], 2, "system prompt that it began with"),
    ],
)
def test_what_cannot_be_resumed_is_one_sentence(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    with FakeEngine([]) as engine:
        runs = Runs(tmp_path, engine, "chat")
        told = runs.run("hello", *arguments, code=code)
    assert sentence in told["error"] + runs.stderr
    assert "Traceback" not in runs.stderr
    assert engine.requests == []


def test_a_session_of_another_folder_says_how_to_go_on_there(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="One."), Reply(text="Two.")]) as engine:
        runs = Runs(tmp_path, engine, "chat")
        session = runs.run("one")["session_id"]
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        there, runs.work = runs.work, elsewhere
        told = runs.run("-r", session, "--", "two", code=2)
        assert f"-C {there}" in told["error"]
        assert runs.run("-r", session, "-C", str(there), "--", "two")["session_id"] == session


def test_a_damaged_session_is_an_error_and_no_byte_of_it_changes(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="One.")]) as engine:
        runs = Runs(tmp_path, engine, "chat")
        path = runs.path(runs.run("one")["session_id"])
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], b"\x00garbage\n", *lines[2:]]))
        before = path.read_bytes()
        told = runs.run("-c", "two", code=1)
        assert "line 3 is damaged" in told["error"]
        told = runs.run("-c", "--fork-session", "two", code=1)
        assert "line 3 is damaged" in told["error"]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("reasoning", ["keep", "template"])
def test_three_turns_in_three_agents_send_what_one_agent_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reasoning: Literal["keep", "template"]
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    work = (tmp_path / "work").resolve()
    work.mkdir()
    (work / "a.py").write_text("x = 1\n")
    two = Reply(reasoning="both", calls=[*READ.calls, *READ.calls])
    script = [two, Reply(reasoning="why", text="One."), two, READ, Reply(text="Two.")]
    script += [Reply(reasoning="so", text="Three.")]

    def prompts(*, apart: bool) -> list[list[int]]:
        with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
            settings = EngineSettings(
                base_url=engine.base_url, protocol="tokens", model="glm", tokenizer=str(TOKENIZER)
            )
            options = AgentOptions(
                workspace=work,
                engine=settings,
                context=ContextSettings(reasoning=reasoning),
            )

            async def main() -> None:
                agent = await open_agent(options, lambda event: None)
                for prompt in ("one", "two", "three"):
                    if apart and prompt != "one":
                        await agent.close()
                        stored = open_session(agent.journal.path)
                        again = replace(options, stored=stored)
                        agent = await open_agent(again, lambda event: None)
                    await agent.submit(prompt)
                await agent.close()

            asyncio.run(main())
            return [step.json["token_ids"] for step in engine.steps]

    assert prompts(apart=True) == prompts(apart=False)
