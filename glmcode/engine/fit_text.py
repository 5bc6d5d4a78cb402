"""The planner's answer in words for a person.

Every figure that a start alone can measure is printed as a range. Pure: makes text,
prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from glmcode.engine.fit import ExpertFit, Fit, Span
from glmcode.engine.fit_weights import GIB, Cut, parameters, shares

_LEAST_WINDOW = 4096


def verdict(found: Fit) -> str:
    """One of: impossible, no GPU named, does not fit, may not start, smaller window, may fit,
    fits."""
    if found.problem:
        return "impossible"
    window = found.chosen.window
    if window is None:
        return "no GPU named"
    least = min(_LEAST_WINDOW, found.wanted or _LEAST_WINDOW)
    if window.high < least:
        return "does not fit"
    if window.low >= (found.wanted or least):
        return "fits"
    if window.low < least:
        return "may not start"
    return "may fit" if found.wanted and window.high >= found.wanted else "smaller window"


def verdict_lines(found: Fit) -> list[str]:
    """The verdict in sentences, the most important first."""
    kind, where = verdict(found), _where(found)
    if kind == "impossible":
        ways = [item for item in found.experts if item.kind != "impossible"]
        more = f" With expert parallel it can: {ways[0].why}." if ways and ways[0].dealt else ""
        return [f"Impossible on {where}: {found.problem}.{more}"]
    if kind == "no GPU named":
        return ["No GPU is named and none was found: --gpus 8x24GiB shows what would fit."]
    window, dtype = found.chosen.window, found.settings.kv
    assert window is not None
    tokens = f"{_tokens(window)} tokens of {dtype} KV"
    weights = f"{_gib(found.weights_gib)} GiB of weights a GPU"
    match kind:
        case "does not fit":
            lines = [f"It does not fit on {where}: {weights} leave no room for a window."]
        case "may not start":
            lines = [f"It may or may not start on {where}: {weights} leave {tokens}."]
        case "fits":
            lines = [f"It fits on {where}: {weights} leave room for {tokens}."]
            if not found.wanted:
                lines += ["Its file does not say for how many tokens it was made."]
        case "may fit":
            lines = [
                f"It fits on {where}, with a window of {tokens}: whether the whole of "
                f"{found.wanted:,} fits, only a start can tell."
            ]
        case _:
            lines = [f"It fits on {where} with a smaller window: {weights} leave {tokens}."]
    if kind != "fits":
        lines += _ways(found)
    return [*lines, *_conditions(found)]


def _ways(found: Fit) -> Iterator[str]:
    """Where the wanted window fits."""
    if not found.wanted or not found.need_gib or found.pool_gib is None:
        return
    pool, share = found.pool_gib, f"at {found.settings.share:g} of the memory"
    left = f"{_gib(Span(max(0.0, pool.low), pool.high))} GiB are left {share}"
    if pool.high <= 0:
        missing = _gib(Span(-pool.high, -pool.low))
        left = f"none is left {share}, and {missing} GiB are missing for the rest"
    yield f"{found.wanted:,} tokens take {found.need_gib:.2f} GiB of KV a GPU; {left}."
    if found.room_gib is not None and found.room_gib.high > 0:
        yield (
            f"They fit if everything beside the weights takes at most {_gib(found.room_gib)} GiB; "
            f"{_gib(found.overhead_gib)} is estimated."
        )
    needed, most = found.share_needed, found.share_most
    if needed is not None and most is not None:
        span = f"{needed.low:.3f} to {needed.high:.3f}"
        limit = f"vLLM starts up to about {most.low:.2f} to {most.high:.2f}"
        if needed.low > most.high:
            yield f"No --gpu-memory-utilization holds them: {span} would be needed, and {limit}."
        else:
            yield f"They need a --gpu-memory-utilization of {span}; {limit}."
    sure = [k.dtype.name for k in found.kv if k.window and k.window.low >= found.wanted]
    maybe = [
        k.dtype.name for k in found.kv if k.window and k.window.low < found.wanted <= k.window.high
    ]
    if sure:
        yield f"They fit with the KV dtypes {', '.join(sure)}, where the GPUs take them."
    if maybe:
        yield f"They may fit with {', '.join(maybe)}."
    if not sure and not maybe:
        yield "They fit with no KV dtype at this share of the memory."


def _conditions(found: Fit) -> Iterator[str]:
    group = found.shape.quantisation.default
    if found.plain_rows:
        names = ", ".join(name.rpartition("_")[0] or name for name in found.plain_rows)
        yield (
            f"Only if the checkpoint holds {names} unquantised: at tensor parallel "
            f"{found.settings.parallel.tensor} its share is no whole group of "
            f"{group.group or group.block}, and vLLM has no kernel for that "
            f"({found.weights_gib.high:.1f} GiB a GPU then)."
        )
    own = _own_experts(found)
    if own is not None and own.kind == "slow":
        yield f"Slow: {own.why}."
    used = found.settings.parallel
    many = used.tensor * used.pipeline * used.data
    if found.gpus > many:
        yield f"{found.gpus - many} of the {found.gpus} GPUs stay unused."


def _own_experts(found: Fit) -> ExpertFit | None:
    return next(
        (e for e in found.experts if e.dealt == found.settings.parallel.experts_dealt), None
    )


def _where(found: Fit) -> str:
    many = f"{found.gpus} x {found.gpu_gib:.4g} GiB" if found.gpus else "an unknown GPU"
    if found.settings.kv_memory and not found.gpus:
        many = f"{found.settings.kv_memory / GIB:g} GiB for KV"
    used = found.settings.parallel
    words = [many, f"tensor parallel {used.tensor}"]
    words += [f"{used.pipeline} pipeline stages"] if used.pipeline > 1 else []
    words += [f"{used.data} data parallel ranks"] if used.data > 1 else []
    return ", ".join(words)


def fit_lines(found: Fit) -> list[str]:
    """The whole answer for a person: verdict first, then what it was counted from."""
    shape, quantisation = found.shape, found.shape.quantisation
    total, active = parameters(shape)
    stored = quantisation.default
    how = f"{stored.bits} bits" if stored.bits else shape.dtype
    step = f", group size {stored.group}" if stored.group else ""
    kind = "" if quantisation.method == "none" else f"{quantisation.method}, "
    lines = [
        f"model  {shape.model_type or 'unknown'}: {shape.layers} layers, {_billions(total)} "
        f"parameters ({_billions(active)} a token), {kind}{how}{step}",
        f"on     {_where(found)}{_expert_words(found)}",
        *(f"note   {note}" for note in shape.notes),
        "",
        *(f"{line}" for line in verdict_lines(found)),
    ]
    if found.problem:
        return lines
    lines += ["", *_memory_table(found), "", *_kv_table(found)]
    for table in (_expert_table(found), _group_table(found)):
        lines += ["", *table] if table else []
    return [*lines, "", *_weight_table(found)]


def _expert_words(found: Fit) -> str:
    if not found.shape.experts:
        return ""
    return f", {'with' if found.settings.parallel.experts_dealt else 'without'} expert parallel"


def _memory_table(found: Fit) -> list[str]:
    rows: list[tuple[str, str, str]] = [
        ("weights", _gib(found.weights_gib), "in the files' storage, the fullest GPU")
    ]
    rows += [(item.name, _gib(item.gib), item.why) for item in found.overheads]
    if found.pool_gib is not None:
        share = f"of {found.settings.share:g} of {found.gpu_gib:.4g} GiB (CUDA offers 98 to 99 %)"
        if found.settings.kv_memory:
            share = "as the profile says"
        rows.append(("left for KV", _gib(found.pool_gib), share))
    return ["GiB a GPU", *(f"  {name:<22}{value:>14}   {why}" for name, value, why in rows)]


def _kv_table(found: Fit) -> list[str]:
    lines = [f"  {'KV dtype':<22}{'bytes/token':>11}  {'window in tokens':<20}  needs"]
    for line in found.kv:
        mark = "*" if line.dtype.name == found.settings.kv else " "
        window = "" if line.window is None else _tokens(line.window)
        lines.append(
            f"{mark} {line.dtype.name:<22}{line.bytes_per_token:>11,}  {window:<20}  "
            f"{line.dtype.needs}"
        )
    return lines


def _expert_table(found: Fit) -> list[str]:
    lines = []
    for item in found.experts:
        name = "with expert parallel" if item.dealt else "without"
        figures = "impossible" if item.weights_gib is None else f"{item.weights_gib:.1f} GiB"
        window = f", {_tokens(item.window)} tokens" if item.window is not None else ""
        lines.append(f"  {name:<22}{figures}{window}: {item.why}")
    return ["experts", *lines] if lines else []


def _group_table(found: Fit) -> list[str]:
    lines = []
    for item in found.groups:
        mark = "*" if item.group == found.shape.quantisation.default.group else " "
        window = f", {_tokens(item.window)} tokens" if item.window is not None else ""
        fault = "; some layers must be unquantised" if item.rows_fault else ""
        lines.append(f"{mark} {item.group:<22}{item.weights_gib:.1f} GiB{window}{fault}")
    return ["group size", *lines] if lines else []


def _weight_table(found: Fit) -> list[str]:
    lines = []
    for share in sorted(shares(found.shape, found.settings.parallel), key=lambda s: -s.bytes):
        stored = share.matrix.stored
        kind = f"{stored.bits} bits" if stored.bits else f"{share.matrix.width * 8:g} bits, plain"
        many = f"{share.copies} x " if share.matrix.copies > 1 else ""
        size = f"{many}{share.rows} x {share.columns}"
        lines.append(
            f"  {share.matrix.name:<34}{share.bytes / GIB:>8.3f}   {share.matrix.count:>3} of "
            f"{size:<20} {kind}, {CUTS[share.matrix.cut]}"
        )
    return ["weights, GiB a GPU", *lines]


CUTS: Mapping[Cut, str] = {
    "columns": "cut by outputs",
    "rows": "cut by inputs",
    "kv": "cut by KV heads",
    "vocabulary": "cut by tokens",
    "whole": "whole on each",
    "expert in": "experts",
    "expert out": "experts",
}


def _gib(span: Span) -> str:
    low, high = f"{span.low:.2f}", f"{span.high:.2f}"
    return low if low == high else f"{low} to {high}"


def _tokens(span: Span) -> str:
    low, high = f"{int(span.low):,}", f"{int(span.high):,}"
    return low if low == high else f"{low} to {high}"


def _billions(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"
