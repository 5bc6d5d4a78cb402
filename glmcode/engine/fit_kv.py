"""Bytes of the KV cache for each of vLLM's KV dtypes, and what each one asks of a GPU.

The sizes are those of vLLM 0.32's own KV cache specs; a test computes them with vLLM and
compares. Pure arithmetic: nothing of vLLM is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from glmcode.engine.fit_weights import Parallel, kv_heads_per_gpu
from glmcode.engine.quantised import plain_width
from glmcode.engine.shape import ModelShape

BLOCK_TOKENS = 16
"""vLLM's block on a GPU: the window is a whole number of them."""

_SCALE = 4
_TURBO: Mapping[str, tuple[int, int]] = {
    "turboquant_k8v4": (8, 4),
    "turboquant_4bit_nc": (4, 4),
    "turboquant_k3v4_nc": (3, 4),
    "turboquant_3bit_nc": (3, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KvDtype:
    """One of vLLM's KV dtypes. needs: what it asks for, in words; least: the least compute
    capability with the usual backend, times ten."""

    name: str
    needs: str
    least: int = 75


KV_DTYPES: tuple[KvDtype, ...] = (
    KvDtype(name="auto", needs="the model's own dtype; every attention backend"),
    KvDtype(name="float16", needs="every attention backend"),
    KvDtype(name="bfloat16", needs="every attention backend, compute capability 8.0", least=80),
    KvDtype(
        name="fp8",
        needs="fp8_e4m3: compute capability 8.9 (8.0 and 8.6 take fp8_e5m2)",
        least=89,
    ),
    KvDtype(
        name="fp8_e4m3",
        needs="compute capability 8.9 (8.0 and 8.6 take fp8_e5m2)",
        least=89,
    ),
    KvDtype(
        name="fp8_e5m2",
        needs="FlashInfer; the fp8 of 8.0 and 8.6, such as RTX 3090",
        least=80,
    ),
    KvDtype(name="fp8_per_token_head", needs="Triton attention, compute capability 8.9", least=89),
    KvDtype(name="int8_per_token_head", needs="Triton attention (the fallback without FlashInfer)"),
    KvDtype(name="int4_per_token_head", needs="Triton attention; costs accuracy"),
    KvDtype(name="nvfp4", needs="FlashInfer, Blackwell", least=100),
    KvDtype(name="nvfp4_4over6", needs="FlashInfer, Blackwell", least=100),
    KvDtype(name="turboquant_k8v4", needs="TurboQuant attention; costs accuracy", least=80),
    KvDtype(name="turboquant_4bit_nc", needs="TurboQuant attention; costs accuracy", least=80),
    KvDtype(name="turboquant_k3v4_nc", needs="TurboQuant attention; costs accuracy", least=80),
    KvDtype(name="turboquant_3bit_nc", needs="TurboQuant attention; costs much", least=80),
    KvDtype(name="ultraquant_4bit", needs="UltraQuant attention (AMD), bfloat16", least=80),
)
LATENT_ONLY = ("fp8_ds_mla", "nvfp4_ds_mla", "fp8_inc")
"""Dtypes of vLLM for latent attention and for Gaudi: never for these models on these GPUs."""


def kv_dtype(name: str) -> KvDtype | None:
    """The dtype of that name, or None."""
    return next((item for item in KV_DTYPES if item.name == name), None)


def bytes_per_head(name: str, head_dim: int, width: float) -> float:
    """Bytes of one token's key and value in one head of one layer; width: of the model's own
    dtype; 0: such heads cannot be stored so. Raises KeyError for a dtype that is not listed."""
    match name:
        case "auto":
            return 2 * head_dim * width
        case "float16" | "bfloat16":
            return 2 * head_dim * 2
        case "fp8" | "fp8_e4m3" | "fp8_e5m2":
            return 2 * head_dim
        case "int8_per_token_head" | "fp8_per_token_head":
            return 2 * (head_dim + _SCALE)
        case "int4_per_token_head":
            return 2 * (head_dim // 2 + _SCALE)
        case "nvfp4" | "nvfp4_4over6":
            return 2 * (head_dim // 2 + head_dim // 16)
        case "ultraquant_4bit":  # vLLM refuses heads that are no whole groups
            return 0 if head_dim % 32 else 2 * (head_dim // 2 + head_dim // 32)
    keys, values = _TURBO[name]
    key = head_dim if keys == 8 else math.ceil(head_dim * keys / 8) + 2
    size = key + math.ceil(head_dim * values / 8) + 4
    return size + size % 2


def kv_bytes(shape: ModelShape, parallel: Parallel, name: str) -> int:
    """Bytes of one token on the fullest GPU, over all its layers.

    TurboQuant leaves the first and last two layers as they are.
    """
    heads = kv_heads_per_gpu(shape, parallel.tensor)
    layers = math.ceil(shape.layers / parallel.pipeline)
    width = plain_width(shape.dtype)
    one = bytes_per_head(name, shape.head_dim, width)
    if name in _TURBO:
        kept = 2 * min(2, shape.layers // 2)
        kept = kept if parallel.pipeline == 1 else min(kept // 2, layers)
        plain = bytes_per_head("auto", shape.head_dim, width)
        return int(heads * ((layers - kept) * one + kept * plain))
    return int(heads * layers * one)
