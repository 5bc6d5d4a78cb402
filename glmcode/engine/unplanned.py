"""Models that the planner's arithmetic does not know, and by what their config.json gives it away.

A family is built otherwise more often than its file looks otherwise: experts under another name
make a model six times as large, layers without attention need no KV cache, an MLP without a gate
has two matrices in place of three. Each is refused in one sentence, because a wrong number would
be worse than none. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from glmcode.engine.quantised import ShapeError

EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
"""Names under which the planner knows how many experts a layer has."""

_LATENT = ("kv_lora_rank", "q_lora_rank", "index_topk")
_RECURRENT = (
    *("ssm_cfg", "state_size", "ssm_state_size", "mamba_d_state", "mamba_num_heads"),
    *("linear_num_value_heads", "linear_attn_config", "rwkv", "hybrid_override_pattern"),
    "conv_L_cache",
)
_LAYER_KINDS = ("layer_types", "layers_block_type", "block_types", "_block_types")
_NO_CACHE = ("linear", "mamba", "recurrent", "conv")
_OTHER_MLP = (
    *("gpt2", "gpt_neox", "gpt_bigcode", "opt", "bloom", "falcon", "mpt", "phi", "gptj", "codegen"),
    *("starcoder2", "nemotron", "apertus", "arcee", "persimmon", "jais"),
)
_NO_GATE = ("relu2", "xielu", "gelu_new")
_EXPERTS_LIKE = re.compile(r"(num|n|count)_\w*experts?|\w*num_\w*experts?|\w*experts?_(num|count)")
_STEPS = ("moe_layer_frequency", "moe_layer_interval", "moe_layers_enum", "moe_every_n_layers")
_BESIDE = ("use_residual", "parallel_attn_mlp_res", "residual_moe")


def refuse(config: Mapping[str, Any], kind: str) -> None:
    """Raises ShapeError for what has another attention, another MLP or other experts."""
    name = f"the model {kind!r}"
    if any(config.get(key) for key in _LATENT):
        raise ShapeError(
            f"{name} has latent attention (MLA): its KV cache is not counted by heads, "
            "and the planner doesn't know it; vLLM reports it at start"
        )
    if _without_cache(config):
        raise ShapeError(
            f"{name} has layers without a KV cache (linear attention or a state "
            "space): the planner doesn't know them"
        )
    if config.get("is_encoder_decoder") is True or config.get("cross_attention_layers"):
        raise ShapeError(f"{name} attends to an encoder: the planner knows decoders only")
    acts = (config.get("hidden_act"), config.get("mlp_hidden_act"))
    if kind in _OTHER_MLP or any(act in _NO_GATE for act in acts):
        raise ShapeError(f"{name} has another MLP than the planner knows")
    _refuse_experts(config, name)


def _without_cache(config: Mapping[str, Any]) -> bool:
    if any(config.get(key) for key in _RECURRENT):
        return True
    kinds = [item for key in _LAYER_KINDS for item in _listed(config.get(key))]
    linear = any(item == 0 and item is not False for item in _listed(config.get("attn_type_list")))
    return linear or any(word in str(item) for item in kinds for word in _NO_CACHE)


def _refuse_experts(config: Mapping[str, Any], name: str) -> None:
    if not any(config.get(key) for key in EXPERTS):
        for key, value in config.items():
            if _EXPERTS_LIKE.fullmatch(key) and _more_than_one(value):
                raise ShapeError(
                    f"{name} has experts under a name that the planner doesn't know "
                    f"({key[:60]}): it would be counted far too small"
                )
        return
    for key in _STEPS:
        if _more_than_one(config.get(key)):
            raise ShapeError(f"{name} has experts in some layers only ({key}), and the planner "
                             "doesn't know in which")  # fmt: skip
    for key in _BESIDE:
        if config.get(key) is True:
            raise ShapeError(f"{name} has an MLP beside its experts ({key}), which is not known")


def _more_than_one(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    return value > 1 if isinstance(value, int | float) else bool(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
