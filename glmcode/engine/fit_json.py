"""The planner's answer as JSON, with units in its keys. Pure values."""

from __future__ import annotations

from typing import Any

from glmcode.engine.fit import Fit, Overhead, Span
from glmcode.engine.fit_text import CUTS, verdict, verdict_lines
from glmcode.engine.fit_weights import GIB, Share, checkpoint_bytes, parameters, shares


def fit_json(found: Fit) -> dict[str, Any]:
    """The answer as JSON; ranges are [low, high]; null where there is no GPU to plan for."""
    value = _asked(found)
    if found.problem:
        return {**value, "problem": found.problem, **_experts_json(found)}
    return {**value, **_figures(found), **_wanted(found), **_tables(found), **_experts_json(found)}


def _asked(found: Fit) -> dict[str, Any]:
    """What the question was, and the verdict."""
    shape, settings, used = found.shape, found.settings, found.settings.parallel
    total, active = parameters(shape)
    return {
        "model_type": shape.model_type,
        "layers": shape.layers,
        "parameters": total,
        "parameters_billion": round(total / 1e9, 3),
        "active_parameters_billion": round(active / 1e9, 3),
        "model_window_tokens": shape.window or None,
        "quantization": shape.quantisation.method,
        "weight_bits": shape.quantisation.default.bits or None,
        "group_size": shape.quantisation.default.group or None,
        "checkpoint_gb": round(checkpoint_bytes(shape) / 1e9, 1),
        "gpus": found.gpus,
        "gpu_memory_gib": found.gpu_gib,
        "gpu_memory_utilization": settings.share,
        "tensor_parallel": used.tensor,
        "pipeline_parallel": used.pipeline,
        "data_parallel": used.data,
        "expert_parallel": used.experts_dealt,
        "kv_dtype": settings.kv,
        "notes": list(shape.notes),
        "verdict": verdict(found),
        "verdict_text": " ".join(verdict_lines(found)),
    }


def _figures(found: Fit) -> dict[str, Any]:
    """Memory of one GPU and the window."""
    window, tokens = found.chosen.window, found.chosen.tokens
    return {
        "weights_gib_per_gpu": round(found.weights_gib.low, 3),
        "weights_gib_per_gpu_range": _span(found.weights_gib),
        "must_be_unquantized": list(found.plain_rows),
        "overhead_gib_per_gpu": _span(found.overhead_gib),
        "overheads": [_overhead_json(item) for item in found.overheads],
        "kv_pool_gib_per_gpu": _span(found.pool_gib),
        "kv_bytes_per_token_per_gpu": found.chosen.bytes_per_token,
        "kv_pool_tokens": _whole(tokens),
        "max_window_tokens": _whole(window),
        "max_window_tokens_low": None if window is None else int(window.low),
        "max_window_tokens_high": None if window is None else int(window.high),
    }


def _wanted(found: Fit) -> dict[str, Any]:
    """What the whole window would take."""
    return {
        "wanted_window_tokens": found.wanted or None,
        "wanted_window_kv_gib_per_gpu": round(found.need_gib, 3) or None,
        "wanted_window_gpu_memory_utilization": _span(found.share_needed),
        "wanted_window_overhead_gib_per_gpu": _span(found.room_gib),
        "largest_gpu_memory_utilization": _span(found.share_most),
    }


def _tables(found: Fit) -> dict[str, Any]:
    """Every KV dtype, every group size, every matrix."""
    return {
        "kv_dtypes": [
            {
                "kv_dtype": line.dtype.name,
                "kv_bytes_per_token_per_gpu": line.bytes_per_token,
                "kv_pool_tokens": _whole(line.tokens),
                "max_window_tokens": _whole(line.window),
                "needs": line.dtype.needs,
            }
            for line in found.kv
        ],
        "group_sizes": [
            {
                "group_size": item.group,
                "weights_gib_per_gpu": round(item.weights_gib, 3),
                "max_window_tokens": _whole(item.window),
                "some_layers_must_be_unquantized": item.rows_fault,
            }
            for item in found.groups
        ],
        "weights_by_tensor": [
            _share_json(share) for share in shares(found.shape, found.settings.parallel)
        ],
    }


def _experts_json(found: Fit) -> dict[str, Any]:
    return {
        ("with_expert_parallel" if item.dealt else "without_expert_parallel"): {
            "possible": item.kind != "impossible",
            "slow": item.kind == "slow",
            "why": item.why,
            "weights_gib_per_gpu": None if item.weights_gib is None else round(item.weights_gib, 3),
            "max_window_tokens": _whole(item.window),
        }
        for item in found.experts
    }


def _share_json(share: Share) -> dict[str, Any]:
    stored = share.matrix.stored
    return {
        "name": share.matrix.name,
        "layers": share.matrix.count,
        "rows_per_gpu": share.rows,
        "columns_per_gpu": share.columns,
        "copies_per_gpu": share.copies,
        "bits": stored.bits or int(share.matrix.width * 8),
        "quantized": bool(stored.bits),
        "cut": CUTS[share.matrix.cut],
        "gib_per_gpu": round(share.bytes / GIB, 4),
    }


def _overhead_json(item: Overhead) -> dict[str, Any]:
    return {"name": item.name, "gib_per_gpu": _span(item.gib), "why": item.why}


def _span(span: Span | None) -> list[float] | None:
    return None if span is None else [round(span.low, 3), round(span.high, 3)]


def _whole(span: Span | None) -> list[int] | None:
    return None if span is None else [int(span.low), int(span.high)]
