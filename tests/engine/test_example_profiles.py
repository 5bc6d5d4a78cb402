from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.core.events import Notice
from glmcode.engine.fit import fit
from glmcode.engine.fit_text import verdict
from glmcode.engine.gpus import parse_gpus
from glmcode.engine.halt import halt
from glmcode.engine.launch import plan_launch
from glmcode.engine.paths import engine_paths
from glmcode.engine.probe import probe_vllm
from glmcode.engine.profile import load_profile
from glmcode.engine_commands import run_engine
from glmcode.plan_commands import profile_settings, profile_shape
from tests.engine.engine_kit import new_home
from tests.engine.test_fit_vllm import HIDE

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "profiles").glob("*.toml"))
NAMES = [path.stem for path in EXAMPLES]
SERVERS = {"other-host", "router"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "home" / "config" / "profiles"
    folder.mkdir(parents=True)
    for path in EXAMPLES:
        shutil.copy(path, folder)


def test_there_is_an_example_for_each_way_to_serve() -> None:
    assert set(NAMES) == {
        *("4x48gb", "8x24gb-without-expert-parallel", "fp8-8x80gb", "int8-kv", "kv-offload"),
        *("two-nodes", "two-nodes-ray", "replicas", *SERVERS),
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_nothing_that_the_installed_vllm_lacks(name: str) -> None:
    profile = load_profile(name)
    assert profile.description
    if name in SERVERS:
        assert profile.base_url.startswith("http://") and profile.model == ""
        return
    assert plan_launch(profile, probe_vllm(), "/run/e.sock").dropped == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("4x48gb", "may fit"),
        ("kv-offload", "may fit"),
        ("int8-kv", "may fit"),
        ("two-nodes", "fits"),
        ("two-nodes-ray", "fits"),
        ("replicas", "fits"),
        ("8x24gb-without-expert-parallel", "smaller window"),
    ],
)
def test_the_planner_judges_each_example(name: str, expected: str) -> None:
    profile = load_profile(name)
    shape, _ = profile_shape(profile)
    found = fit(shape, profile_settings(profile), *parse_gpus(profile.gpus))
    assert verdict(found) == expected
    kinds = {item.kind for item in found.experts if item.dealt is False}
    assert kinds == ({"cut"} if name == "4x48gb" else {"slow"})


def test_what_the_other_machine_runs_is_told_with_the_plan() -> None:
    plan = plan_launch(load_profile("two-nodes"), probe_vllm(), "/run/e.sock")
    (other,) = plan.others
    words = shlex.split(other)
    at = words.index("vllm")
    assert words[at : at + 3] == ["vllm", "serve", load_profile("two-nodes").model]
    assert words[-3:] == ["--node-rank", "1", "--headless"]
    assert not {"--uds", "--model", "/run/e.sock"} & set(words)
    assert [word for word in words[:at] if "=" not in word] == []
    rest = {word for word in plan.arguments if word.startswith("--")}
    assert rest - {word for word in words if word.startswith("--")} == {"--uds", "--model"}
    (ray,) = plan_launch(load_profile("two-nodes-ray"), None, "/run/e.sock").others
    assert ray.startswith("ray start --address=")
    assert plan_launch(load_profile("replicas"), None, "/run/e.sock").others == ()


def test_every_rank_of_replicas_serves_a_request_of_its_own() -> None:
    assert load_profile("replicas").seats == 2 and load_profile("two-nodes").seats == 1


def test_plan_and_start_say_what_the_other_machine_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_engine(["plan", "--profile", "two-nodes", "--command"]) == 0
    assert "--node-rank 1 --headless" in capsys.readouterr().out.split("\n#", 1)[1]
    assert run_engine(["plan", "--profile", "two-nodes", "--json"]) == 0
    (other,) = json.loads(capsys.readouterr().out)["other_machines"]
    assert other.endswith("--node-rank 1 --headless")
    # The model is not here, so it fails; what the other one needs was said before.
    assert run_engine(["start", "--profile", "two-nodes"]) == 75
    said = capsys.readouterr().err
    assert said.index(other) < said.index("is not on this disk")
    asyncio.run(halt(engine_paths("two-nodes")))


def test_a_front_end_that_waits_for_other_machines_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with new_home(monkeypatch) as home:
        home.profile("spread", "--say", "loading")
        path = home.folder / "config" / "profiles" / "spread.toml"
        path.write_text(path.read_text() + "\n[flags]\nnnodes = 2\n")
        home.attach("spread")
        told = [event.text for event in home.events if isinstance(event, Notice)]
        assert len(told) == 1 and "engine plan --profile spread" in told[0]


VALIDATE = """
import json
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
for name, arguments in json.load(sys.stdin).items():
    parsed = parser.parse_args(arguments)
    validate_parsed_serve_args(parsed)
    print("PARSED" + json.dumps([
        name, parsed.tensor_parallel_size, parsed.pipeline_parallel_size,
        parsed.data_parallel_size, parsed.nnodes, parsed.enable_expert_parallel,
        parsed.kv_offloading_size, parsed.distributed_executor_backend,
    ]))
"""


@pytest.mark.engine
@pytest.mark.xdist_group("engine")
def test_vllm_s_own_parser_takes_the_command_of_every_example(tmp_path: Path) -> None:
    probe = probe_vllm()
    plans = {
        name: plan_launch(load_profile(name), probe, "/run/e.sock").arguments
        for name in NAMES
        if name not in SERVERS
    }
    done = subprocess.run(
        [sys.executable, "-c", HIDE + VALIDATE, str(tmp_path)],
        input=json.dumps(plans),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line[6:] for line in done.stdout.splitlines() if line.startswith("PARSED")]
    found = {name: values for name, *values in map(json.loads, lines)}
    assert found == {
        "4x48gb": [4, 1, 1, 1, False, None, None],
        "8x24gb-without-expert-parallel": [8, 1, 1, 1, False, None, None],
        "fp8-8x80gb": [8, 1, 1, 1, True, None, None],
        "int8-kv": [8, 1, 1, 1, True, None, None],
        "kv-offload": [8, 1, 1, 1, True, 64.0, None],
        "replicas": [4, 1, 2, 1, True, None, None],
        "two-nodes": [8, 2, 1, 2, True, None, "mp"],
        "two-nodes-ray": [8, 2, 1, 1, True, None, "ray"],
    }
