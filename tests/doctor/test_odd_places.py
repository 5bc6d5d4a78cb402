from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmcode.base.settings import EngineSettings
from glmcode.doctor.command import collect
from glmcode.doctor.line import Asked, Line
from glmcode.doctor.machine import folder_lines
from glmcode.doctor.model import model_lines
from glmcode.doctor.software import import_line
from glmcode.engine.prepare import find_vllm
from glmcode.engine.profile import load_profile

ROOT = Path(__file__).resolve().parents[2]


def doctor(
    home: Path, *words: str, without: tuple[str, ...] = (), before: Any = None, **env: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and lines, by name. without: variables that are not set."""
    given = {**os.environ, "GLMCODE_HOME": str(home), "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "doctor", "--json", *words],
        env={name: value for name, value in given.items() if name not in without},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=120,
        preexec_fn=before,
    )
    assert "Traceback" not in done.stderr
    value = json.loads(done.stdout)
    found = {item["name"]: item for item in value["checks"]}
    assert (done.returncode == 1) == any(item["state"] == "fault" for item in found.values())
    return done.returncode, found


PLACES: list[tuple[tuple[str, ...], dict[str, str]]] = [
    (("HOME", "GLMCODE_HOME"), {}),
    ((), {"HOME": "/nowhere"}),
    (("TERM", "LANG", "LC_ALL", "LC_CTYPE"), {}),
    ((), {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ((), {"LC_ALL": "xx_YY.nonsense"}),
    (("PATH",), {}),
    ((), {"PATH": "/nowhere"}),
    ((), {"PYTHONIOENCODING": "ascii"}),
]


@pytest.mark.parametrize(("without", "env"), PLACES)
def test_an_odd_place_is_no_fault_of_a_client(
    tmp_path: Path, without: tuple[str, ...], env: dict[str, str]
) -> None:
    code, found = doctor(tmp_path / "home", without=without, GLMCODE_ENGINE__PROFILE="", **env)
    assert code == 0, [item for item in found.values() if item["state"] == "fault"]
    if env.get("PATH") == "/nowhere":
        assert found["git"]["state"] == "warning" and "install git" in found["git"]["todo"]


BROKEN = [b"[engine", b'[engine]\nidle_stop = "x"\n', b"x = 1\n", b"\xff\xfe", b"\0"]


@pytest.mark.parametrize("text", BROKEN)
def test_settings_that_are_no_settings_are_one_fault(tmp_path: Path, text: bytes) -> None:
    folder = tmp_path / "home" / "config"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_bytes(text)
    code, found = doctor(tmp_path / "home")
    assert code == 1 and found["settings"]["state"] == "fault"
    assert "config.toml" in found["settings"]["text"]
    faults = [name for name, item in found.items() if item["state"] == "fault"]
    assert faults == ["settings"]


def test_a_disk_on_which_nothing_can_be_written_leaves_an_answer(tmp_path: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    code, found = doctor(tmp_path / "home", "--profile", "tiny", before=full)
    assert code == 1 and found["python"]["state"] == "ok" and found["model"]["state"] == "ok"


def test_a_folder_on_a_full_or_closed_disk_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
    assert [line.state for line in folder_lines()] == ["fault", "fault"]
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for line in folder_lines():
        assert line.state == "fault" and "cannot be written" in line.text and line.todo


def test_wrong_use_is_json_as_well_where_json_was_asked_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "doctor", "--json", "--profile", "nope"],
        env={**os.environ, "GLMCODE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 2 and "nope" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    "text", ["http://[::1", "unix:~nobody-of-that-name/s", "unix:x", "ftp://a"]
)
def test_an_address_that_is_none_is_a_fault_with_a_way_out(tmp_path: Path, text: str) -> None:
    code, found = doctor(tmp_path / "home", GLMCODE_ENGINE__BASE_URL=text)
    said = found.get("server") or found["settings"]
    assert code == 1 and said["state"] == "fault" and said["todo"]
    assert "cannot be looked at" not in said["text"]


@pytest.mark.parametrize("program", ["false", "echo", "nowhere/python"])
def test_an_interpreter_that_is_none_is_one_line(tmp_path: Path, program: str) -> None:
    path = shutil.which(program) or f"/{program}"
    code, found = doctor(tmp_path / "home", "--profile", "tiny", GLMCODE_ENGINE__PYTHON=path)
    text = found["vllm"]["text"]
    assert code == 1 and found["vllm"]["state"] == "fault"
    assert f"{path} cannot be run: " in text and "\n" not in text and len(text) < 300


def test_a_check_that_is_at_fault_itself_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def odd() -> list[Line]:
        raise TypeError("a list where none was expected")

    (line,) = collect([("odd", 20.0, odd)])
    assert line.state == "fault" and "TypeError: a list where none" in line.text
    assert capfd.readouterr().err == ""


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def index(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "model.safetensors.index.json").write_text(text)


def content(name: str, text: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights(folder).unlink()
        make(weights(folder))

    return change


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: it is not there"),
    (content("tokenizer.json", b""), "tokenizer.json: it is empty"),
    (content("tokenizer.json", b'{"model": {"vocab'), "tokenizer.json: it is empty, cut short"),
    (content("config.json", b"{"), "config.json: it is empty, cut short"),
    (content("config.json", b"[]"), "config.json: it is no JSON object"),
    (content("config.json", b"\xff"), "config.json: it is empty, cut short"),
    (index('{"weight_map": {"a.b": "model.safetensors"}}'), "not where it says, a.b for one"),
    (index('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'), "model-00002-of"),
    (index('{"weight_map": []}'), "cannot be read"),
    (index('{"weight_map": {"a": 5}}'), "lacks 1"),
    (index("{"), "cannot be read"),
    (replaced(lambda path: path.symlink_to("/nowhere")), "a link to none"),
    (replaced(Path.mkdir), "it is no file"),
    (replaced(os.mkfifo), "it is no file"),
    (lambda folder: os.truncate(weights(folder), 50_000), "and its header says"),
    (shutil.rmtree, "does not exist"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_a_damaged_model_is_a_fault_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], said: str
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (ROOT / "models" / "tiny").glob("*[a-z].json"):
        shutil.copy(path, folder)
    shutil.copy(ROOT / "models" / "tiny" / "model.safetensors", folder)
    profiles = tmp_path / "home" / "config" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "mine.toml").write_text(f'extends = "tiny"\nmodel = "{folder}"\n')
    asked = Asked(settings=EngineSettings(), profile=load_profile("mine"))
    assert model_lines(asked)[0].state == "ok"
    damage(folder)
    line = model_lines(asked)[0]
    assert line.state == "fault" and str(folder) in line.todo
    assert said in " ".join((line.text, *line.details))


@pytest.mark.engine
@pytest.mark.xdist_group("engine")
def test_what_a_start_would_import_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    profile = load_profile("tiny")
    probe = find_vllm(profile)
    assert probe is not None
    line = import_line(profile, probe)
    assert line.state == "ok" and f"vLLM {probe.version} and its server" in line.text
    # A profile for GPUs on a machine on which torch sees none.
    if "no GPU seen" in line.text:
        assert import_line(load_profile("reap-268b-8x3090"), probe).state == "fault"
