from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.base import proctree
from tests.commands import marker


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_descendants_are_found_parents_first(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    mark = marker()
    command = f"(sleep {mark}; true) & read x"
    with subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE) as shell:
        found: list[int] = []
        while len(found) < 3:
            mine = proctree.descendants(os.getpid())
            found = [pid for pid in mine if pid in (shell.pid, *proctree.descendants(shell.pid))]
        assert found[0] == shell.pid
        assert proctree.command_line(found[-1]) == f"sleep {mark}"
        assert (
            proctree.descendants(os.getpid(), but_not=frozenset({shell.pid})).count(found[1]) == 0
        )
        assert proctree.descendants(1 << 30, group=os.getpgid(shell.pid)).count(found[2]) == 1
        for pid in found:
            proctree.send(pid, 9)
    assert proctree.descendants(shell.pid) == []


def test_what_cannot_be_read_has_a_name_all_the_same() -> None:
    assert proctree.command_line(1 << 30) == f"process {1 << 30}"
    assert proctree.name_of(1 << 30) == ""
    assert not proctree.has_as_input(1 << 30, Path("/").stat())
    assert proctree.group_of(1 << 30) == 0
    proctree.send(1 << 30, 9)


def test_a_command_line_is_one_short_printable_line() -> None:
    words = ["bash", "-c", "read x", "a\nb\x1b[31m", "x" * 500]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as shell:
        while (line := proctree.command_line(shell.pid)).startswith("process "):
            pass
        shell.kill()
    assert line.startswith("bash -c read x a b?[31m xxx") and line.endswith("…")
    assert len(line) == 60
