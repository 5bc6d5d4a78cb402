from __future__ import annotations

import json
from pathlib import Path

import pytest

from glmcode.engine.attach import EngineUnavailable, engine_status
from glmcode.engine.prepare import _offline, check_model
from glmcode.engine.profile import Profile
from tests.engine.engine_kit import Home
from tests.engine.old_vllm import allow_import, bare, install


def model(folder: Path, *files: str) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "does not exist"),
        ((), "has no config.json"),
        (("config.json", "tokenizer.json"), "holds no weights"),
    ],
)
def test_a_model_folder_that_cannot_be_served_is_named_before_anything_starts(
    home: Home, files: tuple[str, ...] | None, said: str
) -> None:
    folder = home.folder / "model"
    if files is not None:
        model(folder, *files)
    home.write("fake", f'model = "{folder}"\n')
    with pytest.raises(EngineUnavailable, match=said) as caught:
        home.attach()
    assert str(folder) in str(caught.value)
    assert not home.paths().log.exists()
    # Once the folder is right, nobody has to ask for a new start.
    assert engine_status("fake").kind == "setup"


def test_a_missing_weight_file_is_named_by_the_index(home: Home) -> None:
    folder = model(home.folder / "model", "config.json", "model-1-of-2.safetensors")
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    home.write("fake", f'model = "{folder}"\n')
    with pytest.raises(EngineUnavailable, match=r"lacks 1 .*model-2-of-2\.safetensors"):
        home.attach()
    (folder / "model.safetensors.index.json").write_text("{ half")
    with pytest.raises(EngineUnavailable, match="index of the weights"):
        home.attach()


def test_a_model_of_the_hub_that_is_not_here_is_never_fetched_by_a_start(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(home.folder / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    home.write("fake", 'model = "some-owner/some-model"\n')
    with pytest.raises(EngineUnavailable, match="glmcode engine pull --profile fake"):
        home.attach()
    place = home.folder / "hf" / "hub" / "models--some-owner--some-model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    (place / "snapshots").mkdir()
    model(place / "snapshots" / "abc", "config.json")
    with pytest.raises(EngineUnavailable, match="holds no weights"):
        home.attach()


def test_what_is_here_is_served_without_asking_the_hub(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_USE_MODELSCOPE", raising=False)
    assert _offline(Profile(name="a", model="owner/name")) == {"HF_HUB_OFFLINE": "1"}
    assert _offline(Profile(name="a", model="/folder")) == {}
    assert _offline(Profile(name="a", model="s3://bucket/name")) == {}
    elsewhere = Profile(name="a", model="owner/name", env={"VLLM_USE_MODELSCOPE": "True"})
    assert _offline(elsewhere) == {}
    check_model(elsewhere)  # that one finds its models itself


def test_an_interpreter_without_vllm_is_named(home: Home) -> None:
    folder = model(home.folder / "model", "config.json", "model.safetensors")
    python = bare(home.folder)
    home.write("fake", f'model = "{folder}"\npython = "{python}"\n')
    with pytest.raises(EngineUnavailable, match="no vLLM found in") as caught:
        home.attach()
    assert python in str(caught.value)


def test_a_vllm_that_is_too_old_is_named(home: Home) -> None:
    folder = model(home.folder / "model", "config.json", "model.safetensors")
    python = install(home.folder)
    home.write("fake", f'model = "{folder}"\npython = "{python}"\nmin_vllm = "0.12"\n')
    with pytest.raises(EngineUnavailable, match=r"needs vLLM 0\.12 or later, not 0\.11\.2"):
        home.attach()


def test_an_older_vllm_starts_without_what_it_lacks_and_says_so(home: Home) -> None:
    folder = model(home.folder / "model", "config.json", "model.safetensors")
    python = install(home.folder)
    allow_import(home.folder)
    home.write("fake", f'extends = "base"\nmodel = "{folder}"\npython = "{python}"\n')
    home.attach()
    status = engine_status("fake")
    assert (status.vllm, status.python) == ("0.11.2", python)
    assert "--enable-scale-out: vLLM 0.11.2 does not have it" in status.dropped
    line = next(
        line for line in home.paths().log.read_text().splitlines() if line.startswith("started")
    )
    assert f"--model {folder}" in line and "--enable-scale-out" not in line


def test_a_flag_that_vllm_refuses_after_all_is_dropped_and_the_start_goes_on(home: Home) -> None:
    folder = model(home.folder / "model", "config.json", "model.safetensors")
    python = install(home.folder)
    allow_import(home.folder)
    home.write(
        "fake",
        f'model = "{folder}"\npython = "{python}"\n[flags]\nodd-flag = 3\nenforce-eager = true',
    )
    home.attach()
    assert "--odd-flag: vLLM refused it" in engine_status("fake").dropped
    log = home.paths().log.read_text()
    assert "--enforce-eager" in log and "--odd-flag" not in log


def test_what_belongs_to_our_own_python_is_not_handed_to_the_engine_s(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_PARENT", "somebody")
    monkeypatch.setenv("PYTHONSTARTUP", "/nothing")
    home.profile()
    home.attach()
    env = Path(f"/proc/{home.child()}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in env}
    assert not {b"GLMCODE_PARENT", b"PYTHONSTARTUP"} & names
    assert {b"PYTHONSAFEPATH", b"GLMCODE_ENGINE"} <= names
    assert Path(f"/proc/{home.child()}/cwd").readlink() == Path("/")
