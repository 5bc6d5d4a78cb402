"""Kept pictures of the screen: text, without what differs from run to run.

A picture is compared with tests/golden/screens/NAME.txt; `make screens` writes them anew, and
the difference is then read in the commit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "golden" / "screens"
RENEW = "GLMCODE_RENEW_SCREENS"
_VARYING = (
    (r"\d{8}-\d{6}-\w{6}", "SESSION"),
    (r"glmcode \d+\.\d+\.\d+\S*", "glmcode VERSION"),
    (r"(?m)^\S*workspace(?= ·|$)", "WORKSPACE"),
    (r"\b\d+\.\d s\b", "N.N s"),
    (r"\b\d+ s\b", "N s"),
    (r"[\d,]+( of [\d,]+)? tokens", "TOKENS tokens"),
    (r"tokens \(\d+ %\)", "tokens (P %)"),
    (r" · \d[\d.,]* tok/s", ""),
    (r" · glm-4\.6-reap · default(?= ·)", ""),  # there or not, as the speed is long or short
    (r"· \d+ %", "· P %"),
)


def picture(text: str, *folders: Path) -> str:
    """The screen as it is kept."""
    for folder in folders:
        text = text.replace(str(folder), "FOLDER")
    for pattern, name in _VARYING:
        text = re.sub(pattern, name, text)
    return text.strip("\n") + "\n"


def check(name: str, shown: str) -> None:
    """Compare with the kept picture, or keep it where that is asked for."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get(RENEW):
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, encoding="utf-8")
        return
    assert path.is_file(), f"no picture {path}: `make screens` makes it"
    assert shown == path.read_text(encoding="utf-8"), f"{path} differs; shown:\n{shown}"
