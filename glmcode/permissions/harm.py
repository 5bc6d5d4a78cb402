"""What is known of commands that change things: what they write, which options are worse. Pure.

For the commands in tables.HARMFUL the options that run or write something are found wherever
they stand, in a cluster or cut short; for those that copy, move and make files, the files that
they name. Must not judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.permissions import tables
from glmcode.permissions.options import IsOption, scan
from glmcode.permissions.words import Word, literal

if TYPE_CHECKING:
    from glmcode.permissions.programs import Deed

_COPY = (
    "-abdfHilLnpPrRsuvxTZ -S: -t: --archive --force --interactive --no-clobber --link --recursive "
    "--dereference --no-dereference --preserve? --parents --reflink? --update? --verbose "
    "--symbolic-link --no-target-directory --target-directory= --backup? --suffix= "
    "-m: -o: -g: -D --mode= --owner= --group="
)
_PLAIN = (
    "-abcdfhimnpqrRsuvzZ -t: -d: --parents --verbose --recursive --force --no-create --append "
    "--ignore-interrupts --interactive? --one-file-system --mode= --date= --time= --reference= "
    "--size= -A -M"
)
WRITERS = {
    "cp": _COPY,
    "mv": _COPY,
    "ln": _COPY,
    "install": _COPY,
    "touch": _PLAIN.replace("-t:", "-t: -r:"),
    "mkdir": _PLAIN.replace(" -t:", "").replace("-abcdfhimnpq", "-abcdfhinpq -m: -q"),
    "rmdir": _PLAIN,
    "rm": _PLAIN.replace("-t: -d:", "-I"),
    "unlink": "",
    "shred": "-fuvxz -n: -s: --iterations= --size= --remove?",
    "truncate": "-co -s: -r: --size= --reference= --no-create",
    "tee": "-aip --append --ignore-interrupts --output-error?",
    "chmod": _PLAIN.replace("-abcdfhimnpqrRsuvzZ", "-cfvR"),
    "chown": "-cfhvRHLP --recursive --reference= --from=",
    "chgrp": "-cfhvRHLP --recursive --reference=",
    "gzip": "-123456789cdfklNnqrtv -S: --keep --stdout --decompress --force",
    "gunzip": "-cfklNnqrtv -S:",
    "bzip2": "-123456789cdfkqstvz",
    "xz": "-0123456789cdefkqtvz -T:",
}
_PACKING = frozenset(("gzip", "gunzip", "bzip2", "xz"))
_EDITING = frozenset(("cp", "mv", "touch", "mkdir", "tee", "truncate", "install"))
_LINKS = frozenset(("-s", "-l", "--link", "--symbolic-link"))


def harm_of(
    words: Sequence[Word],
    deed: Deed,
    text: str | None = None,
    is_option: IsOption = lambda word: True,
) -> Deed:
    """Add to a deed what is known of the command. text: a description in place of the table's."""
    name = words[0].text
    if text is None:
        text = tables.HARMFUL.get(name, "")
        if name in WRITERS:
            return _writing(words, deed, is_option)
        if name == "dd":
            return _dd(words, deed)
        if name == "make":
            _make(words, deed)
    if text:
        _marked(words, text, deed)
    if name in ("less", "more", "vim", "vi", "view", "nvim", "ex"):
        plain = re.compile(r"\+(?:\d*|/[^!|]*|[FG])")
        opens = [w for w in words[1:] if w.prefix.startswith("+") and not plain.fullmatch(w.text)]
        deed.hazards += [(word, "+ makes it run a command") for word in opens]
    deed.hazards = [one for one in deed.hazards if not _is_mild(words, *one)]
    if name == "rsync":
        deed.kind, deed.below = "write", True
        deed.writes += [w for w in words[1:] if w.known and not w.text.startswith("-")][-1:]
    return deed


def _marked(words: Sequence[Word], text: str, deed: Deed) -> None:
    """Find the options that a description marks, whatever else stands there."""
    long: dict[str, tuple[str, bool]] = {}
    short: dict[str, tuple[str, bool]] = {}
    for token in text.split():
        mark = token[0] if token[0] in "!><" else ""
        option = token[1:] if mark else token
        (long if re.fullmatch(r"-[^-][:?]?|-[A-Za-z0-9]{2,}", option) is None else short)[
            option.rstrip(":=?")
        ] = (mark, option[-1] in ":=")
    whole = short.pop("whole", None) or long.pop("whole", None)
    harmful = any(mark in ("!", ">") for mark, _ in (*long.values(), *short.values()))
    for index, word in enumerate(words[1:], 1):
        head = word.text if word.known else word.prefix
        following = words[index + 1] if index + 1 < len(words) else literal("")
        if word.may_be_option:
            if harmful:
                deed.hazards.append((word, f"{word.raw or 'a word'} may be an option"))
        elif head == "--" and word.known:
            return
        elif (
            head.startswith("-")
            and not _long(word, head, following, long, deed)
            and not head.startswith("--")
            and (not whole or head[:2] in short)
        ):
            _cluster(word, head, following, short, deed)


def _long(
    word: Word, head: str, following: Word, long: dict[str, tuple[str, bool]], deed: Deed
) -> bool:
    name, equals, value = head.partition("=")
    known = [o for o in long if o == name] or [
        o for o in long if name.startswith("--") and len(name) > 3 and o.startswith(name)
    ]
    for option in known:
        mark, valued = long[option]
        given = literal(value) if equals else following
        _mark(word, option, mark, given if valued and (word.known or not equals) else None, deed)
    return bool(known)


def _cluster(
    word: Word, head: str, following: Word, short: dict[str, tuple[str, bool]], deed: Deed
) -> None:
    for position, letter in enumerate(head[1:], 1):
        if f"-{letter}" not in short:
            continue
        mark, valued = short[f"-{letter}"]
        rest = head[position + 1 :]
        given = (literal(rest) if rest else following) if valued else None
        _mark(word, f"-{letter}", mark, given, deed)
        if valued:
            return


def _mark(word: Word, option: str, mark: str, value: Word | None, deed: Deed) -> None:
    if mark == "!":
        deed.hazards.append((word, f"{option} makes it run or change something"))
    elif mark == ">" and value is not None:
        deed.hazards.append((word, f"{option} makes it write a file"))
        deed.writes.append(value)
    elif mark == "<" and value is not None:
        deed.reads.append(value)


def _is_mild(words: Sequence[Word], word: Word, reason: str) -> bool:
    """Whether the value of an option takes away what is harmful in it."""
    option = reason.partition(" ")[0]
    mild = tables.MILD.get((words[0].text, option))
    if mild is None or not word.known or word.text.startswith("--"):
        return False
    index = next(index for index, one in enumerate(words) if one is word)
    attached = word.text.partition(option[1])[2]
    following = words[index + 1] if index + 1 < len(words) else literal("")
    value = literal(attached) if attached else following
    return value.known and re.fullmatch(mild, value.text, re.DOTALL) is not None


def _writing(words: Sequence[Word], deed: Deed, is_option: IsOption) -> Deed:
    name = words[0].text
    found = scan(words[1:], WRITERS[name], is_option)
    given = found.operands
    deed.kind, deed.editing, deed.maybe = "write", name in _EDITING, []
    deed.below = True
    target = found.seen.get("-t") or found.seen.get("--target-directory")
    reference = found.seen.get("-r") or found.seen.get("--reference")
    if reference is not None:
        deed.reads.append(reference)
    if name in ("cp", "mv", "install", "ln"):
        if name == "install" and "-d" in found.seen:
            deed.writes += given
            return deed
        sources, ends = (given, [target]) if target is not None else (given[:-1], given[-1:])
        deed.reads += sources
        deed.writes += [end for end in ends if end is not None]
        deed.writes += [_into(end, one) for end in ends if end for one in sources]
        if name == "mv":
            deed.writes += sources
        if name == "ln" or _LINKS & set(found.seen):
            deed.editing = False
            deed.why = "it makes a link"
    elif name in ("chmod", "chown", "chgrp"):
        deed.writes += given[1:]
    else:
        deed.writes += given
        deed.reads += given if name in _PACKING else []
    suffix = found.seen.get("-S") or found.seen.get("--suffix")
    if name in ("cp", "mv", "install", "ln") and suffix is not None and "/" in suffix.text:
        deed.hazards.append((words[-1], "its suffix leads to another folder"))
        deed.editing = False
    if found.odd:
        deed.editing, deed.why = False, f"its option {found.odd} is not known"
    if any(word.may_be_option and is_option(word) for word in given):
        deed.editing = False
    return deed


def _into(folder: Word, source: Word) -> Word:
    """Where a file lies that was copied into a folder."""
    if not folder.known or not source.known:
        return folder
    name = source.text.rstrip("/").rpartition("/")[2]
    return literal(f"{folder.text}/{name}")


def _dd(words: Sequence[Word], deed: Deed) -> Deed:
    deed.kind, deed.maybe = "write", []
    deed.editing = all(word.known for word in words[1:])
    for word in words[1:]:
        name, _, value = word.text.partition("=")
        if name == "of":
            deed.writes.append(literal(value) if word.known else word)
        elif name == "if":
            deed.reads.append(literal(value) if word.known else word)
    return deed


def _make(words: Sequence[Word], deed: Deed) -> None:
    """Variables that make's own commands run through."""
    for word in words[1:]:
        name, equals, value = word.text.partition("=")
        if equals and (
            not word.known
            or re.search(r"[$`;|&]", value)
            or "SHELL" in name
            or name.rstrip(":+?") in ("MAKEFLAGS", "MAKE", "MAKEFILES")
        ):
            deed.hazards.append((word, f"{name} changes what make runs"))
        if word.text in ("-C", "--directory"):
            follow = list(words)[list(words).index(word) + 1 :][:1]
            deed.reads += follow


_MILD_KEY = re.compile(
    r"(?:user|color|advice|branch|init|pull|push|fetch|rebase|merge|rerere|column|status|log|commit"
    r"|tag|safe)\.[\w./-]+|core\.(?:autocrlf|eol|quotepath|ignorecase|filemode|symlinks|bare|abbrev)"
    r"|diff\.(?:algorithm|renames|colormoved|noprefix|mnemonicprefix)|remote\.[\w.-]+\.(?:url|fetch)",
    re.IGNORECASE,
)
_RUNNING_KEY = re.compile(
    r".*(?:cmd|driver|command|program|helper|template|sequence\.editor)", re.I
)


def configures(rest: Sequence[Word], deed: Deed) -> None:
    """Add what `git config` writes: settings that run programs, files of other repositories."""
    for index, word in enumerate(rest[1:], 1):
        text = word.text
        following = rest[index + 1] if index + 1 < len(rest) else literal("")
        if text in ("-f", "--file"):
            deed.writes.append(following)
        elif text.startswith("--file="):
            deed.writes.append(literal(text[7:]))
        elif text.startswith("-f"):
            deed.writes.append(literal(text[2:]))
        elif re.match(r"--(?:glo|sys)", text):
            own = Path("~/.gitconfig").expanduser()
            deed.writes.append(literal(str(own) if text[2] == "g" else "/etc/gitconfig"))
        elif text in ("-e", "--edit", "edit"):
            deed.hazards.append((word, "it runs an editor"))
    keys = [word for word in rest[1:] if "." in word.text and not word.text.startswith("-")][:1]
    for key in keys or [word for word in rest[1:] if not word.known]:
        if not _MILD_KEY.fullmatch(key.text) or _RUNNING_KEY.fullmatch(key.text):
            deed.hazards.append((key, "this setting may make git run something"))


def git_runs_more(rest: Sequence[Word], deed: Deed) -> None:
    """Add what git's own commands run, serve or set."""
    name = rest[0].text
    if name in (
        "daemon",
        "instaweb",
        "shell",
        "http-backend",
        "imap-send",
        "credential",
        "maintenance",
    ):
        deed.hazards.append((rest[0], "it serves others or hands out passwords"))
    if name == "config":
        configures(rest, deed)
    if name == "bundle" and len(rest) > 2 and rest[1].text == "create":
        deed.writes += [word for word in rest[2:] if not word.prefix.startswith("-")][:1]
    runs = {("submodule", "foreach"), ("bisect", "run"), ("filter-branch", rest[-1].text)}
    if (name, rest[1].text if len(rest) > 1 else "") in runs or name == "filter-branch":
        deed.hazards.append((rest[-1], "it runs a command"))
    for word in rest[1:]:
        if word.prefix.startswith(("ext::", "fd::")):
            deed.hazards.append((word, "its address runs a command"))
