"""Makes docs/demo.svg from a real run of `glmcode demo` in a pseudo-terminal.

python docs/make_picture.py [--task-seed N]
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100
HERE = Path(__file__).resolve().parent


def record(command: list[str]) -> str:
    """What a command shows on a terminal: lines that were overwritten are left out."""
    shown = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 4096)
        shown.extend(data)
        return data

    os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": "50"}
    status = pty.spawn(command, read)
    if status != 0:
        raise SystemExit(f"the run failed: {status}")
    lines = shown.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r\x1b[K")[2] for line in lines)


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task-seed", default="7")
    seed = parser.parse_args().task_seed
    text = record([sys.executable, "-m", "glmcode", "demo", "--task-seed", seed, "--verbose"])
    text = re.sub(r"/[^\s\"',]*(glmcode-demo-)", r"/tmp/\1", text)
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text.strip()))
    svg = console.export_svg(title="make demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (HERE / "demo.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")


if __name__ == "__main__":
    main()
