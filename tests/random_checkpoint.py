"""Writes a checkpoint of models/tiny's shape with random weights: it serves, and knows nothing.

    python -m tests.random_checkpoint FOLDER

For tests of the engine where the trained weights are not there, and for tests that need a
model which must not solve anything.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from models.tiny.export import export
from models.tiny.model import Shape, TinyGLM
from models.tiny.vocabulary import Codec

ROOT = Path(__file__).resolve().parent.parent


def main(folder: Path) -> None:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "models" / "tiny").glob("tokenizer*.json"):
        shutil.copy(path, folder)
    codec = Codec(folder)
    export(TinyGLM(Shape(vocab=codec.size())), codec, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
