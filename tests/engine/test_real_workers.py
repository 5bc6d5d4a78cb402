"""Two tensor-parallel workers of the real vLLM: the same answers, and nothing left of them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glmcode.engine.attach import attach, engine_status
from glmcode.engine.family import processes
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import load_profile
from glmcode.glm.tokenizer import GlmTokenizer
from tests.conftest import ROOT, START_LIMIT_S, TinyEngine, end_engines, tiny_home
from tests.engine.engine_kit import until

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="glm-two-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder))
    tiny_home(folder)
    profiles = folder / "config" / "profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    (profiles / "two.toml").write_text('extends = "tiny"\ntensor_parallel = 2\n')
    try:
        asyncio.run(attach(load_profile("two"), lambda event: None, timeout_s=START_LIMIT_S))
        yield folder
    finally:
        end_engines(folder)
        shutil.rmtree(folder, ignore_errors=True)


def family() -> set[int]:
    group = json.loads(engine_paths("two").child.read_text())["pid"]
    return {pid for pid, kin in processes().items() if kin.group == group}


def workers(pids: set[int]) -> list[int]:
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    return sorted(pid for pid, line in lines.items() if b"Worker" in line)


def answer(socket: Path, ids: list[int]) -> list[int]:
    sampling = {"max_tokens": 48, "temperature": 0, "detokenize": False}
    body = {"token_ids": ids, "sampling_params": sampling, "output_mode": "tokens"}
    transport = httpx.HTTPTransport(uds=str(socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=120.0) as client:
        value = client.post("/inference/v1/generate", json=body).json()
    found: list[int] = value["choices"][0]["token_ids"]
    return found


def test_two_workers_answer_as_one_and_the_death_of_one_leaves_nothing(
    tiny_engine: TinyEngine, two_workers: Path
) -> None:
    tokenizer = GlmTokenizer.load(ROOT / "models" / "tiny" / "tokenizer.json")
    for text in ("def total(values):\n    result = 0\n", "Run the tests and fix what fails."):
        ids = tokenizer.encode_text(text)
        one = answer(tiny_engine.address.socket, ids)
        assert len(one) > 1
        assert answer(engine_paths("two").socket, ids) == one
    pids = family()
    both = workers(pids)
    assert len(both) == 2, "the engine has no two workers"
    os.kill(both[1], signal.SIGKILL)
    until(lambda: engine_status("two").state == "failed", 60)
    until(lambda: not pids & processes().keys(), 30)
    assert engine_status("two").reason
