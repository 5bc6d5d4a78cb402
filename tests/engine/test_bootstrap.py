from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.engine.family import processes
from tests.engine.engine_kit import BOOTSTRAP, until

PACKAGES = {
    "torchvision": "raise RuntimeError('operator torchvision::nms does not exist')\n",
    "torchaudio": "import os\nos.kill(os.getpid(), 11)\n",
    "torchcodec": "",
    "torch": "",
}
SERVER = """
import importlib.util, json, os, subprocess, sys
names = ("torchvision", "torchaudio", "torchcodec")
def seen():
    return {name: importlib.util.find_spec(name) is not None for name in names}
if __name__ == "__main__" or True:
    def main():
        child = subprocess.run(
            [sys.executable, "-c", "import served; print(json.dumps(served.seen()))"
             .replace("import served", "import json, served")],
            capture_output=True, text=True)
        print(json.dumps({"argv": sys.argv, "here": seen(), "child": json.loads(child.stdout),
                          "chained": os.environ.get("CHAINED"),
                          "path": [p for p in sys.path if p.endswith("glmcode/engine")]}))
"""
CHAINED = "import os\nos.environ['CHAINED'] = 'yes'\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A PYTHONPATH with packages of which two cannot be loaded, and a server module."""
    folder = tmp_path / "site"
    for name, text in PACKAGES.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    (folder / "served.py").write_text(SERVER)
    (folder / "sitecustomize.py").write_text(CHAINED)
    return folder


def run(site: Path, cache: Path, *arguments: str) -> dict[str, object]:
    read_end, write_end = os.pipe()
    command = [sys.executable, str(BOOTSTRAP), "--lifeline", str(read_end)]
    command += ["--cache", str(cache), "--module", "served", "--", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(site)},
        pass_fds=(read_end,),
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
    )
    os.close(read_end)
    os.close(write_end)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    found["said"] = done.stdout.splitlines()[:-1]
    return found


def test_packages_that_cannot_be_loaded_are_absent_in_the_server_and_in_its_children(
    site: Path, tmp_path: Path
) -> None:
    found = run(site, tmp_path / "cache", "--model", "a b", "--", "--x")
    hidden = {"torchvision": False, "torchaudio": False, "torchcodec": True}
    assert found["here"] == hidden
    assert found["child"] == hidden
    assert found["argv"] == ["served", "--model", "a b", "--", "--x"]
    assert found["path"] == [], "modules of ours would hide those of the engine's Python"
    assert found["said"] == [
        "glmcode: torchvision cannot be loaded here and is hidden from vLLM",
        "glmcode: torchaudio cannot be loaded here and is hidden from vLLM",
    ]


def test_a_sitecustomize_that_is_there_already_still_runs(site: Path, tmp_path: Path) -> None:
    run(site, tmp_path / "cache")
    (hide,) = (tmp_path / "cache").glob("hidden-*")
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys; print(os.environ['CHAINED'], len(sys.modules))"],
        env={**os.environ, "PYTHONPATH": f"{hide}{os.pathsep}{site}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("yes ")
    assert done.stderr == ""
    alone = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.modules['torchvision'])"],
        env={**os.environ, "PYTHONPATH": str(hide)},
        capture_output=True,
        text=True,
    )
    assert (alone.stdout, alone.stderr) == ("None\n", "")


def test_a_verdict_is_kept_until_the_package_changes(site: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(site, cache)
    known = json.loads((cache / "optional-packages.json").read_text())
    assert sorted(known.values()) == [False, False, True]
    (cache / "optional-packages.json").write_text(json.dumps(dict.fromkeys(known, True)))
    assert run(site, cache)["said"] == []  # believed, although it is wrong
    package = site / "torchvision" / "__init__.py"
    package.write_text(PACKAGES["torchvision"])
    os.utime(package, (9, 9))
    assert run(site, cache)["here"] == {
        "torchvision": False,
        "torchaudio": True,
        "torchcodec": True,
    }


def start_guarded(tmp_path: Path, text: str) -> tuple[subprocess.Popen[bytes], int]:
    """A server module under the guard, and the write end of its lifeline."""
    (tmp_path / "guarded.py").write_text(text)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-S", str(BOOTSTRAP), "--lifeline", str(read_end)]
    command += ["--cache", str(tmp_path), "--module", "guarded", "--"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        pass_fds=(read_end,),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(read_end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process, write_end


def group(pid: int) -> list[int]:
    return [other for other, kin in processes().items() if kin.group == pid]


def test_when_the_lifeline_closes_the_whole_group_ends(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time\n"
        "def main():\n"
        "    subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])\n"
        "    print('up', flush=True)\n"
        "    time.sleep(99)\n"
    )
    process, lifeline = start_guarded(tmp_path, text)
    until(lambda: len(group(process.pid)) == 3)  # server, its child, the guard
    os.close(lifeline)
    assert process.wait(20) == -signal.SIGTERM
    until(lambda: group(process.pid) == [])


def test_a_server_that_is_killed_takes_its_children_along_without_any_supervisor(
    tmp_path: Path,
) -> None:
    text = (
        "import subprocess, sys, time\n"
        "def main():\n"
        "    subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])\n"
        "    print('up', flush=True)\n"
        "    time.sleep(99)\n"
    )
    process, lifeline = start_guarded(tmp_path, text)
    process.kill()
    process.wait()
    until(lambda: group(process.pid) == [])
    os.close(lifeline)


def test_when_even_the_guard_was_killed_the_group_still_ends(tmp_path: Path) -> None:
    text = "import time\ndef main():\n    print('up', flush=True)\n    time.sleep(99)\n"
    process, lifeline = start_guarded(tmp_path, text)
    (guard,) = set(group(process.pid)) - {process.pid}
    os.kill(guard, signal.SIGKILL)
    os.close(lifeline)
    assert process.wait(30) == -signal.SIGKILL


def test_a_server_that_is_stopped_or_deaf_ends_with_the_lifeline_too(tmp_path: Path) -> None:
    text = (
        "import signal, time\n"
        "def main():\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    print('up', flush=True)\n"
        "    time.sleep(99)\n"
    )
    process, lifeline = start_guarded(tmp_path, text)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    os.close(lifeline)
    assert process.wait(30) == -signal.SIGKILL
    assert time.monotonic() - began > 3, "it had no time to end by itself"
    until(lambda: group(process.pid) == [])
