"""What hides in text: commands and files named where it isn't known what runs. Pure.

A program whose name is worked out when the command runs, code in another language, a wrapper that
is not known: rules that deny search such text for what they name. That finds the careless and the
half careful; the sandbox is for the rest. Must not be asked by rules that allow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from glmcode.permissions.matching import denies
from glmcode.permissions.words import Word, braces, literal

if TYPE_CHECKING:
    from glmcode.permissions.parts import Part
    from glmcode.permissions.programs import Deed

MOST_WORDS = 400
_CODE = re.compile(
    r"(?:python|node|deno|bun|perl|ruby|php|lua|osascript|tclsh|guile|R|Rscript|julia"
    r"|vim|vi|nvim|ex|ed|emacs|sqlite3|psql|mysql|gdb|lldb|expect)[\d.]*"
)
"""Programs that are given code on their command line."""
_CARRIERS = frozenset(
    [
        *("alias", "at", "batch", "bind", "bwrap", "capsh", "catchsegv", "cgexec", "choom"),
        *("compgen", "complete", "coreutils", "cpulimit", "dbus-run-session", "direnv", "entr"),
        *("faketime", "fakeroot", "firejail", "flock", "hyperfine", "jobs", "ld.so", "linux32"),
        *("linux64", "mapfile", "newgrp", "nix", "nix-shell", "numactl", "parallel", "perf"),
        *("prlimit", "proot", "proxychains", "readarray", "rlwrap", "runuser", "screen", "script"),
        *("setarch", "setpriv", "setuidgid", "sg", "start-stop-daemon", "su", "systemd-run"),
        *("taskset", "time", "tmux", "torsocks", "valgrind", "watch", "watchexec", "xvfb-run"),
    ]
)
"""Programs and shell commands that run what follows them, or text among it."""


def has_code(name: str) -> bool:
    """Whether a program is given code, or another command line, among its words."""
    base = name.rpartition("/")[2]
    return bool(_CODE.fullmatch(base)) or base in _CARRIERS or base.startswith("ld-linux")


def unclear_texts(part: Part, deed: Deed, command: str) -> list[str]:
    """The texts in which a command may hide that a part runs."""
    if part.opaque or (part.words and not part.words[0].known):
        return [command]
    texts = [word.text if word.known else word.raw for word in part.words]
    if has_code(part.name) or part.hazard.startswith("the option "):
        return [" ".join(texts[1:]), part.stdin or ""]
    found: list[str] = []
    for index, word in enumerate(part.words):
        if any(word is one and "run" in why for one, why in deed.hazards):
            found.append(" ".join(texts[index : index + 2]))
    return [*found, part.stdin or ""] if found else []


def names_it(pattern: str, text: str) -> bool:
    """Whether a rule's command stands anywhere in a text."""
    plain = re.sub(r"\\\n|['\"\\]", "", " ".join(braces(text)) if "{" in text else text)
    words = [literal(one) for one in re.findall(r"[\w./+@:%~*?\[\]-]+", plain)[:MOST_WORDS]]
    for index, word in enumerate(words):
        base = literal(word.text.rpartition("/")[2])
        if base.text and denies(pattern, [base, *words[index + 1 :]]):
            return True
    return False


def file_names(text: str, word: Word) -> list[str]:
    """What may be the name of a file in a text, for a word whose value isn't known."""
    plain = re.sub(r"['\"\\]", "", " ".join(braces(text)) if "{" in text else text)
    found = re.findall(r"[\w./~+*?\[\]-]+", plain)[:MOST_WORDS]
    return [one for one in (*found, word.text.strip("/")) if one]
