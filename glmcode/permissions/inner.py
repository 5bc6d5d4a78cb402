"""What a program that runs another one runs (Inner), and what git is told to run. Pure.

For rules that deny, git's own ways to run a command are followed where the text is literal; what
such options need themselves stands in tables_git.py. Must not judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from glmcode.permissions.words import Word, literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """What a wrapper runs: words, or the text of a shell script (opaque: text is not known).

    hazard: why the wrapper needs its own permission; "" when only what it runs counts.
    shadow: only rules that deny look at it. same_shell: it runs in the shell that reads it.
    standing: the wrapper is a command of its own beside it (find -exec).
    """

    words: tuple[Word, ...] = ()
    script: str | None = None
    opaque: bool = False
    assigns: tuple[tuple[str, Word], ...] = ()
    hazard: str = ""
    shadow: bool = False
    same_shell: bool = False
    standing: bool = False


def git_runs(words: Sequence[Word]) -> list[Inner]:
    """What git is told to run: for rules that deny (tables.py holds what it needs itself)."""
    found: list[Inner] = []
    texts = [word.text for word in words]
    if "foreach" in texts:
        rest = texts[texts.index("foreach") + 1 :]
        found.append(Inner(script=" ".join(r for r in rest if r != "--recursive"), standing=True))
    if "bisect" in texts and "run" in texts:
        found.append(Inner(words=tuple(words[texts.index("run") + 1 :]), standing=True))
    for index, text in enumerate(texts):
        if text in ("-x", "--exec") and "rebase" in texts and index + 1 < len(texts):
            found.append(Inner(script=texts[index + 1], standing=True))
        if text.startswith("--exec=") and "rebase" in texts:
            found.append(Inner(script=text[7:], standing=True))
        alias = re.match(r"alias\.([^=]*)=(!?)(.*)", text, re.DOTALL)
        if alias and index and texts[index - 1] == "-c":
            name, shell, value = alias.groups()
            after = texts.index(name, index) + 1 if name in texts[index:] else len(words)
            git = (literal("git"), *(literal(one) for one in value.split()), *words[after:])
            found.append(
                Inner(script=value, standing=True) if shell else Inner(words=git, standing=True)
            )
    return found
