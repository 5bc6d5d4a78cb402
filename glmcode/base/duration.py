"""How seconds that are left are written. Pure.

What is unknown, absurd or next to nothing is not written at all: "about 0 s left" says nothing
when it is true, and lies whenever it stands for longer than a moment.
"""

from __future__ import annotations

import math

LEAST_S = 0.5
MOST_S = 30 * 86_400.0


def about(seconds: float | None) -> str:
    """ "about 40 s", "about 4 min", "about 3.2 h"; "" where there is nothing to say."""
    if seconds is None or not math.isfinite(seconds) or not LEAST_S <= seconds <= MOST_S:
        return ""
    if seconds < 120:
        return f"about {max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"about {minutes:.0f} min" if minutes < 120 else f"about {minutes / 60:.1f} h"


def left(seconds: float | None, before: str = ", ") -> str:
    """The same as the end of a sentence: ", about 40 s left"."""
    said = about(seconds)
    return f"{before}{said} left" if said else ""
