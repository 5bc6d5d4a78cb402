"""The planner's KV arithmetic against vLLM's own KV cache specs, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.engine.fit_kv import KV_DTYPES, kv_bytes
from glmcode.engine.fit_weights import Parallel
from tests.engine.fit_configs import LLAMA_8B, REAP, shape

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
    for config, tensor, heads in ((REAP, 8, 1), (REAP, 4, 2), (REAP, 16, 1), (LLAMA_8B, 1, 8)):
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
