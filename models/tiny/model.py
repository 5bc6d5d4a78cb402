"""A small GLM-4-MoE in plain torch, with the parameter names that vLLM's loader expects.

Only what training needs: one embedding matrix for both ends (export writes it twice), and
keys and values of a shared head that many tasks of a batch attend to. Must stay equal to
vLLM's Glm4MoeForCausalLM for the config that export.py writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right

KeysValues = tuple[Tensor, Tensor]
MAX_POSITIONS = 16_384
EPSILON = 1e-5
CHUNK = 192


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of the model. Layers from `moe_from` on are mixtures of experts.

    theta is far below the usual 10,000: with few rotated entries, heads that look at the token
    before (which copying is made of) form much sooner when most angles turn fast. Norms of
    queries and keys start at `sharpness` for the same reason.
    """

    vocab: int = 1536
    width: int = 192
    layers: int = 5
    heads: int = 6
    kv_heads: int = 2
    head_width: int = 32
    rotated: int = 16
    theta: float = 500.0
    inner: int = 448
    sharpness: float = 1.3
    moe_from: int = 4
    experts: int = 4
    chosen: int = 2
    expert_inner: int = 192


class RMSNorm(nn.Module):
    """Root mean square norm with a learned scale."""

    def __init__(self, width: int, start: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], self.weight, EPSILON)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first 2 * cos.shape[-1] entries of each head by position; leave the rest."""
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of the last positions, in chunks that skip what lies ahead of them."""
    before, length = k.shape[2] - q.shape[2], q.shape[2]
    if before == 0:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    if q.device.type == "cuda":
        mask = causal_lower_right(length, before + length)
        kind = v.dtype
        return functional.scaled_dot_product_attention(q.to(kind), k.to(kind), v, attn_mask=mask)
    parts = []
    for start in range(0, length, CHUNK):
        end = min(length, start + CHUNK)
        mask = torch.ones(end - start, before + end, dtype=torch.bool).tril(before + start)
        keys, values = k[:, :, : before + end], v[:, :, : before + end]
        part = functional.scaled_dot_product_attention(
            q[:, :, start:end], keys, values, attn_mask=mask
        )
        parts.append(part)
    return torch.cat(parts, 2)


class Attention(nn.Module):
    """Grouped-query attention with normed queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, queries, bias=False)
        self.k_proj = nn.Linear(shape.width, keys, bias=False)
        self.v_proj = nn.Linear(shape.width, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.width, bias=False)
        self.q_norm = RMSNorm(shape.head_width, shape.sharpness)
        self.k_norm = RMSNorm(shape.head_width, shape.sharpness)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        rows, length, _ = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(rows, length, -1, self.shape.head_width)

        q = _rotate(self.q_norm(split(self.q_proj(x))).transpose(1, 2), cos, sin)
        k = _rotate(self.k_norm(split(self.k_proj(x))).transpose(1, 2), cos, sin)
        v = split(self.v_proj(x)).transpose(1, 2)
        if past is not None:
            k = torch.cat([past[0].expand(rows, -1, -1, -1), k], 2)
            v = torch.cat([past[1].expand(rows, -1, -1, -1), v], 2)
        group = self.shape.heads // self.shape.kv_heads
        out = _attend(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))
        return self.o_proj(out.transpose(1, 2).reshape(rows, length, -1)), (k, v)


class FeedForward(nn.Module):
    """A gated feed-forward block."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Mixture(nn.Module):
    """A mixture of experts with sigmoid routing and one shared expert.

    Every expert is computed for every token (there are four), so the gradient is dense.
    `balance` holds the balancing loss of the last forward pass.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.chosen = shape.chosen
        self.gate = nn.Linear(shape.width, shape.experts, bias=False)
        self.experts = nn.ModuleList(
            FeedForward(shape.width, shape.expert_inner) for _ in range(shape.experts)
        )
        self.shared_experts = FeedForward(shape.width, shape.expert_inner)
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.sigmoid(self.gate(x).float())
        best, index = scores.topk(self.chosen, -1)
        best = best / best.sum(-1, keepdim=True)
        weights = torch.zeros_like(scores).scatter(-1, index, best)
        load = (weights > 0).float().mean((0, 1))
        share = (scores / scores.sum(-1, keepdim=True)).mean((0, 1))
        self.balance = (share * load).sum() * len(self.experts) / self.chosen
        weights = weights.to(x.dtype)
        out: Tensor = self.shared_experts(x)
        for number, expert in enumerate(self.experts):
            out = out + weights[..., number : number + 1] * expert(x)
        return out


class Layer(nn.Module):
    """Attention, then a feed-forward block or a mixture, both with a residual."""

    def __init__(self, shape: Shape, number: int) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp: nn.Module = (
            Mixture(shape) if number >= shape.moe_from else FeedForward(shape.width, shape.inner)
        )
        self.input_layernorm = RMSNorm(shape.width)
        self.post_attention_layernorm = RMSNorm(shape.width)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        attended, kept = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class TinyGLM(nn.Module):
    """The whole model; `forward` gives hidden states, `logits` turns them into scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape, i) for i in range(shape.layers))
        self.norm = RMSNorm(shape.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=_spread(name, parameter))
        steps = torch.arange(0, shape.rotated, 2).float() / shape.rotated
        angles = torch.arange(MAX_POSITIONS).float()[:, None] * shape.theta**-steps
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(
        self, ids: Tensor, past: list[KeysValues] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """Hidden states [rows, length, width] of `ids`, and the keys and values of each layer.

        `past` is a head of one row that all rows attend to in full.
        """
        length = ids.shape[1]
        start = past[0][0].shape[2] if past else 0
        x = self.embed_tokens(ids)
        cos = self.get_buffer("cos")[start : start + length].to(x.dtype)
        sin = self.get_buffer("sin")[start : start + length].to(x.dtype)
        kept = []
        for number, layer in enumerate(self.layers):
            x, pair = layer(x, cos, sin, past[number] if past else None)
            kept.append(pair)
        return self.norm(x), kept

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary, through the transposed embedding."""
        return functional.linear(hidden, self.embed_tokens.weight)

    def balance(self) -> Tensor:
        """The balancing loss of all mixtures in the last forward pass."""
        parts = [m.balance for m in self.modules() if isinstance(m, Mixture)]
        return torch.stack(parts).sum()


def _spread(name: str, parameter: Tensor) -> float:
    if "embed" in name:
        return 0.02
    gain = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
    return float(gain * parameter.shape[1] ** -0.5)
