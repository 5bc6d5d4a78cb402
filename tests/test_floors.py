"""The floors, the line limits and the docstrings, read from the source with ast."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "glmcode"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {
    "core": 0,
    "base": 1,
    "glm": 1,
    "engine": 2,
    "tools": 2,
    "context": 2,
    "permissions": 2,
    "sandbox": 2,
    "sessions": 2,
    "checkpoints": 2,
    "agent": 3,
    "opening": 3,
}
"""Everything else is floor 4: the front ends and the command line."""
ONLY_IN = {
    "rich": ("repl",),
    "prompt_toolkit": ("repl",),
    "openai": ("engine",),
    "git": ("checkpoints", "context", "githooks"),
    "vllm": ("engine/bootstrap.py",),
    "torch": ("engine/bootstrap.py",),
}
CORE_FORBIDDEN = {"os", "pathlib", "socket", "time", "subprocess", "shutil", "tempfile", "io"}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _unit(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def _floor(unit: str) -> int:
    return 3 if unit.startswith("agent_") else FLOORS.get(unit, 4)


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.module or "", node.lineno


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_module_imports_only_from_lower_floors_or_its_own_folder(path: Path) -> None:
    unit = _unit(path)
    for module, line in _imports(path):
        parts = module.split(".")
        if parts[0] != "glmcode" or len(parts) < 2:
            continue
        other = parts[1]
        allowed = other == unit or _floor(other) < _floor(unit) or _floor(unit) == 4
        if _floor(unit) == 3:
            allowed = allowed or _floor(other) == 3
        assert allowed, f"{_name(path)}:{line} imports {module} (floor {_floor(other)})"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_heavy_packages_are_imported_only_where_they_belong(path: Path) -> None:
    for module, line in _imports(path):
        top = module.split(".")[0]
        for place in ONLY_IN.get(top, ()):
            if _name(path) == place or _name(path).split("/")[0].removesuffix(".py") == place:
                break
        else:
            assert top not in ONLY_IN, f"{_name(path)}:{line} imports {module}"


def test_the_core_uses_the_standard_library_alone_and_nothing_that_touches_the_world() -> None:
    for path in sorted((PACKAGE / "core").glob("*.py")):
        for module, line in _imports(path):
            top = module.split(".")[0]
            if top == "glmcode":
                continue
            assert top in sys.stdlib_module_names, f"{_name(path)}:{line} imports {module}"
            assert top not in CORE_FORBIDDEN, f"{_name(path)}:{line} imports {module}"


def test_the_bootstrap_needs_nothing_of_glmcode() -> None:
    for module, line in _imports(PACKAGE / "engine" / "bootstrap.py"):
        assert not module.startswith("glmcode"), f"bootstrap.py:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_stays_below_400_lines_a_function_below_50_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree), "the module does not say what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"


def test_the_loop_stays_below_200_lines() -> None:
    assert (PACKAGE / "core" / "loop.py").read_text().count("\n") < 200


def test_broad_exceptions_are_caught_only_by_run_call_and_the_edges() -> None:
    edges = {"core/calls.py", "cli.py", "repl/app.py", "headless.py"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                names = (
                    {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                    if node.type
                    else {""}
                )
                if names & {"Exception", ""}:
                    assert _name(path) in edges, f"{_name(path)}:{node.lineno}"
