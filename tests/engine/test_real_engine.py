"""The real vLLM under the real supervisor. The first tests share the session's engine; the
last two start engines of their own, because they kill them."""

from __future__ import annotations

import asyncio
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

import httpx
import pytest

from glmcode.engine.attach import EngineUnavailable, attach, engine_status
from glmcode.engine.family import processes
from glmcode.engine.launch import plan_launch
from glmcode.engine.paths import engine_paths
from glmcode.engine.probe import probe_vllm
from glmcode.engine.profile import load_profile
from tests.conftest import START_LIMIT_S, TinyEngine, end_engines, tiny_home
from tests.engine.engine_kit import until

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]

VALIDATE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
for arguments in json.load(sys.stdin):
    parsed = parser.parse_args(arguments)
    validate_parsed_serve_args(parsed)
    print(json.dumps({
        "window": parsed.max_model_len,
        "seqs": parsed.max_num_seqs,
        "kv": str(parsed.kv_cache_dtype),
        "mode": str(parsed.compilation_config.mode),
        "graphs": parsed.compilation_config.cudagraph_capture_sizes,
        "tp": parsed.tensor_parallel_size,
        "parser": parsed.tool_call_parser,
    }))
"""


def generate(ids: list[int], count: int, **more: object) -> dict[str, object]:
    sampling = {"max_tokens": count, "temperature": 0, "ignore_eos": True}
    return {"token_ids": ids, "sampling_params": sampling, "output_mode": "tokens", **more}


@pytest.fixture
def http(tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    transport = httpx.HTTPTransport(uds=str(tiny_engine.address.socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=120.0) as client:
        yield client


def test_the_engine_says_what_it_serves(tiny_engine: TinyEngine, http: httpx.Client) -> None:
    address = tiny_engine.address
    assert (address.model, address.window) == ("tiny", 16384)
    assert address.tokenizer is not None and address.tokenizer.is_file()
    models = http.get("/v1/models").json()["data"]
    assert [(m["id"], m["max_model_len"]) for m in models] == [("tiny", 16384)]


def test_token_ids_go_in_and_come_out_and_the_second_time_the_prompt_is_cached(
    http: httpx.Client,
) -> None:
    ids = list(range(300, 900))
    first = http.post("/inference/v1/generate", json=generate(ids, 12)).json()
    again = http.post("/inference/v1/generate", json=generate(ids, 12)).json()
    assert len(first["choices"][0]["token_ids"]) == 12
    assert first["choices"][0]["token_ids"] == again["choices"][0]["token_ids"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 512


def test_a_client_that_leaves_frees_the_engine_at_once(http: httpx.Client) -> None:
    body = generate(list(range(300, 400)), 10_000, stream=True)
    with http.stream("POST", "/inference/v1/generate", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert engine_status("tiny").state == "busy"
    began = time.monotonic()
    until(lambda: 'num_requests_running{engine="0",model_name="tiny"} 0.0' in metrics(http))
    assert time.monotonic() - began < 2.0


def metrics(http: httpx.Client) -> str:
    return http.get("/metrics").text


def test_development_routes_of_vllm_are_out_of_reach(http: httpx.Client) -> None:
    for path in ("/sleep", "/collective_rpc", "/scale_elastic_ep", "/docs"):
        assert http.post(path).status_code == 404


def test_adopting_the_running_engine_is_quick(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))

    async def adopt() -> float:
        profile = load_profile("tiny")
        began = time.monotonic()
        await attach(profile, lambda event: None)
        return time.monotonic() - began

    assert min(asyncio.run(adopt()) for _ in range(5)) < 0.05


def test_vllm_s_own_parser_takes_the_command_of_both_profiles() -> None:
    probe = probe_vllm()
    names = ("reap-268b-8x3090", "tiny")
    plans = [plan_launch(load_profile(name), probe, "/run/e.sock") for name in names]
    with tempfile.TemporaryDirectory() as cache:
        hide = (
            "import sys; from pathlib import Path\n"
            "from glmcode.engine.bootstrap import broken_packages, hide\n"
            f"hide(broken_packages(Path({cache!r})), Path({cache!r}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", hide + VALIDATE],
            input=json.dumps([plan.arguments for plan in plans]),
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr
    big, tiny = (json.loads(line) for line in done.stdout.splitlines() if line[0] == "{")
    assert big == {
        "window": -1,
        "seqs": 1,
        "kv": "fp8_e5m2",
        "mode": "3",
        "graphs": [1],
        "tp": 8,
        "parser": "glm45",
    }
    assert (tiny["window"], tiny["seqs"], tiny["tp"]) == (16384, 1, 1)


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for an engine that will be killed."""
    folder = Path(tempfile.mkdtemp(prefix="glm-kill-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder))
    tiny_home(folder)
    try:
        yield folder
    finally:
        end_engines(folder)
        shutil.rmtree(folder, ignore_errors=True)


def engines(folder: Path) -> list[int]:
    """All processes of the engine in a home: API server, guard, engine core."""
    mark = json.loads(engine_paths("tiny").child.read_text())
    group = mark["pid"]
    return [pid for pid, kin in processes().items() if kin.group == group]


def test_kill_9_on_the_engine_and_then_on_the_supervisor_leaves_nothing(own_home: Path) -> None:
    profile = load_profile("tiny")
    asyncio.run(attach(profile, lambda event: None, timeout_s=START_LIMIT_S))
    family = engines(own_home)
    assert len(family) >= 3
    status = engine_status("tiny")
    os.kill(status.engine_pid, signal.SIGKILL)
    until(lambda: engine_status("tiny").state == "failed", 60)
    failed = engine_status("tiny")
    assert "killed by signal 9" in failed.reason and failed.log
    assert not set(family) & processes().keys()
    with pytest.raises(EngineUnavailable, match="killed by signal 9"):
        asyncio.run(attach(profile, lambda event: None, start=False))
    # The next front end's start works, and so does the one after a dead supervisor.
    asyncio.run(attach(profile, lambda event: None, timeout_s=START_LIMIT_S))
    family = engines(own_home)
    os.kill(engine_status("tiny").supervisor_pid, signal.SIGKILL)
    until(lambda: not set(family) & processes().keys(), 60)
    assert engine_paths("tiny").socket.exists()
    assert engine_status("tiny").state == "absent"
