"""The planner's KV arithmetic against vLLM's own KV cache specs, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from glmcode.engine.fit import fit
from glmcode.engine.fit_kv import KV_DTYPES, kv_bytes
from glmcode.engine.fit_weights import Parallel, expert_cut
from glmcode.engine.profile import load_profile
from glmcode.plan_commands import profile_settings, profile_shape
from tests.conftest import TinyEngine
from tests.engine.fit_configs import LLAMA_8B, REAP, shape, with_group

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]

HIDE = """
import sys
from pathlib import Path
from glmcode.engine.bootstrap import broken_packages, hide
hide(broken_packages(Path(sys.argv[1])), Path(sys.argv[1]))
"""
SPECS = """
import json, importlib
from types import SimpleNamespace
import torch
from dataclasses import replace
from vllm.utils.torch_utils import STR_DTYPE_TO_TORCH_DTYPE, nvfp4_kv_cache_full_dim
from vllm.v1.kv_cache_interface import FullAttentionSpec, get_kv_quant_mode
from vllm.model_executor.layers.quantization.turboquant.config import TurboQuantConfig
BACKENDS = {
    "per_token_head": ("triton_attn", "TritonAttentionBackend"),
    "turboquant": ("turboquant_attn", "TurboQuantAttentionBackend"),
}
def one(name, dtype, heads, size):
    mode = get_kv_quant_mode(name)
    kind = dtype if name == "auto" else STR_DTYPE_TO_TORCH_DTYPE[name]
    spec = FullAttentionSpec(
        block_size=16, num_kv_heads=heads, head_size=size, dtype=kind, kv_quant_mode=mode
    )
    if name.startswith("nvfp4"):  # as FlashInfer's backend does, which is not installed here
        full = nvfp4_kv_cache_full_dim(size)
        spec = replace(spec, num_head_slots=2 * heads, state_content_bytes=full)
    if name.startswith("ultraquant"):  # as its backend does, whose kernels do not load here
        from vllm.v1.attention.ops.ultraquant.format import slot_size
        spec = replace(spec, state_content_bytes=slot_size(size))
    for part, (module, backend) in BACKENDS.items():
        if part in name:
            module = importlib.import_module(f"vllm.v1.attention.backends.{module}")
            spec = getattr(module, backend).customize_spec(spec)
    return spec.page_size_bytes
from vllm.model_executor.layers.quantization.utils import marlin_utils
def marlin(width, group):
    config = SimpleNamespace(hidden_dim=5120, intermediate_size_per_partition_unpadded=width)
    return marlin_utils.check_moe_marlin_supports_config(config, group, allow_tile_padding=True)
widths = {str(t): {str(g): marlin(1536 // t, g) for g in (32, 64, 128)} for t in (2, 4, 8, 16)}
print("MARLIN" + json.dumps(widths))
answer = []
for question in json.load(sys.stdin):
    layers, heads, size = question["layers"], question["heads"], question["size"]
    dtype = getattr(torch, question["dtype"])
    sizes = {}
    for name in question["names"]:
        kept = 0
        if name.startswith("turboquant"):
            text = SimpleNamespace(num_hidden_layers=layers)
            model = SimpleNamespace(is_hybrid=False, hf_text_config=text)
            kept = len(TurboQuantConfig.get_boundary_skip_layers(model))
        page = (layers - kept) * one(name, dtype, heads, size)
        page += kept * one("auto", dtype, heads, size)
        assert page % 16 == 0
        sizes[name] = page // 16
    answer.append(sizes)
print("ANSWER" + json.dumps(answer))
"""


def test_kv_bytes_of_every_dtype_are_those_of_vllm_s_own_specs(tmp_path: Path) -> None:
    names = [item.name for item in KV_DTYPES]
    asked, expected = [], []
    others = [({**LLAMA_8B, "head_dim": size}, 2, 4) for size in (32, 64, 96, 192, 256)]
    for config, tensor, heads in (
        *((REAP, 8, 1), (REAP, 4, 2), (REAP, 16, 1), (LLAMA_8B, 1, 8)),
        *others,
    ):
        model = shape(config)
        asked.append(
            {
                "layers": model.layers,
                "heads": heads,
                "size": model.head_dim,
                "dtype": model.dtype,
                "names": names,
            }
        )
        expected.append({name: kv_bytes(model, Parallel(tensor=tensor), name) for name in names})
    done = subprocess.run(
        [sys.executable, "-c", HIDE + SPECS, str(tmp_path)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))
    assert json.loads(line.removeprefix("ANSWER")) == expected
    assert expected[0]["fp8_e5m2"] == 23_552
    line = next(line for line in done.stdout.splitlines() if line.startswith("MARLIN"))
    taken = json.loads(line.removeprefix("MARLIN"))
    for tensor, groups in taken.items():
        for group, takes in groups.items():
            kind, _ = expert_cut(shape(with_group(int(group))), Parallel(tensor=int(tensor)))
            assert (kind == "cut") is takes, (tensor, group, kind)
    assert taken["8"] == {"32": True, "64": True, "128": False}


DTYPES = """
import typing
from vllm.config.cache import CacheDType
print("ANSWER" + " ".join(typing.get_args(CacheDType)))
"""


def test_every_kv_dtype_that_vllm_knows_is_listed(tmp_path: Path) -> None:
    from glmcode.engine.fit_kv import LATENT_ONLY

    done = subprocess.run(
        [sys.executable, "-c", HIDE + DTYPES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))
    assert set(line.removeprefix("ANSWER").split()) == {
        *(item.name for item in KV_DTYPES),
        *LATENT_ONLY,
    }


def test_the_running_engine_has_as_many_blocks_as_the_plan_counts(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    transport = httpx.HTTPTransport(uds=str(tiny_engine.address.socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=60.0) as client:
        metrics = client.get("/metrics").text
    line = next(line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info{"))
    blocks, tokens = (
        int(re.search(rf'{name}="(\d+)"', line)[1])  # type: ignore[index]
        for name in ("num_gpu_blocks", "block_size")
    )
    profile = load_profile("tiny")
    found = fit(profile_shape(profile)[0], profile_settings(profile), 0, 0.0)
    assert found.pool_gib is not None
    assert blocks == found.pool_gib.low * (1 << 30) // (found.chosen.bytes_per_token * tokens)
