from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.profile import load_profile
from glmcode.engine.quantised import plain_width
from glmcode.plan_commands import profile_shape
from tests.engine.engine_kit import Home, new_home
from tests.engine.fit_configs import LLAMA_8B, REAP

RUN = (
    "import sys; from glmcode.engine_commands import run_engine; sys.exit(run_engine(sys.argv[1:]))"
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Home]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with new_home(monkeypatch) as made:
        yield made


def engine(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
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


def written(folder: Path, config: dict[str, Any], **changes: Any) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({**config, **changes}))
    return str(path)


def planned(*words: str) -> dict[str, Any]:
    done = engine("plan", "--json", *words)
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_a_config_alone_is_enough_for_a_plan(home: Home, tmp_path: Path) -> None:
    path = written(tmp_path, REAP)
    value = planned("--model", path, "--gpus", "8x24GiB", "--kv-dtype", "fp8_e5m2")
    assert value["tensor_parallel"] == 8
    assert value["kv_bytes_per_token_per_gpu"] == 23_552
    assert round(value["weights_gib_per_gpu"], 1) == 16.6
    assert value["expert_parallel"] is True  # 192 is no multiple of 128
    assert value["profile"] is None and "command" not in value
    low, high = value["max_window_tokens"]
    assert 110_000 < low < high <= 202_752
    assert planned("--model", str(tmp_path), "--gpus", "8x24GiB")["kv_dtype"] == "fp8"


def test_the_card_s_profile_plans_before_the_model_is_here(home: Home) -> None:
    value = planned("--profile", "reap-268b-8x3090")
    assert value["kv_bytes_per_token_per_gpu"] == 23_552
    assert round(value["weights_gib_per_gpu"], 1) == 16.6
    assert value["kv_dtype"] == "fp8_e5m2" and value["gpus"] == 8
    assert "group size 128 is assumed" in " ".join(value["notes"])
    assert value["arguments"] and value["deviations"]


def test_options_change_one_thing_each(home: Home) -> None:
    words = ("--profile", "reap-268b-8x3090")
    assert planned(*words, "--gpus", "4x48GB")["tensor_parallel"] == 4
    assert planned(*words, "--tp", "4")["kv_bytes_per_token_per_gpu"] == 47_104
    assert planned(*words, "--kv-dtype", "auto")["kv_bytes_per_token_per_gpu"] == 47_104
    assert planned(*words, "--no-expert-parallel")["verdict_text"].count("Slow") == 1


def test_the_model_on_this_disk_counts_before_the_card(home: Home, tmp_path: Path) -> None:
    written(tmp_path, REAP, quantization_config={**REAP["quantization_config"], "group_size": 32})
    home.write("mine", f'extends = "reap-268b-8x3090"\nmodel = "{tmp_path}"\n')
    value = planned("--profile", "mine")
    assert value["group_size"] == 32 and round(value["weights_gib_per_gpu"], 1) == 18.1
    assert value["notes"] == []


def test_a_model_of_which_nothing_is_known_still_has_a_command(home: Home) -> None:
    home.write("mine", 'extends = "base"\nmodel = "some/where"\n')
    done = engine("plan", "--profile", "mine")
    assert done.returncode == 0 and "--served-model-name mine" in done.stdout
    assert "some/where is not on this disk, so nobody can say what fits" in done.stdout
    assert "max_window_tokens" not in planned("--profile", "mine")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--model", "nowhere/config.json"), 1, "does not exist"),
        (("--model", "x" * 5000), 1, "cannot be read"),
        (("--model", "~nobody-of-that-name/x"), 2, "--model ~nobody"),
        (("--model", ""), 1, "does not exist"),
        (("--gpus", "many"), 2, "write it like 8x24GiB"),
        (("--gpus", "0x24GiB"), 2, "are possible"),
        (("--gpus", "8x24GiB", "--tp", "0"), 2, "--tp 0"),
        (("--kv-dtype", "fp7"), 2, "'fp7' is no KV dtype (known: auto, "),
        (("--kv-dtype", "fp8_ds_mla"), 2, "is for other models"),
        (("--command",), 2, "--command needs a profile"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(
    home: Home, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    path = written(tmp_path, LLAMA_8B)
    words = words if "--model" in words else ("--model", path, *words)
    done = engine("plan", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    as_json = engine("plan", "--json", *words)
    assert as_json.returncode == code and said in json.loads(as_json.stdout)["error"]


def test_a_hostile_config_can_neither_hang_nor_paint_the_terminal(
    home: Home, tmp_path: Path
) -> None:
    path = written(tmp_path, LLAMA_8B, model_type="\x1b[2J\x1b]0;x\x07")
    done = engine("plan", "--model", path, "--gpus", "24GiB")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    Path(path).unlink()
    os.mkfifo(path)
    began = time.monotonic()
    assert engine("plan", "--model", path).returncode == 1
    assert time.monotonic() - began < 10


def test_a_driver_that_hangs_is_told_and_the_plan_comes_all_the_same(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 600 &\nsleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr("glmcode.engine.gpus.shutil.which", lambda name: str(program))
    from glmcode.engine.gpus import find_gpus

    began = time.monotonic()
    found = find_gpus(1.0)
    assert time.monotonic() - began < 6
    assert found.found == () and "no answer within 1 s" in found.fault


def test_the_gpus_of_this_machine_are_used_and_profiles_are_judged(
    home: Home, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = "\n".join(f"echo '{i}, Some Card, 24576, 24000, 8.6, 570.1'" for i in range(4))
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    config = written(tmp_path, LLAMA_8B)
    (program.parent / "pynvml.py").write_text("raise ImportError\n")
    env = {"PATH": path, "PYTHONPATH": str(program.parent)}
    done = engine("plan", "--json", "--model", config, **env)
    value = json.loads(done.stdout)
    assert (value["gpus"], value["gpu_memory_gib"], value["tensor_parallel"]) == (4, 24.0, 4)
    done = engine("plan", "--profile", "reap-268b-8x3090", **env)
    assert "this machine has 4 x 24 GiB: --gpus 4x24GiB" in done.stdout
    listed = engine("profiles", **env).stdout
    assert "(shipped; for 8x24GiB; on this machine's 4 x 24 GiB: impossible)" in listed


def test_profiles_say_where_they_come_from(home: Home) -> None:
    home.write("mine", 'extends = "reap-268b-8x3090"\n')
    home.write("tiny", "max_seqs = 2\n")
    home.write("there", 'base_url = "http://192.0.2.1:8000/v1"\ndescription = "elsewhere"\n')
    done = engine("profiles")
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines["mine"].endswith("(yours; for 8x24GiB)")
    assert lines["tiny"].endswith("(yours over the shipped one)")
    assert lines["there"].endswith("elsewhere (yours)")
    assert str(home.folder) in done.stderr
    found = {item["name"]: item for item in json.loads(engine("profiles", "--json").stdout)}
    assert found["mine"]["from"] == "yours" and found["mine"]["fits_here"] is None


def test_a_profile_that_is_a_server_elsewhere_is_neither_planned_nor_started(home: Home) -> None:
    home.write("there", 'base_url = "http://192.0.2.1:8000/v1"\n')
    done = engine("plan", "--profile", "there")
    assert done.returncode == 0 and "no plan" in done.stdout
    started = engine("start", "--profile", "there")
    assert started.returncode == 2 and "no engine here to start" in started.stderr


def test_a_window_that_vllm_would_refuse_is_said(home: Home) -> None:
    home.write("long", 'extends = "reap-268b-8x3090"\nwindow = 500000\n')
    value = planned("--profile", "long")
    assert "500,000 is more than the model was made for (202,752)" in " ".join(value["notes"])
    assert value["wanted_window_tokens"] == 202_752


def test_gpus_of_different_sizes_are_answered_with_what_counts(home: Home, tmp_path: Path) -> None:
    path = written(tmp_path, REAP)
    done = engine("plan", "--model", path, "--gpus", "2x80GiB+1x24GiB")
    assert done.returncode == 2 and "the smallest counts for all: 3x24GiB" in done.stderr


def test_the_printed_command_can_be_pasted_whatever_the_profile_holds(home: Home) -> None:
    evil = "'; touch pwned; $(id) `id`"
    home.write("odd", f'extends = "tiny"\n[env]\nA = "{evil}"\n[flags]\nx = "{evil}"\n')
    done = engine("plan", "--profile", "odd")
    assert f"A={shlex.quote(evil)} \\" in done.stdout
    assert "\nA='; touch" not in done.stdout
    assert shlex.split(planned("--profile", "odd")["command"])[-1] != "id"


def test_numbers_that_are_no_sizes_are_planned_or_refused_but_never_a_fault(home: Home) -> None:
    for flag in ("kv-cache-memory-bytes", "pipeline-parallel-size", "cpu-offload-gb"):
        for number in ("1" + "0" * 400, "-5", "true"):
            home.write("odd", f'extends = "reap-268b-8x3090"\n[flags]\n{flag} = {number}\n')
            done = engine("plan", "--json", "--profile", "odd")
            assert done.returncode == 0, (flag, number, done.stderr)
            assert json.loads(done.stdout)["verdict"]


def test_a_profile_whose_model_cannot_be_counted_still_has_its_command(
    home: Home, tmp_path: Path
) -> None:
    path = written(tmp_path, REAP, kv_lora_rank=512)
    home.write("latent", f'extends = "base"\nmodel = "{tmp_path}"\n')
    value = planned("--profile", "latent")
    assert value["arguments"] and "latent attention" in " ".join(value["notes"])
    assert "max_window_tokens" not in value
    assert engine("plan", "--model", path).returncode == 1


def test_the_dtype_of_a_profile_counts_before_that_of_the_file(home: Home) -> None:
    for dtype, size in (("float32", 2560), ("float", 2560), ("half", 1280), ("auto", 1280)):
        home.write("mine", f'extends = "tiny"\ndtype = "{dtype}"\n')
        assert planned("--profile", "mine")["kv_bytes_per_token_per_gpu"] == size
        shape, _ = profile_shape(load_profile("mine"))
        assert plain_width(shape.dtype) * 640 == size
