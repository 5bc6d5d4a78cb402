"""Runs inside the sandbox of a run, such as a hook of the agent's own `git commit` that asks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.lane import new_lane
from glmcode.engine.lease import Lease
from glmcode.sandbox import find_backend
from tests.engine.engine_kit import Home, until
from tests.sandbox.kit import WORKING, Place, backend, git, repository, tell

HERE = Path(__file__).resolve().parent
GLMCODE = f"env PYTHONPATH={HERE.parent} {sys.executable} -m glmcode"
ASK = f"{GLMCODE} -p"
FIVE = f"for i in 1 2 3 4 5; do {ASK} '[inner]' >out.$i 2>err.$i & done; wait; cat out.*"


def bash(command: str) -> dict[str, Any]:
    return {"calls": [{"name": "Bash", "arguments": {"command": command, "timeout": 90}}]}


SCRIPT: dict[str, list[dict[str, Any]]] = {
    "[commit]": [bash("git commit -q -m work"), {"text": "it is committed"}],
    "[inner]": [{"text": "the diff is fine"}],
    "[reviewed]": [{"text": json.dumps({"findings": [], "verdict": "pass"})}],
    "[five]": [bash(FIVE), {"text": "five asked"}],
    "[deep]": [bash(f"{ASK} --allowed-tools Bash '[middle]'"), {"text": "deep is done"}],
    "[middle]": [bash(f"{ASK} '[inner]' > inner.out"), {"text": "middle is done"}],
    "[slow]": [{"text": "word " * 200, "gap": 0.05, "chunk": 5}],
    "[kill]": [bash(f"{ASK} '[slow]'"), {"text": "it went on"}],
    "[short]": [bash(f"timeout -s KILL 3 {ASK} '[slow]'; echo code $?"), {"text": "it went on"}],
    "[attack]": [bash(f"{sys.executable} attack.py"), {"text": "the attack is over"}],
    "[steps]": [bash("true"), bash("true"), {"text": "steps done"}],
    "[other]": [{"text": "another answer", "delay": 0.6}],
    "[denied]": [bash("touch no"), {"text": "it was denied"}],
    "[rules]": [bash(f"{ASK} --allowed-tools Bash '[denied]'"), {"text": "rules hold"}],
    "[out]": [
        bash(f"touch ~/glm-out {tempfile.gettempdir()}/../glm-out; echo x > in"),
        {"text": "tried"},
    ],
    "[confined]": [bash(f"{ASK} -y '[out]'"), {"text": "confined is done"}],
}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(tempfile.mkdtemp(prefix="glm-"))
        patch.setenv("GLMCODE_HOME", str(folder / "home"))
        for name in ("GLMCODE_NESTED", "GLMCODE_PARENT"):
            patch.delenv(name, raising=False)
        made = Home(folder / "home")
        script = folder / "script.json"
        script.write_text(json.dumps(SCRIPT))
        command = [sys.executable, str(HERE / "nested_engine.py"), str(script), "{socket}"]
        made.write(
            "own",
            f'engine_command = {json.dumps(command)}\nmodel = "none/own"\nserved_name = "glm"\n'
            'protocol = "chat"\nmap = false\n',
        )
        made.attach("own")
        yield made
        made.close()
        shutil.rmtree(folder)


@pytest.fixture
def work(home: Home, tmp_path: Path) -> Path:
    until(lambda: not (engine_status("own").running or engine_status("own").waiting))
    (home.folder.parent / "script.words").write_text("")
    return repository(tmp_path / "work")


def asked(home: Home) -> list[str]:
    return (home.folder.parent / "script.words").read_text().splitlines()


def hook(work: Path, body: str) -> None:
    path = work / ".git" / "hooks" / "pre-commit"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    (work / "file").write_text("two\n")
    git(work, "add", "-A")


def glmcode(work: Path, prompt: str, *more: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glmcode", "-p", prompt, "--profile", "own"]
    command += ["--output-format", "json", "--allowed-tools", "Bash", *more]
    return subprocess.Popen(
        command,
        cwd=work,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(run: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """The answer and stderr of a run that ends in time."""
    out, err = run.communicate(timeout=100)
    assert run.returncode == code, f"{out}\n{err}"
    assert "Traceback" not in err
    return json.loads(out)["result"], err


CONFINED = pytest.mark.skipif(
    find_backend().mechanism == "none", reason="no sandbox works here: see test_probe.py"
)


@pytest.mark.parametrize("sandbox", ["workspace-write", "danger-full-access"])
def test_the_agents_own_commit_ends_with_a_hook_that_asks_while_others_wait(
    home: Home, work: Path, sandbox: str
) -> None:
    hook(work, f"while [ ! -e go ]; do sleep 0.05; done; {ASK} '[inner]' --profile own > said")
    outer = glmcode(work, "[commit]", "--sandbox", sandbox)
    until(lambda: "[commit] 0" in asked(home))
    others = [glmcode(work, "[other]") for _ in range(3)]
    until(lambda: len(engine_status("own").waiting) >= 1)
    (work / "go").touch()
    assert ended(outer)[0] == "it is committed"
    for other in others:
        assert ended(other)[0] == "another answer"
    assert (work / "said").read_text() == "the diff is fine\n"
    assert git(work, "log", "--format=%s").splitlines() == ["work", "first"]
    order = asked(home)
    assert order.count("[inner] 0") == 1 and order.index("[inner] 0") < len(order) - 1


@pytest.mark.parametrize("sandbox", ["workspace-write", "danger-full-access"])
def test_the_agents_own_commit_is_reviewed_by_our_hook_within_its_deadline(
    home: Home, work: Path, sandbox: str
) -> None:
    words = ["hook", "install", "pre-commit", "--fail-closed", "--profile", "own"]
    subprocess.run([sys.executable, "-P", "-m", "glmcode", *words], cwd=work, check=True)
    (work / "file").write_text(f"[reviewed] {sandbox}\n")
    git(work, "add", "-A")
    others = [glmcode(work, "[other]") for _ in range(2)]
    assert ended(glmcode(work, "[commit]", "--sandbox", sandbox))[0] == "it is committed"
    for other in others:
        assert ended(other)[0] == "another answer"
    assert git(work, "log", "--format=%s").splitlines() == ["work", "first"]
    assert asked(home).count("[reviewed] 0") == 1


@CONFINED
def test_five_nested_at_once_are_five_answers(home: Home, work: Path) -> None:
    assert ended(glmcode(work, "[five]"))[0] == "five asked"
    said = [(work / f"out.{number}").read_text() for number in range(1, 6)]
    assert said == ["the diff is fine\n"] * 5, (work / "err.1").read_text()
    assert "inside the sandbox of another run" in (work / "err.1").read_text()


@CONFINED
def test_a_run_nested_in_a_nested_one_is_answered(home: Home, work: Path) -> None:
    assert ended(glmcode(work, "[deep]"))[0] == "deep is done"
    assert (work / "inner.out").read_text() == "the diff is fine\n"


@CONFINED
def test_a_nested_run_is_no_less_confined_and_bound_by_the_rules_of_the_outer_one(
    home: Home, work: Path
) -> None:
    assert ended(glmcode(work, "[confined]"))[0] == "confined is done"
    assert (work / "in").exists()
    assert not (Path.home() / "glm-out").exists() and not Path("/glm-out").exists()
    denied = ("--disallowed-tools", "Bash(touch *)")
    assert ended(glmcode(work, "[rules]", *denied))[0] == "rules hold"
    assert not (work / "no").exists()
    assert "[denied] 1" in asked(home)


@CONFINED
def test_a_nested_run_that_is_killed_frees_the_engine_and_the_outer_goes_on(
    home: Home, work: Path
) -> None:
    assert ended(glmcode(work, "[short]"))[0] == "it went on"
    assert "[slow] 0" in asked(home)
    until(lambda: not engine_status("own").running)


@CONFINED
def test_an_outer_run_that_is_killed_takes_the_nested_one_along(home: Home, work: Path) -> None:
    outer = glmcode(work, "[kill]")
    until(lambda: "[slow] 0" in asked(home))
    outer.kill()
    outer.communicate(timeout=20)
    until(lambda: not engine_status("own").running)
    until(lambda: not list(home.paths("own").socket_folder.glob("h*")))
    until(lambda: not [line for line in home.living() if "slow" in line])
    assert ended(glmcode(work, "[other]"))[0] == "another answer"


@CONFINED
def test_an_engine_that_is_gone_ends_a_nested_run_with_75_and_none_is_started(
    home: Home, work: Path
) -> None:
    wait = "until [ -e gone ]; do sleep 0.05; done"
    hook(work, f"{wait}; {ASK} '[inner]' 2> said; echo code $? > code")
    outer = glmcode(work, "[commit]")
    until(lambda: "[commit] 0" in asked(home))
    until(lambda: list(home.paths("own").socket_folder.glob("h*")))
    time.sleep(1.0)
    os.kill(home.supervisor("own"), signal.SIGKILL)
    (work / "gone").touch()
    until(lambda: (work / "code").exists(), 60)
    assert (work / "code").read_text() == "code 75\n"
    assert "the engine of the run around this one is gone" in (work / "said").read_text()
    outer.communicate(timeout=60)
    home.attach("own")


@CONFINED
def test_the_way_to_the_engine_can_be_closed_by_a_setting(home: Home, work: Path) -> None:
    hook(work, f"{ASK} '[inner]' 2> said; echo code $? >> said; exit 0")
    more = ("--set", "permissions.sandbox_engine=false")
    assert ended(glmcode(work, "[commit]", *more))[0] == "it is committed"
    said = (work / "said").read_text()
    assert "code 75" in said and "permissions.sandbox_engine" in said
    assert "[inner] 0" not in asked(home)


ATTACK = r"""
import json, os, socket, threading, time

way = os.environ["GLMCODE_NESTED"]

def talk(data, wait=2.0):
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(wait)
            s.connect(way)
            s.sendall(data)
            got = b""
            while piece := s.recv(65536):
                got += piece
            return got
    except OSError:
        return b""

def head(method, path, size=0, *more):
    lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {size}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode()

found = {}
for name in ("status", "events", "start", "stop", "sleep", "wake", "restart", "listen", "hatch"):
    for method in ("GET", "POST"):
        found[f"{method} {name}"] = talk(head(method, f"/glmcode/{name}"))[:12].decode()
found["rpc"] = talk(head("POST", "/collective_rpc", 2) + b"{}")[:12].decode()
CHAT = "/v1/chat/completions"
found["huge"] = talk(head("POST", CHAT, 1 << 30) + b" " * (8 << 20))[:12].decode()
message = {"role": "user", "content": "[slow]"}
ask = json.dumps({"model": "glm", "messages": [message], "stream": True}).encode()
urgent = "x-glmcode-class: interactive"

def flood():
    while True:
        talk(head("POST", CHAT, len(ask), urgent) + ask, 5)

def slow():
    kept = []
    while len(kept) < 400:
        try:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(0.5)
            s.connect(way)
            s.send(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 400")
            kept.append(s)
        except OSError:
            time.sleep(0.05)
    time.sleep(1000)

for what in (flood, flood, flood, flood, slow, slow):
    threading.Thread(target=what, daemon=True).start()
with open("found.json", "w") as file:
    json.dump(found, file)
time.sleep(3)
"""


@CONFINED
def test_a_hostile_command_reaches_nothing_and_its_run_and_others_go_on(
    home: Home, work: Path
) -> None:
    (work / "attack.py").write_text(ATTACK)
    before = engine_status("own").engine_pid
    attacked = glmcode(work, "[attack]")
    until(lambda: (work / "found.json").exists(), 60)
    assert ended(glmcode(work, "[other]"))[0] == "another answer"
    assert ended(attacked)[0] == "the attack is over"
    found = json.loads((work / "found.json").read_text())
    assert found.pop("GET hatch") == "HTTP/1.1 200"
    assert found.pop("huge") in ("HTTP/1.1 413", "")
    assert set(found.values()) == {"HTTP/1.1 403"}, found
    status = engine_status("own")
    assert (status.state in ("ready", "busy"), status.engine_pid) == (True, before)
    until(lambda: not engine_status("own").running)


@pytest.mark.parametrize("mechanism", WORKING)
def test_each_mechanism_lets_the_way_through_and_no_other_socket_of_ours(
    home: Home, tmp_path: Path, mechanism: str
) -> None:
    place = Place(tmp_path / "place")
    lane = new_lane("scripted", place.workspace, {})
    facts = {
        **{"protocol": "chat", "tokenizer": "", "sampling": {}, "step_cap": 100, "results": 9000},
        **{"map": False, "window": 0, "network": False, "deny": [], "ask": []},
    }
    lease = Lease(home.paths("own").socket, lane, lambda: facts)
    hidden = (home.folder,)
    options = {"way": lease.path, "hidden": hidden}
    supervisor = home.paths("own").socket
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('{supervisor}')"
    knocked = f'{sys.executable} -c "{code}"'
    listed = f"ls {home.paths('own').socket_folder} 2>&1; echo $GLMCODE_NESTED"
    answer, names, ruled = tell(
        place, mechanism, f"{ASK} '[inner]' 2>&1", listed, knocked, **options
    )
    lease.close()
    assert "the diff is fine" in answer and "[exit 0" in answer
    assert "supervisor.sock" not in names or mechanism == "landlock"
    if mechanism == "bubblewrap" or backend(mechanism).namespaces:
        assert "[exit 1" in ruled and "rror" in ruled
    (closed,) = tell(place, mechanism, f"{ASK} '[inner]' 2>&1", hidden=hidden)
    assert "[exit 75" in closed and "lets no engine through" in closed
