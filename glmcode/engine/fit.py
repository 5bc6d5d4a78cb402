"""What fits: a model's shape, GPUs and settings -> weights, KV cache and the largest window.

What can be counted is counted (weights by matrix, KV by vLLM's own layout). What only a start
can measure (activations, graphs, communication) is a range from a good case to a bad one, and
so is everything that follows from it; a single number would be a guess. Pure arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from glmcode.engine.fit_kv import BLOCK_TOKENS, KV_DTYPES, KvDtype, kv_bytes
from glmcode.engine.fit_weights import (
    GIB,
    Experts,
    Parallel,
    expert_cut,
    impossible,
    row_faults,
    weights_gib,
)
from glmcode.engine.shape import ModelShape

DEFAULT_SHARE = 0.92
"""vLLM's own --gpu-memory-utilization."""

_VISIBLE = (0.98, 0.99)
"""Of a card's nominal memory, what CUDA offers: 23.5 to 23.8 of 24 GiB (without ECC)."""

_RESERVE = (0.5, 0.9)
"""GiB that the driver and NCCL hold before vLLM looks: it must fit beside the share."""

_FLASHINFER_GIB = 394 / 1024
_GROUPS = (32, 64, 128)


@dataclass(frozen=True, slots=True)
class Span:
    """From a good case to a bad one, whichever of the two is larger."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What vLLM is told. share: of each GPU's memory; kv: a KV dtype; seqs: sequences at once;
    batched: tokens of a step, 0 for vLLM's default; eager: no graphs; graphs: how many are
    captured, 0 for vLLM's default; backend: of attention; kv_memory: bytes for KV in place of
    what is left, 0: not; window: the most tokens wanted, 0: what the model was made for;
    offloaded: GiB of weights a GPU leaves in the host's memory."""

    parallel: Parallel = field(default_factory=Parallel)
    share: float = DEFAULT_SHARE
    kv: str = "fp8"
    seqs: int = 1
    batched: int = 0
    eager: bool = False
    graphs: int = 0
    backend: str = ""
    kv_memory: int = 0
    window: int = 0
    offloaded: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Something beside weights and KV: GiB a GPU, and where the range comes from."""

    name: str
    gib: Span
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvFit:
    """One KV dtype: bytes a token and GPU; tokens: what the pool holds; window: the same, at
    most what the model was made for (both None without a GPU)."""

    dtype: KvDtype
    bytes_per_token: int
    tokens: Span | None
    window: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertFit:
    """The experts dealt out whole, or cut: what becomes of them, weights and window."""

    dealt: bool
    kind: Experts
    why: str
    weights_gib: float | None
    window: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFit:
    """What a quantisation's group size means. rows_fault: layers that it cannot cut so."""

    group: int
    weights_gib: float
    window: Span | None
    rows_fault: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The answer. problem: why it cannot be spread so at all ("" when it can; then the other
    figures are worth nothing). gpus: how many, 0: none was named. weights_gib: the fullest
    GPU, as the file says and in the bad case; plain_rows: layers that must be unquantised in
    the checkpoint, or vLLM refuses it. wanted: tokens that the window should have. need_gib:
    KV of the wanted window. share_needed: the memory share that would hold it; share_most:
    the largest at which vLLM starts; room_gib: what overheads may take beside it."""

    shape: ModelShape
    settings: Settings
    gpus: int
    gpu_gib: float
    problem: str = ""
    weights_gib: Span = Span(0, 0)
    plain_rows: tuple[str, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    pool_gib: Span | None = None
    kv: tuple[KvFit, ...] = ()
    experts: tuple[ExpertFit, ...] = ()
    groups: tuple[GroupFit, ...] = ()
    wanted: int = 0
    need_gib: float = 0.0
    share_needed: Span | None = None
    share_most: Span | None = None
    room_gib: Span | None = None

    @property
    def chosen(self) -> KvFit:
        """The line of the KV dtype that the settings name."""
        return next(line for line in self.kv if line.dtype.name == self.settings.kv)

    @property
    def overhead_gib(self) -> Span:
        """All overheads together."""
        spans = [item.gib for item in self.overheads]
        return Span(sum(s.low for s in spans), sum(s.high for s in spans))


def fit(shape: ModelShape, settings: Settings, gpus: int, gpu_gib: float) -> Fit:
    """Compute it. gpus: how many (0: none known), gpu_gib: nominal memory of each."""
    parallel = settings.parallel
    wanted = min(settings.window, shape.window) if shape.window else settings.window
    wanted = wanted or shape.window
    base = Fit(shape=shape, settings=settings, gpus=gpus, gpu_gib=gpu_gib, wanted=wanted)
    problem = impossible(shape, parallel)
    if not problem and gpus and parallel.tensor * parallel.pipeline * parallel.data > gpus:
        many = parallel.tensor * parallel.pipeline * parallel.data
        problem = f"{many} GPUs are needed, and {gpus} {'is' if gpus == 1 else 'are'} there"
    if problem:
        return replace(base, problem=problem)
    kind, why = expert_cut(shape, parallel)
    if kind == "impossible":
        return replace(base, problem=why, experts=_experts(base))
    weights, plain_rows = _weights(shape, parallel)
    whole = replace(
        base,
        weights_gib=Span(*(max(0.0, w - settings.offloaded) for w in (weights.low, weights.high))),
        plain_rows=plain_rows,
        overheads=_overheads(shape, settings, gpu_gib),
    )
    whole = replace(whole, pool_gib=_pool(whole))
    whole = replace(whole, kv=tuple(_kv_fit(whole, dtype) for dtype in KV_DTYPES))
    return _wanted(replace(whole, experts=_experts(whole), groups=_group_fits(whole)))


def _weights(shape: ModelShape, parallel: Parallel) -> tuple[Span, tuple[str, ...]]:
    """As the file says, and with what it may say wrongly; names of layers that can't be cut."""
    low = weights_gib(shape, parallel)
    faults = row_faults(shape, parallel)
    high = low
    if faults:
        rules = tuple(dict.fromkeys(item.name.rpartition(".")[0] + "." for item in faults))
        other = replace(shape.quantisation, parts=(*shape.quantisation.parts, *rules))
        high = weights_gib(replace(shape, quantisation=other), parallel)
    default = shape.quantisation.default
    if shape.quantisation.method == "gptq" and not default.zeros and shape.experts:
        zeros = replace(shape.quantisation, default=replace(default, zeros=True))
        high += weights_gib(replace(shape, quantisation=zeros), parallel) - low
    return Span(low, high), tuple(dict.fromkeys(item.name for item in faults))


def _overheads(shape: ModelShape, settings: Settings, gpu_gib: float) -> tuple[Overhead, ...]:
    """What vLLM's memory profile takes from the share beside the weights."""
    parallel = settings.parallel
    batched = settings.batched or _default_batched(gpu_gib)
    step = _step_bytes(shape, parallel) * batched
    logits = settings.seqs * shape.vocabulary * 10
    work = (step + logits) / GIB
    found = [
        Overhead(
            name="activations",
            gib=Span(0.7 * work, 2 * work),
            why=f"{batched:,} tokens a step; buffers of a layer, reused or not",
        ),
        Overhead(
            name="libraries",
            gib=Span(0.1, 0.6) if parallel.tensor > 1 else Span(0.05, 0.3),
            why="cuBLAS, NCCL's buffers, fragments",
        ),
    ]
    if not settings.eager:
        count = settings.graphs or _default_graphs(settings.seqs)
        found.append(
            Overhead(
                name="CUDA graphs",
                gib=Span(0.02 + 0.006 * count, 0.1 + 0.03 * count),
                why=f"{count} captured",
            )
        )
    if settings.backend.upper() == "FLASHINFER" or (
        not settings.backend and settings.kv == "fp8_e5m2"
    ):
        found.append(
            Overhead(
                name="FlashInfer workspace",
                gib=Span(_FLASHINFER_GIB, _FLASHINFER_GIB),
                why="394 MiB, fixed",
            )
        )
    return tuple(found)


def _step_bytes(shape: ModelShape, parallel: Parallel) -> float:
    """Bytes that one token of a step needs at the widest place of a layer."""
    dense = 3 * shape.dense_mlp / parallel.tensor
    expert = shape.expert_mlp / (1 if parallel.experts_dealt else parallel.expert_ranks)
    routed = shape.active_experts * (3 * expert + shape.hidden)
    queries = (shape.heads + 2 * shape.kv_heads) * shape.head_dim / parallel.tensor
    return 2 * (6 * shape.hidden + max(dense, routed, 2 * queries))


def _default_batched(gpu_gib: float) -> int:
    """vLLM's --max-num-batched-tokens for a server; it asks the memory of the card."""
    return 16384 if gpu_gib >= 160 else 8192 if gpu_gib >= 70 else 2048


def _default_graphs(seqs: int) -> int:
    """How many batch sizes vLLM captures by itself."""
    most = min(2 * seqs, 512)
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    return sum(size <= most for size in sizes)


def _pool(whole: Fit) -> Span | None:
    """GiB for KV on a GPU, bad case first; None without a GPU."""
    if whole.settings.kv_memory:
        size = whole.settings.kv_memory / GIB
        return Span(size, size)
    if not whole.gpus:
        return None
    over, share = whole.overhead_gib, whole.settings.share
    low = share * _VISIBLE[0] * whole.gpu_gib - whole.weights_gib.high - over.high
    high = share * _VISIBLE[1] * whole.gpu_gib - whole.weights_gib.low - over.low
    return Span(low, high)


def _kv_fit(whole: Fit, dtype: KvDtype) -> KvFit:
    shape, settings = whole.shape, whole.settings
    size = kv_bytes(shape, settings.parallel, dtype.name)
    if whole.pool_gib is None:
        return KvFit(dtype=dtype, bytes_per_token=size, tokens=None, window=None)
    low, high = (_tokens(gib, size) for gib in (whole.pool_gib.low, whole.pool_gib.high))
    most = whole.wanted or high
    return KvFit(
        dtype=dtype,
        bytes_per_token=size,
        tokens=Span(low, high),
        window=Span(min(low, most), min(high, most)),
    )


def _tokens(gib: float, size: int) -> int:
    """Whole blocks of tokens in so much memory."""
    if size <= 0:
        return 0  # heads too small for this dtype
    blocks = math.floor(max(0.0, gib) * GIB / (size * BLOCK_TOKENS))
    return blocks * BLOCK_TOKENS


def _experts(whole: Fit) -> tuple[ExpertFit, ...]:
    """Dealt out and cut, side by side."""
    if not whole.shape.experts:
        return ()
    return tuple(_expert_fit(whole, dealt) for dealt in (True, False))


def _expert_fit(whole: Fit, dealt: bool) -> ExpertFit:
    shape, settings = whole.shape, whole.settings
    other = replace(settings.parallel, experts_dealt=dealt)
    kind, why = expert_cut(shape, other)
    problem = impossible(shape, other)
    if problem or kind == "impossible":
        return ExpertFit(
            dealt=dealt, kind="impossible", why=problem or why, weights_gib=None, window=None
        )
    trial = replace(settings, parallel=other)
    span, _ = _weights(shape, other)
    return ExpertFit(
        dealt=dealt,
        kind=kind,
        why=why,
        weights_gib=span.low,
        window=_alone(whole, trial, shape),
    )


def _group_fits(whole: Fit) -> tuple[GroupFit, ...]:
    """What other group sizes of the same quantisation would mean."""
    quantisation = whole.shape.quantisation
    if not quantisation.default.bits or quantisation.method not in ("gptq", "awq"):
        return ()
    own = quantisation.default.group
    found = []
    for group in sorted({*_GROUPS, own} - {0}):
        stored = replace(quantisation.default, group=group)
        shape = replace(whole.shape, quantisation=replace(quantisation, default=stored))
        if expert_cut(shape, whole.settings.parallel)[0] == "impossible":
            continue
        found.append(
            GroupFit(
                group=group,
                weights_gib=_weights(shape, whole.settings.parallel)[0].low,
                window=_alone(whole, whole.settings, shape),
                rows_fault=bool(row_faults(shape, whole.settings.parallel)),
            )
        )
    return tuple(found)


def _alone(whole: Fit, settings: Settings, shape: ModelShape) -> Span | None:
    """The window with other settings or another shape, and nothing compared further."""
    if not whole.gpus and not settings.kv_memory:
        return None
    weights, _ = _weights(shape, settings.parallel)
    trial = replace(
        whole,
        shape=shape,
        settings=settings,
        weights_gib=weights,
        overheads=_overheads(shape, settings, whole.gpu_gib),
    )
    trial = replace(trial, pool_gib=_pool(trial))
    dtype = next(item for item in KV_DTYPES if item.name == settings.kv)
    return _kv_fit(trial, dtype).window


def _wanted(whole: Fit) -> Fit:
    """What the wanted window would take."""
    if not whole.wanted or not whole.gpus or whole.settings.kv_memory:
        return whole
    need = whole.wanted * whole.chosen.bytes_per_token / GIB
    over = whole.overhead_gib
    low, high = _VISIBLE[0] * whole.gpu_gib, _VISIBLE[1] * whole.gpu_gib
    return replace(
        whole,
        need_gib=need,
        share_needed=Span(
            (whole.weights_gib.low + over.low + need) / high,
            (whole.weights_gib.high + over.high + need) / low,
        ),
        room_gib=Span(
            *(whole.settings.share * size - whole.weights_gib.low - need for size in (low, high))
        ),
        share_most=Span(1 - _RESERVE[1] / low, 1 - _RESERVE[0] / high),
    )
