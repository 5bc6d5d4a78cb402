"""Where the data that ships with glmcode lies: prompts/, tools/, models/.

A wheel carries them inside the package (`_prompts`, `_tools`, `_models`, `_docs`); an editable
install and a checkout read the repository's own folders. Must not import anything heavy:
`--version` passes here.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


class DataMissing(Exception):
    """A data folder of glmcode is not where an installation puts it."""


def data_folder(name: str) -> Path:
    """The folder `prompts`, `tools`, `models`, `docs` or `examples`. Raises DataMissing."""
    for folder in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise DataMissing(
        f"glmcode's own folder {name!r} is missing: the installation is damaged, install it again"
    )


def prompt_text(name: str) -> str:
    """The text of prompts/NAME, without the final newline."""
    return (data_folder("prompts") / name).read_text(encoding="utf-8").rstrip("\n")
