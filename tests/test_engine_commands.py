from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.engine.attach import engine_status
from tests.engine.engine_kit import Home, new_home, until

RUN = (
    "import sys; from glmcode.engine_commands import run_engine; sys.exit(run_engine(sys.argv[1:]))"
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        yield made


def engine(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one `glmcode engine` command."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


def test_an_engine_is_started_shown_and_stopped(home: Home) -> None:
    home.profile()
    started = engine("start", "--profile", "fake")
    assert started.returncode == 0, started.stderr
    assert re.match(
        r"fake: ready: fake, window 9,000 tokens; started in [\d.]+ s\n", started.stdout
    )
    assert "fake: importing vLLM\n" in started.stderr
    assert "\r" not in started.stderr
    shown = engine("status")
    assert shown.stdout.startswith("fake: ready: fake, window 9,000 tokens\n")
    assert engine("start", "--profile", "fake").returncode == 0
    stopped = engine("stop", "--profile", "fake")
    assert (stopped.returncode, stopped.stdout) == (0, "fake: stopped\n")
    assert home.living() == []
    again = engine("stop", "--profile", "fake")
    assert (again.returncode, again.stdout) == (0, "fake: no engine was running\n")


def test_stop_without_a_name_stops_what_runs(home: Home) -> None:
    home.profile("one")
    home.profile("two")
    home.attach("one")
    home.attach("two")
    assert engine("stop").stdout == "one: stopped\ntwo: stopped\n"
    assert home.living() == []


def test_restart_gives_a_new_engine(home: Home) -> None:
    home.profile()
    home.attach()
    before = (home.child(), home.supervisor())
    assert engine("restart", "--profile", "fake").returncode == 0
    assert engine_status("fake").up
    assert home.child() != before[0] and home.supervisor() != before[1]


def test_start_without_waiting_returns_at_once(home: Home) -> None:
    home.profile("fake", "--say", "slowly", "--pause", "2")
    done = engine("start", "--profile", "fake", "--no-wait")
    assert (done.returncode, done.stdout[:15]) == (0, "fake: starting:")
    until(lambda: engine_status("fake").up)


def test_an_engine_that_cannot_start_is_75_with_its_last_lines(home: Home) -> None:
    home.profile("fake", "--say", "KeyError: 'odd'", "--exit", "4")
    done = engine("start", "--profile", "fake")
    assert (done.returncode, done.stdout) == (75, "")
    assert "did not start: it ended with exit code 4: 'odd'" in done.stderr
    assert "\n  KeyError: 'odd'" in done.stderr
    shown = engine("status", "--profile", "fake")
    assert shown.returncode == 0
    assert shown.stdout.startswith("fake: failed: the engine of profile fake did not start")
    assert "  | KeyError: 'odd'" in shown.stdout


def test_a_person_s_start_tries_again_what_failed_for_good(home: Home) -> None:
    home.profile("fake", "--say", "CUDA out of memory", "--exit", "1")
    assert engine("start", "--profile", "fake").returncode == 75
    first = home.paths().log.stat().st_ino
    assert engine("start", "--profile", "fake").returncode == 75
    assert home.paths().log.stat().st_ino != first


def test_status_lists_all_engines_and_is_0_whatever_their_state(home: Home) -> None:
    assert engine("status").stdout == "no engine was started on this machine\n"
    assert engine("status", "--json").stdout == "[]\n"
    home.profile("good")
    home.profile("bad", "--exit", "1")
    home.attach("good")
    engine("start", "--profile", "bad")
    done = engine("status", "--json")
    assert done.returncode == 0
    states = {item["profile"]: item["state"] for item in json.loads(done.stdout)}
    assert states == {"bad": "failed", "good": "ready"}
    one = json.loads(engine("status", "--json", "--profile", "good").stdout)
    assert (one["state"], one["window"], one["protocol"]) == ("ready", 9000, 1)


def test_logs_are_printed_and_followed_over_a_restart(home: Home) -> None:
    home.profile("fake", *[w for n in range(30) for w in ("--say", f"line {n}")])
    assert engine("logs", "--profile", "fake").returncode == 1
    home.attach()
    assert engine("logs", "--profile", "fake", "-n", "2").stdout == "line 28\nline 29\n"
    follow = subprocess.Popen(
        [sys.executable, "-c", RUN, "logs", "--profile", "fake", "-f", "-n", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert follow.stdout is not None
    time.sleep(1.0)
    with home.paths().log.open("a") as log:
        log.write("appended\n")
    assert follow.stdout.readline() == b"appended\n"
    home.profile("fake", "--say", "a new start")
    engine("restart", "--profile", "fake")
    assert follow.stdout.readline() == b"a new start\n"
    follow.send_signal(signal.SIGINT)
    _, errors = follow.communicate(timeout=20)
    assert (follow.returncode, errors) == (130, b"")


def test_a_closed_pipe_is_no_traceback(home: Home) -> None:
    home.profile("fake", *[w for n in range(300) for w in ("--say", f"line {n}" * 50)])
    home.attach()
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(RUN)} logs --profile fake -n 300"
    done = subprocess.run(["sh", "-c", f"{command} | head -n 1"], capture_output=True, text=True)
    assert done.stdout == "line 0" * 50 + "\n"
    assert done.stderr == ""


def test_the_plan_is_a_command_and_its_deviations(home: Home) -> None:
    done = engine("plan", "--profile", "reap-268b-8x3090", "--command")
    assert done.returncode == 0
    command, *notes = done.stdout.splitlines()
    words = shlex.split(command)
    assert words[words.index("--max-num-seqs") + 1] == "1"
    assert words[words.index("--max-model-len") + 1] == "auto"
    assert "VLLM_MARLIN_USE_ATOMIC_ADD=1" in words
    assert all(note.startswith("#") for note in notes)
    assert any("--max-model-len 202752  ->  --max-model-len auto" in note for note in notes)
    assert shlex.split(done.stdout, comments=True) == words
    assert not home.paths("reap-268b-8x3090").folder.exists()


def test_the_plan_as_json_holds_the_reasons(home: Home) -> None:
    value = json.loads(engine("plan", "--profile", "reap-268b-8x3090", "--json").stdout)
    assert value["arguments"][:2] == ["--model", "avtc/GLM-4.6-REAP-268B-A32B-GPTQMODEL-W4A16"]
    assert all(item["why"] for item in value["deviations"])
    assert value["dropped"] == []


BLOCKED = (
    "import sys\n"
    "class Block:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in ('vllm', 'torch', 'openai', 'rich', 'git'):\n"
    "            raise ImportError(f'{name} is not to be imported')\n"
    "sys.meta_path.insert(0, Block())\n"
)


@pytest.mark.parametrize("name", ["reap-268b-8x3090", "tiny"])
def test_the_plan_needs_no_heavy_package(home: Home, name: str) -> None:
    code = BLOCKED.replace("'vllm', ", "") + RUN
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", "--profile", name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--served-model-name" in done.stdout


def test_without_vllm_the_plan_says_for_which_it_is_made(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + RUN, "plan", "--profile", "tiny"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "no vLLM found: planned for 0.32\n")
    assert "--enforce-eager" in done.stdout


def test_profiles_are_listed_and_a_broken_one_is_told(home: Home) -> None:
    home.write("mine", "windw = 3\n")
    lines = engine("profiles").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["mine", "reap-268b-8x3090", "tiny"]
    assert "cannot be used" in lines[0] and "did you mean 'window'?" in lines[0]
    names = [item["name"] for item in json.loads(engine("profiles", "--json").stdout)]
    assert names == ["mine", "reap-268b-8x3090", "tiny"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["start", "--profile", "nope"], 2, "unknown profile 'nope'"),
        (["plan", "--profile", "../x"], 2, "not a profile name"),
        (["stop", "--profile", "nope"], 2, "unknown profile"),
        (["dance"], 2, "invalid choice"),
        ([], 2, "required"),
        (["start", "--frob"], 2, "unrecognized arguments"),
        (["--help"], 0, ""),
    ],
)
def test_wrong_usage_is_one_sentence(home: Home, words: list[str], code: int, said: str) -> None:
    done = engine(*words)
    assert done.returncode == code
    assert said in done.stderr


def test_the_configured_profile_is_the_one_that_is_meant(home: Home) -> None:
    home.profile("mine")
    done = engine("start", GLMCODE_ENGINE__PROFILE="mine")
    assert done.stdout.startswith("mine: ready")
    broken = engine("start", GLMCODE_ENGINE__PROFIL="mine")
    assert broken.returncode == 2
    assert "did you mean" in broken.stderr


def test_a_state_folder_that_cannot_be_written_is_one_sentence(home: Home) -> None:
    home.profile()
    (home.folder / "state").write_text("a file")
    done = engine("start", "--profile", "fake")
    assert done.returncode == 75
    assert "cannot be made" in done.stderr


def test_on_a_terminal_the_progress_is_one_line_that_changes(home: Home) -> None:
    home.profile("fake", "--say", "Initializing a V1 LLM engine", "--pause", "0.5")
    home.attach()
    engine("stop")
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["start", "--profile", "fake"]
        environment = os.environ | {"TERM": "xterm"}
        os.execve(sys.executable, [sys.executable, "-c", RUN, *words], environment)
    shown = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    assert b"\r\x1b[Kfake: starting the workers " in shown
    assert re.search(rb"\d+ %, about \d+ s left", shown)
    lines = [line for line in shown.split(b"\r\n") if line]
    assert lines[-1].rpartition(b"\x1b[K")[2].startswith(b"fake: ready:")
    assert len(lines) == 1, "more than one line was left on the screen"


def test_without_a_gpu_and_a_name_the_known_profiles_are_told(
    home: Home,
) -> None:
    if Path("/proc/driver/nvidia/gpus").is_dir():
        expected = "reap-268b-8x3090"
    else:
        expected = "no profile named: --profile NAME (known: reap-268b-8x3090, tiny)"
    done = engine("plan")
    assert expected in done.stdout + done.stderr
