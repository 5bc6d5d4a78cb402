"""The examples that the README shows of the Python API, run as they stand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply

README = Path(__file__).resolve().parent.parent / "README.md"
SECTION = re.compile(r"^## From Python\n(.*?)^## ", re.MULTILINE | re.DOTALL)
PUSH = {"name": "Bash", "arguments": {"command": "git push origin main"}}
WRITE = {"name": "Write", "arguments": {"file_path": "b.py", "content": "y = 1\n"}}
ASKED = {"name": "Services", "arguments": {"owner": "core"}}
SCRIPTS = [
    [Reply(text="renamed"), Reply(text="it reads")],
    [Reply(calls=[PUSH]), Reply(calls=[WRITE]), Reply(text="fixed")],
    [Reply(calls=[ASKED]), Reply(text="the api"), Reply(text='{"name": "api"}')],
]


def examples() -> list[str]:
    found = SECTION.search(README.read_text(encoding="utf-8"))
    assert found is not None
    return re.findall(r"^```python\n(.*?)^```", found.group(1), re.MULTILINE | re.DOTALL)


def test_every_example_has_its_script() -> None:
    assert len(examples()) == len(SCRIPTS)


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_an_example_runs_as_it_stands(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_bytes(b"x = 1\n")
    monkeypatch.chdir(tmp_path)
    names = {
        "services": lambda owner="": [{"name": "api", "owner": owner, "port": 8080}],
        "SCHEMA": {"type": "object", "required": ["name"]},
    }
    code = f"import glmcode\n{examples()[number]}"
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with FakeEngine(SCRIPTS[number]) as engine:
        monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
        for key, value in {"BASE_URL": engine.base_url, "PROTOCOL": "chat", "MODEL": "glm"}.items():
            monkeypatch.setenv(f"GLMCODE_ENGINE__{key}", value)
        # What is awaited at the top level runs in a loop; what is not must not need one.
        parts = re.split(r"^(?=async with )", code, flags=re.MULTILINE)
        for part in parts:
            done = eval(compile(part, "README.md", "exec", flags=flags), names)
            if inspect.iscoroutine(done):
                asyncio.run(done)
        assert len(engine.steps) == len(SCRIPTS[number])
        told = [m["content"] for m in engine.steps[-1].json["messages"] if m["role"] == "tool"]
    if number == 1:
        assert told[0] == "not run: the user said no: nothing leaves this machine"
        assert (tmp_path / "src" / "b.py").read_bytes() == b"y = 1\n"
    if number == 2:
        assert '"port": 8080' in told[0]
