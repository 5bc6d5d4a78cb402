from __future__ import annotations

from collections.abc import Iterator

import pytest

from glmcode.engine.idle import IdleStop, idle_minutes
from tests.engine.engine_kit import Home, new_home, until


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        yield made


def test_an_engine_is_never_stopped_for_being_idle_unless_it_is_set() -> None:
    stop = IdleStop(lambda: 0)
    assert not any(stop.due(60.0 * minute, idle=True, served=0) for minute in range(10_000))


def test_it_is_stopped_after_so_many_minutes_without_a_request() -> None:
    stop = IdleStop(lambda: 5)
    assert not any(stop.due(float(second), idle=True, served=0) for second in range(300))
    assert stop.due(300.0, idle=True, served=0)


def test_a_request_or_work_begins_the_time_again() -> None:
    stop = IdleStop(lambda: 1)
    assert not stop.due(0.0, idle=True, served=0)
    assert not stop.due(50.0, idle=True, served=1)
    assert not stop.due(100.0, idle=True, served=1)
    assert not stop.due(109.0, idle=False, served=1)
    assert not stop.due(110.0, idle=True, served=1)
    assert not stop.due(169.0, idle=True, served=1)
    assert stop.due(170.0, idle=True, served=1)


def test_the_setting_is_the_persons(home: Home) -> None:
    assert idle_minutes() == 0
    (home.folder / "config").mkdir(exist_ok=True)
    settings = home.folder / "config" / "config.toml"
    settings.write_text("[engine]\nidle_stop = 7\n")
    assert idle_minutes() == 7
    settings.write_text("[engine]\nidle_stop = -1\n")
    assert idle_minutes() == 0
    settings.write_text("nonsense")
    assert idle_minutes() == 0


def test_an_idle_engine_is_stopped_with_its_supervisor_and_comes_back(home: Home) -> None:
    (home.folder / "config").mkdir(exist_ok=True)
    (home.folder / "config" / "config.toml").write_text("[engine]\nidle_stop = 0.05\n")
    home.profile()
    home.attach()
    assert home.living()
    until(lambda: home.living() == [], 30)
    assert not home.paths().socket.exists()
    home.attach()
