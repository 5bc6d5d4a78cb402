"""What one simple command would do, as far as its words tell: look, write, or who knows. Pure.

The tables say it for most; git, find, sed, awk, test and the shell's own commands need more than
a line. A command that nobody knows is "other": only a rule lets it run. Must not judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

from glmcode.permissions import tables, tables_git
from glmcode.permissions.harm import git_runs_more, harm_of
from glmcode.permissions.options import IsOption, Scan, scan
from glmcode.permissions.scripts import (
    awk_is_harmless,
    find_parts,
    sed_is_harmless,
    shows_environment,
    test_is_harmless,
)
from glmcode.permissions.searches import over_folders
from glmcode.permissions.variables import harmful_name, harmless_value
from glmcode.permissions.words import Word, literal

Kind: TypeAlias = Literal["look", "write", "other"]


@dataclass(slots=True)
class Deed:
    """kind: what it does where there are no hazards. reads, writes: files, by its nature or by an
    option. maybe: words that may name files. hazards: words that need a rule naming them.

    below: what it reads or writes may be whole folders; of those hidden files and links too
    (hidden), or only files with names like these (only) or that git tracks (tracked). follows:
    links in them too. editing: it does no more than an edit would, so that rules for edits
    suffice. why: what keeps it from being a look.
    """

    kind: Kind = "other"
    reads: list[Word] = field(default_factory=list)
    writes: list[Word] = field(default_factory=list)
    maybe: list[Word] = field(default_factory=list)
    hazards: list[tuple[Word, str]] = field(default_factory=list)
    below: bool = False
    hidden: bool = True
    only: tuple[str, ...] = ("*",)
    tracked: bool = False
    follows: bool = False
    editing: bool = False
    why: str = ""


Special: TypeAlias = Callable[[Sequence[Word], IsOption], Deed]


def deed_of(words: Sequence[Word], is_option: IsOption) -> Deed:
    """What a command does. words[0] is the program by its plain name."""
    name = words[0].text
    if len(words) == 2 and words[1].known and _only_says(name, words[1].text):
        return Deed(kind="look")
    if name in SPECIAL:
        return SPECIAL[name](words, is_option)
    if name in tables.LOOKS:
        text, operands = tables.LOOKS[name]
        found = scan(words[1:], text, is_option)
        deed = looking(found, operands)
        if shown := shows_environment(name, found):
            deed.hazards.append((shown, "it shows variables or reads other files"))
        return deed
    return harm_of(words, Deed(maybe=list(words[1:])), is_option=is_option)


def _only_says(name: str, option: str) -> bool:
    """Whether a program with this option and nothing else only says what it is."""
    if option in ("--version", "--help") and name in tables.LOOKS and name not in tables.BUILTINS:
        return True
    version = option == "--version" and name in tables.VERSIONS
    return version or f"{name} {option}" in tables.SAYS


def looking(found: Scan, operands: tables_git.Operands) -> Deed:
    """The deed of a command that looks, by what its operands are."""
    deed = Deed(kind="look", reads=list(found.reads), writes=list(found.writes))
    deed.hazards = list(found.hazards)
    deed.why = f"its option {found.odd} is not known to be harmless" if found.odd else ""
    given = found.operands
    match operands:
        case "read":
            deed.reads += given
        case "pattern":
            named = {"-e", "-f", "--regexp", "--file", "--files", "--from-file"} & set(found.seen)
            deed.reads += given if named else given[1:]
        case "revs":
            deed.maybe += given
        case "none" | "one":
            if len(given) > (operands == "one"):
                deed.why = deed.why or "it has more words than one that only looks"
        case "name":
            if len(given) > 1 or not all(word.known for word in given):
                deed.why = deed.why or "it has more words than one that only looks"
        case "plus":
            if any(not word.prefix.startswith("+") for word in given):
                deed.why = deed.why or "it may set the clock"
        case "text":
            pass
    if deed.why:
        deed.kind = "other"
    return deed


def _git(words: Sequence[Word], is_option: IsOption) -> Deed:
    index = after_globals(words)
    before = scan(words[1:index], tables_git.GIT_GLOBAL, is_option)
    rest = words[index:]
    deed = Deed(kind="look")
    if not rest:
        deed = Deed(why="")
    elif not rest[0].known:
        deed = Deed(hazards=[(rest[0], "its subcommand isn't known")])
    else:
        deed = _git_command(rest, is_option)
    if before.odd:
        deed.kind, deed.why = "other", f"its option {before.odd} is not known"
    mild = [id(a) for a, b in pairwise(words[:index]) if a.text == "-c" and _mild_setting(b)]
    deed.hazards = [one for one in before.hazards if id(one[0]) not in mild] + deed.hazards
    folder = before.seen.get("-C")
    if folder is not None:
        deed.reads.append(folder)
    return deed


def _mild_setting(word: Word) -> bool:
    mild = re.fullmatch(tables_git.GIT_MILD, word.text, re.IGNORECASE)
    return word.known and mild is not None


def after_globals(words: Sequence[Word]) -> int:
    """The index of git's subcommand, behind the options that stand before it."""
    index = 1
    while index < len(words) and words[index].known and words[index].text.startswith("-"):
        text = words[index].text
        index += 2 if text in tables_git.GIT_VALUED else 1
    return min(index, len(words))


def _git_command(rest: Sequence[Word], is_option: IsOption) -> Deed:
    name = rest[0].text
    pair = (name, rest[1].text) if len(rest) > 1 else ("", "")
    if pair in tables_git.GIT_PAIRS:
        text, operands = tables_git.GIT_PAIRS[pair]
        return looking(scan(rest[2:], text, is_option), operands)
    if name in tables_git.GIT:
        text, operands = tables_git.GIT[name]
        found = scan(rest[1:], text, is_option)
        if name in ("branch", "tag") and {"--list", "-l", "--contains", "--points-at"} & set(
            found.seen
        ):
            operands = "text"
        deed = looking(found, operands)
        if name == "diff" and "--no-index" in found.seen:
            deed.reads += found.operands
        if name == "reflog" and found.operands and found.operands[0].text in tables_git.REFLOG:
            deed.kind = "other"
        if name == "grep":
            deed.below, deed.reads = True, [*deed.reads, literal(".")]
            more = {"--untracked", "--no-index", "--recurse-submodules"} & set(found.seen)
            deed.tracked = not more and deed.kind == "look"
        if deed.kind == "other":
            git_runs_more(rest, deed)
        return deed
    if name == "config" and len(rest) == 2 and re.fullmatch(r"[A-Za-z][\w-]*\..+", rest[1].text):
        return Deed(kind="look" if rest[1].known else "other")
    text = tables_git.GIT_HARMFUL.get(name, "")
    deed = harm_of(rest, Deed(maybe=list(rest[1:])), text)
    git_runs_more(rest, deed)
    return deed


def _find(words: Sequence[Word], is_option: IsOption) -> Deed:
    roots, files, hazards, odd = find_parts(words)
    deed = Deed(kind="look", reads=[*(roots or [literal(".")]), *files], hazards=hazards)
    deed.follows = any(word.text in ("-L", "-follow") for word in words)
    if odd:
        deed.kind, deed.why = "other", f"{odd} is not known to be harmless"
    return deed


_SED = (
    "-nErsuz -l: -e: -f: --quiet --silent --regexp-extended --separate --unbuffered "
    "--null-data --expression= --file= --posix --debug --sandbox -i? --in-place?"
)


def _sed(words: Sequence[Word], is_option: IsOption) -> Deed:
    found = scan(words[1:], _SED, is_option)
    scripts, index = [], 1
    while index < len(words):
        text = words[index].text
        if re.fullmatch(r"-[nErsuz]*e|--expression", text) and index + 1 < len(words):
            index += 1
            scripts.append(words[index])
        elif text.startswith("--expression="):
            scripts.append(literal(text[len("--expression=") :]))
        elif re.match(r"-[nErsuz]*e.", text):
            scripts.append(literal(text.partition("e")[2]))
        index += 1
    operands = found.operands
    if not scripts and "-f" not in found.seen and "--file" not in found.seen:
        scripts, operands = operands[:1], operands[1:]
    deed = Deed(kind="look", reads=list(operands), editing=True)
    if "-i" in found.seen or "--in-place" in found.seen:
        deed.kind, deed.writes = "write", list(operands)
        deed.hazards = [(w, "-i makes it write files") for w in words[1:] if _in_place(w)]
        suffix = found.seen.get("-i") or found.seen.get("--in-place")
        if suffix is not None and re.search(r"[/*]", suffix.text):
            deed.hazards.append((words[-1], "its suffix leads to another folder"))
            deed.editing = False
    if any(not word.known or not sed_is_harmless(word.text) for word in scripts):
        deed.hazards += [(word, "its script may run or write something") for word in scripts]
    if {"-f", "--file"} & set(found.seen):
        deed.hazards.append((words[-1], "its script stands in a file"))
    if any(word.may_be_option and is_option(word) for word in operands):
        deed.hazards.append((words[-1], "a word may be an option"))
    if found.odd:
        deed.kind, deed.why = "other", f"its option {found.odd} is not known to be harmless"
    return deed


def _in_place(word: Word) -> bool:
    return re.match(r"-[nErsuz]*i|--in", word.text) is not None


def _awk(words: Sequence[Word], is_option: IsOption) -> Deed:
    found = scan(
        words[1:],
        "-F: -v: --field-separator= --assign= --csv !-f: !--file= !-i: !-l: "
        "!-E: !-e: !--source= !-o? !-d? !-p? !-D?",
        is_option,
    )
    deed = Deed(kind="look", reads=found.operands[1:], hazards=found.hazards)
    deed.reads = [w for w in deed.reads if not re.match(r"[A-Za-z_]\w*=", w.prefix)]
    if not found.operands or not found.operands[0].known:
        deed.hazards.append((words[-1], "its program isn't known"))
    elif not awk_is_harmless(found.operands[0].text):
        deed.hazards.append((found.operands[0], "its program may run or write something"))
    if found.odd:
        deed.kind, deed.why = "other", f"its option {found.odd} is not known to be harmless"
    return deed


def _test(words: Sequence[Word], is_option: IsOption) -> Deed:
    if test_is_harmless(words):
        files = [b for a, b in pairwise(words) if re.fullmatch("-[^nz]", a.text)]
        return Deed(kind="look", maybe=[word for word in files if word.known])
    return Deed(hazards=[(words[0], "a test that may run code hidden in text")])


def _printf(words: Sequence[Word], is_option: IsOption) -> Deed:
    first = words[1] if len(words) > 1 else literal("")
    if first.text.startswith("-v") or (first.may_be_option and is_option(first)):
        return Deed(hazards=[(first, "-v sets a variable and may run code")])
    return Deed(kind="look")


def _read(words: Sequence[Word], is_option: IsOption) -> Deed:
    maps = words[0].text != "read"
    options = "-t -n: -s: -O: -d: -u:" if maps else "-r -s -p: -n: -N: -d: -t: -u:"
    found = scan(words[1:], options, is_option)
    names = [word for word in found.operands if not (word.known and _variable(word.text))]
    if found.odd or names or any(word.may_be_option for word in found.operands):
        return Deed(hazards=[(words[-1], "it sets a variable that is not plain")])
    return Deed(kind="look")


def _variable(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", name) is not None and not harmful_name(name)


def _export(words: Sequence[Word], is_option: IsOption) -> Deed:
    deed = Deed(kind="look")
    for word in words[1:]:
        name, equals, value = word.text.partition("=")
        harmless = word.known and equals and harmless_value(name, value)
        if not harmless:
            deed.hazards.append((word, "it changes the environment of what follows"))
    if len(words) == 1 or words[0].text != "export":
        deed.kind, deed.why = "other", "it changes or shows variables"
    return deed


def _set(words: Sequence[Word], is_option: IsOption) -> Deed:
    index, known = 1, True
    while index < len(words):
        text = words[index].text
        if text in ("-o", "+o", "-eo", "-euo", "-ueo", "-uo", "-exo", "-euxo"):
            index += 1
            plain = ("pipefail", "errexit", "nounset", "xtrace")
            known = known and index < len(words) and words[index].text in plain
        else:
            known = known and words[index].known and bool(re.fullmatch(r"[-+][eux]+", text))
        index += 1
    if len(words) > 1 and known:
        return Deed(kind="look")
    return Deed(hazards=[(words[-1], "it changes how the shell works")])


def _cd(words: Sequence[Word], is_option: IsOption) -> Deed:
    given = [word for word in words[1:] if word.text not in ("-P", "-L", "--", "-e")]
    if len(given) > 1 or any(word.text.startswith("+") for word in given):
        return Deed(why="where it leads isn't known")
    return Deed(kind="look", reads=given or [Word(text="~")])


def _uniq(words: Sequence[Word], is_option: IsOption) -> Deed:
    found = scan(words[1:], tables.LOOKS[words[0].text][0], is_option)
    given, found.operands = found.operands, []
    deed = looking(found, "none")
    deed.reads += given[:1]
    deed.writes += given[1:2]
    if any(word.split for word in given) or len(given) > 2:
        deed.hazards.append((words[-1], "its second word is a file that it writes"))
    return deed


def _whole_folders(words: Sequence[Word], is_option: IsOption) -> Deed:
    """grep, rg and the like: without files they read the folder that they run in."""
    name = words[0].text
    text, operands = tables.LOOKS[name]
    found = scan(words[1:], text, is_option)
    deed = looking(found, operands)
    return over_folders(name, found, deed)


def _listing(words: Sequence[Word], is_option: IsOption) -> Deed:
    """tar, unzip and gzip where they only list what an archive holds."""
    name, given = words[0].text, [word for word in words[1:] if word.known]
    lists = {
        "tar": r"-?(?:t[zjJv]*f|[zjJv]*tv?f)",
        "unzip": r"-(?:l|v|lv)",
        "gzip": r"-(?:l|lv)",
    }[name]
    plain = len(given) == len(words) - 1 > 1 and re.fullmatch(lists, given[0].text)
    strange = any(word.text.startswith("-") for word in given[1:])
    if plain and not strange and ":" not in given[1].text:
        return Deed(kind="look", reads=given[1:] if name == "gzip" else given[1:2])
    return harm_of(words, Deed(maybe=list(words[1:])), is_option=is_option)


def _text(words: Sequence[Word], is_option: IsOption) -> Deed:
    """Commands that take any words, and what looks like an option, as text."""
    return Deed(kind="look")


SPECIAL: dict[str, Special] = {
    "echo": _text,
    "true": _text,
    "false": _text,
    ":": _text,
    "git": _git,
    "find": _find,
    "sed": _sed,
    "gsed": _sed,
    "awk": _awk,
    "gawk": _awk,
    "mawk": _awk,
    "[": _test,
    "[[": _test,
    "test": _test,
    "printf": _printf,
    "read": _read,
    "mapfile": _read,
    "readarray": _read,
    "export": _export,
    "declare": _export,
    "typeset": _export,
    "local": _export,
    "readonly": _export,
    "unset": _export,
    "set": _set,
    "cd": _cd,
    "pushd": _cd,
    "tar": _listing,
    "unzip": _listing,
    "gzip": _listing,
    "uniq": _uniq,
    "xxd": _uniq,
    "grep": _whole_folders,
    "egrep": _whole_folders,
    "fgrep": _whole_folders,
    "rg": _whole_folders,
    "diff": _whole_folders,
    "fd": _whole_folders,
    "tree": _whole_folders,
    "du": _whole_folders,
}
