from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from glmcode.base.config import load_config
from glmcode.base.settings import CLASSES, definitions, markdown_table
from glmcode.config_edit import template
from glmcode.engine.lane import CLASSES as LANE_CLASSES
from tests.repl.pty_driver import PtySession

ROOT = Path(__file__).resolve().parent.parent
MINE = """# mine
[tools]  # of tools
result_chars = 1000 # small

[permissions]
allow = [
    "Read",  # all of them
]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("GLMCODE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def config(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glmcode", "config", *words],
        capture_output=True, text=True, timeout=60, env={**os.environ, **more},
    )  # fmt: skip


def mine(home: Path, text: str = MINE) -> Path:
    file = home / "config" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_readme_holds_the_table_of_the_definitions() -> None:
    assert markdown_table() in (ROOT / "README.md").read_text()


def test_every_default_and_choice_of_the_definitions_can_be_set(home: Path) -> None:
    home.mkdir()
    for one in definitions():
        values = one.choices or ("7",) if isinstance(one.default, str) else ()
        if one.key == "engine.idle_stop" or isinstance(one.default, bool):
            values = ("1",)
        for value in values:
            load_config(None, {}, [(one.key, value)])


def test_the_classes_of_settings_are_those_of_the_queue() -> None:
    assert CLASSES == LANE_CLASSES


def test_show_prints_toml_that_says_the_same_as_what_holds(home: Path) -> None:
    mine(home)
    ran = config("show", GLMCODE_CONTEXT__COMPACT="no")
    assert ran.returncode == 0 and ran.stderr == ""
    told = tomllib.loads(ran.stdout)
    held, _ = load_config(None, {"GLMCODE_CONTEXT__COMPACT": "no"})
    for one in definitions():
        table, _, name = one.key.partition(".")
        value = getattr(getattr(held, table), name)
        assert told[table].get(name) == (list(value) if isinstance(value, tuple) else value)


def test_show_names_who_set_each(home: Path) -> None:
    file = mine(home)
    ran = config("show", "context.compact", "tools", GLMCODE_CONTEXT__COMPACT="no")
    lines = ran.stdout.splitlines()
    assert "compact = false" in lines[1] and lines[1].endswith(
        "the variable GLMCODE_CONTEXT__COMPACT"
    )
    assert lines[4].endswith(f"# {file}")
    assert lines[5].startswith("checkpoints = true") and lines[5].endswith("# default")


def test_show_as_json_is_one_object_with_all_of_them(home: Path) -> None:
    told = json.loads(config("show", "--json").stdout)
    assert [one["key"] for one in told["settings"]] == [one.key for one in definitions()]
    assert all(one["sources"] == ["default"] for one in told["settings"])


def test_a_repository_that_is_not_trusted_is_said_and_not_shown(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".glmcode").mkdir()
    (tmp_path / ".glmcode" / "config.toml").write_text("[tools]\nresult_chars = 500\n")
    plain, trusted = config("show", "tools"), config("show", "tools", "--trust")
    assert "30000" in plain.stdout and "not trusted" in plain.stderr
    assert "result_chars = 500" in trusted.stdout


def test_set_changes_one_value_and_no_other_byte(home: Path) -> None:
    file = mine(home)
    ran = config("set", "tools.result_chars", "2000")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert file.read_text() == MINE.replace("1000", "2000")


def test_set_makes_the_file_and_its_folder_for_the_owner_alone(home: Path) -> None:
    assert config("set", "ui.verbose", "yes").returncode == 0
    file = home / "config" / "config.toml"
    assert tomllib.loads(file.read_text()) == {"ui": {"verbose": True}}
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_list_is_replaced_or_added_to(home: Path) -> None:
    file = mine(home)
    assert config("set", "permissions.allow", "Read", "Bash(ls *)", "--add").returncode == 0
    assert tomllib.loads(file.read_text())["permissions"]["allow"] == ["Read", "Bash(ls *)"]
    assert config("set", "permissions.allow", "Glob").returncode == 0
    assert tomllib.loads(file.read_text())["permissions"]["allow"] == ["Glob"]


def test_unset_removes_one_setting(home: Path) -> None:
    file = mine(home)
    assert config("unset", "tools.result_chars").returncode == 0
    told = tomllib.loads(file.read_text())
    assert "result_chars" not in told.get("tools", {}) and told["permissions"]["allow"] == ["Read"]
    again = config("unset", "tools.result_chars")
    assert again.returncode == 0 and "nothing to do" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tools.result_chars", "2"), "at least 200"),
        (("tools.result_chars", "many"), "not a whole number"),
        (("tools.result_chars", "2000", "3000"), "one value, not a list"),
        (("tools.result_char", "2000"), "tools.result_char; did you mean 'tools.result_chars'"),
        (("engine.protocol", "smoke"), "tokens or chat"),
        (("engine.queue_class", "urgent"), "urgent"),
        (("permissions.mode", "yes"), "permission mode"),
        (("permissions.allow", "Bash(("), "Bash(("),
        (("permissions.allow", "Nothing(x)"), "Nothing"),
        (("ui.verbose", "perhaps"), "neither true nor false"),
        (("engine.base_url", "http://x", "--project"), "never read from a repository"),
        (("permissions.sandbox_network", "true", "--local"), "never read from a repository"),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_file_stays(
    home: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    file = mine(home)
    ran = config("set", *words)
    assert ran.returncode == 1 and said in ran.stderr and "Traceback" not in ran.stderr
    assert file.read_text() == MINE and not list(tmp_path.glob(".glmcode/*.toml"))


@pytest.mark.parametrize(
    "text",
    [
        "[tools\n",
        "tools = 3\n",
        "[tools]\nresult_chars = 1\n",
        "[tulls]\n",
        "\ufeff[tools]\n",
        "\x00",
    ],
)
def test_a_file_that_is_broken_is_said_and_not_touched(home: Path, text: str) -> None:
    file = mine(home, text)
    for words in (("show",), ("set", "ui.verbose", "true")):
        ran = config(*words)
        assert (ran.returncode == 1 and str(file) in ran.stderr) or "at least 200" in ran.stderr
        assert "Traceback" not in ran.stderr
    assert file.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "tools.result_chars = 1000\n",
        "tools = {result_chars = 1000}\n",
        "[tools]\r\nresult_chars = 1000\r\n",
        "[tools]\nresult_chars = 1_000",
        "[ui]\nverbose = true\n[tools]\n",
        '[[grants]]\nfolder = "/src"\nallow = ["Read"]\n',
    ],
)
def test_every_form_that_toml_allows_is_changed_in_place(home: Path, text: str) -> None:
    file = mine(home, text)
    before = tomllib.loads(text)
    ran = config("set", "tools.result_chars", "2000")
    assert ran.returncode == 0, ran.stderr
    before.setdefault("tools", {})["result_chars"] = 2000
    data = file.read_bytes().decode()
    assert tomllib.loads(data) == before
    assert ("\r\n" in data) == ("\r\n" in text)


def test_a_value_that_something_else_wins_over_is_said(home: Path) -> None:
    ran = config("set", "tools.result_chars", "2000", GLMCODE_TOOLS__RESULT_CHARS="3000")
    assert ran.returncode == 0 and "the variable GLMCODE_TOOLS__RESULT_CHARS wins" in ran.stderr


def test_two_at_once_lose_nothing(home: Path) -> None:
    mine(home)
    rules = [f"Bash(tool{number} *)" for number in range(8)]
    ran: list[int] = []

    def add(rule: str) -> None:
        ran.append(config("set", "permissions.allow", rule, "--add").returncode)

    threads = [threading.Thread(target=add, args=(rule,)) for rule in rules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = tomllib.loads((home / "config" / "config.toml").read_text())
    assert ran == [0] * 8 and set(told["permissions"]["allow"]) == {"Read", *rules}


def test_edit_keeps_what_can_be_used(home: Path) -> None:
    file = mine(home)
    ran = config("edit", EDITOR="sed -i s/1000/4000/")
    assert ran.returncode == 0 and file.read_text() == MINE.replace("1000", "4000")


def test_edit_of_no_file_begins_with_all_names_and_a_wrong_text_is_kept_beside(home: Path) -> None:
    ran = config("edit", VISUAL="sed -i '$a [nonsense]'")
    assert ran.returncode == 1 and "unknown table [nonsense]" in ran.stderr
    assert not (home / "config" / "config.toml").exists()
    kept = Path(ran.stderr.strip().rpartition(" is in ")[2])
    assert kept.read_text() == template() + "[nonsense]\n"
    kept.unlink()


def test_what_edit_begins_with_is_valid_and_sets_nothing(home: Path) -> None:
    assert all(value == {} for value in tomllib.loads(template()).values())


@pytest.mark.parametrize("editor", ["/no/such/editor", "false", "'unclosed"])
def test_an_editor_that_fails_changes_nothing(home: Path, editor: str) -> None:
    file = mine(home)
    ran = config("edit", EDITOR=editor)
    assert ran.returncode == 1 and "editor" in ran.stderr.lower()
    assert file.read_text() == MINE


def test_on_a_terminal_a_wrong_text_can_be_edited_again(home: Path, tmp_path: Path) -> None:
    file = mine(home)
    script = tmp_path / "editor"
    script.write_text(
        f"#!/bin/sh\nif [ -e {tmp_path}/once ]; then sed -i s/result_charm/result_chars/ $1; "
        f"else touch {tmp_path}/once; sed -i s/result_chars/result_charm/ $1; fi\n"
    )
    script.chmod(0o755)
    environment = {**os.environ, "EDITOR": str(script)}
    command = [sys.executable, "-m", "glmcode", "config", "edit"]
    session = PtySession(command, tmp_path, environment, (80, 24))
    try:
        session.wait_for("Edit it again?")
        session.type("\n")
        assert session.wait_exit() == 0
    finally:
        session.close()
    assert "nothing was changed" in session.screen.text and file.read_text() == MINE
