from __future__ import annotations

import json
import math
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.fit import Settings, fit
from glmcode.engine.fit_json import fit_json
from glmcode.engine.fit_text import fit_lines
from glmcode.engine.fit_weights import Parallel, parameters
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
        ({"is_encoder_decoder": True}, "has an encoder"),
        ({"model_type": "gpt2"}, "another MLP"),
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
