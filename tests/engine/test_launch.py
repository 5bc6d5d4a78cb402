from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from glmcode.engine.launch import plan_launch
from glmcode.engine.probe import Probe, probe_vllm
from glmcode.engine.profile import Profile, load_profile
from tests.engine.old_vllm import install


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def old(tmp_path: Path) -> Probe:
    probe = probe_vllm(install(tmp_path))
    assert probe is not None
    return probe


@pytest.fixture
def big() -> Profile:
    return load_profile("reap-268b-8x3090")


def value(arguments: tuple[str, ...], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_without_any_vllm_the_plan_is_made_for_the_one_we_know(big: Profile) -> None:
    plan = plan_launch(big, None, "/run/e.sock")
    assert (plan.vllm, plan.assumed, plan.dropped) == ("0.32", True, ())
    assert value(plan.arguments, "--max-model-len") == "auto"


def test_the_installed_vllm_takes_everything_that_the_profiles_say(big: Profile) -> None:
    probe = probe_vllm()
    for profile in (big, load_profile("tiny")):
        assert plan_launch(profile, probe, "/run/e.sock").dropped == ()


def test_the_card_s_settings_stand_in_the_command(big: Profile) -> None:
    arguments = plan_launch(big, probe_vllm(), "/run/e.sock").arguments
    for flag, said in {
        "--model": "avtc/GLM-4.6-REAP-268B-A32B-GPTQMODEL-W4A16",
        "--tensor-parallel-size": "8",
        "--max-num-seqs": "1",
        "--kv-cache-dtype": "fp8_e5m2",
        "--attention-backend": "FLASHINFER",
        "--tool-call-parser": "glm45",
        "--reasoning-parser": "glm45",
        "--gpu-memory-utilization": "0.92",
        "--uds": "/run/e.sock",
    }.items():
        assert value(arguments, flag) == said
    for flag in ("--enable-auto-tool-choice", "--enable-expert-parallel", "--enable-sleep-mode"):
        assert flag in arguments
    compilation = json.loads(value(arguments, "--compilation-config"))
    assert compilation == {"mode": 3, "cudagraph_capture_sizes": [1]}
    assert not {"--host", "--port", "--trust-remote-code"} & set(arguments)


def test_an_older_vllm_gets_the_old_names(big: Profile, old: Probe) -> None:
    plan = plan_launch(big, old, "/run/e.sock")
    assert plan.env["VLLM_ATTENTION_BACKEND"] == "FLASHINFER"
    assert "--attention-backend" not in plan.arguments
    assert json.loads(value(plan.arguments, "--compilation-config"))["level"] == 3
    assert value(plan.arguments, "--max-model-len") == "202752"
    assert plan.module == "vllm.entrypoints.openai.api_server"


def test_what_an_older_vllm_lacks_is_left_out_and_said(big: Profile, old: Probe) -> None:
    plan = plan_launch(big, old, "/run/e.sock")
    assert "--enable-scale-out" not in plan.arguments
    assert "--enable-scale-out: vLLM 0.11.2 does not have it" in plan.dropped
    assert "VLLM_ENFORCE_STRICT_TOOL_CALLING" not in plan.env
    assert "VLLM_ENFORCE_STRICT_TOOL_CALLING: vLLM 0.11.2 does not read it" in plan.dropped
    assert plan.env["DO_NOT_TRACK"] == "1"


def test_a_flag_that_vllm_refused_is_left_out_and_said(big: Profile) -> None:
    plan = plan_launch(big, None, "/run/e.sock", frozenset({"seed"}))
    assert "--seed" not in plan.arguments and "1234" not in plan.arguments
    assert plan.dropped == ("--seed: vLLM refused it",)


def test_a_flag_that_is_false_is_not_passed_and_lists_are_words(big: Profile) -> None:
    flags = {"enable-expert-parallel": False, "middleware": ["a", "b"], "x": 0.5}
    plan = plan_launch(replace(big, flags=flags), None, "/run/e.sock")
    assert "--enable-expert-parallel" not in plan.arguments
    at = plan.arguments.index("--middleware")
    assert plan.arguments[at : at + 5] == ("--middleware", "a", "b", "--x", "0.5")


def test_a_model_on_this_disk_is_served_without_the_network(big: Profile) -> None:
    assert plan_launch(load_profile("tiny"), None, "s").env["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in plan_launch(big, None, "s").env


def test_the_printed_command_is_what_a_shell_would_run(big: Profile) -> None:
    plan = plan_launch(big, None, "/run/my engine.sock")
    words = shlex.split(plan.command())
    count = len(plan.env)
    assert dict(word.split("=", 1) for word in words[:count]) == dict(plan.env)
    assert words[count : count + 3] == [plan.python, "-m", plan.module]
    assert tuple(words[count + 3 :]) == plan.arguments
