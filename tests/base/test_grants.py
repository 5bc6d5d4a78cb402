from __future__ import annotations

import multiprocessing
import os
import tomllib
from pathlib import Path

import pytest

from glmcode.base.config import ConfigError, load_config
from glmcode.base.grants import GrantFault, keep_rules


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    (tmp_path / "work" / "sub").mkdir(parents=True)
    (tmp_path / "work2").mkdir()
    return tmp_path / "home" / "config" / "config.toml"


def allowed(folder: Path) -> tuple[str, ...]:
    return load_config(folder, {})[0].permissions.allow


def test_a_rule_that_is_kept_holds_in_its_folder_and_nowhere_else(
    tmp_path: Path, settings: Path
) -> None:
    assert keep_rules(tmp_path / "work", ["Bash(make)", "Edit(./a.py)"]) == settings
    assert allowed(tmp_path / "work") == ("Bash(make)", "Edit(./a.py)")
    (tmp_path / "link").symlink_to(tmp_path / "work")
    assert allowed(tmp_path / "link") == ("Bash(make)", "Edit(./a.py)")
    for other in ("work/sub", "work2", ""):
        assert allowed(tmp_path / other) == (), "there the same rule means other files"
    assert load_config(None, {})[0].permissions.allow == ()
    assert settings.parent.stat().st_mode & 0o077 == 0


def test_what_a_person_wrote_stays_as_it_is_byte_for_byte(tmp_path: Path, settings: Path) -> None:
    settings.parent.mkdir(parents=True)
    before = b"# mine\r\n[permissions]\r\nallow = [ 'Bash(ls *)' ,  # odd\r\n]\r\n\r\n# the end"
    settings.write_bytes(before)
    settings.chmod(0o640)
    keep_rules(tmp_path / "work", ["Bash(make)"])
    keep_rules(tmp_path / "work", ["Bash(make)"])
    keep_rules(tmp_path / "work", ["Bash(make)", 'Bash(echo "a\\b"\n\x7f é)'])
    after = settings.read_bytes()
    assert after.startswith(before) and after.count(b"[[grants]]") == 2
    assert settings.stat().st_mode & 0o777 == 0o640
    assert allowed(tmp_path / "work")[:2] == ("Bash(make)", 'Bash(echo "a\\b"\n\x7f é)')
    assert [path.name for path in settings.parent.iterdir()] == ["config.toml"]


def test_a_settings_file_behind_a_link_stays_behind_it(tmp_path: Path, settings: Path) -> None:
    real = tmp_path / "dotfiles" / "glmcode.toml"
    real.parent.mkdir()
    real.write_text("[ui]\nverbose = true\n")
    settings.parent.mkdir(parents=True)
    settings.symlink_to(real)
    keep_rules(tmp_path / "work", ["Bash(make)"])
    assert settings.is_symlink() and "Bash(make)" in real.read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[permissions\n", "cannot be read"),
        ("grants = []\n", "nothing can be added"),
        ("[grants]\nx = 1\n", "nothing can be added"),
    ],
)
def test_a_file_that_nothing_can_be_added_to_is_left_and_named(
    text: str, why: str, tmp_path: Path, settings: Path
) -> None:
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    with pytest.raises(GrantFault, match=why) as caught:
        keep_rules(tmp_path / "work", ["Bash(make)"])
    assert str(settings) in str(caught.value) and settings.read_text() == text


def _keep(folder: str, number: int) -> None:
    for turn in range(5):
        keep_rules(Path(folder), [f"Bash(make {number} {turn})"])


def test_two_processes_at_once_lose_nothing(tmp_path: Path, settings: Path) -> None:
    several = multiprocessing.get_context("fork")
    work = [several.Process(target=_keep, args=(str(tmp_path / "work"), n)) for n in range(3)]
    for process in work:
        process.start()
    for process in work:
        process.join()
    assert [process.exitcode for process in work] == [0, 0, 0]
    wanted = {f"Bash(make {number} {turn})" for number in range(3) for turn in range(5)}
    assert set(allowed(tmp_path / "work")) == wanted
    assert len(tomllib.loads(settings.read_text())["grants"]) == 15


@pytest.mark.parametrize(
    "text",
    [
        "[grants]\nfolder = '/x'\nallow = []\n",
        "[[grants]]\nfolder = 'x'\nallow = []\n",
        "[[grants]]\nfolder = '/x'\n",
        "[[grants]]\nfolder = '/x'\nallow = 'Bash'\n",
        "[[grants]]\nfolder = '/x'\nallow = []\ndeny = []\n",
    ],
)
def test_a_grant_of_another_form_is_an_error_that_says_the_form(text: str, settings: Path) -> None:
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    with pytest.raises(ConfigError, match=r"each \[\[grants\]\] must be"):
        load_config(None, {})


def test_a_repository_grants_nothing(tmp_path: Path) -> None:
    place = tmp_path / "work" / ".glmcode" / "config.toml"
    place.parent.mkdir()
    place.write_text(f"[[grants]]\nfolder = '{os.sep}'\nallow = ['Bash']\n")
    config, notices = load_config(tmp_path / "work", {}, trusted=True)
    assert config.permissions.allow == ()
    assert any("[[grants]] is never read from a repository" in notice for notice in notices)
