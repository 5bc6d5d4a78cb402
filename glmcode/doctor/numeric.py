"""A small computation on the GPU: does attention over a KV cache of the profile's dtype come out
right? Runs in the engine's interpreter, in a process with a time limit.

It finds cards and builds whose arithmetic is wrong or missing, and nothing finer: how much a KV
dtype costs a model in quality only the model can tell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from glmcode.doctor.line import Line, fault, ok, warning
from glmcode.engine.bounded import bounded

LIMIT_S = 240.0
_BOUNDS: Mapping[str, float] = {
    "auto": 0.01,
    "float16": 0.01,
    "bfloat16": 0.03,
    "fp8": 0.10,
    "fp8_e4m3": 0.10,
    "fp8_e5m2": 0.20,
    "fp8_per_token_head": 0.10,
    "int8_per_token_head": 0.03,
}
"""The largest relative error of attention that rounding to the dtype explains."""

_SCRIPT = """
import json, sys
import torch
name = sys.argv[1]
torch.manual_seed(7)
dim, tokens = 128, 4096
q = torch.randn(8, dim, device="cuda", dtype=torch.float16)
k = torch.randn(tokens, dim, device="cuda", dtype=torch.float16)
v = torch.randn(tokens, dim, device="cuda", dtype=torch.float16)
def attention(k, v):
    weights = torch.softmax(q.double() @ k.double().T / dim ** 0.5, -1)
    return weights @ v.double()
def per_token(x, kind, most):
    scale = x.float().abs().amax(-1, keepdim=True) / most
    y = x.float() / scale
    y = y.round().to(kind) if kind == torch.int8 else y.to(kind)
    return y.double() * scale.double()
def stored(x):
    if name == "int8_per_token_head":
        return per_token(x, torch.int8, 127)
    if name == "fp8_per_token_head":
        return per_token(x, torch.float8_e4m3fn, 448)
    kind = {"fp8": torch.float8_e4m3fn, "fp8_e4m3": torch.float8_e4m3fn,
            "fp8_e5m2": torch.float8_e5m2, "bfloat16": torch.bfloat16}.get(name, torch.float16)
    return x.to(kind)
def error(found, true):
    return float((found.double() - true).norm() / true.norm())
true = attention(k, v)
answer = {"gpu": torch.cuda.get_device_name(0)}
answer["cast"] = error(attention(stored(k), stored(v)), true)
if name in ("auto", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"):
    try:
        import flashinfer
    except ImportError:
        flashinfer = None
    if flashinfer is not None:
        out = flashinfer.single_decode_with_kv_cache(
            q, stored(k).unsqueeze(1), stored(v).unsqueeze(1))
        answer["kernel"] = error(out, true)
print("ANSWER" + json.dumps(answer))
"""


def numeric_line(python: str, kv: str) -> Line:
    """Try it with the interpreter `python`. Bounded in time; never raises."""
    name = "KV arithmetic"
    bound = _BOUNDS.get(kv)
    if bound is None:
        return warning(name, f"there is no test for {kv}", "nothing")
    told = bounded([python, "-c", _SCRIPT, kv], LIMIT_S)
    lines = [line[6:] for line in told.out.splitlines() if line.startswith("ANSWER")]
    if told.code != 0 or not lines:
        todo = "take another kv_dtype or attention-backend (glmcode engine plan lists them)"
        return fault(name, f"{kv} does not work here: {told.why()}", todo)
    value = json.loads(lines[0])
    errors = {key: value[key] for key in ("cast", "kernel") if key in value}
    text = ", ".join(
        f"{error:.2%} {'in FlashInfer' if key == 'kernel' else 'by rounding'}"
        for key, error in errors.items()
    )
    if not all(error < bound for error in errors.values()):  # NaN is not smaller either
        todo = "do not use this KV dtype here: another kv_dtype, another driver, another build"
        return fault(name, f"{kv}: attention is off by {text} (allowed {bound:.0%})", todo)
    return ok(name, f"{kv} on {value['gpu']}: attention is off by {text}")
