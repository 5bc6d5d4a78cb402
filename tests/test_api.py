"""The Python API against a scripted server: turns, events, ends, tools of the caller."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import glmcode
from tests.fake_engine import FakeEngine, Reply
from tests.test_headless import JOB, lines

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.py").write_bytes(b"x = 1\n")
    return folder


def given(engine: FakeEngine, work: Path, **more: Any) -> glmcode.Options:
    options: dict[str, Any] = {"base_url": engine.base_url, "protocol": "chat", "model": "glm"}
    return {**options, "cwd": work, **more}  # type: ignore[typeddict-item]


async def heard(agent: glmcode.Agent, prompt: str, **more: Any) -> list[glmcode.Event]:
    return [event async for event in agent.submit(prompt, **more)]


def ended(agent: glmcode.Agent) -> glmcode.Result:
    assert agent.result is not None
    return agent.result


def answers(engine: FakeEngine) -> list[str]:
    return [m["content"] for m in engine.steps[-1].json["messages"] if m["role"] == "tool"]


def deploy(calls: list[Any], **more: Any) -> glmcode.Tool:
    def function(target: str, times: int = 1) -> dict[str, Any]:
        calls.append((target, times))
        return {"deployed": target}

    schema = {
        "properties": {"target": {"enum": ["test", "live"]}, "times": {"type": "integer"}},
        "required": ["target"],
    }
    fields = {"name": "Deploy", "description": "Deploys.", "parameters": schema} | more
    return glmcode.Tool(**{"function": function, **fields})


def call(**arguments: Any) -> Reply:
    return Reply(calls=[{"name": "Deploy", "arguments": arguments}])


def test_importing_glmcode_imports_nothing_of_it_and_names_what_is_not_there() -> None:
    code = (
        "import sys, glmcode; "
        "assert not [m for m in sys.modules if m.startswith('glmcode.')], sys.modules; "
        "assert 'asyncio' not in sys.modules and 'run' in dir(glmcode); "
        "assert glmcode.Agent and glmcode.run and glmcode.Tool; "
        "getattr(glmcode, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("AttributeError: module 'glmcode' has no attribute 'nothing'\n")


def test_run_does_the_work_in_cwd_and_leaves_the_process_where_it_was(work: Path) -> None:
    before = os.getcwd()  # noqa: PTH109
    with FakeEngine(JOB) as engine:
        result = glmcode.run("go", **given(engine, work, permission_mode="acceptEdits"))
    assert (result.text, result.exit_code, result.num_turns) == ("Done: é.", 0, 3)
    assert (work / "a.py").read_bytes() == b"x = 2\n"
    assert os.getcwd() == before  # noqa: PTH109


def test_what_nobody_may_answer_is_a_result_with_its_denials_and_code_3(work: Path) -> None:
    with FakeEngine(JOB) as engine:
        result = glmcode.run("go", **given(engine, work))
    assert (result.exit_code, result.ok) == (3, True)
    assert [one["tool_name"] for one in result.permission_denials] == ["Edit"]
    assert (work / "a.py").read_bytes() == b"x = 1\n"


def test_events_are_the_lines_of_stream_json(work: Path) -> None:
    async def go(engine: FakeEngine) -> list[glmcode.Event]:
        async with glmcode.Agent(**given(engine, work, permission_mode="plan")) as agent:
            return await heard(agent, "go")

    def bare(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        varies = ("session_id", "duration_ms", "engine")
        return [{k: v for k, v in one.items() if k not in varies} for one in told]

    with FakeEngine(JOB) as engine:
        ours = asyncio.run(go(engine))
    with FakeEngine(JOB) as engine:
        words = ["-p", "go", "--permission-mode=plan", "--output-format=stream-json"]
        words += ["--base-url", engine.base_url, "--protocol=chat", "-m", "glm"]
        command = [sys.executable, "-m", "glmcode", *words]
        done = subprocess.run(
            command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
        )
    assert bare(ours) == bare(lines(done.stdout))
    assert ours[-1]["type"] == "result" and ours[-1]["engine"].keys() == (
        lines(done.stdout)[-1]["engine"].keys()
    )


def test_turns_go_on_in_one_session_each_with_its_own_result_and_resume_takes_its_id(
    work: Path,
) -> None:
    replies = [*JOB, Reply(text="two"), Reply(text="three")]

    async def go(engine: FakeEngine) -> None:
        async with glmcode.Agent(**given(engine, work)) as agent:
            first = await heard(agent, "first")
            assert ended(agent).exit_code == 3
            second = await heard(agent, "second")
            result, session = ended(agent), agent.session_id
        assert [first[0]["type"], second[0]["type"]] == ["system", "assistant"]
        assert (result.text, result.exit_code, result.permission_denials) == ("two", 0, ())
        assert second[-1]["usage"]["output_tokens"] == result.usage.output_tokens
        async with glmcode.Agent(**given(engine, work, resume=session)) as agent:
            await heard(agent, "third")
            assert (agent.session_id, ended(agent).text) == (session, "three")

    with FakeEngine(replies) as engine:
        asyncio.run(go(engine))
        said = [m["content"] for m in engine.steps[-1].json["messages"] if m["role"] == "user"]
    assert [text.splitlines()[-1] for text in said] == ["first", "second", "third"]


def test_an_interrupted_turn_ends_with_its_result_and_the_next_one_goes_on(work: Path) -> None:
    async def go(engine: FakeEngine) -> None:
        async with glmcode.Agent(**given(engine, work, partial_messages=True)) as agent:
            async for event in agent.submit("first"):
                if event["type"] == "stream_event":
                    assert agent.interrupt()
            result = ended(agent)
            assert (result.subtype, result.exit_code, event) == ("interrupted", 130, result.event)
            with pytest.raises(glmcode.InterruptedTurn):
                result.check()
            assert not agent.interrupt()
            async for _ in agent.submit("left at once"):
                break
            await heard(agent, "second")
            assert ended(agent).text == "two"

    slow = Reply(text="one and more to come", hang_after_events=3, chunk=4)
    with FakeEngine([slow, slow, Reply(text="two")]) as engine:
        asyncio.run(asyncio.wait_for(go(engine), 50))


def test_what_cannot_be_ends_in_an_exception_with_the_exit_code(work: Path) -> None:
    failing: list[tuple[dict[str, Any], list[Reply], type[glmcode.GlmcodeError], int, str]] = [
        ({"permission_mode": "maybe"}, [], glmcode.UsageError, 2, "maybe"),
        ({"allowed_tools": ["Foo"]}, [], glmcode.UsageError, 2, "Foo"),
        ({"colour": 1}, [], glmcode.UsageError, 2, "no option colour"),
        ({"schema": {"type": 7}}, [], glmcode.UsageError, 2, "JSON Schema"),
        ({"schema": 5}, [], glmcode.UsageError, 2, "must be a JSON object"),
        ({"schema": {"$schema": 5}}, [], glmcode.UsageError, 2, "$schema is no text"),
        ({"time_limit": 0}, [], glmcode.UsageError, 2, "more than 0, not 0"),
        ({"time_limit": float("nan")}, [], glmcode.UsageError, 2, "not nan"),
        ({"time_limit": "60"}, [], glmcode.UsageError, 2, "not '60'"),
        ({"tools": [5]}, [], glmcode.UsageError, 2, "a list of glmcode.Tool"),
        ({"cwd": work / "nowhere"}, [], glmcode.UsageError, 2, "no such folder"),
        ({"resume": "no-such-id"}, [], glmcode.UsageError, 2, "no-such-id"),
        ({}, [Reply(status=401)], glmcode.GlmcodeError, 1, "401"),
        ({"max_turns": 1}, JOB, glmcode.BudgetError, 53, "1"),
        ({"time_limit": 3}, [Reply(text="late", delay=60)], glmcode.BudgetError, 53, "of 3 s"),
    ]
    for more, replies, kind, code, words in failing:
        with FakeEngine(replies) as engine, pytest.raises(kind) as raised:
            glmcode.run("go", **given(engine, work, **more))
        assert type(raised.value) is kind and raised.value.exit_code == code, more
        assert words in str(raised.value)
    with pytest.raises(glmcode.UsageError, match="prompt is empty"), FakeEngine([]) as engine:
        glmcode.run(" \n", **given(engine, work))
    nothing: Any = None
    with pytest.raises(glmcode.UsageError, match="prompt is a NoneType"), FakeEngine([]) as engine:
        glmcode.run(nothing, **given(engine, work))


def test_an_engine_that_is_not_there_can_be_tried_again(work: Path) -> None:
    with pytest.raises(glmcode.UnavailableError) as raised:
        glmcode.run("go", cwd=work, base_url=f"unix:{work}/no.sock", model="glm", time_limit=60)
    assert raised.value.exit_code == 75


def test_a_schema_gives_a_value_and_run_says_what_to_use_inside_of_a_loop(work: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    async def go(engine: FakeEngine) -> glmcode.Result:
        with pytest.raises(glmcode.UsageError, match="run_async"):
            glmcode.run("go", **given(engine, work))
        return await glmcode.run_async("go", **given(engine, work, schema=schema))

    with FakeEngine([Reply(text="Seven."), Reply(text='{"n": 7}')]) as engine:
        assert asyncio.run(go(engine)).structured_output == {"n": 7}


def test_a_tool_of_the_caller_needs_a_permission_and_its_arguments_fit_its_schema(
    work: Path,
) -> None:
    calls: list[Any] = []
    wrong, right = call(target="moon"), call(target="test", times="2")
    with FakeEngine([wrong, right, Reply(text="ok")]) as engine:
        result = glmcode.run("go", **given(engine, work, tools=[deploy(calls)]))
        told = answers(engine)
        specs = [tool["function"]["name"] for tool in engine.steps[0].json["tools"]]
    assert (calls, result.exit_code) == ([], 3)
    assert told[0].startswith("error: target: 'moon' is not one of") and "Deploy takes:" in told[0]
    assert told[1].startswith("not run: permission was not given, because Deploy is a tool of")
    assert specs[0] == "Read" and specs[-1] == "Deploy" and len(specs) == 10
    rules = [{"allowed_tools": "Deploy"}, {"permission_mode": "bypassPermissions"}]
    for rule in rules:
        with FakeEngine([right, Reply(text="ok")]) as engine:
            glmcode.run("go", **given(engine, work, tools=[deploy(calls)], **rule))
            assert [json.loads(text) for text in answers(engine)] == [{"deployed": "test"}]
    assert calls == [("test", 2)] * 2


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"permission_mode": "bypassPermissions", "disallowed_tools": ["Deploy"]}, 0),
        ({"permission_mode": "plan", "allowed_tools": ["Deploy"]}, 0),
        ({"permission_mode": "dontAsk"}, 3),
        ({"permission_mode": "acceptEdits"}, 3),
        ({"settings": {"permissions.ask": "Deploy"}, "allowed_tools": ["Deploy"]}, 3),
    ],
)
def test_what_denies_or_asks_holds_for_a_tool_of_the_caller(
    work: Path, more: dict[str, Any], code: int
) -> None:
    calls: list[Any] = []
    with FakeEngine([call(target="live"), Reply(text="ok")]) as engine:
        result = glmcode.run("go", **given(engine, work, tools=[deploy(calls)], **more))
        assert answers(engine)[0].startswith("not run: ")
    assert (calls, result.exit_code) == ([], code)


def test_a_tool_that_reads_runs_in_plan_mode_and_may_be_a_coroutine_that_fails(work: Path) -> None:
    async def fails(target: str) -> str:
        raise LookupError(f"no {target}")

    tool = deploy([], function=fails, effect="read")
    with FakeEngine([call(target="live"), Reply(text="ok")]) as engine:
        glmcode.run("go", **given(engine, work, tools=[tool], permission_mode="plan"))
        assert answers(engine) == ["error: Deploy failed: LookupError: no live"]


def test_a_tool_that_looks_for_what_is_not_there_fails_and_the_turn_goes_on(work: Path) -> None:
    def finds(target: str) -> str:
        return next(name for name in () if name == target)

    tool = deploy([], function=finds, effect="read")
    with FakeEngine([call(target="live"), Reply(text="ok")]) as engine:
        glmcode.run("go", **given(engine, work, tools=[tool], time_limit=30))
        assert answers(engine) == ["error: Deploy failed: RuntimeError: StopIteration"]


def test_a_plain_function_that_never_answers_is_not_waited_for_at_the_end(work: Path) -> None:
    free = threading.Event()
    waits = deploy([], function=lambda target: free.wait(30), effect="read")
    began = time.monotonic()
    with FakeEngine([call(target="live")]) as engine, pytest.raises(glmcode.BudgetError):
        glmcode.run("go", **given(engine, work, tools=[waits], time_limit=2))
    assert time.monotonic() - began < 20
    free.set()


def test_a_long_result_of_a_tool_is_cut_and_its_files_can_be_undone(work: Path) -> None:
    def writes(target: str) -> str:
        (work / "a.py").write_bytes(target.encode())
        return "long line\n" * 20_000

    with FakeEngine([call(target="live"), Reply(text="ok")]) as engine:
        tool = deploy([], function=writes)
        glmcode.run("go", **given(engine, work, tools=[tool], allowed_tools=["Deploy"]))
        assert len(answers(engine)[0]) <= 30_000
    assert (work / "a.py").read_bytes() == b"live"
    command = [sys.executable, "-m", "glmcode", "undo", "--yes"]
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    assert (work / "a.py").read_bytes() == b"x = 1\n"


def test_an_interrupt_ends_a_tool_that_waits_and_close_ends_the_turn(work: Path) -> None:
    async def go(engine: FakeEngine) -> None:
        begun, cancelled = asyncio.Event(), []

        async def waits(target: str) -> str:
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.append(target)
            return ""

        tool = deploy([], function=waits, effect="read")
        async with glmcode.Agent(**given(engine, work, tools=[tool])) as agent:
            turn = asyncio.ensure_future(heard(agent, "go"))
            await begun.wait()
        assert (await turn)[-1]["subtype"] == "interrupted" and cancelled == ["live"]

    with FakeEngine([call(target="live")]) as engine:
        began = time.monotonic()
        asyncio.run(go(engine))
    assert time.monotonic() - began < 30


def test_a_tool_that_is_none_is_refused_before_anything_is_reached(work: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": "Read"}, "taken"),
        ({"name": "no blanks"}, "letters"),
        ({"description": " "}, "description"),
        ({"parameters": {"properties": {"a": {"type": "sausage"}}}}, "JSON Schema"),
        ({"parameters": {"type": "array"}}, "type object"),
        ({"effect": "write"}, "effect"),
        ({"function": 7}, "called"),
    ]
    for more, words in wrong:
        with pytest.raises(glmcode.UsageError, match=words):
            glmcode.run("go", cwd=work, base_url="http://[::1]:9/v1", tools=[deploy([], **more)])
    both = [deploy([]), deploy([])]
    with pytest.raises(glmcode.UsageError, match="two tools are called Deploy"):
        glmcode.run("go", cwd=work, base_url="http://[::1]:9/v1", tools=both)
    with pytest.raises(glmcode.UsageError, match="for all of it"):
        options: Any = {"tools": [deploy([])], "allowed_tools": ["Deploy(live)"]}
        glmcode.run("go", cwd=work, base_url="http://[::1]:9/v1", **options)


def test_a_session_that_began_without_a_tool_is_not_gone_on_with_it(work: Path) -> None:
    with FakeEngine([Reply(text="one")]) as engine:
        session = glmcode.run("go", **given(engine, work)).session_id
        with pytest.raises(glmcode.GlmcodeError, match="without the tool Deploy"):
            glmcode.run("on", **given(engine, work, resume=session, tools=[deploy([])]))


def example(name: str, engine: FakeEngine, folder: Path, *words: str) -> Any:
    command = [sys.executable, str(ROOT / "examples" / name), "--base-url", engine.base_url, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )


def test_the_example_of_a_refactoring_tries_again_until_its_check_passes(work: Path) -> None:
    check = [sys.executable, "-c", "from a import x; assert x == 2, x"]
    replies = [Reply(text="Done."), *JOB]
    with FakeEngine(replies) as engine:
        done = example("refactor_until_green.py", engine, work, "--model=glm", "go", "--", *check)
        told = engine.steps[1].json["messages"][-1]["content"]
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        "green after 2 of 3 tries: Done: é.",
    )
    assert "AssertionError: 1" in told and "[exit 1]" in told
    with FakeEngine([Reply(text="Done.", times=2)]) as engine:
        (work / "a.py").write_bytes(b"x = 3\n")
        done = example("refactor_until_green.py", engine, work, "--tries=2", "go", "--", *check)
    assert (done.returncode, done.stdout) == (1, "still red after 2 tries\n")


def test_the_example_of_a_tool_answers_from_what_only_it_knows(work: Path) -> None:
    replies = [
        Reply(calls=[{"name": "Services", "arguments": {}}]),
        Reply(text="shop"),
        Reply(text='{"services": ["shop"]}'),
    ]
    with FakeEngine(replies) as engine:
        done = example("custom_tool.py", engine, work, "Which one uses 8080?")
        told = answers(engine)[0]
    assert (done.returncode, done.stdout) == (0, "shop\n"), done.stderr
    assert json.loads(told)["shop"]["port"] == 8080
