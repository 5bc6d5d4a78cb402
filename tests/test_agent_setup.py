from __future__ import annotations

from pathlib import Path

import pytest

from glmcode.agent_options import AgentOptions
from glmcode.agent_setup import pieces, tool_context


def test_the_tools_of_an_agent_know_outlines_and_syntax_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    for piece in pieces():
        piece()
    context = tool_context(AgentOptions(workspace=tmp_path), lambda: 30_000, lambda event: None)
    assert context.outline(tmp_path / "a.py", "class A:\n    x = 1\n", 1_000) == "1\tclass A"
    assert list(context.syntax(tmp_path / "a.py", b"x = 1\n", b"x = = 1\n")()) == [(1, 5, "")]
    assert list(context.syntax(tmp_path / "a.py", b"x = 1\n", b"x = 2\n")()) == []
