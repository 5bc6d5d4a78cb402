"""What hides in text: commands and files named where it isn't known what runs. Pure.

A program whose name is worked out when the command runs, code in another language, a wrapper that
is not known: rules that deny search such text for what they name. That finds the careless and the
half careful; the sandbox is for the rest. Must not be asked by rules that allow.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from glmcode.permissions.matching import denies, pattern_of
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


_ALTERS = frozenset(
    [
        *("autopep8", "black", "chattr", "clang-format", "csplit", "dos2unix", "ed", "ex", "gofmt"),
        *("iconv", "isort", "nano", "patch", "perl", "prettier", "ruff", "rustfmt", "script"),
        *("setfacl", "split", "sponge", "sqlite3", "tar", "unix2dos", "vi", "vim", "yq", "zip"),
    ]
)
"""Programs that change, with some option, files that stand among their words."""
PRINTS = frozenset(("-fprint", "-fprint0", "-fprintf", "-fls"))
_GIT_ALTERS = frozenset(("apply", "checkout", "clean", "mv", "reset", "restore", "rm", "stash"))
_PACKS = frozenset(
    ("7z", "7za", "ar", "bsdtar", "cpio", "gtar", "pax", "rsync", "scp", "tar", "zip")
)


def alters(part: Part) -> bool:
    """Whether the files that a part names may be changed, for rules that deny edits."""
    texts = [word.text for word in part.words]
    if part.name == "git" and _GIT_ALTERS & set(texts[1:]):
        return True
    if part.name in ("ruff", "prettier", "black", "gofmt") and {"check", "--check", "-l"} & set(
        texts
    ):
        return False
    return part.name in _ALTERS


def packs(part: Part) -> bool:
    """Whether a part reads whole folders among its words: what makes archives and copies."""
    mode = part.words[1].text if len(part.words) > 1 else ""
    reads = not re.fullmatch(r"-?[a-bd-qs-tv-z]*[xt][a-bd-qs-tv-z]*|--extract|--list|--get", mode)
    return part.name in _PACKS and (reads or "tar" not in part.name)


def has_code(name: str) -> bool:
    """Whether a program is given code, or another command line, among its words."""
    base = name.rpartition("/")[2]
    return bool(_CODE.fullmatch(base)) or base in _CARRIERS or base.startswith("ld-linux")


def unclear_texts(part: Part, deed: Deed, command: str) -> list[str]:
    """The texts in which a command may hide that a part runs."""
    if part.opaque or (part.words and not part.words[0].known):
        return [command]
    texts = [word.text if word.known else word.raw for word in part.words]
    if part.name == "git" and not all(word.known for word in part.words[1:2]):
        return [f"git {one}" for one in re.findall(r"[\w-]+", command)[:MOST_WORDS]]
    if part.name in ("[", "[[", "test") and deed.hazards:
        return [" ".join(texts)]
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
    program = (pattern_of(pattern).tokens or ("",))[0]
    for index, word in enumerate(words):
        base = literal(word.text.rpartition("/")[2])
        if re.search(r"[*?\[]", base.text) and fnmatchcase(program, base.text):
            base = literal(program)
        if base.text and denies(pattern, [base, *words[index + 1 :]]):
            return True
    return False


def file_names(text: str, word: Word) -> list[str]:
    """What may be the name of a file in a text, for a word whose value isn't known."""
    plain = re.sub(r"['\"\\]", "", " ".join(braces(text)) if "{" in text else text)
    found = re.findall(r"[\w./~+*?\[\]-]+", plain)[:MOST_WORDS]
    found += [re.split("[-+]", one, maxsplit=1)[1] for one in found if re.search("[-+]", one)]
    return [one for one in (*found, word.text.strip("/")) if one]
