from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.profile import cached_snapshot
from tests.engine.hub import COMMIT, Hub, Unkind
from tests.repl.pty_driver import glmcode

MODEL = "some-owner/Some-Model"


def model_files(size: int = 300_000) -> dict[str, bytes]:
    dice = random.Random(7)
    return {
        "config.json": b'{"architectures": ["Glm4MoeForCausalLM"]}',
        "tokenizer.json": b"{}",
        "chat_template.jinja": b"{{ x }}",
        "model-00001-of-00002.safetensors": dice.randbytes(size),
        "model-00002-of-00002.safetensors": dice.randbytes(size // 2),
        "pytorch_model.bin": b"not wanted",
    }


class Box:
    """A person's machine: a home for glmcode, one for the hub's cache, a profile."""

    def __init__(self, folder: Path, model: str = MODEL) -> None:
        self.home, self.cache = folder / "home", folder / "hf"
        profiles = self.home / "config" / "profiles"
        profiles.mkdir(parents=True)
        (profiles / "mine.toml").write_text(f'extends = "base"\nmodel = "{model}"\n')

    def environment(self, hub: Hub | None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "GLMCODE_"))}
        return {
            **kept,
            "GLMCODE_HOME": str(self.home),
            "HF_HOME": str(self.cache),
            "HF_ENDPOINT": hub.address if hub else "http://127.0.0.1:9",
        }

    def start(self, hub: Hub | None, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "glmcode", "engine", "pull", "--profile", "mine", *words],
            env=self.environment(hub),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pull(self, hub: Hub | None, *words: str) -> tuple[int, str, str]:
        process = self.start(hub, *words)
        out, err = process.communicate(timeout=90)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def file(self, name: str) -> Path:
        folder = self.cache / "hub" / f"models--{MODEL.replace('/', '--')}"
        return folder / "snapshots" / COMMIT / name


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_model_is_fetched_whole_and_the_second_pull_reads_nothing_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = model_files()
    with Hub(MODEL, files) as hub:
        code, out, err = box.pull(hub)
        assert (code, "is here and checked" in out) == (0, True), err
        wanted = {name for name in files if name != "pytorch_model.bin"}
        assert sorted(hub.asked) == sorted(wanted)
        assert all(box.file(name).read_bytes() == files[name] for name in wanted)
        code, out, err = box.pull(hub)
        assert code == 0 and len(hub.asked) == len(wanted), "fetched again"
        assert "0.0 MB of them to fetch" in out
    monkeypatch.setenv("HF_HOME", str(box.cache))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert cached_snapshot(MODEL) == box.file("x").parent
    record = json.loads((box.home / "state" / "models" / "some-owner--Some-Model.json").read_text())
    assert record["commit"] == COMMIT and set(record["checked"]) == wanted
    assert set(record["sha256"]) == {"config.json", "tokenizer.json", "chat_template.jinja"}


def test_a_dry_run_says_what_it_would_fetch_and_fetches_nothing(box: Box) -> None:
    with Hub(MODEL, model_files()) as hub:
        code, out, _ = box.pull(hub, "--dry-run")
        assert code == 0 and "5 files, 0.5 MB, 0.5 MB of them to fetch" in out
        assert hub.asked == [] and not box.file("config.json").exists()


def test_a_connection_that_breaks_goes_on_where_it_was(box: Box) -> None:
    def mood(name: str, nth: int) -> Unkind | None:
        return Unkind(cut=11_000_000) if name.startswith("model-00001") and nth < 3 else None

    files = model_files(25_000_000)  # what is written at once is ten megabytes
    with Hub(MODEL, files, mood) as hub:
        code, _, err = box.pull(hub)
        assert code == 0, err
        assert hub.ranges == ["bytes=10485760-", "bytes=20971520-"]
        assert hub.sent < 1.1 * sum(map(len, files.values()))
    assert all(box.file(n).read_bytes() == d for n, d in files.items() if not n.endswith(".bin"))


def test_a_pull_that_was_killed_goes_on_where_it_was(box: Box) -> None:
    files = model_files(3_000_000)

    def mood(name: str, nth: int) -> Unkind | None:
        if name.startswith("model-00001") and nth == 1:
            time.sleep(0.2)
        return None

    with Hub(MODEL, files, mood) as hub:
        process = box.start(hub)
        while not any(name.startswith("model-") for name in hub.asked):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        code, _, err = box.pull(hub)
        assert code == 0, err
    assert all(box.file(n).read_bytes() == d for n, d in files.items() if not n.endswith(".bin"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_file_of_which_a_part_came_goes_on_there_in_the_next_run(box: Box, number: int) -> None:
    name = "model-00001-of-00002.safetensors"
    files = model_files(2_000) | {name: random.Random(3).randbytes(24_000_000)}

    def stumbles(asked: str, nth: int) -> Unkind | None:
        if asked != name:
            return None
        return Unkind(cut=12_000_000) if nth == 1 else Unkind(status=503)

    with Hub(MODEL, files, stumbles) as hub:
        process = box.start(hub)
        while hub.asked.count(name) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=20)
    (part,) = box.cache.rglob("*.incomplete")
    had = part.stat().st_size
    assert had > 10_000_000
    with Hub(MODEL, files) as hub:
        code, out, err = box.pull(hub)
        assert code == 0, err
        assert f"bytes={had}-" in hub.ranges and hub.sent < 24_000_000
        assert f"{(24_000_000 - had) / 1e6:.1f} MB of them to fetch" in out
    assert box.file(name).read_bytes() == files[name]
    assert not list(box.cache.rglob("*.incomplete"))


def test_a_part_that_is_too_long_or_wrong_is_no_obstacle(box: Box) -> None:
    files = model_files(200_000)
    names = [name for name in files if name.endswith(".safetensors")]
    blobs = box.file("x").parents[2] / "blobs"
    blobs.mkdir(parents=True)
    for name, data in zip(names, (b"w" * 900_000, b"w" * 50_000), strict=True):
        (blobs / f"{hashlib.sha256(files[name]).hexdigest()}.incomplete").write_bytes(data)
    with Hub(MODEL, files) as hub:
        code, _, err = box.pull(hub)
        assert code == 0, err
    assert all(box.file(name).read_bytes() == files[name] for name in names)


def test_several_pulls_at_once_fetch_each_file_once(box: Box) -> None:
    files = model_files()
    with Hub(MODEL, files, lambda name, nth: time.sleep(0.3)) as hub:
        running = [box.start(hub) for _ in range(3)]
        told = [process.communicate(timeout=90) for process in running]
        assert [process.returncode for process in running] == [0, 0, 0], told
        weights = [name for name in hub.asked if name.endswith(".safetensors")]
        assert sorted(weights) == sorted(set(weights))
    assert all(box.file(n).read_bytes() == d for n, d in files.items() if not n.endswith(".bin"))


def test_an_interrupted_pull_says_that_what_was_fetched_stays(box: Box) -> None:
    def mood(name: str, nth: int) -> Unkind | None:
        if name.startswith("model-00001"):
            time.sleep(30)
        return None

    with Hub(MODEL, model_files(), mood) as hub:
        process = box.start(hub)
        while "model-00001-of-00002.safetensors" not in hub.asked:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130 and "what was fetched stays" in err
        assert "Traceback" not in err


def test_wrong_bytes_are_fetched_once_more_and_never_kept(box: Box) -> None:
    files = model_files()

    def once(name: str, nth: int) -> Unkind | None:
        return Unkind(wrong=True) if name.startswith("model-00002") and nth == 1 else None

    with Hub(MODEL, files, once) as hub:
        code, _, err = box.pull(hub)
        assert code == 0, err
        name = "model-00002-of-00002.safetensors"
        assert hub.asked.count(name) == 2 and box.file(name).read_bytes() == files[name]


def test_a_hub_that_always_sends_wrong_bytes_is_given_up(box: Box) -> None:
    def always(name: str, nth: int) -> Unkind | None:
        return Unkind(wrong=True) if name == "tokenizer.json" else None

    with Hub(MODEL, model_files(), always) as hub:
        code, _, err = box.pull(hub)
        assert code == 1 and "tokenizer.json came twice with other bytes" in err
        assert not box.file("tokenizer.json").exists()


def test_a_file_that_was_changed_on_the_disk_is_fetched_again(box: Box) -> None:
    files = model_files()
    with Hub(MODEL, files) as hub:
        assert box.pull(hub)[0] == 0
        path = box.file("model-00001-of-00002.safetensors")
        content = path.resolve()
        content.chmod(0o600)
        content.write_bytes(b"\1" * len(files[path.name]))
        code, _, err = box.pull(hub)
        assert code == 0, err
        assert path.read_bytes() == files[path.name]


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_stumbles_is_asked_again(box: Box, status: int) -> None:
    def mood(name: str, nth: int) -> Unkind | None:
        return Unkind(status=status) if nth == 1 else None

    with Hub(MODEL, model_files(), mood) as hub:
        code, _, err = box.pull(hub)
        assert code == 0, err


def test_each_failure_is_one_sentence_with_what_to_do(box: Box, tmp_path: Path) -> None:
    code, _, err = box.pull(None)
    assert code == 1 and err.count("\n") == 1 and "can't be fetched" in err
    with Hub(MODEL, model_files(), private=True) as hub:
        code, _, err = box.pull(hub)
        assert code == 1 and "HF_TOKEN" in err and err.count("\n") == 1
    with Hub("other/model", model_files()) as hub:
        code, _, err = box.pull(hub)
        assert code == 1 and f"the hub has no {MODEL}" in err
    with Hub(MODEL, {"pytorch_model.bin": b"x"}) as hub:
        code, _, err = box.pull(hub)
        assert code == 1 and "no weights that vLLM reads" in err
    lost = "model-00001-of-00002.safetensors"
    with Hub(MODEL, model_files(), lambda name, nth: Unkind(404) if name == lost else None) as hub:
        code, _, err = box.pull(hub)
        assert code == 1 and f"lists {lost} of {MODEL} and does not have it" in err
    (box.home / "config" / "profiles" / "mine.toml").write_text(
        'extends = "base"\nmodel = "a/b/c"\n'
    )
    code, _, err = box.pull(None)
    assert code == 1 and "no name of a model" in err


def test_a_profile_whose_model_is_a_folder_has_nothing_to_pull(box: Box) -> None:
    (box.home / "config" / "profiles" / "mine.toml").write_text(
        'extends = "base"\nmodel = "/some/folder"\n'
    )
    code, out, err = box.pull(None)
    assert (code, out) == (2, "") and "/some/folder" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base_url = "http://h/v1"\n', "a server that somebody else runs (http://h/v1)"),
        ('model = "x"\nengine_command = ["y"]\n', "a command of its own"),
    ],
)
def test_a_profile_that_serves_no_model_of_the_hub_has_nothing_to_pull(
    box: Box, text: str, said: str
) -> None:
    (box.home / "config" / "profiles" / "mine.toml").write_text(text)
    code, out, err = box.pull(None)
    assert (code, out) == (2, "") and said in err


def test_an_empty_variable_of_the_hub_means_none(box: Box, tmp_path: Path) -> None:
    with Hub(MODEL, model_files(20)) as hub:
        environment = {**box.environment(hub), "HF_HOME": "", "XDG_CACHE_HOME": str(tmp_path / "x")}
        words = [sys.executable, "-m", "glmcode", "engine", "pull", "--profile", "mine"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "x" / "huggingface" / "hub") in done.stdout


def test_a_cache_that_can_be_no_folder_and_a_token_that_can_be_none_are_named(box: Box) -> None:
    words = [sys.executable, "-m", "glmcode", "engine", "pull", "--profile", "mine"]
    box.cache.write_text("a file")
    with Hub(MODEL, model_files(20)) as hub:
        environment = box.environment(hub)
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 1 and "set HF_HOME to a folder of yours" in done.stderr
        box.cache.unlink()
        environment["HF_TOKEN"] = "t\u00e9"
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 1 and "HF_TOKEN" in done.stderr and "ascii" not in done.stderr


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmcode.engine import pull

    files = tuple(
        pull.HubFile(name=f"model-{n}.safetensors", size=1 << 60, sha256="0") for n in range(3)
    )
    listing = pull.Listing(
        model=MODEL, revision="main", commit=COMMIT, files=files, folder=box.cache / "none"
    )
    with pytest.raises(pull.PullError, match=r"are needed in .* are free: .*HF_HOME"):
        pull.check_room(listing)


def with_file(name: str, size: int) -> Callable[[dict[str, Any]], Any]:
    one = {"rfilename": name, "size": size, "blobId": "0" * 40}
    return lambda listing: {**listing, "siblings": [*listing["siblings"], one]}


@pytest.mark.parametrize("absolute", [True, False])
def test_a_list_that_names_a_file_of_mine_touches_nothing(
    box: Box, tmp_path: Path, absolute: bool
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_bytes(b"precious")
    name = str(mine) if absolute else "../" * 20 + str(mine)[1:]
    with Hub(MODEL, model_files(), twist=with_file(name, 8)) as hub:
        code, _, err = box.pull(hub)
    assert code == 1 and "can be none of a model" in err
    assert mine.read_bytes() == b"precious" and not hub.asked


@pytest.mark.parametrize(
    ("twist", "said"),
    [
        (with_file("a\x1b[31m\n.json", 3), "can be none of a model"),
        (with_file("", 3), "can be none of a model"),
        (with_file("x.json", -5), "impossible size"),
        (lambda listing: {**listing, "sha": "../../x"}, "names no commit"),
        (lambda listing: {**listing, "sha": None}, "names no commit"),
        (lambda listing: {**listing, "siblings": "x"}, "can't be understood"),
        (lambda listing: [1], "can't be understood"),
        (lambda listing: None, "can't be understood"),
    ],
)
def test_a_list_that_is_none_is_one_sentence(
    box: Box, twist: Callable[[dict[str, Any]], Any], said: str
) -> None:
    with Hub(MODEL, model_files(), twist=twist) as hub:
        code, _, err = box.pull(hub)
    assert code == 1 and said in err and err.count("\n") == 1 and "\x1b" not in err
    assert not hub.asked


def test_a_size_that_the_hub_does_not_say_is_none_that_is_wrong(box: Box) -> None:
    def unsaid(listing: dict[str, Any]) -> Any:
        return {**listing, "siblings": [{**s, "size": None} for s in listing["siblings"]]}

    files = model_files()
    with Hub(MODEL, files, twist=unsaid) as hub:
        code, _, err = box.pull(hub)
    assert code == 0, err
    assert box.file("tokenizer.json").read_bytes() == files["tokenizer.json"]


def test_weights_that_a_person_linked_in_are_never_removed(box: Box, tmp_path: Path) -> None:
    files = model_files()
    name = "model-00001-of-00002.safetensors"
    elsewhere = tmp_path / "my-own.safetensors"
    elsewhere.write_bytes(b"\1" * len(files[name]))
    box.file(name).parent.mkdir(parents=True)
    box.file(name).symlink_to(elsewhere)
    with Hub(MODEL, files) as hub:
        code, _, err = box.pull(hub)
    assert code == 0, err
    assert box.file(name).read_bytes() == files[name]
    assert elsewhere.read_bytes() == b"\1" * len(files[name])


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_HUB_CACHE": "{0}"},
        {"HUGGINGFACE_HUB_CACHE": "{0}"},
        {"HF_HOME": "{0}"},
        {"XDG_CACHE_HOME": "{0}"},
        {"HOME": "{0}"},
        {"HOME": "{0}", "HF_HOME": "~/models"},
        {"BIG": "{0}", "HF_HOME": "$BIG/models"},
    ],
)
def test_what_was_fetched_is_found_wherever_the_hub_s_variables_put_it(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    told = {name: text.format(tmp_path / "disk") for name, text in variables.items()}
    names = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
    with Hub(MODEL, model_files(20)) as hub:
        environment = {k: v for k, v in box.environment(hub).items() if k not in names} | told
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "engine", "pull", "--profile", "mine"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert done.returncode == 0, done.stderr
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, text in told.items():
        monkeypatch.setenv(name, text)
    found = cached_snapshot(MODEL)
    assert found is not None and found.is_relative_to(tmp_path / "disk")
    assert str(found.parent.parent) in done.stdout


def test_on_a_narrow_terminal_the_progress_is_one_line_that_never_wraps(box: Box) -> None:
    def mood(name: str, nth: int) -> Unkind | None:
        time.sleep(1.5 if name.startswith("model-") else 0)
        return None

    with Hub(MODEL, model_files(3_000_000), mood) as hub:
        words = ("engine", "pull", "--profile", "mine")
        env = {k: v for k, v in box.environment(hub).items() if k.startswith(("HF_", "GLMCODE_"))}
        with glmcode(box.home, *words, size=(24, 20), env=env) as session:
            assert session.wait_exit() == 0
            drawn = re.findall(r"\r\x1b\[K([^\r]*)", session.raw)
    assert len(drawn) > 2 and all(len(text) < 24 for text in drawn)
    assert any(text.endswith("…") for text in drawn)
    assert len([line for line in session.screen.text.splitlines() if "checking" in line]) == 1


def test_the_hub_is_asked_for_the_model_and_for_nothing_else(box: Box) -> None:
    with Hub(MODEL, model_files(20)) as hub:
        words = [sys.executable, "-m", "glmcode", "engine", "pull", "--profile", "mine"]
        environment = {**box.environment(hub), "HF_TOKEN": "hf_secret"}
        for name in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            environment.pop(name, None)
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
    assert all(MODEL in path for path, _ in hub.heads), [path for path, _ in hub.heads]


def test_a_key_of_the_hub_goes_to_no_other_machine(box: Box) -> None:
    files = model_files()

    class Front(Hub):
        """Large files lie elsewhere, as they do at the real hub."""

        elsewhere = ""

        def answer(self, to: BaseHTTPRequestHandler, *, body: bool) -> None:
            name = to.path.rpartition("/")[2]
            if not name.endswith(".safetensors"):
                return super().answer(to, body=body)
            digest = hashlib.sha256(files[name]).hexdigest()
            where = f"{self.elsewhere}/{MODEL}/resolve/x/{name}?signed=1"
            headers = {"Location": where, "X-Linked-Etag": f'"{digest}"', "X-Repo-Commit": COMMIT}
            return self._plain(to, 302, b"", {**headers, "X-Linked-Size": str(len(files[name]))})

    with Hub(MODEL, files) as store, Front(MODEL, files) as hub:
        hub.elsewhere = store.address
        words = [sys.executable, "-m", "glmcode", "engine", "pull", "--profile", "mine"]
        environment = {**box.environment(hub), "HF_TOKEN": "hf_secret"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
    assert len(store.asked) == 2 and not any("hf_secret" in head for _, head in store.heads)
    assert any("hf_secret" in head for _, head in hub.heads)
