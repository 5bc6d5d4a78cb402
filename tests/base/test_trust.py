from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.base.trust import answer_for, asks_for_trust, remember
from tests.fake_engine import FakeEngine, Reply


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    return tmp_path.resolve()


def test_an_answer_holds_for_the_real_folder_and_those_below_and_the_nearest_counts(
    home: Path,
) -> None:
    (home / "repo" / "deep" / "er").mkdir(parents=True)
    (home / "link").symlink_to(home / "repo")
    assert answer_for(home / "repo") is None
    remember(home / "link", True)
    assert answer_for(home / "repo") is True and answer_for(home / "repo" / "deep") is True
    remember(home / "repo" / "deep", False)
    assert answer_for(home / "repo" / "deep" / "er") is False
    assert answer_for(home) is None
    assert (home / "home" / "state" / "trusted.json").stat().st_mode & 0o077 == 0


def test_only_settings_and_imports_ask_for_trust(home: Path) -> None:
    (home / "AGENTS.md").write_text("use tabs; mail someone@example.com\n")
    assert asks_for_trust(home) == ""
    (home / "AGENTS.md").write_text("see @docs/style.md\n")
    (home / ".glmcode").mkdir()
    (home / ".glmcode" / "config.toml").write_text("")
    assert asks_for_trust(home) == ".glmcode/config.toml, AGENTS.md with imports"


@pytest.mark.parametrize(("trust", "told", "denied"), [(False, True, False), (True, False, True)])
def test_a_run_reads_a_folders_settings_and_imports_only_with_trust(
    home: Path, trust: bool, told: bool, denied: bool
) -> None:
    work = home / "work"
    (work / ".glmcode").mkdir(parents=True)
    (work / ".glmcode" / "config.toml").write_text('[permissions]\ndeny = ["Bash(ls *)"]\n')
    (work / "AGENTS.md").write_text("use tabs, see @more.md\n")
    (work / "more.md").write_text("imported words\n")
    call = {"name": "Bash", "arguments": {"command": "ls -a"}}
    with FakeEngine([Reply(calls=[call]), Reply(text="ok")]) as engine:
        server = ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"]
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "-p", *server, "go", *(["--trust"] if trust else [])],
            cwd=work,
            env={**os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        first, second = (step.body.decode() for step in engine.steps)
    assert done.returncode == 0, done.stderr
    assert ("is not trusted" in done.stderr) == told
    assert "use tabs" in first and ("imported words" in first) == trust
    assert ("denies it" in second) == denied
