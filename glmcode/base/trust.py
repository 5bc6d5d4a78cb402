"""Which folders a person trusts: their own settings and what their instructions import count.

One file in the state folder, by real path; what holds for a folder holds for those below it, and
the nearest answer counts. A "no" is remembered too, so that nobody is asked twice. Must not ask.
"""

from __future__ import annotations

import re
from pathlib import Path

from glmcode.base.answers import answers, keep
from glmcode.base.files import FileFault, load

FILE = "trusted.json"
NAMES = ("config.toml", "config.local.toml")
_IMPORT = re.compile(rb"(?<![\w@`])@[\w./~\"-]*[./]\w")


def answer_for(folder: Path) -> bool | None:
    """What a person said about a folder (a real path), or about one above; None: nothing yet."""
    given = answers(FILE)
    for one in (folder, *folder.parents):
        if str(one) in given:
            return given[str(one)]
    return None


def remember(folder: Path, answer: bool) -> None:
    """Keep a person's answer. Raises OSError."""
    keep(FILE, str(folder.resolve()), answer)


def asks_for_trust(folder: Path) -> str:
    """What in a folder takes effect only with trust, for a person to read; "" for nothing."""
    found = [f".glmcode/{name}" for name in NAMES if (folder / ".glmcode" / name).is_file()]
    for one in (folder, *folder.parents):
        for name in ("AGENTS.md", "CLAUDE.md"):
            path = one / name
            try:
                if _IMPORT.search(load(path).data[: 1 << 16]):
                    found.append(f"{name} with imports")
                    break
            except FileFault:
                continue
        if (one / ".git").exists():
            break
    return ", ".join(dict.fromkeys(found))
