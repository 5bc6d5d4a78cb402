"""Weights per GPU, matrix by matrix: how vLLM cuts each one, and what its storage costs.

Column-parallel layers are cut by outputs, row-parallel ones by inputs, KV heads are copied
where there are fewer than GPUs, the router and the norms are whole on every GPU, experts are
cut like the rest or, with expert parallel, dealt out whole. Whether a cut is possible at all
(heads, widths, the quantisation's group) is judged here too. Pure arithmetic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from glmcode.engine.quantised import PLAIN, Stored, plain_width
from glmcode.engine.shape import ModelShape

Cut: TypeAlias = Literal["columns", "rows", "kv", "vocabulary", "whole", "expert in", "expert out"]
Experts: TypeAlias = Literal["none", "dealt", "cut", "slow", "impossible"]

GIB = float(1 << 30)
_VOCABULARY_STEP = 64
_GROUPS = (0, 32, 64, 128)
_SMALLEST_GROUP = 32
_MIXTRAL_NAMES = ("mixtral", "phimoe", "minimax_m2")
"""Kinds of models whose experts are named as Mixtral's are: rules of a quantisation name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """How a model is spread: tensor, pipeline and data parallel ranks; experts dealt out whole
    (expert parallel) or cut, both over tensor x data ranks: data parallel ranks of vLLM share
    the experts, only the rest of the model is there once a rank."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    experts_dealt: bool = False

    @property
    def expert_ranks(self) -> int:
        """GPUs that share the experts."""
        return self.tensor * self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """`count` layers have a matrix of rows inputs and columns outputs, `copies` times each
    (experts). width: bytes of a weight that is not quantised."""

    name: str
    count: int
    rows: int
    columns: int
    cut: Cut
    stored: Stored
    width: float
    copies: int = 1

    @property
    def parameters(self) -> int:
        """Weights of all layers and copies."""
        return self.count * self.copies * self.rows * self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one GPU holds of a matrix: `bytes` over all its layers."""

    matrix: Matrix
    rows: int
    columns: int
    copies: int
    bytes: float


@lru_cache(maxsize=32)
def matrices(shape: ModelShape) -> tuple[Matrix, ...]:
    """All weights of a model, layers of the same storage folded together."""
    found: Counter[Matrix] = Counter()
    for layer in range(shape.layers):
        for matrix in _of_layer(shape, layer):
            found[matrix] += 1
    folded = [replace(matrix, count=count) for matrix, count in found.items()]
    return (*_outside(shape), *folded)


def _of_layer(shape: ModelShape, layer: int) -> Iterator[Matrix]:
    """The matrices of one layer, each with the count 1."""
    width, head = plain_width(shape.dtype), f"model.layers.{layer}."
    hidden, queries = shape.hidden, shape.heads * shape.head_dim
    keys = shape.kv_heads * shape.head_dim

    def linear(name: str, rows: int, columns: int, cut: Cut, copies: int = 1) -> Matrix:
        full = head + name.replace("experts.*", "experts.0")
        stored = shape.quantisation.stored(full)
        if copies > 1 and not shape.quantisation.stored(full.rpartition(".0.")[0]).bits:
            stored = PLAIN
        return Matrix(
            name=name, count=1, rows=rows, columns=columns, cut=cut, stored=stored, width=width,
            copies=copies,
        )  # fmt: skip

    def plain(name: str, size: int, cut: Cut = "whole", bytes_each: float = width) -> Matrix:
        return Matrix(
            name=name, count=1, rows=1, columns=size, cut=cut, stored=PLAIN, width=bytes_each
        )

    yield linear("self_attn.q_proj", hidden, queries, "columns")
    yield linear("self_attn.k_proj", hidden, keys, "kv")
    yield linear("self_attn.v_proj", hidden, keys, "kv")
    yield linear("self_attn.o_proj", queries, hidden, "rows")
    if shape.qkv_bias:
        yield plain("self_attn.q_proj.bias", queries, "columns")
        yield plain("self_attn.k_proj.bias", keys, "kv")
        yield plain("self_attn.v_proj.bias", keys, "kv")
    if shape.qk_norm:
        yield plain("self_attn.qk_norm", 2 * shape.head_dim)
    yield plain("layernorms", 2 * hidden)
    if not shape.moe[layer]:
        yield linear("mlp.gate_proj", hidden, shape.dense_mlp, "columns")
        yield linear("mlp.up_proj", hidden, shape.dense_mlp, "columns")
        yield linear("mlp.down_proj", shape.dense_mlp, hidden, "rows")
        return
    glm = shape.model_type == "glm4_moe"
    yield plain("mlp.gate", hidden * shape.experts, bytes_each=4.0 if glm else width)
    if glm:
        yield plain("mlp.gate.bias", shape.experts, bytes_each=4.0)
    for name, rows, columns, cut, copies in _of_experts(shape):
        yield linear(name, rows, columns, cut, copies)


def _of_experts(shape: ModelShape) -> Iterator[tuple[str, int, int, Cut, int]]:
    """Name, inputs, outputs, cut and copies of a layer's shared and routed experts."""
    hidden, wide, own = shape.hidden, shape.shared_mlp, shape.expert_mlp
    if wide:
        shared = "mlp.shared_expert" if shape.model_type == "qwen2_moe" else "mlp.shared_experts"
        yield f"{shared}.gate_proj", hidden, wide, "columns", 1
        yield f"{shared}.up_proj", hidden, wide, "columns", 1
        yield f"{shared}.down_proj", wide, hidden, "rows", 1
    block, names = "mlp", ("gate_proj", "up_proj", "down_proj")
    if shape.model_type in _MIXTRAL_NAMES:
        block, names = "block_sparse_moe", ("w1", "w3", "w2")
    for name in names[:2]:
        yield f"{block}.experts.*.{name}", hidden, own, "expert in", shape.experts
    yield f"{block}.experts.*.{names[2]}", own, hidden, "expert out", shape.experts


def _outside(shape: ModelShape) -> Iterator[Matrix]:
    width = plain_width(shape.dtype)
    head = shape.quantisation.default if shape.quantisation.head else PLAIN

    def table(name: str, stored: Stored) -> Matrix:
        return Matrix(
            name=name, count=1, rows=shape.hidden, columns=shape.vocabulary, cut="vocabulary",
            stored=stored, width=width,
        )  # fmt: skip

    yield table("embed_tokens", PLAIN)
    if not shape.tied:
        yield table("lm_head", head)
    yield Matrix(
        name="norm", count=1, rows=1, columns=shape.hidden, cut="whole", stored=PLAIN, width=width
    )


def impossible(shape: ModelShape, parallel: Parallel) -> str:
    """Why the layers cannot be cut so at all, or ""."""
    tensor = parallel.tensor
    if shape.heads % tensor:
        return f"{shape.heads} attention heads cannot be divided among {tensor} GPUs"
    if max(shape.kv_heads, tensor) % min(shape.kv_heads, tensor):
        return f"{shape.kv_heads} KV heads can neither be divided among nor copied to {tensor} GPUs"
    dense = 0 if all(shape.moe) else shape.dense_mlp
    for name, width in (("intermediate_size", dense), ("shared experts", shape.shared_mlp)):
        if width % tensor:
            return f"{name} of {width} cannot be divided among {tensor} GPUs"
    if _padded(shape.vocabulary) % tensor:
        return f"a vocabulary of {shape.vocabulary} cannot be divided among {tensor} GPUs"
    if parallel.pipeline > shape.layers:
        return f"{shape.layers} layers cannot be spread over {parallel.pipeline} stages"
    if shape.experts and parallel.experts_dealt and shape.experts < parallel.expert_ranks:
        return f"{shape.experts} experts cannot be dealt out to {parallel.expert_ranks} GPUs"
    return ""


def row_faults(shape: ModelShape, parallel: Parallel) -> tuple[Matrix, ...]:
    """Quantised layers cut by rows whose share is no whole number of groups: vLLM has no
    kernel for them, so the checkpoint must hold them unquantised."""
    return tuple(
        matrix
        for matrix in matrices(shape)
        if matrix.cut == "rows" and not _whole(matrix.stored, matrix.rows, parallel.tensor)
    )


def _whole(stored: Stored, rows: int, ranks: int) -> bool:
    step = stored.block or stored.group
    return not stored.bits or not step or rows // ranks % step == 0 or rows <= step


def expert_cut(shape: ModelShape, parallel: Parallel) -> tuple[Experts, str]:
    """What becomes of the experts, and why in words."""
    if not shape.experts:
        return "none", ""
    if parallel.experts_dealt:
        local = math.ceil(shape.experts / parallel.expert_ranks)
        return (
            "dealt",
            f"{local} whole experts a GPU, {shape.expert_mlp} wide: any group size works",
        )
    ranks, wide = parallel.expert_ranks, shape.expert_mlp
    if ranks == 1:
        return "cut", ""
    if wide % ranks:
        return "impossible", f"experts {wide} wide cannot be divided among {ranks} GPUs"
    width = wide // ranks
    stored = _expert_stored(shape)
    step = stored.block or stored.group
    if not stored.bits or not step:
        return "cut", f"every expert is cut to {width} of {wide}"
    if width % step == 0:
        return "cut", f"every expert is cut to {width} of {wide}: whole groups of {step}"
    words = f"{wide} / {ranks} = {width} is no multiple of the group size {step}"
    if shape.quantisation.method not in ("gptq", "awq"):
        return "impossible", f"{words}: vLLM refuses it; use expert parallel"
    smaller = fallback_group(step, width, shape.hidden)
    if smaller < _SMALLEST_GROUP:
        return "impossible", f"{words}, nor of a half of it down to 32: use expert parallel"
    return "slow", (
        f"{words}: the fast kernel (Marlin) refuses it, and vLLM falls back to a slow one "
        f"(MoeWNA16, groups of {smaller}); use expert parallel"
    )


def fallback_group(group: int, width: int, hidden: int) -> int:
    """The group that vLLM's slow MoE kernel halves its way down to; below 32: none."""
    while group >= _SMALLEST_GROUP and (width % group or hidden % group):
        group //= 2
    return group


def _expert_stored(shape: ModelShape) -> Stored:
    for matrix in matrices(shape):
        if matrix.cut == "expert out":
            return matrix.stored
    return PLAIN


def shares(shape: ModelShape, parallel: Parallel) -> tuple[Share, ...]:
    """What the fullest GPU holds. With pipeline stages: the fullest stage, layers rounded up."""
    stage = math.ceil(shape.layers / parallel.pipeline) / shape.layers
    kind, _ = expert_cut(shape, parallel)
    found = []
    for matrix in matrices(shape):
        outside = matrix.cut == "vocabulary" or matrix.name == "norm"
        if outside and parallel.pipeline > 1 and matrix.name == "embed_tokens":
            continue  # the last stage, with the head and the norm, is as full as the first
        stored = matrix.stored
        if kind == "slow" and matrix.cut.startswith("expert"):
            width = shape.expert_mlp // parallel.expert_ranks
            stored = replace(stored, group=fallback_group(stored.group, width, shape.hidden))
        rows, columns, copies = _cut(matrix, parallel, shape)
        one = stored.matrix_bytes(rows, columns, matrix.width) * copies
        number = matrix.count * (1 if outside else stage)
        found.append(
            Share(matrix=matrix, rows=rows, columns=columns, copies=copies, bytes=one * number)
        )
    return tuple(found)


def _cut(matrix: Matrix, parallel: Parallel, shape: ModelShape) -> tuple[int, int, int]:
    """Rows, columns and copies of a matrix on one GPU."""
    rows, columns, tensor = matrix.rows, matrix.columns, parallel.tensor
    match matrix.cut:
        case "columns":
            return rows, math.ceil(columns / tensor), 1
        case "rows":
            return math.ceil(rows / tensor), columns, 1
        case "kv":
            return rows, columns // shape.kv_heads * kv_heads_per_gpu(shape, tensor), 1
        case "vocabulary":
            return rows, math.ceil(_padded(columns) / tensor), 1
        case "whole":
            return rows, columns, 1
        case "expert in" | "expert out" if parallel.experts_dealt:
            return rows, columns, math.ceil(matrix.copies / parallel.expert_ranks)
        case "expert in":
            return rows, math.ceil(columns / parallel.expert_ranks), matrix.copies
        case "expert out":
            return math.ceil(rows / parallel.expert_ranks), columns, matrix.copies


def kv_heads_per_gpu(shape: ModelShape, tensor: int) -> int:
    """KV heads of one GPU; at least one: they are copied where there are fewer than GPUs."""
    return max(1, shape.kv_heads // tensor)


def weights_gib(shape: ModelShape, parallel: Parallel) -> float:
    """GiB of weights on the fullest GPU."""
    return sum(share.bytes for share in shares(shape, parallel)) / GIB


def parameters(shape: ModelShape) -> tuple[int, int]:
    """All weights, and those that work on one token (the embedding's table not among them)."""
    total = active = 0
    for matrix in matrices(shape):
        total += matrix.parameters
        if matrix.copies > 1:
            active += matrix.parameters // matrix.copies * shape.active_experts
        elif matrix.name != "embed_tokens" or shape.tied:
            active += matrix.parameters
    return total, active


def checkpoint_bytes(shape: ModelShape) -> float:
    """Bytes of the weight files, zero points and row orders of GPTQ included."""
    total = 0.0
    for matrix in matrices(shape):
        stored = replace(matrix.stored, zeros=shape.quantisation.file_zeros)
        one = stored.matrix_bytes(matrix.rows, matrix.columns, matrix.width)
        if stored.bits and shape.quantisation.method == "gptq":
            one += 4 * matrix.rows
        total += one * matrix.count * matrix.copies
    return total


def _padded(vocabulary: int) -> int:
    return math.ceil(vocabulary / _VOCABULARY_STEP) * _VOCABULARY_STEP
