from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.map_command import estimated_tokens

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "shop/price.py": "class Price:\n    def rounded(self): pass\n",
    "shop/order.py": "from shop.price import Price\n\n\ndef place_order():\n    return Price()\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "tree"


def run(tree: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GLMCODE_HOME": str(tree.parent / "home"),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "glmcode", "map", *arguments],
        capture_output=True, text=True, env=environment, cwd=cwd or "/", timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_map_is_plain_text_on_standard_output(tree: Path) -> None:
    expected = (
        "shop/price.py\n class Price\n  def rounded(self)\nshop/order.py\n def place_order()\n"
    )
    for done in (run(tree, str(tree)), run(tree, cwd=tree)):
        assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)


def test_a_focus_and_a_budget(tree: Path) -> None:
    done = run(tree, str(tree), "--focus", "place_order", "other", "--budget", "12")
    assert done.stdout == "shop/order.py\n def place_order()\n"
    assert estimated_tokens(done.stdout.rstrip("\n")) <= 12
    exact = run(tree, str(tree), "--budget", "60", "--profile", "tiny")
    assert exact.returncode == 0 and exact.stdout.startswith("shop/")


def test_a_token_is_three_bytes_where_nothing_counts_them() -> None:
    assert [estimated_tokens(text) for text in ("", "a", "abc", "abcd", "ä" * 3)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent"], 1, "glmcode map: absent: No such file or directory\n"),
        (["shop/price.py"], 1, "glmcode map: shop/price.py: Not a directory\n"),
        (["--budget", "1"], 1, "not one line fits into a budget of 1 tokens; give more"),
        (["--budget", "0"], 2, "'0' is no number of tokens"),
        (["--budget", "-5"], 2, "--budget"),
        (["--budget", "many"], 2, "'many' is no number of tokens"),
        (["--focus"], 2, "--focus"),
        (["--frobnicate"], 2, "--frobnicate"),
        (["a", "b"], 2, "unrecognized arguments: b"),
        (["--profile", "nobody"], 1, "unknown profile 'nobody'"),
    ],
)
def test_an_error_is_one_clear_sentence_and_a_code(
    tree: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(tree, *arguments, cwd=tree)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and "Traceback" not in done.stderr


def test_nothing_to_show_is_said_and_no_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(empty, cwd=empty)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "glmcode map: nothing to show: no definition in any source file of .\n"


def test_a_closed_pipe_is_quiet(tree: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GLMCODE_HOME": str(tree.parent / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "map", str(tree)],
        stdout=writer, stderr=subprocess.PIPE, env=environment, timeout=60,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_nothing_of_the_folder_that_is_looked_at_is_imported(tree: Path) -> None:
    for name in ("tree_sitter.py", "json.py", "glmcode/__init__.py", "sitecustomize.py"):
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("open('/proc/self/cwd/was-run', 'w').close()\nclass Trap: pass\n")
    done = run(tree, str(tree))
    assert done.returncode == 0 and " class Trap" in done.stdout
    assert not list(tree.rglob("was-run"))
