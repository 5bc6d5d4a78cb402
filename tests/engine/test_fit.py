from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from glmcode.engine.fit import Fit, Settings, Span, fit
from glmcode.engine.fit_json import fit_json
from glmcode.engine.fit_kv import KV_DTYPES, kv_bytes
from glmcode.engine.fit_text import fit_lines, verdict, verdict_lines
from glmcode.engine.fit_weights import (
    Parallel,
    checkpoint_bytes,
    expert_cut,
    impossible,
    parameters,
    row_faults,
    weights_gib,
)
from tests.engine.fit_configs import LLAMA_8B, QWEN3_30B_A3B, REAP, shape, with_group

EIGHT = Parallel(tensor=8, experts_dealt=True)
CARD = Settings(parallel=EIGHT, kv="fp8_e5m2", graphs=1, backend="FLASHINFER")


def card(group: int = 128, **changes: Any) -> Fit:
    return fit(shape(with_group(group)), replace(CARD, **changes), 8, 24.0)


@pytest.mark.parametrize(
    ("group", "expected"), [(128, 16.6), (64, 17.1), (32, 18.1)], ids=["128", "64", "32"]
)
def test_weights_a_gpu_grow_as_the_group_shrinks(group: int, expected: float) -> None:
    assert weights_gib(shape(with_group(group)), EIGHT) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("group", "least"), [(128, 141), (64, 145), (32, 153)])
def test_the_files_hold_zero_points_and_row_orders_too(group: int, least: float) -> None:
    assert least < checkpoint_bytes(shape(with_group(group))) / 1e9 < 1.04 * least


@pytest.mark.parametrize(
    ("config", "expected"),
    [(LLAMA_8B, 8_030_261_248), (QWEN3_30B_A3B, 30_532_122_624)],
    ids=["llama", "qwen"],
)
def test_parameters_are_those_of_the_published_files(config: Any, expected: int) -> None:
    assert parameters(shape(config))[0] == expected


def test_the_card_s_model_has_268_billion_parameters_and_32_at_work() -> None:
    total, active = parameters(shape(REAP))
    assert (round(total / 1e9, 1), round(active / 1e9)) == (268.8, 33)


def test_fp8_kv_of_the_card_takes_23552_bytes_a_token_and_gpu() -> None:
    sizes = {item.name: kv_bytes(shape(REAP), EIGHT, item.name) for item in KV_DTYPES}
    assert sizes["fp8"] == sizes["fp8_e5m2"] == 23_552
    assert sizes["auto"] == sizes["float16"] == 47_104
    assert sizes["int8_per_token_head"] == 24_288
    assert sizes["int4_per_token_head"] == 12_512


def test_kv_heads_are_copied_where_there_are_more_gpus_than_heads() -> None:
    model = shape(REAP)
    assert kv_bytes(model, Parallel(tensor=4), "fp8") == 2 * 23_552
    assert kv_bytes(model, Parallel(tensor=16), "fp8") == 23_552
    two, four = (weights_gib(shape(QWEN3_30B_A3B), Parallel(tensor=n)) for n in (4, 8))
    assert four > two / 2  # the router, the norms and the copied KV heads do not shrink


def test_the_window_of_the_card_is_a_range_around_what_is_expected() -> None:
    found = card()
    window = found.chosen.window
    assert window is not None
    assert 110_000 < window.low < 140_000
    assert 180_000 < window.high <= 202_752
    assert window.low % 16 == window.high % 16 == 0


def test_the_plan_says_where_the_whole_window_fits() -> None:
    found = card()
    text = " ".join(verdict_lines(found))
    assert "202,752 tokens take 4.45 GiB of KV a GPU" in text
    assert "everything beside the weights takes at most 0.5" in text
    assert found.share_needed is not None and found.share_most is not None
    assert found.share_needed.low <= 0.93 and found.share_needed.high > found.share_most.high
    sure = [line.dtype.name for line in found.kv if line.window and line.window.low == 202_752]
    assert "int4_per_token_head" in sure and "fp8_e5m2" not in sure and "auto" not in sure
    assert "They fit with the KV dtypes int4_per_token_head" in text


def test_more_memory_makes_it_fit_and_less_makes_it_fail() -> None:
    model = shape(REAP)
    assert verdict(fit(model, CARD, 8, 32.0)) == "fits"
    assert verdict(card(32)) == "smaller window"
    assert verdict(fit(model, CARD, 8, 20.0)) == "may not start"
    assert verdict(fit(model, CARD, 8, 16.0)) == "does not fit"
    assert verdict(fit(model, CARD, 0, 0.0)) == "no GPU named"
    assert verdict(fit(model, CARD, 4, 24.0)) == "impossible"


def test_without_expert_parallel_the_group_size_decides() -> None:
    cut = Parallel(tensor=8)
    assert expert_cut(shape(with_group(64)), cut)[0] == "cut"
    assert expert_cut(shape(with_group(32)), cut)[0] == "cut"
    kind, why = expert_cut(shape(with_group(128)), cut)
    assert kind == "slow" and "1536 / 8 = 192 is no multiple of the group size 128" in why
    assert expert_cut(shape(with_group(128)), EIGHT)[0] == "dealt"
    wide = shape(with_group(128), num_attention_heads=128, num_key_value_heads=8)
    assert expert_cut(wide, Parallel(tensor=32))[0] == "impossible"
    blocks = shape(
        REAP, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}
    )
    assert expert_cut(blocks, cut)[0] == "impossible"
    assert expert_cut(blocks, Parallel(tensor=4))[0] == "cut"


def test_the_slow_kernel_s_smaller_groups_cost_memory() -> None:
    model = shape(REAP)
    assert weights_gib(model, Parallel(tensor=8)) > weights_gib(model, EIGHT) + 0.3
    fine = shape(with_group(64))
    assert weights_gib(fine, Parallel(tensor=8)) == pytest.approx(
        weights_gib(fine, EIGHT), abs=0.01
    )


def test_a_shared_expert_that_cannot_be_cut_must_be_unquantised() -> None:
    assert [m.name for m in row_faults(shape(REAP), EIGHT)] == ["mlp.shared_experts.down_proj"]
    found = card()
    assert found.weights_gib.high == pytest.approx(17.1, abs=0.05)
    assert "holds mlp.shared_experts.down unquantised" in " ".join(verdict_lines(found))
    assert row_faults(shape(with_group(64)), EIGHT) == ()
    skipping = {**REAP["quantization_config"], "dynamic": {r"-:.*shared_experts": {}}}
    plain = shape(REAP, quantization_config=skipping)
    assert row_faults(plain, EIGHT) == ()
    assert weights_gib(plain, EIGHT) == pytest.approx(17.0, abs=0.05)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (5, "96 attention heads cannot be divided among 5 GPUs"),
        (12, "8 KV heads can neither be divided among nor copied to 12 GPUs"),
        (3, "8 KV heads can neither"),
    ],
)
def test_a_number_of_gpus_that_cannot_be_is_told(tensor: int, said: str) -> None:
    assert said in impossible(shape(REAP), Parallel(tensor=tensor))
    found = fit(shape(REAP), replace(CARD, parallel=Parallel(tensor=tensor)), tensor, 80.0)
    assert verdict(found) == "impossible" and said in verdict_lines(found)[0]
    assert fit_json(found)["problem"].startswith(said[:10])


def test_pipeline_stages_share_the_layers() -> None:
    model = shape(REAP)
    one = weights_gib(model, Parallel(tensor=4, experts_dealt=True))
    two = weights_gib(model, Parallel(tensor=4, pipeline=2, experts_dealt=True))
    assert one / 2 < two + 0.2 < one / 2 + 0.4
    assert kv_bytes(model, Parallel(tensor=4, pipeline=2), "fp8") == 46 * 512


def test_data_parallel_ranks_deal_out_the_experts_among_all() -> None:
    one = weights_gib(shape(REAP), EIGHT)
    two = weights_gib(shape(REAP), Parallel(tensor=8, data=2, experts_dealt=True))
    assert one - 8.1 < two < one - 6


def test_data_parallel_ranks_cut_the_experts_among_all_as_well() -> None:
    both = Parallel(tensor=4, data=2)
    kind, why = expert_cut(shape(with_group(128)), both)
    assert kind == "slow" and "1536 / 8 = 192" in why
    assert expert_cut(shape(with_group(64)), both)[0] == "cut"
    fine = shape(with_group(64))
    once, twice = weights_gib(fine, both), weights_gib(fine, Parallel(tensor=4))
    assert once < 0.6 * twice


def test_graphs_and_the_workspace_stand_in_the_overheads() -> None:
    names = [item.name for item in card().overheads]
    assert names == ["activations", "libraries", "CUDA graphs", "FlashInfer workspace"]
    assert "CUDA graphs" not in [item.name for item in card(eager=True).overheads]
    assert card(batched=8192).overhead_gib.high > card().overhead_gib.high + 1


def test_a_dense_model_on_one_card_has_no_experts_to_speak_of() -> None:
    found = fit(shape(LLAMA_8B), Settings(kv="auto"), 1, 24.0)
    assert found.weights_gib.low == pytest.approx(14.96, abs=0.01)
    assert found.chosen.bytes_per_token == 131_072
    value = fit_json(found)
    assert "with_expert_parallel" not in value and value["group_sizes"] == []
    assert not any("expert" in line for line in fit_lines(found))


def test_the_json_names_its_units_and_holds_what_the_text_says() -> None:
    value = fit_json(card())
    assert value["kv_bytes_per_token_per_gpu"] == 23_552
    assert value["weights_gib_per_gpu"] == pytest.approx(16.6, abs=0.05)
    low, high = value["max_window_tokens"]
    assert low == value["max_window_tokens_low"] < high == value["max_window_tokens_high"]
    assert value["with_expert_parallel"]["possible"] and not value["with_expert_parallel"]["slow"]
    assert value["without_expert_parallel"]["slow"]
    assert [item["group_size"] for item in value["group_sizes"]] == [32, 64, 128]
    assert {item["kv_dtype"] for item in value["kv_dtypes"]} == {d.name for d in KV_DTYPES}
    total = sum(item["gib_per_gpu"] for item in value["weights_by_tensor"])
    assert total == pytest.approx(value["weights_gib_per_gpu"], abs=0.01)


def test_a_dtype_that_cannot_hold_such_heads_holds_no_token() -> None:
    odd = fit(shape(LLAMA_8B, head_dim=80), Settings(), 1, 80.0)
    line = next(item for item in odd.kv if item.dtype.name == "ultraquant_4bit")
    assert line.bytes_per_token == 0 and line.tokens == line.window == Span(0, 0)
