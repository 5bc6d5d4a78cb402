from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engine_kit import Home
from tests.five_kit import COUNT, five_runs, five_terminals, median, statuses_while_it_starts
from tests.repl.pty_driver import PtySession

ENGINE = Path(__file__).resolve().parent / "repl" / "own_engine.py"
STATUS_S = 0.100


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="glm-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder / "home"))
    made = Home(folder / "home")
    script = folder / "script.json"
    script.write_text(json.dumps([{"text": f"answer {number} it is"} for number in range(COUNT)]))
    # It does not begin to load before there is a file beside the script.
    wait = f"while [ ! -e {folder}/go ]; do sleep 0.05; done; exec "
    command = ["sh", "-c", f'{wait} {sys.executable} {ENGINE} {script} "$0"', "{socket}"]
    made.write(
        "own",
        f'engine_command = {json.dumps(command)}\nmodel = "none/own"\nserved_name = "glm"\n'
        'protocol = "chat"\nmap = false\n',
    )
    yield made
    made.close()
    shutil.rmtree(folder)


def while_it_starts(home: Home) -> None:
    """The state is told within its time, of the processor at least: others use this machine."""
    took = median(statuses_while_it_starts("own"))
    assert took.processor < STATUS_S, took
    (home.folder.parent / "go").touch()


def one_engine(home: Home) -> bool:
    living = home.living()
    supervisors = [line for line in living if "glmcode.engine.supervisor" in line]
    return len(supervisors) == 1 and home.paths("own").supervisor_log.read_text() == ""


def answers(texts: list[str]) -> list[str]:
    return sorted(number for text in texts for number in re.findall(r"answer (\d) it is", text))


def test_five_terminals_at_once_are_one_engine_and_five_answers(home: Home) -> None:
    def answered(session: PtySession) -> bool:
        return " it is" in session.screen.text

    shown = five_terminals(home.folder, "own", answered, lambda: while_it_starts(home))
    assert answers(shown) == [str(number) for number in range(COUNT)]
    assert not any("✗" in text or "Traceback" in text for text in shown)
    assert one_engine(home)


def test_five_headless_runs_at_once_are_one_engine_and_five_answers(home: Home) -> None:
    ended = five_runs(home.folder, "own", lambda: while_it_starts(home))
    assert [code for code, _, _ in ended] == [0] * COUNT, ended
    assert answers([out for _, out, _ in ended]) == [str(number) for number in range(COUNT)]
    assert not any("rror" in err or "Traceback" in err for _, _, err in ended), ended
    assert one_engine(home)
