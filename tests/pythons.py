"""`pip install .` into fresh environments of every Python that is found, and the API there.

`python tests/pythons.py` (`make pythons`): for each version that pyproject.toml names it looks for
an interpreter (on the path, pyenv's, uv's, or named in PYTHONS, separated by colons), installs
glmcode into an environment of its own, imports every module of it with warnings as errors, and
runs the tests of the API, of the examples and of Grep (whose library differs) against what was
installed, not against this folder. Which versions were not found is said. Exit code 1: something
failed somewhere; 2: no interpreter.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("tests", "examples", "models", "README.md", "pyproject.toml", ".pre-commit-hooks.yaml")
"""What the tests need beside the package; the package itself is not among them."""
TESTS = ("tests/test_api.py", "tests/test_examples.py", "tests/tools/test_grep.py")
LIMIT_S = 900
IMPORT_ALL = """
import importlib, pkgutil, sys, warnings
import glmcode
assert "site-packages" in glmcode.__file__, glmcode.__file__
names = [m.name for m in pkgutil.walk_packages(glmcode.__path__, "glmcode.")]
names = [name for name in names if not name.endswith("__main__")]
warnings.filterwarnings("error", module=r"glmcode(\\..*)?")
for name in names:
    importlib.import_module(name)
print(len(names), "modules")
"""


def versions() -> list[str]:
    """Those that pyproject.toml says are supported, such as "3.11"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    head = "Programming Language :: Python :: 3."
    return [f"3.{one.removeprefix(head)}" for one in project["classifiers"] if one.startswith(head)]


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter of a version may be, in the order in which they are tried."""
    for path in filter(None, os.environ.get("PYTHONS", "").split(":")):
        yield Path(path)
    yield Path(sys.executable)
    for folder in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
        yield Path(folder) / f"python{version}"
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    yield from (path / "bin" / "python3" for path in sorted(pyenv.glob(f"{version}.*")))
    yield from (path / "bin" / "python3" for path in sorted(uv.glob(f"cpython-{version}.*")))


def find(version: str) -> Path | None:
    """An interpreter of that version that runs and can make environments."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for path in candidates(version):
        try:
            done = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.strip() == version:
            return path
    return None


def run(words: Sequence[str | Path], folder: Path) -> tuple[bool, str]:
    """Whether it ended with 0, and what it said. Without our own PYTHONPATH."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["GLMCODE_HOME"] = str(folder / "home")
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return False, f"not ended after {LIMIT_S} s"
    return done.returncode == 0, done.stdout


def check(interpreter: Path, folder: Path, tests: Sequence[str]) -> Iterator[tuple[str, bool, str]]:
    """Each step: its name, whether it went well, what it said. Ends with the first that didn't."""
    place = folder / "env"
    python = place / "bin" / "python"
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [
        one for one in project["optional-dependencies"]["dev"] if one.startswith(("py", "hyp"))
    ]
    steps: list[tuple[str, Sequence[str | Path]]] = [
        ("an environment", (interpreter, "-m", "venv", place)),
        ("pip install .", (*pip, ROOT)),
        ("glmcode --version", (place / "bin" / "glmcode", "--version")),
        ("every module imported", (python, "-I", "-c", IMPORT_ALL)),
        ("pip check", (python, "-m", "pip", "check")),
        ("pip install pytest", (*pip, *needed)),
        ("tests", (python, "-m", "pytest", "-p", "no:cacheprovider", *tests)),
    ]
    for name, words in steps:
        good, said = run(words, folder)
        yield name, good, said
        if not good:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", metavar="VERSION", help="such as 3.13")
    parser.add_argument("tests", nargs="*", help=f"default: {' '.join(TESTS)}")
    given = parser.parse_args()
    failed, missing, good = [], [], []
    for version in given.only or versions():
        interpreter = find(version)
        if interpreter is None:
            missing.append(version)
            print(f"{version}: NOT FOUND, so nothing is known of it", flush=True)
            continue
        print(f"{version}: {interpreter}", flush=True)
        with tempfile.TemporaryDirectory() as place:
            began, well = time.monotonic(), True
            for name, well, said in check(interpreter, Path(place), given.tests or TESTS):
                last = (said.strip().splitlines()[-1:] or [""])[0]
                told = "" if name.startswith("pip install") else f" {last[:100]}"
                print(f"  {name}: {'ok' if well else 'FAILED'}{told}", flush=True)
                if not well:
                    print(said[-6_000:], flush=True)
            (good if well else failed).append(version)
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    for words, ones in (("works", good), ("FAILS", failed), ("not found", missing)):
        if ones:
            print(f"{words}: {', '.join(ones)}")
    return 1 if failed else 0 if good else 2


if __name__ == "__main__":
    sys.exit(main())
