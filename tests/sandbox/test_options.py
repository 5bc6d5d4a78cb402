from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent_options import CommandOptions
from glmcode.base.config import ConfigError, load_config, sandbox_for
from glmcode.base.settings import SandboxMode
from glmcode.cli_options import UsageError, parse_arguments
from glmcode.permissions import parse_rules
from tests.fake_engine import FakeEngine, Reply
from tests.sandbox.kit import WORKING
from tests.scripted import calls, says
from tests.test_agent import Held


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ([], "workspace-write"),
        (["-y"], "danger-full-access"),
        (["--permission-mode", "bypassPermissions"], "danger-full-access"),
        (["-y", "--sandbox", "read-only"], "read-only"),
        (["--set", "permissions.sandbox=read-only"], "read-only"),
        (["--set", "permissions.sandbox=read-only", "--sandbox", "workspace-write"],
         "workspace-write"),
        (["-y", "--set", "permissions.sandbox=workspace-write"], "workspace-write"),
        (["--permission-mode", "plan"], "workspace-write"),
    ],
)  # fmt: skip
def test_the_sandbox_is_the_flag_or_the_setting_or_what_goes_with_the_mode(
    words: list[str], mode: str
) -> None:
    given = parse_arguments(words)
    assert sandbox_for(given.sandbox, given.mode) == mode


@pytest.mark.parametrize(
    "words",
    [
        ["--sandbox", "none"],
        ["--set", "permissions.sandbox=off"],
        ["--set", "permissions.sandbox_writable=relative"],
    ],
)
def test_what_is_no_sandbox_is_refused_with_a_sentence(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"one of read-only, workspace-write|absolute path"):
        parse_arguments(words)


def test_a_cache_may_begin_with_the_home_folder_and_lists_of_all_layers_are_joined(
    tmp_path: Path,
) -> None:
    config = tmp_path / "home" / "config"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(
        '[permissions]\nsandbox_writable = ["/a"]\nenvironment = ["A_TOKEN"]\n'
    )
    given = parse_arguments(
        ["--set", "permissions.sandbox_writable=~/b", "--set", "permissions.environment=B_*"]
    )
    assert given.caches == (Path("/a"), Path("~/b").expanduser())
    assert given.permissions.environment == ("A_TOKEN", "B_*")


@pytest.mark.parametrize(
    "line",
    [
        'sandbox = "danger-full-access"',
        'sandbox_writable = ["/"]',
        "sandbox_network = true",
        "sandbox_auto_allow = true",
        "sandbox_engine = true",
        'environment = ["*"]',
    ],
)
def test_a_repository_cannot_open_the_sandbox_around_it(tmp_path: Path, line: str) -> None:
    (tmp_path / ".glmcode").mkdir()
    (tmp_path / ".glmcode" / "config.toml").write_text(f"[permissions]\n{line}\n")
    config, notices = load_config(tmp_path, {}, trusted=True)
    assert config == load_config(None, {})[0]
    assert len(notices) == 1 and "never read from a repository" in notices[0]


def test_a_repository_may_close_it(tmp_path: Path) -> None:
    (tmp_path / ".glmcode").mkdir()
    (tmp_path / ".glmcode" / "config.toml").write_text(
        '[permissions]\nsandbox = "read-only"\nsandbox_engine = false\n'
    )
    found = load_config(tmp_path, {}, trusted=True)[0].permissions
    assert found.sandbox == "read-only" and not found.sandbox_engine
    with pytest.raises(ConfigError, match="unknown sandbox"):
        load_config(None, {"GLMCODE_PERMISSIONS__SANDBOX": "weak"})


# Whole runs


def run(tmp_path: Path, command: str, *words: str, **environment: str) -> tuple[str, int]:
    """The result of one Bash call in a headless run, and the exit code."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    bash = {"name": "Bash", "arguments": {"command": command}}
    with FakeEngine([Reply(calls=[bash]), Reply(text="done")]) as engine:
        server = ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"]
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "-p", *server, *words, "go"],
            cwd=work,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        told = json.loads(engine.steps[1].body)["messages"][-1]["content"]
    return told, done.returncode


ALLOW = ("--allowed-tools", "Bash")


@pytest.mark.skipif(not WORKING, reason="no sandbox works here")
def test_a_run_is_confined_by_default_and_not_with_y(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    told, code = run(tmp_path, f"echo in > f; echo x > {outside}", *ALLOW)
    assert code == 0 and "[exit 1" in told and not outside.exists()
    assert (tmp_path / "work" / "f").read_text() == "in\n"
    told, code = run(tmp_path, f"echo x > {outside}", "-y", "--sandbox", "read-only")
    assert "[exit 1" in told and not outside.exists()
    told, code = run(tmp_path, f"echo x > {outside}", "-y")
    assert code == 0 and "[exit 0" in told and outside.exists()


@pytest.mark.skipif(not WORKING, reason="no sandbox works here")
def test_a_run_cannot_read_its_own_journal_nor_leave_a_temporary_folder(tmp_path: Path) -> None:
    hidden_from_rules = f"sh -c 'cat $0/state/sessions/*/*' {tmp_path}/home"
    told, _ = run(tmp_path, f"{hidden_from_rules}; echo $TMPDIR", *ALLOW)
    folder = Path(told.split("\n")[-2])
    assert ('"t":' not in told and "No such file" in told) or "denied" in told
    assert folder.parent.name.startswith("glmcode-tmp-") and not folder.parent.exists()


def test_a_run_withholds_secrets_and_lets_exceptions_through(tmp_path: Path) -> None:
    show = "echo [$NPM_TOKEN$MY_OWN_KEY$PLAIN]"
    secret = {"NPM_TOKEN": "npm", "MY_OWN_KEY": "key", "PLAIN": "plain"}
    assert run(tmp_path, show, *ALLOW, **secret)[0].startswith("[plain]\n")
    except_one = ("--set", "permissions.environment=NPM_*")
    assert run(tmp_path, show, *ALLOW, *except_one, **secret)[0].startswith("[npmplain]\n")
    everything = ("--set", "permissions.environment=*", "--api-key-env", "MY_OWN_KEY")
    assert run(tmp_path, show, "-y", *everything, **secret)[0].startswith("[npmplain]\n")


def test_nothing_runs_unasked_in_a_headless_run_whatever_the_setting(tmp_path: Path) -> None:
    told, code = run(tmp_path, "touch ran", "--set", "permissions.sandbox_auto_allow=true")
    assert code == 3 and told.startswith("not run: ")
    assert not (tmp_path / "work" / "ran").exists()


# Unasked where the sandbox is complete


def held(tmp_path: Path, *, auto_allow: bool, **options: Any) -> Held:
    work = tmp_path / "work"
    work.mkdir()
    script = [calls(("Bash", {"command": "touch ran"})), says("done")]
    given = Held(work, script, commands=CommandOptions(auto_allow=auto_allow), **options)
    given.run("go")
    return given


@pytest.mark.skipif("bubblewrap" not in WORKING, reason="bubblewrap does not work here")
@pytest.mark.parametrize(
    ("options", "ran", "asked"),
    [
        ({"auto_allow": True}, True, 0),
        ({"auto_allow": False}, False, 1),
        ({"auto_allow": True, "ask": parse_rules(["Bash(touch *)"])}, False, 1),
        ({"auto_allow": True, "deny": parse_rules(["Bash(touch *)"])}, False, 0),
        ({"auto_allow": True, "mode": "plan"}, False, 0),
    ],
)
def test_a_confined_command_runs_unasked_only_where_a_setting_says_so_and_no_rule_speaks(
    tmp_path: Path, options: dict[str, Any], ran: bool, asked: int
) -> None:
    given = held(tmp_path, **options)
    assert (tmp_path / "work" / "ran").exists() is ran
    assert len(given.asked) == asked


@pytest.mark.skipif(not WORKING, reason="no sandbox works here")
def test_what_a_command_wrote_into_its_temporary_folder_is_read_unasked_but_not_through_a_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").write_text("not for you\n")
    write = "echo long > $TMPDIR/log; echo $TMPDIR"
    given = Held(
        tmp_path / "work",
        [calls(("Bash", {"command": f"{write}; ln -s {tmp_path}/outside $TMPDIR/link"}))],
        allow=parse_rules(["Bash"]),
    )
    sandbox = given.agent.context.sandbox
    assert sandbox is not None
    for name in ("log", "link"):
        given.model.script.append(calls(("Read", {"file_path": str(sandbox.planned / name)})))
    given.model.script.append(says("done"))
    given.run("go")
    bash, log, link = given.results()
    assert str(sandbox.planned) in bash and "long" in log
    assert "not for you" not in link
    assert [asked.name for asked in given.asked] == ["Read"]


# The sandbox follows the permission mode


@pytest.mark.skipif(not WORKING, reason="no sandbox works here")
@pytest.mark.parametrize(
    ("sandbox", "written"), [(None, "out\n"), ("workspace-write", None), ("read-only", None)]
)
def test_the_sandbox_follows_the_mode_and_comes_back_unless_someone_said_which_it_is(
    tmp_path: Path, sandbox: SandboxMode | None, written: str | None
) -> None:
    (tmp_path / "work").mkdir()
    outside = tmp_path / "outside"
    command = f"echo out >> {outside}"
    given = Held(
        tmp_path / "work",
        [calls(("Bash", {"command": command})), says("1")] * 3,
        allow=parse_rules(["Bash", "Edit(//**)"]),
        commands=CommandOptions(sandbox=sandbox),
    )
    agent, seen, told = given.agent, [], []

    async def main() -> None:
        for mode in ("default", "bypassPermissions", "acceptEdits"):
            told.append(agent.set_mode(mode))
            await agent.submit("go")
            seen.append(outside.read_text() if outside.exists() else None)
        await agent.close()

    asyncio.run(main())
    assert seen == [None, written, written]
    if sandbox is None:
        assert told[0] == "" and "outside the sandbox" in told[1]
        assert told[2] == "commands run in the sandbox from now on (workspace-write)"
    else:
        assert told == ["", "", ""]
