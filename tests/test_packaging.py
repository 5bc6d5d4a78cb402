"""glmcode works from a wheel, from an editable install and from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pythons import find, versions

ROOT = Path(__file__).resolve().parent.parent
LOOK = (
    "from glmcode.base.data import data_folder, prompt_text\n"
    "from glmcode.tools.specs import load_specs\n"
    "import glmcode\n"
    "print(glmcode.__file__)\n"
    "print(data_folder('prompts'), data_folder('tools'), data_folder('models'))\n"
    "assert prompt_text('system.md').startswith('You are glmcode')\n"
    "assert len(load_specs()) == 9\n"
    "model = data_folder('models') / 'tiny'\n"
    "names = ('config.json', 'tokenizer.json', 'model.safetensors')\n"
    "assert all((model / name).is_file() for name in names), list(model.iterdir())\n"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def look(tmp_path: Path, pythonpath: Path | None, *flags: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["GLMCODE_HOME"] = str(tmp_path / "home")
    if pythonpath is not None:
        environment["PYTHONPATH"] = str(pythonpath)
    done = subprocess.run(
        [sys.executable, *flags, "-c", LOOK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_carries_its_words_and_its_model(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = archive.namelist()
    printed = look(tmp_path, installed)
    assert str(installed) in printed and "_prompts" in printed and "_models" in printed
    assert not [name for name in names if name.startswith(("tests/", "models/", "glmcode/tests"))]
    profiles = {path.name for path in (ROOT / "glmcode" / "engine" / "profiles").iterdir()}
    assert {"tiny.toml", "reap-268b.config.json"} <= profiles
    assert profiles <= {name.removeprefix("glmcode/engine/profiles/") for name in names}
    queries = {path.name for path in (ROOT / "glmcode" / "context" / "queries").iterdir()}
    assert "python.scm" in queries and "glmcode/py.typed" in names
    assert "glmcode/_docs/stream-json.schema.json" in names
    assert queries <= {name.removeprefix("glmcode/context/queries/") for name in names}


def test_an_editable_install_and_a_checkout_read_the_repository(tmp_path: Path) -> None:
    for pythonpath in (None, ROOT):
        printed = look(tmp_path, pythonpath)
        assert str(ROOT / "prompts") in printed and str(ROOT / "models") in printed


def test_the_wheel_needs_neither_torch_nor_vllm(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    needed = [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert needed and not [line for line in needed if "torch" in line or "vllm" in line]


def test_the_wheel_installs_a_command_called_glmcode(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "glmcode = glmcode.cli:main" in archive.read(name).decode()


READ_ALL = (
    "import pathlib, sys\n"
    "for path in pathlib.Path(sys.argv[1]).rglob('*.py'):\n"
    "    compile(path.read_bytes(), str(path), 'exec')\n"
)


def test_every_supported_python_that_is_here_reads_every_file_without_a_warning() -> None:
    found = {version: find(version) for version in versions()}
    here = f"3.{sys.version_info.minor}"
    assert here in found and found[here] is not None
    for interpreter in filter(None, found.values()):
        command = [interpreter, "-I", "-W", "error", "-c", READ_ALL, str(ROOT / "glmcode")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_python_that_is_not_found_is_told_and_nothing_is_claimed_of_it() -> None:
    command = [sys.executable, "-m", "tests.pythons", "--only", "3.99"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "3.99: NOT FOUND, so nothing is known of it",
        "not found: 3.99",
    ]
