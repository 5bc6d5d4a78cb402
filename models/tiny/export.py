"""Writes trained weights as vLLM's Glm4MoeForCausalLM reads them: safetensors and configs.

The embedding is written twice (vLLM's class takes no tied weights) and the router gets a
correction bias of zeros. Must change no number: serving gives the answers that training saw.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.tiny.model import EPSILON, MAX_POSITIONS, Shape, TinyGLM
from models.tiny.vocabulary import CONTROLS, Codec

STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>")
PREFIX = "model."


def config(shape: Shape, codec: Codec) -> dict[str, Any]:
    """What stands in config.json."""
    return {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "partial_rotary_factor": shape.rotated / shape.head_width,
        "rope_theta": shape.theta,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": shape.theta,
            "partial_rotary_factor": shape.rotated / shape.head_width,
        },
        "rms_norm_eps": EPSILON,
        "use_qk_norm": True,
        "attention_bias": False,
        "hidden_act": "silu",
        "first_k_dense_replace": shape.moe_from,
        "n_routed_experts": shape.experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": shape.chosen,
        "moe_intermediate_size": shape.expert_inner,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "num_nextn_predict_layers": 0,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": [codec.controls[name] for name in STOPS],
        "pad_token_id": codec.controls[CONTROLS[0]],
        "torch_dtype": "float32",
    }


def tensors(model: TinyGLM) -> dict[str, Tensor]:
    """The weights under the names of vLLM's loader."""
    out = {f"{PREFIX}{name}": value.contiguous() for name, value in model.state_dict().items()}
    out["lm_head.weight"] = model.embed_tokens.weight.detach().clone()
    for number in range(model.shape.moe_from, model.shape.layers):
        name = f"{PREFIX}layers.{number}.mlp.gate.e_score_correction_bias"
        out[name] = torch.zeros(model.shape.experts)
    return out


def export(model: TinyGLM, codec: Codec, out: Path) -> int:
    """Write model.safetensors and config.json; returns the bytes of the weights."""
    weights = out / "model.safetensors"
    save_file(tensors(model), weights, metadata={"format": "pt"})
    table = config(model.shape, codec)
    (out / "config.json").write_text(json.dumps(table, indent=1) + "\n")
    return weights.stat().st_size


def load(folder: Path) -> TinyGLM:
    """The exported model, back in training code. Raises OSError where a file is missing."""
    table = json.loads((folder / "config.json").read_text())
    shape = Shape(
        vocab=table["vocab_size"],
        width=table["hidden_size"],
        layers=table["num_hidden_layers"],
        heads=table["num_attention_heads"],
        kv_heads=table["num_key_value_heads"],
        head_width=table["head_dim"],
        rotated=round(table["head_dim"] * table["partial_rotary_factor"]),
        theta=table["rope_theta"],
        inner=table["intermediate_size"],
        moe_from=table["first_k_dense_replace"],
        experts=table["n_routed_experts"],
        chosen=table["num_experts_per_tok"],
        expert_inner=table["moe_intermediate_size"],
    )
    stored = load_file(folder / "model.safetensors")
    wanted = {
        name.removeprefix(PREFIX): value
        for name, value in stored.items()
        if name.startswith(PREFIX) and not name.endswith("e_score_correction_bias")
    }
    model = TinyGLM(shape)
    model.load_state_dict(wanted)
    return model
