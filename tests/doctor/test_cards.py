from __future__ import annotations

from dataclasses import replace

import pytest

from glmcode.base.settings import EngineSettings
from glmcode.doctor.cards import card_lines, fit_line
from glmcode.doctor.line import Asked, Line
from glmcode.doctor.numeric import numeric_line
from glmcode.doctor.software import Software, software_lines
from glmcode.engine.gpus import Gpu, GpuError, Gpus, find_gpus, parse_gpus
from glmcode.engine.probe import probe_vllm
from glmcode.engine.profile import Profile, load_profile


def cards(count: int, gib: float, capability: int, free: float = 1.0) -> Gpus:
    found = tuple(
        Gpu(
            index=i,
            name="Some Card",
            total_mib=gib * 1024,
            free_mib=gib * 1024 * free,
            capability=capability,
        )
        for i in range(count)
    )
    return Gpus(found=found, source="NVML", driver="570.1", peers=(0, 28))


def asked(profile: Profile) -> Asked:
    return Asked(settings=EngineSettings(), profile=profile)


def states(lines: list[Line]) -> dict[str, str]:
    return {line.name: line.state for line in lines}


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Profile:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return load_profile("reap-268b-8x3090")


def test_the_cards_of_the_profile_are_enough(big: Profile) -> None:
    here = cards(8, 24, 86)
    assert states(card_lines(asked(big), here)) == {
        "gpus": "ok",
        "gpu memory": "ok",
        "capability": "ok",
        "peer to peer": "warning",
    }
    assert states(fit_line(asked(big), here)) == {"fit": "ok"}


def test_fewer_smaller_older_and_busier_cards_are_told(big: Profile) -> None:
    few = states(card_lines(asked(big), cards(4, 24, 86)))
    assert few["gpu number"] == "fault"
    assert states(fit_line(asked(big), cards(8, 16, 86))) == {"fit": "fault"}
    old = {line.name: line for line in card_lines(asked(big), cards(8, 24, 75))}["capability"]
    assert old.state == "fault" and "fp8_e5m2 needs 8.0" in old.text
    busy = states(card_lines(asked(big), cards(8, 24, 86, free=0.5)))
    assert busy["gpu memory"] == "warning"


@pytest.mark.parametrize(
    ("kv", "dtype", "capability", "state"),
    [
        ("fp8_e4m3", "float16", 86, "fault"),
        ("fp8", "float16", 90, "ok"),
        ("auto", "bfloat16", 75, "fault"),
        ("nvfp4", "float16", 90, "fault"),
        ("int8_per_token_head", "float16", 86, "ok"),
    ],
)
def test_capability_is_held_against_dtype_and_kv_dtype(
    big: Profile, kv: str, dtype: str, capability: int, state: str
) -> None:
    profile = replace(big, kv_dtype=kv, dtype=dtype, flags={})
    lines = card_lines(asked(profile), cards(8, 24, capability))
    assert states(lines)["capability"] == state


def test_a_driver_that_does_not_answer_is_a_fault_only_where_gpus_are_wanted(big: Profile) -> None:
    silent = Gpus(fault="nvidia-smi: no answer within 8 s")
    assert states(card_lines(asked(big), silent)) == {"gpus": "fault"}
    assert states(card_lines(Asked(settings=EngineSettings()), silent)) == {"gpus": "warning"}


def test_flashinfer_is_wanted_by_its_profile_alone(big: Profile) -> None:
    probe = probe_vllm()
    assert probe is not None
    here = Software(probe=replace(probe, distribution="vllm"), torch="2.13.0", cuda="12.8")
    assert states(software_lines(asked(big), here))["flashinfer"] == "fault"
    found = replace(here, flashinfer="0.6.1")
    assert states(software_lines(asked(big), found))["flashinfer"] == "ok"
    other = replace(big, kv_dtype="int8_per_token_head", flags={})
    assert "flashinfer" not in states(software_lines(asked(other), here))
    newer = replace(big, min_vllm="99.1")
    assert states(software_lines(asked(newer), found))["vllm"] == "fault"
    lacking = replace(big, flags={**big.flags, "brand-new": True})
    flags = {line.name: line for line in software_lines(asked(lacking), found)}["flags"]
    assert flags.state == "warning" and "--brand-new" in flags.details[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8x24GiB", (8, 24)), ("24GB", (1, 24)), ("4 x 24576MiB", (4, 24)), ("1×79.6GiB", (1, 79.6))],
)
def test_gpus_are_read_as_people_write_them(text: str, expected: tuple[int, float]) -> None:
    assert parse_gpus(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8", "8x", "x24GiB", "-1x24GiB", "8x24TB", "9e9x1GiB", "٨x24GiB"]
)
def test_what_is_no_set_of_gpus_is_refused(text: str) -> None:
    with pytest.raises(GpuError):
        parse_gpus(text)


def test_arithmetic_without_a_gpu_is_a_fault_and_not_a_hang() -> None:
    import sys

    if find_gpus().found:
        assert numeric_line(sys.executable, "fp8_e5m2").state == "ok"
        return
    line = numeric_line(sys.executable, "fp8_e5m2")
    assert line.state == "fault" and "does not work here" in line.text
    assert numeric_line(sys.executable, "ultraquant_4bit").state == "warning"
