"""approve= of the Python API: functions that answer questions, and functions that fail."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import glmcode
from tests.fake_engine import FakeEngine, Reply
from tests.test_api import ended, given, heard
from tests.test_headless import EDIT, READ

ASKS = [Reply(calls=[READ]), Reply(calls=[EDIT]), Reply(text="done")]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.py").write_bytes(b"x = 1\n")
    return folder


def told(engine: FakeEngine) -> str:
    return str(engine.steps[-1].json["messages"][-1]["content"])


def test_a_function_is_asked_in_a_thread_with_all_that_a_person_would_see(work: Path) -> None:
    asked: list[tuple[glmcode.ApprovalRequest, bool]] = []

    def approve(request: glmcode.ApprovalRequest) -> glmcode.Answer:
        asked.append((request, threading.current_thread() is threading.main_thread()))
        return glmcode.Allow()

    with FakeEngine(ASKS) as engine:
        result = glmcode.run("go", **given(engine, work, approve=approve))
    [(request, main)] = asked
    assert (result.exit_code, result.text, main) == (0, "done", False)
    assert (request.tool_name, request.input) == ("Edit", EDIT["arguments"])
    assert request.kind == "diff" and "+x = 2" in request.preview and request.rules
    assert (work / "a.py").read_bytes() == b"x = 2\n"


def test_a_coroutine_function_may_say_no_and_why(work: Path) -> None:
    async def approve(request: glmcode.ApprovalRequest) -> glmcode.Answer:
        await asyncio.sleep(0)
        return glmcode.Deny(reason="not today")

    with FakeEngine(ASKS) as engine:
        result = glmcode.run("go", **given(engine, work, approve=approve))
        assert told(engine) == "not run: the user said no: not today"
    assert result.exit_code == 0 and (work / "a.py").read_bytes() == b"x = 1\n"


@pytest.mark.parametrize(
    ("answer", "code", "content"),
    [(True, 0, b"x = 2\n"), (False, 0, b"x = 1\n"), (None, 3, b"x = 1\n")],
)
def test_a_bare_yes_no_or_nobody(work: Path, answer: Any, code: int, content: bytes) -> None:
    with FakeEngine(ASKS) as engine:
        result = glmcode.run("go", **given(engine, work, approve=lambda request: answer))
    assert (result.exit_code, (work / "a.py").read_bytes()) == (code, content)


def fails(request: glmcode.ApprovalRequest) -> glmcode.Answer:
    raise KeyError("desk")


@pytest.mark.parametrize(
    ("approve", "said"),
    [
        (fails, "approve failed: KeyError: 'desk'"),
        (lambda request: "yes", "approve returned 'yes'"),
        (lambda request: glmcode.Allow(remember="session", rules=["Bash(ls)"]), "do not allow"),
        (lambda request: glmcode.Allow(remember="for good"), "approve returned Allow("),
        (lambda request: glmcode.Allow(remember="session", rules="Edit"), "a list of rules"),
        (lambda request: glmcode.Allow(edited=5), "approve returned Allow("),
        (lambda request: glmcode.Deny(reason=5), "approve returned Deny("),
        (lambda request: next(iter([])), "approve failed: RuntimeError: StopIteration"),
    ],
)
def test_an_answer_that_is_none_ends_the_turn_and_nothing_is_done(
    work: Path, approve: Any, said: str
) -> None:
    with FakeEngine(ASKS) as engine:
        with pytest.raises(glmcode.GlmcodeError, match="approve") as caught:
            glmcode.run("go", **given(engine, work, approve=approve))
        assert len(engine.steps) == 2
    assert caught.value.exit_code == 1 and said in str(caught.value)
    assert (work / "a.py").read_bytes() == b"x = 1\n"


def test_what_is_remembered_for_the_session_is_not_asked_again(work: Path) -> None:
    asked: list[str] = []

    def approve(request: glmcode.ApprovalRequest) -> glmcode.Answer:
        asked.append(request.subject)
        return glmcode.Allow(remember="session")

    back = {"file_path": "a.py", "old_string": "x = 2", "new_string": "x = 3"}
    script = [*ASKS[:2], Reply(calls=[{"name": "Edit", "arguments": back}]), Reply(text="done")]
    with FakeEngine(script) as engine:
        glmcode.run("go", **given(engine, work, approve=approve))
    assert len(asked) == 1 and (work / "a.py").read_bytes() == b"x = 3\n"


def test_a_no_may_end_the_turn_and_an_interrupt_ends_the_question(work: Path) -> None:
    async def waits(request: glmcode.ApprovalRequest) -> glmcode.Answer:
        asyncio.get_running_loop().call_soon(agents[-1].interrupt)
        await asyncio.sleep(600)
        return True

    async def go(engine: FakeEngine, approve: Any) -> glmcode.Result:
        async with glmcode.Agent(**given(engine, work, approve=approve)) as agent:
            agents.append(agent)
            await heard(agent, "go")
            return ended(agent)

    agents: list[glmcode.Agent] = []
    for approve in (waits, lambda request: glmcode.Deny(interrupt=True)):
        with FakeEngine(ASKS) as engine:
            began = time.monotonic()
            result = asyncio.run(go(engine, approve))
        assert (result.subtype, result.exit_code) == ("interrupted", 130)
        assert time.monotonic() - began < 60
    assert (work / "a.py").read_bytes() == b"x = 1\n"


def test_a_tool_of_the_caller_is_asked_about_and_may_be_remembered(work: Path) -> None:
    asked: list[glmcode.ApprovalRequest] = []

    def approve(request: glmcode.ApprovalRequest) -> glmcode.Answer:
        asked.append(request)
        return glmcode.Allow(remember="session" if request.rules else "")

    tool = glmcode.Tool(
        name="Deploy", description="Deploys.", parameters={}, function=lambda: "deployed"
    )
    call = Reply(calls=[{"name": "Deploy", "arguments": {}}])
    with FakeEngine([call, call, Reply(text="done")]) as engine:
        result = glmcode.run("go", **given(engine, work, approve=approve, tools=[tool]))
        assert told(engine) == "deployed"
    assert result.exit_code == 0 and asked[0].tool_name == "Deploy"


def test_several_agents_in_one_process_keep_apart(work: Path) -> None:
    async def one(name: str) -> tuple[str, str, list[str]]:
        asked: list[str] = []

        async def approve(request: glmcode.ApprovalRequest) -> glmcode.Answer:
            asked.append(request.input["new_string"])
            return True

        folder = work / name
        folder.mkdir()
        (folder / "a.py").write_bytes(b"x = 1\n")
        edit = {"name": "Edit", "arguments": {**EDIT["arguments"], "new_string": name}}
        script = [Reply(calls=[READ], delay=0.2), Reply(calls=[edit]), Reply(text=name)]
        with FakeEngine(script) as engine:
            options = given(engine, folder, approve=approve)
            async with glmcode.Agent(**options) as agent:
                await heard(agent, "go")
                return agent.session_id, ended(agent).text, asked

    async def go() -> list[tuple[str, str, list[str]]]:
        return await asyncio.gather(*(one(f"y{number}") for number in range(4)))

    found = asyncio.run(go())
    assert [(text, asked) for _, text, asked in found] == [(f"y{n}", [f"y{n}"]) for n in range(4)]
    assert len({session for session, _, _ in found}) == 4
    assert [(work / f"y{n}" / "a.py").read_bytes() for n in range(4)] == [
        f"y{n}\n".encode() for n in range(4)
    ]


@pytest.mark.parametrize(("text", "content"), [("x = 3\n", b"x = 3\n"), ("x = 1\n", b"x = 1\n")])
def test_an_edited_proposal_is_done_or_ends_the_turn(work: Path, text: str, content: bytes) -> None:
    with FakeEngine(ASKS) as engine:
        options = given(engine, work, approve=lambda request: glmcode.Allow(edited=text))
        if content == b"x = 1\n":
            with pytest.raises(glmcode.GlmcodeError, match="edited what was proposed"):
                glmcode.run("go", **options)
        else:
            glmcode.run("go", **options)
            assert "The user edited" in told(engine)
    assert (work / "a.py").read_bytes() == content


def test_a_function_that_waits_for_ever_keeps_neither_the_run_nor_the_process(work: Path) -> None:
    code = (
        "import glmcode, threading\n"
        "try:\n"
        "    glmcode.run('go', approve=lambda request: threading.Event().wait(), time_limit=4)\n"
        "except glmcode.BudgetError as error:\n"
        "    print(error)\n"
    )
    with FakeEngine(ASKS) as engine:
        settings = {"BASE_URL": engine.base_url, "PROTOCOL": "chat", "MODEL": "glm"}
        environment = {f"GLMCODE_ENGINE__{key}": value for key, value in settings.items()}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=work,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "the time limit" in done.stdout and done.returncode == 0, done.stderr


def test_a_function_whose_answers_have_run_out_ends_the_turn(work: Path) -> None:
    answers: Iterator[glmcode.Answer] = iter(())
    with FakeEngine(ASKS) as engine:
        options = given(engine, work, approve=lambda request: next(answers))
        with pytest.raises(glmcode.GlmcodeError, match="approve failed: RuntimeError: StopItera"):
            glmcode.run("go", **options, time_limit=30)
    assert (work / "a.py").read_bytes() == b"x = 1\n"
