from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.cli import COMMANDS
from glmcode.cli_options import build_parser
from glmcode.completion import SHELLS, nodes
from glmcode.completion_scripts import script

ALL = list(nodes())
NEEDS = {
    shell: pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed here")
    for shell in SHELLS
}
CASES = {
    "glmcode en": {"engine"},
    "glmcode engine st": {"start", "status", "stop"},
    "glmcode engine status --": {"--help", "--json", "--profile", "--watch"},
    "glmcode --output-format ": {"json", "stream-json", "text"},
    "glmcode --output-format s": {"stream-json"},
    "glmcode engine start --profile t": {"tiny"},
    "glmcode config set ui.verb": {"ui.verbose"},
    "glmcode -p engine st": set(),
    "glmcode --profile engine --verb": {"--verbose"},
    "glmcode sessions export --format m": {"markdown"},
    "glmcode --cd fol": {"folder"},
    "glmcode debug parse --specs fi": {"file.json"},
    "glmcode completion z": {"zsh"},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.json").write_text("[]")
    command = tmp_path / "bin" / "glmcode"
    command.parent.mkdir()
    root = Path(__file__).resolve().parent.parent
    command.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m glmcode "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(place: Path, shell: list[str], text: str) -> list[str]:
    environment = os.environ | {
        "PATH": f"{place}/bin:{os.environ['PATH']}",
        "GLMCODE_HOME": str(place / "home"),
        "HOME": str(place),
    }
    ran = subprocess.run(
        [*shell, text], capture_output=True, text=True, cwd=place, env=environment, timeout=60
    )
    assert ran.stderr == ""
    return [line.split("\t")[0].rstrip("/") for line in ran.stdout.splitlines()]


@NEEDS["bash"]
@pytest.mark.parametrize("line", CASES)
def test_bash_completes(place: Path, line: str) -> None:
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    text = (
        "compopt() { :; }\n" + script("bash", ALL)
        + f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _glmcode\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )  # fmt: skip
    assert set(filter(None, run(place, ["bash", "-c"], text))) == CASES[line]


@NEEDS["zsh"]
@pytest.mark.parametrize("line", CASES)
def test_zsh_completes(place: Path, line: str) -> None:
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    text = (
        "compdef() { :; }\n_describe() { print -l -- ${${(P)2}%%:*}; }\n"
        'compadd() { shift; print -l -- "$@"; }\n'
        "_files() { if [[ $1 == -/ ]]; then print -l *(/); else print -l *; fi; }\n"
        + script("zsh", ALL)
        + f"words=({quoted}); CURRENT={len(words)}; _glmcode"
    )
    found = {word for word in run(place, ["zsh", "-fc"], text) if word.startswith(words[-1])}
    assert found == CASES[line]


@NEEDS["fish"]
@pytest.mark.parametrize("line", CASES)
def test_fish_completes(place: Path, line: str) -> None:
    text = f"{script('fish', ALL)}\ncomplete -C '{line}'"
    found = set(run(place, ["fish", "--no-config", "-c"], text))
    assert {word for word in found if word.startswith(line.split(" ")[-1])} == CASES[line]


def test_every_option_of_a_conversation_and_every_command_is_known_with_what_it_is() -> None:
    first = ALL[0]
    names = {name for one in first.options for name in one.names}
    for action in build_parser()._actions:
        assert not action.option_strings or names & set(action.option_strings)
    assert set(first.commands) == set(COMMANDS) and all(first.commands.values())
    told = [one for node in ALL for one in node.options if not one.about]
    assert [one.names for one in told] == []


def test_a_shell_that_is_not_known_is_a_usage_error() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "glmcode", "completion", "tcsh"], capture_output=True, text=True
    )
    assert ran.returncode == 2 and "bash" in ran.stderr


def test_a_broken_home_says_nothing_at_a_tab(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    for what in ("profiles", "sessions", "settings"):
        ran = subprocess.run(
            [sys.executable, "-m", "glmcode", "completion", "--names", what],
            capture_output=True, text=True, env=os.environ | {"GLMCODE_HOME": f"{tmp_path}/home"},
        )  # fmt: skip
        assert ran.returncode == 0 and ran.stderr == ""
