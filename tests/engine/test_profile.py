from __future__ import annotations

import os
from pathlib import Path

import pytest

from glmcode.engine.profile import (
    ProfileError,
    cached_snapshot,
    find_tokenizer,
    list_profiles,
    load_profile,
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path))
    folder = tmp_path / "config" / "profiles"
    folder.mkdir(parents=True)
    return folder


def test_the_shipped_profiles_are_the_big_one_and_the_tiny_one(own: Path) -> None:
    assert list_profiles() == ["reap-268b-8x3090", "tiny"]


def test_the_big_profile_keeps_what_the_model_card_says(own: Path) -> None:
    profile = load_profile("reap-268b-8x3090")
    assert profile.model == "avtc/GLM-4.6-REAP-268B-A32B-GPTQMODEL-W4A16"
    assert (profile.tensor_parallel, profile.dtype, profile.max_seqs) == (8, "float16", 1)
    assert (profile.kv_dtype, profile.gpu_memory) == ("fp8_e5m2", 0.92)
    assert (profile.window, profile.window_cap) == ("auto", 202752)
    assert profile.flags["seed"] == 1234
    assert profile.flags["compilation-config"]["cudagraph_capture_sizes"] == [1]
    assert profile.env["VLLM_MARLIN_USE_ATOMIC_ADD"] == "1"
    assert dict(profile.sampling) == {
        "temperature": 1.0,
        "top_p": 0.95,
        "top_k": 40,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }


def test_the_tiny_profile_is_greedy_and_small(own: Path) -> None:
    profile = load_profile("tiny")
    assert profile.model.endswith("models/tiny")
    assert Path(profile.model).is_absolute()
    assert profile.sampling["temperature"] == 0.0
    assert (profile.window, profile.map, profile.max_seqs) == (16384, False, 1)


@pytest.mark.parametrize("name", ["reap-268b-8x3090", "tiny"])
def test_every_deviation_has_its_reason(own: Path, name: str) -> None:
    for deviation in load_profile(name).deviations:
        assert deviation.why.strip()
        assert deviation.card or deviation.ours


def test_a_person_s_file_of_the_same_name_lies_over_the_shipped_one(own: Path) -> None:
    (own / "tiny.toml").write_text('window = 8192\n[env]\nOMP_NUM_THREADS = "2"\n')
    profile = load_profile("tiny")
    assert profile.window == 8192
    assert profile.env["OMP_NUM_THREADS"] == "2"
    assert profile.dtype == "float32"
    assert profile.env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


def test_a_profile_may_extend_another_one(own: Path) -> None:
    (own / "small.toml").write_text('extends = "tiny"\nserved_name = "small"\n')
    profile = load_profile("small")
    assert (profile.name, profile.served_name, profile.dtype) == ("small", "small", "float32")
    assert "small" in list_profiles()


def test_profiles_in_a_circle_are_refused(own: Path) -> None:
    (own / "a.toml").write_text('extends = "b"\n')
    (own / "b.toml").write_text('extends = "a"\n')
    with pytest.raises(ProfileError, match="circle"):
        load_profile("a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("windw = 5\n", r"unknown key 'windw': did you mean 'window'\?"),
        ('window = "big"\n', "window must be a positive whole number or \"auto\", not 'big'"),
        ("window = 0\n", "positive whole number"),
        ("map = 1\n", "map must be true or false, not 1"),
        ("served_name = 3\n", "served_name must be a string, not 3"),
        ("max_seqs = true\n", "max_seqs must be a whole number"),
        ('protocol = "soap"\n', '"tokens" or "chat"'),
        ("[sampling]\ntemprature = 1.0\n", r"sampling.temprature: did you mean 'temperature'\?"),
        ('[sampling]\ntop_p = "high"\n', "sampling.top_p must be a number"),
        ("[env]\nOMP_NUM_THREADS = 2\n", "env.OMP_NUM_THREADS must be a string"),
        ("[flags]\nseed = 2020-01-01\n", "cannot be a date"),
        ('engine_command = "vllm"\n', "a list of strings"),
        ("deviations = [{card = 1}]\n", "card, ours and why"),
        ("flags = 5\n", "flags must be a table"),
        ("window = = 3\n", "cannot be read"),
        ("window = 99999999999999999999\n", "positive whole number"),
        ("tensor_parallel = 0\n", "tensor_parallel must be 1 to "),
        ("tensor_parallel = -3\n", "not -3"),
        ('tensor_parallel = "8"\n', "must be a whole number, not '8'"),
        ("max_seqs = -1\n", "max_seqs must be 1 to"),
        ("window_cap = -1\n", "window_cap must be 0 to"),
        ("results = -5\n", "results must be 1 to"),
        ("step_cap = 0\n", "step_cap must be 1 to"),
        ("gpu_memory = 92\n", "gpu_memory must be a share .* such as 0.92 .* not 92"),
        ("gpu_memory = -0.5\n", "must be a share"),
        ("gpu_memory = inf\n", "must be a share"),
        ("gpu_memory = nan\n", "must be a share"),
        ('gpus = "lots"\n', "'lots' is no set of GPUs"),
        ('served_name = "a\\u0000b"\n', "zero byte"),
        ('python = "~nobody99/bin/python"\n', "home directory"),
        ('base_url = "nonsense"\n', "base_url: the address 'nonsense' is not a server's"),
        ('base_url = "unix:rel"\n', "base_url: .* must hold a whole path"),
        ("extends = 3\n", "extends must be a string"),
        ('extends = "../tiny"\n', "'../tiny' is not a profile name"),
        ('extends = "tinny"\n', "extends 'tinny', and there is no such profile: did you mean"),
        ("[sampling]\ntemperature = nan\n", "temperature must lie between 0 and 2, not nan"),
        ("[sampling]\ntop_p = 7\n", "top_p must lie between 0 and 1"),
        ('[env]\n"A=B" = "c"\n', "'A=B' under env is no name of a variable"),
        ('[env]\n"$(id)" = "c"\n', "no name of a variable"),
        ('[env]\nX = "a\\u0000b"\n', "zero byte"),
        ('[flags]\n"--enforce-eager" = true\n', "written without dashes in front"),
        ('[flags]\n"a b; rm -rf x" = true\n', "no name of a flag"),
        ('[flags]\nx = "a\\u0000b"\n', "zero byte"),
        ("[flags]\nx = inf\n", "inf or nan"),
        ("[flags]\ntensor-parallel-size = 4\n", "a key of its own: write tensor_parallel"),
        ("[flags]\nmax_model_len = 4\n", "a key of its own: write window"),
        ('[flags]\nhost = "0.0.0.0"\n', "--listen HOST:PORT"),
        ("[flags]\na-b = 1\na_b = 2\n", "twice"),
        ("flags = " + "{a = " * 3000 + "1" + "}" * 3000 + "\n", "nested too deeply"),
        ("#" + "x" * (2 << 20) + "\n", "larger than 1 MiB"),
        ("step_cap = " + "9" * 5000 + "\n", "cannot be read"),
    ],
)
def test_a_wrong_key_or_type_is_one_sentence_that_names_the_file(
    own: Path, text: str, said: str
) -> None:
    (own / "mine.toml").write_text('model = "x/y"\n' + text)
    with pytest.raises(ProfileError, match=said) as caught:
        load_profile("mine")
    assert "mine.toml" in str(caught.value) or "../tiny" in text
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert list_profiles() == ["mine", "reap-268b-8x3090", "tiny"]  # it can still be asked


def test_whatever_lies_among_the_profiles_they_can_be_listed(own: Path) -> None:
    (own / "folder.toml").mkdir()
    (own / "dangling.toml").symlink_to(own / "nothing")
    os.mkfifo(own / "fifo.toml")
    (own / "orphan.toml").write_text('extends = "nobody"\nmodel = "x/y"\n')
    (own / "latin.toml").write_bytes(b'model = "\xff"\n')
    (own / "mark.toml").write_bytes(b'\xef\xbb\xbfmodel = "x/y"\n')
    (own / "two words.toml").write_text('model = "x/y"\n')
    names = ["latin", "mark", "orphan", "reap-268b-8x3090", "tiny", "two words"]
    assert list_profiles() == names
    assert load_profile("mark").model == "x/y"  # an editor's mark at the beginning is no fault
    for name in ("folder", "dangling", "fifo"):
        with pytest.raises(ProfileError, match=f"unknown profile '{name}'"):
            load_profile(name)


def test_profiles_extend_each_other_sixteen_deep_and_no_deeper(own: Path) -> None:
    for number in range(30):
        base = f"p{number - 1}" if number else "tiny"
        (own / f"p{number}.toml").write_text(f'extends = "{base}"\n')
    assert load_profile("p14").dtype == "float32"
    with pytest.raises(ProfileError, match="more than 16 profiles extend"):
        load_profile("p29")
    assert len(list_profiles()) == 32


def test_a_flag_may_be_written_with_either_line(own: Path) -> None:
    (own / "mine.toml").write_text('extends = "tiny"\n[flags]\nenforce_eager = false\n')
    assert load_profile("mine").flags["enforce-eager"] is False


def test_an_unknown_profile_is_answered_with_the_nearest_and_the_list(own: Path) -> None:
    with pytest.raises(ProfileError, match=r"did you mean 'tiny'\? \(known: reap.*, tiny\)"):
        load_profile("tinny")


@pytest.mark.parametrize("name", ["../tiny", "", ".hidden", "a/b", "a b"])
def test_a_name_that_is_a_path_is_no_profile(own: Path, name: str) -> None:
    with pytest.raises(ProfileError, match="not a profile name"):
        load_profile(name)


def test_the_base_profile_cannot_be_started(own: Path) -> None:
    with pytest.raises(ProfileError, match="there to be extended"):
        load_profile("base")


def test_paths_in_a_profile_start_at_its_file_or_at_home(own: Path, tmp_path: Path) -> None:
    (own / "near.toml").write_text('model = "./weights"\n')
    (own / "home.toml").write_text('model = "~/weights"\n')
    (own / "hub.toml").write_text('model = "someone/weights"\n')
    assert load_profile("near").local_model == own / "weights"
    assert load_profile("home").local_model == Path.home() / "weights"
    assert load_profile("hub").local_model is None


def test_the_digest_changes_with_any_setting_and_only_then(own: Path) -> None:
    before = load_profile("tiny").digest()
    assert load_profile("tiny").digest() == before
    (own / "tiny.toml").write_text("[flags]\nseed = 7\n")
    assert load_profile("tiny").digest() != before


def test_the_tokenizer_is_found_in_the_folder_or_the_hub_s_cache(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (own / "local.toml").write_text(f'model = "{folder}"\n')
    assert find_tokenizer(load_profile("local")) is None
    (folder / "tokenizer.json").write_text("{}")
    assert find_tokenizer(load_profile("local")) == folder / "tokenizer.json"

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (own / "hub.toml").write_text('model = "someone/weights"\n')
    assert find_tokenizer(load_profile("hub")) is None
    cached = tmp_path / "hub" / "models--someone--weights"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    assert cached_snapshot("someone/weights") == cached / "snapshots" / "abc"
    (cached / "snapshots" / "abc" / "tokenizer.json").write_text("{}")
    assert find_tokenizer(load_profile("hub")) == cached / "snapshots" / "abc" / "tokenizer.json"
