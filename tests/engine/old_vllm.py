"""Writes a package that looks like vLLM to the probe and to bootstrap.py, and starts at once.

It stands for releases that are not installed here: an older one (variables instead of
flags, `level` instead of `mode`), or one that refuses a flag which its classes name.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

ARGUMENTS = """
class EngineArgs:
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--model")
        parser.add_argument("--served-model-name")
        parser.add_argument("--dtype")
        parser.add_argument("--max-model-len")
        parser.add_argument("--max-num-seqs")
        parser.add_argument("--tensor-parallel-size", "-tp")
        parser.add_argument("--compilation-config", "-O")
        parser.add_argument("--enforce-eager")
        parser.add_argument("--odd-flag")
"""
FRONTEND = """
class FrontendArgs:
    uds: str | None = None
    tool_call_parser: str | None = None
"""
ENVIRONMENT = """
environment_variables = {
    "VLLM_ATTENTION_BACKEND": lambda: None,
    "VLLM_NO_USAGE_STATS": lambda: None,
}
"""
SERVER = """
import sys
import fake_vllm


def main():
    if "--odd-flag" in sys.argv:
        print("usage: api_server.py ...", file=sys.stderr)
        print("api_server.py: error: unrecognized arguments: --odd-flag 3", file=sys.stderr)
        sys.exit(2)
    print("started with", *sys.argv[1:], flush=True)
    sys.argv[1:] = ["--uds", sys.argv[sys.argv.index("--uds") + 1]]
    fake_vllm.main()
"""


def install(folder: Path, version: str = "0.11.2") -> str:
    """Make an interpreter in `folder` that has this vLLM; returns its path."""
    site = folder / "site"
    files = {
        "vllm/__init__.py": "raise SystemExit('the probe must not import vLLM')\n",
        "vllm/engine/arg_utils.py": ARGUMENTS,
        "vllm/entrypoints/openai/cli_args.py": FRONTEND,
        "vllm/entrypoints/openai/api_server.py": SERVER,
        "vllm/envs.py": ENVIRONMENT,
        "vllm/config/compilation.py": "class CompilationConfig:\n    level: int = 3\n",
        f"vllm-{version}.dist-info/METADATA": f"Name: vllm\nVersion: {version}\n",
    }
    for name, text in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{site}:{HERE}"\nexec "{sys.executable}" -S "$@"\n'
    )
    python.chmod(0o755)
    return str(python)


def allow_import(folder: Path) -> None:
    """Let bootstrap.py import the package that `install` made."""
    (folder / "site" / "vllm" / "__init__.py").write_text("")


def bare(folder: Path) -> str:
    """An interpreter without any vLLM."""
    python = folder / "bare-python"
    python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return str(python)
