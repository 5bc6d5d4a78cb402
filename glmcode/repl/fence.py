"""Fenced code, painted as rich would paint it, at a fraction of its cost.

Each line is read by pygments and painted once; rich would lay out, wrap and pad it as if it were
prose. Whatever is not plain (a line that must be wrapped, wide characters, tabs, a fence that is
indented or still holds one) is rich's: then the answer is None. Must not clean text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

_FENCE = re.compile(r"(?P<mark>```|~~~)(?P<name>[\w+#.-]*)\n(?P<code>[\x20-\x7e\n]*)")
INDENT = 2
LEAST = 40
"""Narrower ones have no indent."""

Around = Callable[[Any], tuple[str, str]]
"""What is written before and after text of one of pygments' kinds."""


def fence(block: str, width: int, around: Around) -> list[str] | None:
    """The lines of a block that is one fence, closed or not; None: ask rich."""
    found = _FENCE.fullmatch(block)
    if found is None:
        return None
    mark, code = found["mark"], found["code"]
    if (end := code.find(f"\n{mark}")) >= 0 or code.startswith(mark):
        if code.startswith(mark) or code[end + 1 :].rstrip("\n ") != mark:
            return None
        code = code[:end]
    indent = " " * INDENT if width >= LEAST else ""
    rows = code.rstrip("\n").split("\n")
    if max(map(len, rows)) > width - len(indent) or re.search(r"(?m)^ {0,3}(```|~~~)", code):
        return None
    lexer = _lexer(found["name"].lower() or "text")
    painted = [row.rstrip() for row in (rows if lexer is None else _painted(rows, lexer, around))]
    while painted and not painted[-1]:
        painted.pop()
    while painted and not painted[0]:
        painted.pop(0)
    return [f"{indent}{row}" if row else "" for row in painted]


def _painted(rows: list[str], lexer: Any, around: Around) -> list[str]:
    lines = [""]
    for kind, text in lexer.get_tokens("\n".join(row.rstrip() for row in rows)):
        before, after = around(kind)
        for number, part in enumerate(text.split("\n")):
            if number:
                lines.append("")
            lines[-1] += f"{before}{part}{after}" if part.strip() else part
    return lines


@lru_cache(maxsize=32)
def _lexer(name: str) -> Any:
    named: Any = import_module("pygments.lexers").get_lexer_by_name
    try:
        return named(name, stripnl=False, ensurenl=True, tabsize=4)
    except ValueError:  # pygments' ClassNotFound is one
        return None
