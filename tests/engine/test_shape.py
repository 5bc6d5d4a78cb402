from __future__ import annotations

import json
import math
import os
import re
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.fit import Settings, fit
from glmcode.engine.fit_json import fit_json
from glmcode.engine.fit_text import fit_lines, verdict, verdict_lines
from glmcode.engine.fit_weights import Parallel, checkpoint_bytes, parameters
from glmcode.engine.quantised import ShapeError
from glmcode.engine.shape import parse_shape, read_shape
from tests.engine.fit_configs import LLAMA_8B, QWEN3_30B_A3B, REAP, shape

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny"


def test_the_tiny_model_has_exactly_the_parameters_of_its_file() -> None:
    raw = (TINY / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    counted = sum(math.prod(t["shape"]) for name, t in header.items() if name[0] != "_")
    assert parameters(read_shape(TINY))[0] == counted
    assert read_shape(TINY / "config.json") == read_shape(TINY)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not JSON"),
        (b"[1]", "holds no table"),
        (b"{}", "it has no num_hidden_layers"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b" " * (5 << 20), "larger than 4 MiB"),
    ],
    ids=["empty", "list", "no keys", "not utf-8", "deep", "huge number", "huge file"],
)
def test_a_file_that_is_no_config_is_one_sentence(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    with pytest.raises(ShapeError, match=said):
        read_shape(path)


def test_what_is_no_plain_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    began = time.monotonic()
    with pytest.raises(ShapeError, match="not a plain file"):
        read_shape(tmp_path)
    with pytest.raises(ShapeError, match="not a plain file"):
        read_shape(Path("/dev/zero"))
    assert time.monotonic() - began < 1
    with pytest.raises(ShapeError, match="does not exist"):
        read_shape(tmp_path / "nothing")
    with pytest.raises(ShapeError, match="no name of a file"):
        read_shape(Path("a\0b"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": -1}, "between 1 and"),
        ({"num_hidden_layers": 10**9}, "between 1 and"),
        ({"hidden_size": 1e300}, "not a whole number"),
        ({"hidden_size": float("nan")}, "not a whole number"),
        ({"hidden_size": True}, "not a whole number"),
        ({"num_attention_heads": "96"}, "not a whole number"),
        ({"num_key_value_heads": 7}, "cannot share 7 KV heads"),
        ({"kv_lora_rank": 512}, "latent attention"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "without a KV cache"),
        ({"is_encoder_decoder": True}, "attends to an encoder"),
        ({"model_type": "gpt2"}, "another MLP"),
        ({"attn_type_list": [1, 1, 0]}, "without a KV cache"),
        ({"block_types": ["recurrent", "attention"]}, "without a KV cache"),
        ({"hybrid_override_pattern": "M-M*"}, "without a KV cache"),
        ({"ssm_state_size": 128}, "without a KV cache"),
        ({"cross_attention_layers": [3, 8]}, "attends to an encoder"),
        ({"model_type": "starcoder2"}, "another MLP"),
        ({"model_type": "nemotron"}, "another MLP"),
        ({"hidden_act": "relu2"}, "another MLP"),
        ({"moe_layer_frequency": 2}, "experts in some layers only"),
        ({"use_residual": True}, "an MLP beside its experts"),
        ({"n_routed_experts": 0, "moe_num_experts": 64}, "under a name that the planner doesn't"),
        ({"n_routed_experts": None, "num_moe_experts": 64}, "under a name that the planner does"),
        ({"num_attention_heads": None}, "what is meant by that in such a model is not known"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "not one that the planner"),
        ({"quantization_config": [4]}, "not a table"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4.5}}, "bits"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 0}},
            "group size",
        ),
    ],
)
def test_a_model_that_is_not_understood_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        parse_shape({**REAP, **changes}, "config.json")


def test_rules_that_would_take_for_ever_are_not_tried() -> None:
    evil = {r"-:(a+)+$": {}, "-:" + "(.*" * 9 + ")" * 9 + "x": {}, "-:[": {}, r"-:.*lm_head": {}}
    began = time.monotonic()
    model = shape(REAP, quantization_config={**REAP["quantization_config"], "dynamic": evil})
    parameters(model)
    assert time.monotonic() - began < 1
    assert len(model.notes) == 3 and all("left out" in note for note in model.notes)
    many = {f"-:a{i}.*": {} for i in range(3000)}
    with pytest.raises(ShapeError, match="more rules"):
        shape(REAP, quantization_config={**REAP["quantization_config"], "dynamic": many})


def test_a_model_that_sees_is_counted_without_its_eyes() -> None:
    inner = {key: value for key, value in LLAMA_8B.items() if key != "architectures"}
    model = parse_shape({"model_type": "x_vl", "text_config": inner}, "config.json")
    assert model.layers == 32 and "only the text model" in model.notes[0]


def test_an_unknown_kind_is_counted_like_a_llama_and_said() -> None:
    model = shape(LLAMA_8B, model_type="brand_new")
    assert parameters(model) == parameters(shape(LLAMA_8B))
    assert "'brand_new' is not known" in model.notes[0]


def test_the_older_file_of_a_quantisation_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    (tmp_path / "quantize_config.json").write_text('{"bits": 4, "group_size": 64}')
    stored = read_shape(tmp_path).quantisation.default
    assert (stored.bits, stored.group) == (4, 64)


def test_compressed_tensors_and_awq_name_the_layers_that_stay() -> None:
    packed = {
        "quant_method": "compressed-tensors",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "group_size": 32, "symmetric": True},
            }
        },
        "ignore": ["lm_head", "re:.*mlp.shared_experts", "model.layers.0.self_attn.q_proj"],
    }
    found = shape(REAP, quantization_config=packed).quantisation
    assert found.stored("model.layers.5.mlp.experts.0.up_proj").group == 32
    for name in ("layers.5.mlp.shared_experts.up_proj", "layers.0.self_attn.q_proj"):
        assert found.stored(f"model.{name}").bits == 0
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["mlp."]}
    found = shape(REAP, quantization_config=awq).quantisation
    assert found.stored("model.layers.5.self_attn.q_proj").zeros
    assert found.stored("model.layers.5.mlp.up_proj").bits == 0


ODD = [None, True, -1, 0, 1, 3, 7, 9999, 10**30, 0.5, float("inf"), "", "8", [], [1], {}, {"a": 1}]


def test_no_change_of_one_value_gives_anything_but_a_plan_or_a_sentence() -> None:
    gave = {"plan": 0, "sentence": 0}
    for base in (REAP, LLAMA_8B, QWEN3_30B_A3B):
        for key in [*base, "layer_types", "sliding_window", "mlp_only_layers", "torch_dtype"]:
            for odd in ODD:
                try:
                    model = parse_shape({**base, key: odd}, "config.json")
                except ShapeError as error:
                    assert "\n" not in str(error) and len(str(error)) < 300
                    gave["sentence"] += 1
                    continue
                found = fit(model, Settings(parallel=Parallel(tensor=2, pipeline=3)), 24, 24.0)
                json.dumps(fit_json(found), allow_nan=False)
                assert fit_lines(found)
                gave["plan"] += 1
    assert min(gave.values()) > 150


LLAMA_4: dict[str, Any] = {
    "model_type": "llama4_text",
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_experts_per_tok": 1,
    "vocab_size": 202048,
    "max_position_embeddings": 1048576,
    "attention_chunk_size": 8192,
}


@pytest.mark.parametrize(
    ("experts", "step", "billions"), [(16, 1, 107.77), (128, 2, 400.71)], ids=["Scout", "Maverick"]
)
def test_experts_in_every_second_layer_and_one_for_all_are_counted(
    experts: int, step: int, billions: float
) -> None:
    inner = {**LLAMA_4, "num_local_experts": experts, "interleave_moe_layer_step": step}
    model = parse_shape({"model_type": "llama4", "text_config": inner}, "config.json")
    assert parameters(model)[0] / 1e9 == pytest.approx(billions, abs=0.01)
    assert model.sliding


MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
COMMAND_R: dict[str, Any] = {
    "model_type": "cohere",
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": 64,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "model_max_length": 131072,
}


def test_parameters_are_those_of_the_published_files_of_other_families() -> None:
    assert parameters(shape(MIXTRAL))[0] == 46_702_792_704
    command_r = shape(COMMAND_R)  # says nothing of its tied embeddings, and is made for 131072
    assert parameters(command_r)[0] == pytest.approx(34_980_831_232, rel=1e-4)
    assert command_r.window == 131_072


def test_the_router_s_name_is_not_that_of_a_projection() -> None:
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["gate"]}
    model = shape(MIXTRAL, quantization_config=awq)
    assert checkpoint_bytes(model) / 1e9 == pytest.approx(24.65, abs=0.02)
    fp8 = {"quant_method": "fp8", "modules_to_not_convert": ["gate", "layers.1", "lm_head"]}
    found = shape(REAP, quantization_config=fp8).quantisation
    assert found.stored("model.layers.9.mlp.experts.0.gate_proj").bits == 8
    assert found.stored("model.layers.9.mlp.gate").bits == 0
    assert found.stored("model.layers.10.self_attn.q_proj").bits == 8
    assert found.stored("model.layers.1.self_attn.q_proj").bits == 0


def test_each_of_several_groups_of_layers_is_counted_in_its_own_way() -> None:
    def group(bits: int, *targets: str) -> dict[str, Any]:
        return {"targets": list(targets), "weights": {"num_bits": bits, "group_size": 128}}

    def read(*groups: dict[str, Any]) -> Any:
        packed = {"quant_method": "compressed-tensors", "config_groups": dict(enumerate(groups))}
        return shape(REAP, quantization_config=packed).quantisation

    expert, query = "model.layers.5.mlp.experts.0.up_proj", "model.layers.5.self_attn.q_proj"
    only = read(group(4, "re:.*mlp\\.experts\\..*"))
    assert (only.stored(expert).bits, only.stored(query).bits) == (4, 0)
    both = read(group(8, "Linear"), group(4, "re:.*experts.*"))
    assert (both.stored(expert).bits, both.stored(query).bits) == (4, 8)
    named = read(group(4, query))
    assert (named.stored(query).bits, named.stored(expert).bits) == (4, 0)
    with pytest.raises(ShapeError, match="does not say how"):
        read(group(4, "Linear"), {"targets": ["re:x"], "weights": None})
    cache = {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": {"a": 1}}
    assert shape(REAP, quantization_config=cache).quantisation.default.bits == 0


@pytest.mark.parametrize("key", ["text_config", "llm_config", "language_config", "thinker_config"])
def test_the_text_model_is_found_wherever_it_is_kept_and_takes_what_is_said_of_the_whole(
    key: str,
) -> None:
    inner = {k: v for k, v in LLAMA_8B.items() if k not in ("tie_word_embeddings", "torch_dtype")}
    part: dict[str, Any] = {**inner, "quantization_config": None}
    whole = {"tie_word_embeddings": True, "torch_dtype": "float16", key: part}
    if key == "thinker_config":
        whole[key] = {"model_type": "thinker", "text_config": part}
    whole["quantization_config"] = {"quant_method": "fp8"}
    model = parse_shape(whole, "config.json")
    assert (model.layers, model.tied, model.dtype) == (32, True, "float16")
    assert model.quantisation.method == "fp8"


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, 131_072),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131_072),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, 524_288),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, 262_144),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2}}}, 262_144),
        ({"rope_scaling": {"type": "linear", "factor": None}}, 131_072),
        ({"rope_scaling": {"type": "linear", "factor": float("inf")}}, 1 << 27),
        ({"rope_scaling": {"type": "linear", "factor": float("nan")}}, 131_072),
        ({"rope_scaling": "linear"}, 131_072),
        ({"max_seq_len": 8192}, 8192),
        ({"model_max_length": 4096}, 4096),
        ({"max_position_embeddings": None}, 0),
    ],
)
def test_the_window_is_the_one_that_vllm_works_out(changes: dict[str, Any], window: int) -> None:
    assert shape(LLAMA_8B, **changes).window == window


def test_a_model_made_for_a_short_window_or_for_nobody_says_how_long_fits_all_the_same() -> None:
    settings = Settings(parallel=Parallel(tensor=1))
    short = fit(shape(LLAMA_8B, max_position_embeddings=2048), settings, 1, 80.0)
    assert verdict(short) == "fits"
    unsaid = fit(shape(LLAMA_8B, max_position_embeddings=None), settings, 1, 80.0)
    assert verdict(unsaid) == "fits" and "does not say for how many" in " ".join(fit_lines(unsaid))
    none = fit(shape(LLAMA_8B), settings, 1, 8.0)
    assert verdict(none) == "does not fit"
    words = " ".join(verdict_lines(none))
    assert "GiB are missing for the rest" in words and not re.search(r"-\d", words)


def test_weights_of_float32_are_halved_unless_a_profile_says_otherwise() -> None:
    model = shape(LLAMA_8B, torch_dtype="float32")
    assert model.dtype == "bfloat16" and "float32" in " ".join(model.notes)


def test_a_quantisation_that_stands_in_a_file_beside_is_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    (tmp_path / "hf_quant_config.json").write_text("{}")
    with pytest.raises(ShapeError, match="ModelOpt"):
        read_shape(tmp_path)
