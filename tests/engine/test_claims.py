from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from glmcode.base.locks import folder_lock
from glmcode.engine.attach import EngineUnavailable, engine_status
from glmcode.engine.claims import Claim, ClaimError, Place, refusal, taken, wanted
from glmcode.engine.fit import DEFAULT_SHARE
from glmcode.engine.gpus import Gpu, Gpus, find_gpus
from glmcode.engine.halt import halt
from glmcode.engine.paths import make_folders, run_root
from glmcode.engine.prepare import prepare
from glmcode.engine.profile import Profile, load_profile
from glmcode.engine.state import gpu_numbers
from tests.engine.engine_kit import Home, until
from tests.engine.old_vllm import install

FOUR = Gpus(
    found=tuple(
        Gpu(index=i, name="Card", total_mib=24576, free_mib=24000, capability=86, uuid=f"GPU-a{i}b")
        for i in range(4)
    )
)
MIXED = Gpus(
    found=tuple(
        Gpu(index=i, name=f"Card {i}", total_mib=24576, free_mib=24000, capability=86)
        for i in range(4)
    )
)


def gpus_of(profile: Profile, here: Gpus = FOUR, **env: str) -> tuple[int, ...] | None:
    claim = wanted(profile, env, here)
    return None if claim is None else claim.gpus


def of(tp: int = 1, **flags: object) -> Profile:
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    return Profile(name="p", model="m/m", tensor_parallel=tp, flags=named)


@pytest.fixture
def machine(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Home]:
    """Says how many GPUs this machine has, to all processes."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    folder = home.folder / "bin"
    folder.mkdir()
    (folder / "pynvml.py").write_text("raise ImportError\n")
    program = folder / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{before}" if before else str(folder))

    def has(count: int) -> Home:
        lines = [f"echo '{i}, Some Card, 24576, 24000, 8.6, 570.1'" for i in range(count)]
        program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        program.chmod(0o755)
        assert len(find_gpus().found) == count
        return home

    return has


def refused(home: Home, name: str) -> str:
    with pytest.raises(EngineUnavailable) as caught:
        home.attach(name)
    assert engine_status(name).state == "failed"
    assert engine_status(name).engine_pid == 0, "nothing was loaded"
    return str(caught.value)


def engine(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "engine", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def beginning(name: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "glmcode", "engine", "start", "--profile", name]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_the_gpus_of_a_profile_are_the_first_that_it_sees() -> None:
    assert gpus_of(of(2)) == (0, 1)
    assert gpus_of(of(1, pipeline_parallel_size=2)) == (0, 1)
    assert gpus_of(of(1, data_parallel_size=3)) == (0, 1, 2)
    assert gpus_of(of(2, data_parallel_size=8, data_parallel_size_local=1)) == (0, 1)
    assert gpus_of(of(8, nnodes=4)) == (0, 1)
    assert gpus_of(of(8)) == (0, 1, 2, 3)
    assert gpus_of(of(2), CUDA_VISIBLE_DEVICES="3,1,0") == (1, 3)
    assert gpus_of(of(2), CUDA_VISIBLE_DEVICES="2,9,1") == (2,)
    assert gpus_of(of(2), CUDA_VISIBLE_DEVICES="GPU-a3, GPU-a0b") == (0, 3)


def test_what_cannot_be_known_is_not_claimed() -> None:
    for text in ("", "-1", "GPU-none", "GPU-a", "MIG-1"):
        assert gpus_of(of(1), CUDA_VISIBLE_DEVICES=text) is None, text
    assert gpus_of(of(1), Gpus()) is None
    assert gpus_of(of(2, distributed_executor_backend="ray")) is None
    assert gpus_of(of(4, distributed_executor_backend="ray")) == (0, 1, 2, 3)
    assert gpus_of(of(2), MIXED) is None
    assert gpus_of(of(2), MIXED, CUDA_DEVICE_ORDER="PCI_BUS_ID") == (0, 1)
    assert gpus_of(of(4), MIXED) == (0, 1, 2, 3)


def test_the_share_is_that_of_the_profile_or_of_vllm() -> None:
    told = wanted(Profile(name="p", model="m/m", gpu_memory=0.4), {}, FOUR)
    own = wanted(of(1, kv_cache_memory_bytes=1 << 30), {}, FOUR)
    assert told is not None and told.share == 0.4
    assert own is not None and own.share == DEFAULT_SHARE


def test_shares_of_one_gpu_add_up_to_all_of_it_at_most() -> None:
    def claim(name: str, share: float, *gpus: int) -> Claim:
        return Claim(profile=name, gpus=gpus, share=share)

    mine = claim("me", 0.3, 1, 2)
    assert refusal(mine, []) == ""
    assert refusal(mine, [claim("a", 0.7, 0, 1), claim("b", 0.7, 2)]) == ""
    assert refusal(mine, [claim("a", 0.4, 1), claim("b", 0.3, 1), claim("c", 0.9, 0)]) == ""
    text = refusal(mine, [claim("a", 0.4, 1), claim("b", 0.4, 1), claim("c", 0.7, 2)])
    assert "a holds 0.4 of GPU 1 and profile b holds 0.4 of GPU 1" in text
    assert "profile c" not in text and "\n" not in text
    three = [claim("x", 0.1, 0)] * 9
    assert refusal(claim("y", 0.1, 0), three) == "", "ten tenths are one"


def test_gpus_are_named_as_people_do() -> None:
    named = [gpu_numbers(gpus) for gpus in ([3], [0, 1], [0, 1, 2], [0, 2, 5])]
    assert named == ["3", "0 and 1", "0 to 2", "0, 2 and 5"]


def test_a_second_engine_is_refused_at_once_and_told_who_has_the_gpus(
    machine: Callable[[int], Home],
) -> None:
    home = machine(4)
    home.profile("first", tensor_parallel=2, gpu_memory=0.7)
    home.profile("second", gpu_memory=0.6)
    home.attach("first")
    began = time.monotonic()
    why = refused(home, "second")
    assert time.monotonic() - began < 10
    assert "profile second wants 0.6 of GPU 0, but profile first holds 0.7 of GPU 0 and 1" in why
    assert "`glmcode engine stop --profile first`" in why and "lower gpu_memory in both" in why
    asyncio.run(halt(home.paths("first")))
    home.attach("second")
    assert taken() == [Claim(profile="second", gpus=(0,), share=0.6)]
    asyncio.run(halt(home.paths("second")))
    assert taken() == [] and not home.paths("second").gpus.exists()


def test_two_that_fit_share_a_gpu_and_others_do_not_matter(
    machine: Callable[[int], Home],
) -> None:
    home = machine(2)
    home.profile("first", gpu_memory=0.5)
    home.profile("second", gpu_memory=0.5)
    home.profile("own")
    home.profile("else", gpu_memory=0.9)
    text = (home.folder / "config/profiles/else.toml").read_text()
    home.write("else", text + '\nCUDA_VISIBLE_DEVICES = "1"\n')
    for name in ("first", "second", "else", "own"):
        home.attach(name)
    assert {claim.profile: claim.gpus for claim in taken()} == {
        "first": (0,),
        "second": (0,),
        "else": (1,),
    }, "somebody's own program that names no share holds none"


def test_status_and_plan_say_who_holds_what(machine: Callable[[int], Home]) -> None:
    home = machine(2)
    home.profile("first", tensor_parallel=2, gpu_memory=0.7)
    home.attach("first")
    assert "  holds 0.7 of the memory of GPU 0 and 1\n" in engine("status").stdout
    value = json.loads(engine("status", "--profile", "first", "--json").stdout)
    assert (value["gpus"], value["gpu_share"]) == ([0, 1], 0.7)
    plan = engine("plan", "--profile", "tiny").stdout
    assert "profile first holds 0.7 of GPU 0 and 1 of this machine now" in plan
    value = json.loads(engine("plan", "--profile", "tiny", "--json").stdout)
    assert value["gpus_taken"] == [{"profile": "first", "gpus": [0, 1], "share": 0.7}]
    other = json.loads(engine("plan", "--profile", "tiny", "--gpus", "1x24GiB", "--json").stdout)
    assert other["gpus_taken"] == [], "that is another machine"
    engine("stop", "--profile", "first")
    assert "profile first" not in engine("plan", "--profile", "tiny").stdout


def test_a_machine_without_gpus_refuses_nobody(home: Home) -> None:
    if find_gpus().found:
        pytest.skip("this machine has GPUs")
    for name in ("first", "second"):
        home.profile(name, gpu_memory=0.9)
        home.attach(name)
    assert taken() == []


def test_a_crowd_that_starts_at_once_never_has_more_than_all(
    machine: Callable[[int], Home],
) -> None:
    home = machine(1)
    names = [home.profile(f"p{number}", gpu_memory=0.4) for number in range(5)]
    starts = [beginning(name) for name in names]
    codes = [start.wait(60) for start in starts]
    up = [name for name in names if engine_status(name).up]
    assert len(up) == 2 and codes.count(0) == 2, codes
    assert sorted(claim.profile for claim in taken()) == up


@pytest.mark.parametrize("victims", ["engine", "supervisor", "both"])
def test_what_a_killed_engine_held_is_free(machine: Callable[[int], Home], victims: str) -> None:
    home = machine(1)
    home.profile("first", "--workers", "2", gpu_memory=0.7)
    home.profile("second", gpu_memory=0.7)
    home.attach("first")
    pids = {"engine": [home.child("first")], "supervisor": [home.supervisor("first")]}
    pids["both"] = pids["supervisor"] + pids["engine"]
    for pid in pids[victims]:
        os.kill(pid, signal.SIGKILL)
    if victims == "engine":
        until(lambda: engine_status("first").state == "failed")
        assert engine_status("first").gpus == ()
    home.attach("second")
    assert [claim.profile for claim in taken()] == ["second"]
    assert "second holds 0.7" in refused(home, "first")


def test_an_engine_that_outlives_its_supervisor_holds_its_gpus_until_it_is_gone(
    machine: Callable[[int], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    home.profile("first", direct=True, gpu_memory=0.7)
    home.profile("second", gpu_memory=0.7)
    home.attach("first")
    pid = home.child("first")
    os.kill(home.supervisor("first"), signal.SIGKILL)
    time.sleep(0.3)
    assert [claim.profile for claim in taken()] == ["first"], "its memory is not free"
    start = subprocess.Popen(
        [sys.executable, "-m", "glmcode", "engine", "start", "--profile", "second"]
    )
    until(lambda: engine_status("second").state == "starting")
    time.sleep(1.0)
    assert engine_status("second").state == "starting" and engine_status("second").engine_pid == 0
    os.kill(pid, signal.SIGKILL)
    assert start.wait(30) == 0
    assert [claim.profile for claim in taken()] == ["second"]


def test_who_stops_waiting_for_a_dying_engine_takes_nothing(
    machine: Callable[[int], Home],
) -> None:
    home = machine(1)
    home.profile("first", direct=True, gpu_memory=0.7)
    home.profile("second", gpu_memory=0.7)
    home.attach("first")
    pid = home.child("first")
    os.kill(home.supervisor("first"), signal.SIGKILL)
    start = subprocess.Popen(
        [sys.executable, "-m", "glmcode", "engine", "start", "--profile", "second"]
    )
    until(lambda: engine_status("second").state == "starting")
    asyncio.run(halt(home.paths("second")))
    assert start.wait(30) != 0
    os.kill(pid, signal.SIGKILL)
    until(lambda: taken() == [])


def test_a_stray_process_that_inherited_a_claim_keeps_nobody_out_for_long(home: Home) -> None:
    claims = [Claim(profile=name, gpus=(0,), share=0.7) for name in ("first", "second")]
    for claim in claims:
        make_folders(home.paths(claim.profile))
    killed = Place(home.paths("first"))
    asyncio.run(killed.take(claims[0]))
    stray = os.dup(killed.descriptors[0])
    os.close(killed.descriptors[0])
    assert taken() == claims[:1]
    later, other = Place(home.paths("first")), Place(home.paths("second"))
    asyncio.run(later.take(claims[0]))
    assert taken() == claims[:1]
    later.drop()
    assert taken() == [], "the stray holds a file that nobody looks at"
    asyncio.run(other.take(claims[1]))
    assert taken() == claims[1:]
    other.drop()
    os.close(stray)


def test_nobody_takes_while_another_looks(home: Home) -> None:
    make_folders(home.paths("first"))
    place = Place(home.paths("first"))
    with folder_lock(run_root()), pytest.raises(ClaimError, match=r"for 1 s: try again$"):
        asyncio.run(place.take(Claim(profile="first", gpus=(0,), share=0.7)))
    assert taken() == [] and place.descriptors == ()


def test_a_place_given_up_late_leaves_the_claim_of_a_later_start(home: Home) -> None:
    claim = Claim(profile="first", gpus=(0,), share=0.7)
    make_folders(home.paths("first"))
    former, later = Place(home.paths("first")), Place(home.paths("first"))
    asyncio.run(former.take(claim))
    asyncio.run(later.take(claim))
    former.drop()
    assert taken() == [claim]
    later.drop()
    assert taken() == []


def test_a_sleeping_engine_lends_its_gpus_and_wakes_only_when_they_are_free(
    machine: Callable[[int], Home],
) -> None:
    home = machine(2)
    home.profile("first", "--rests", "1", tensor_parallel=2, gpu_memory=0.7)
    home.profile("second", gpu_memory=0.5)
    home.attach("first")
    assert engine("sleep", "--profile", "first").returncode == 0
    assert taken() == [] and engine_status("first").gpus == ()
    home.attach("second")
    woken = engine("wake", "--profile", "first")
    assert woken.returncode == 75
    assert "profile second holds 0.5 of GPU 0" in woken.stderr
    assert engine_status("first").state == "sleeping"
    assert "POST /wake_up" not in home.noted("first"), "it was not asked"
    asyncio.run(halt(home.paths("second")))
    assert engine("wake", "--profile", "first").returncode == 0
    assert engine_status("first").gpus == (0, 1)
    assert "first holds 0.7 of GPU 0 and 1" in refused(home, "second")


def test_an_engine_that_could_not_sleep_holds_its_gpus(machine: Callable[[int], Home]) -> None:
    home = machine(1)
    home.profile("first", gpu_memory=0.7)
    home.attach("first")
    assert engine("sleep", "--profile", "first").returncode == 75
    assert [claim.profile for claim in taken()] == ["first"]


def test_a_restarted_engine_has_its_own_place_again(machine: Callable[[int], Home]) -> None:
    home = machine(1)
    home.profile("first", gpu_memory=0.7)
    home.attach("first")
    before = home.child("first")
    assert engine("restart", "--profile", "first", "--yes").returncode == 0
    assert home.child("first") != before
    assert taken() == [Claim(profile="first", gpus=(0,), share=0.7)]


def test_a_damaged_claim_refuses_nobody(machine: Callable[[int], Home]) -> None:
    home = machine(1)
    home.profile("first", gpu_memory=0.7)
    home.profile("second", gpu_memory=0.7)
    home.attach("first")
    for text in ("", "[]", '{"gpus": 3}', '{"gpus": ["x"], "share": null}', "\x00\xff"):
        home.paths("first").gpus.write_text(text, encoding="utf-8")
        assert taken() == [], text
    home.attach("second")


def test_an_engine_on_the_cpu_build_holds_none(machine: Callable[[int], Home]) -> None:
    home = machine(2)
    folder = home.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    claims = []
    for version in ("0.32.0", "0.32.0+cpu"):
        place = home.folder / version
        python = install(place, version)
        home.write("p", f"model = {json.dumps(str(folder))}\ntensor_parallel = 2\n")
        claims.append(prepare(home.paths("p"), "p", python, frozenset()).claim)
    assert claims == [Claim(profile="p", gpus=(0, 1), share=DEFAULT_SHARE), None]


def test_the_profiles_that_are_shipped_claim_what_they_are_made_for() -> None:
    eight = Gpus(
        found=tuple(
            Gpu(index=i, name="Card", total_mib=24576, free_mib=24000, capability=86)
            for i in range(8)
        )
    )
    profile = load_profile("reap-268b-8x3090")
    claim = wanted(profile, profile.env, eight)
    assert claim is not None and claim.gpus == tuple(range(8))
    assert 0.85 <= claim.share <= 1.0
