"""Arithmetic that only counts. Pure.

bash takes the value of a variable in `$((...))` for arithmetic again, and runs what stands in
brackets there: x='a[$(touch z)]'; echo $((x)). So a name is let through only where the source
itself gives it nothing but numbers. `((` may also open two subshells: so only what could be no
command is taken for arithmetic, no parentheses, no two words side by side. Must not know commands.
"""

from __future__ import annotations

import re
from functools import lru_cache

from glmcode.permissions.variables import harmful_name

_VALUE = r"[-+~!]?(?:\d+|\$?[a-z][a-z0-9_]*|\$\{[a-z][a-z0-9_]*\})"
_SUM = rf"[ ]*{_VALUE}(?:[ ]*(?:[-+*/%^<>?:,]|[<>=!]=|&&|\|\|)[ ]*{_VALUE})*[ ]*"
_STEP = r"[ ]*{0}(?:\+\+|--|[ ]*[-+*]=[ ]*\d+)[ ]*"
_ANY = r"[a-z][a-z0-9_]*"
_WHOLE = re.compile(rf"\$?\(\((?:{_SUM}|{_STEP.format(_ANY)})\)\)")
_HEAD = rf"\(\([ ]*{{0}}[ ]*=[ ]*\d+[ ]*;{_SUM.replace('{', '{{').replace('}', '}}')};{_STEP}\)\)"
_COUNTING = re.compile(_HEAD.format(_ANY))
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_END = r"(?=[\s;)&|]|$)"


def counts(raw: str, source: str) -> bool:
    """Whether `$((...))`, `((...))` or the head of a loop computes with counters only."""
    if not _WHOLE.fullmatch(raw) and not _COUNTING.fullmatch(raw):
        return False
    return all(is_counter(name, source) for name in _NAME.findall(raw))


@lru_cache(maxsize=256)
def is_counter(name: str, source: str) -> bool:
    """Whether a source gives a name numbers and nothing else, and does so at least once."""
    if not re.fullmatch(_ANY, name) or harmful_name(name):
        return False
    given = [
        rf"(?<![\w$-]){name}=(?:-?\d+|\"?\$\(\({_SUM}\)\)\"?){_END}",
        rf"\bfor[ ]+{name}[ ]+in[ ]+(?:\d+[ ]*)+[;\n]",
        rf"\bfor[ ]+{name}[ ]+in[ ]+(?:\{{\d+\.\.\d+\}}|\$\(seq [\d ]+\))[ ]*[;\n]",
        rf"\bfor[ ]*{_HEAD.format(name)}",
    ]
    uses = [
        rf"\$(?:{name}\b|\{{{name}\}})",
        rf"\(\({_SUM}\)\)",
        rf"\(\({_STEP.format(name)}\)\)",
    ]
    spans = [found.span() for one in given for found in re.finditer(one, source)]
    if not spans:
        return False
    spans += [found.span() for one in uses for found in re.finditer(one, source)]
    mentions = [found.start() for found in re.finditer(rf"(?<!\w){name}(?!\w)", source)]
    return all(any(start <= at < end for start, end in spans) for at in mentions)
