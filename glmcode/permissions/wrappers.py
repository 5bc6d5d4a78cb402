"""Programs that run another program: what they run, and whether they are more than a wrapper. Pure.

`timeout 5 git diff` is git diff; `env GIT_PAGER=x git diff` and `sudo git diff` are more than that.
What a rule denies is looked for behind all of them. Where the text of a shell is literal it is
given back to be parsed again. Must not judge.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from glmcode.permissions.inner import Inner, git_runs
from glmcode.permissions.outputs import found_by
from glmcode.permissions.words import Listing, Word, literal, unknown

MOST_FED = 20_000
MOST_LINES = 20
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
SHELLS = frozenset(("bash", "sh", "dash", "zsh", "ksh", "ash", "rbash", "mksh", "fish"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wrapper:
    """flags and valued: options without and with a value. skip: operands before the command."""

    flags: str = ""
    valued: str = ""
    skip: int = 0
    hazard: str = ""
    shadow: bool = False


_ROOT = "it runs as another user"
_OTHER = "it changes what the command runs in"
_PLAIN = {
    "timeout": _Wrapper(
        flags="-v --foreground --preserve-status --verbose",
        valued="-k -s --kill-after --signal",
        skip=1,
    ),
    "gtimeout": _Wrapper(valued="-k -s", skip=1),
    "nohup": _Wrapper(),
    "nice": _Wrapper(valued="-n --adjustment"),
    "stdbuf": _Wrapper(valued="-i -o -e --input --output --error"),
    "time": _Wrapper(flags="-p"),
    "builtin": _Wrapper(),
    "command": _Wrapper(flags="-p"),
    "exec": _Wrapper(flags="-l", valued="-a"),
    "setsid": _Wrapper(flags="-f -w -c --fork --wait --ctty"),
    "ionice": _Wrapper(flags="-t", valued="-c -n"),
    "unbuffer": _Wrapper(flags="-p"),
    "caffeinate": _Wrapper(flags="-d -i -m -s -u", valued="-t -w"),
    "coproc": _Wrapper(hazard="coproc"),
    "chrt": _Wrapper(valued="-p -T -P -D", skip=1, hazard=_OTHER),
    "taskset": _Wrapper(skip=1, hazard=_OTHER),
    "sudo": _Wrapper(valued="-u -g -h -p -C -T -R -D -r -t --user --group", hazard=_ROOT),
    "doas": _Wrapper(valued="-u -C", hazard=_ROOT),
    "pkexec": _Wrapper(valued="--user", hazard=_ROOT),
    "gosu": _Wrapper(skip=1, hazard=_ROOT),
    "chroot": _Wrapper(skip=1, hazard=_OTHER),
    "unshare": _Wrapper(hazard=_OTHER),
    "nsenter": _Wrapper(valued="-t --target", hazard=_OTHER),
    "strace": _Wrapper(valued="-o -e -s -p -P", hazard=_OTHER),
    "ltrace": _Wrapper(valued="-o -e -s -p", hazard=_OTHER),
    "busybox": _Wrapper(hazard=_OTHER),
    "toybox": _Wrapper(hazard=_OTHER),
    "flock": _Wrapper(valued="-w -E", skip=1, hazard=_OTHER),
    "parallel": _Wrapper(valued="-j -P", hazard=_OTHER),
    "npx": _Wrapper(flags="-y --yes", shadow=True, hazard="npx"),
    "uvx": _Wrapper(shadow=True, hazard="uvx"),
}
_RUNNERS = {("uv", "run"), ("poetry", "run"), ("pipenv", "run"), ("bundle", "exec")}


def inner_of(
    words: Sequence[Word], stdin: str | None, piped: bool, listing: Listing | None = None
) -> list[Inner]:
    """What a command runs; an empty list when it is no wrapper that is known.

    stdin: the text that it reads, where that is literal. listing: it reads names of files.
    """
    name = words[0].text.rpartition("/")[2] if words and words[0].known else ""
    special: dict[str, Callable[[Sequence[Word]], list[Inner]]] = {
        "env": _env,
        "xargs": lambda given: [*_xargs(given, listing), *_fed_xargs(given, stdin)],
        "source": _source,
        ".": _source,
        "find": _find,
        "gfind": _find,
        "eval": _eval,
        "trap": _trap,
        "su": _script_option,
        "runuser": _script_option,
        "script": _script_option,
        "watch": _watch,
        "ssh": _ssh,
        "git": git_runs,
    }
    if name in special:
        return special[name](words)
    if name in SHELLS:
        return _shell(words, stdin, piped)
    if len(words) > 2 and (name, words[1].text) in _RUNNERS:
        return [Inner(words=tuple(words[2:]), hazard=name, shadow=True)]
    wrapper = _PLAIN.get(name)
    if wrapper is None or (name == "command" and _asks_only(words)):
        return []
    return _plain(words, wrapper)


def _asks_only(words: Sequence[Word]) -> bool:
    return len(words) > 1 and words[1].known and words[1].text in ("-v", "-V")


def _plain(words: Sequence[Word], wrapper: _Wrapper) -> list[Inner]:
    start, odd = _after_options(words, wrapper.flags.split(), wrapper.valued.split())
    hazard = wrapper.hazard or (f"the option {odd} of {words[0].text}" if odd else "")
    inner = tuple(words[start + wrapper.skip :])
    while inner and inner[0].known and wrapper.hazard == _ROOT and ASSIGNMENT.match(inner[0].text):
        inner = inner[1:]
    if not inner:
        return []
    return [Inner(words=inner, hazard=hazard, shadow=wrapper.shadow)]


def _after_options(
    words: Sequence[Word], flags: Sequence[str], valued: Sequence[str]
) -> tuple[int, str]:
    """The index of the first operand, and an option that is not known."""
    index, odd = 1, ""
    while index < len(words):
        word = words[index]
        if not word.known:
            odd = odd or (word.raw if word.may_be_option else "")
            break
        text = word.text
        if text == "--":
            return index + 1, odd
        if not text.startswith("-") or text == "-":
            break
        name = text.partition("=")[0]
        if text in valued:
            index += 1
        elif name in valued or text in flags or re.fullmatch(r"-\d+", text):
            pass
        elif not (text[:2] in valued and not text.startswith("--")):
            odd = odd or text
        index += 1
    return index, odd


def _env(words: Sequence[Word]) -> list[Inner]:
    index, hazard = 1, ""
    assigns: list[tuple[str, Word]] = []
    while index < len(words):
        word = words[index]
        text = word.text if word.known else word.prefix
        match = ASSIGNMENT.match(text)
        if re.match(r"-[i0v]*S|--split-string", text):
            return _split_string(words, index, assigns)
        if match and (word.known or "=" in word.prefix):
            known = word.known
            value = literal(match.group(2)) if known else unknown(word.raw)
            assigns.append((match.group(1), value))
        elif text in ("-u", "--unset", "-C", "--chdir", "-P"):
            hazard = _OTHER
            index += 1
        elif text == "--":
            pass
        elif text.startswith("-") or (not word.known and not word.prefix):
            hazard = _OTHER
        else:
            break
        index += 1
    if index >= len(words):
        return []
    return [Inner(words=tuple(words[index:]), assigns=tuple(assigns), hazard=hazard)]


def _split_string(
    words: Sequence[Word], index: int, assigns: list[tuple[str, Word]]
) -> list[Inner]:
    text = words[index].text
    text = re.sub(r"^(?:-[i0v]*S|--split-string=?)", "", text)
    rest = index + 1
    if not text and rest < len(words):
        text, rest = words[rest].text, rest + 1
    try:
        cut = [literal(part) for part in shlex.split(text)]
    except ValueError:
        return [Inner(opaque=True, hazard=_OTHER)]
    while cut and (match := ASSIGNMENT.match(cut[0].text)):
        assigns.append((match.group(1), literal(match.group(2))))
        cut.pop(0)
    return [Inner(words=(*cut, *words[rest:]), assigns=tuple(assigns), hazard=_OTHER)]


_XARGS_FLAGS = ["-0", "-r", "-t", "-x", "--null", "--no-run-if-empty", "--verbose", "--exit", "-o"]
_XARGS_VALUED = [
    "-n",
    "-P",
    "-L",
    "-s",
    "-d",
    "-E",
    "-I",
    "-R",
    "-J",
    "--max-args",
    "--max-procs",
    "--max-lines",
    "--delimiter",
]


def _xargs(words: Sequence[Word], listing: Listing | None) -> list[Inner]:
    start, odd = _after_options(words, _XARGS_FLAGS, _XARGS_VALUED)
    inner = list(words[start:]) or [literal("echo")]
    given = [w.text for w in words[1:start]]
    marks = [given[i + 1] for i, w in enumerate(given[:-1]) if w in ("-I", "-J")]
    marks += [w[2:] for w in given if w.startswith("-I") and len(w) > 2]
    tail = unknown("the words that xargs reads", listed=listing)
    if marks:
        inner = [_filled(word, marks[0], listing) for word in inner]
    else:
        inner.append(tail)
    hazard = f"the option {odd} of xargs" if odd else ""
    return [Inner(words=tuple(inner), hazard=hazard)]


def _fed_xargs(words: Sequence[Word], stdin: str | None) -> list[Inner]:
    """What xargs runs where the text that it reads is literal."""
    if not stdin or len(stdin) > MOST_FED:
        return []
    start, _ = _after_options(words, _XARGS_FLAGS, _XARGS_VALUED)
    inner = list(words[start:]) or [literal("echo")]
    marks = [b.text for a, b in pairwise(words[:start]) if a.text == "-I"]
    marks += [word.text[2:] for word in words[1:start] if re.match("-I.", word.text)]
    if marks:
        return [
            Inner(
                words=tuple(literal(word.text.replace(marks[0], line)) for word in inner),
                standing=True,
            )
            for line in stdin.splitlines()[:MOST_LINES]
        ]
    return [Inner(words=(*inner, *(literal(one) for one in stdin.split())), standing=True)]


def _source(words: Sequence[Word]) -> list[Inner]:
    """A script that comes out of a pipe or a here-document is not known."""
    return [Inner(opaque=True, standing=True)] if len(words) > 1 and _no_file(words[1]) else []


def _no_file(word: Word) -> bool:
    return re.match(r"/dev/(?:fd/|stdin)|/proc/[^/]+/fd/", word.text) is not None


def _filled(word: Word, mark: str, listing: Listing | None) -> Word:
    """A word in which a mark stands for what is only known later."""
    if not mark or mark not in word.text:
        return word
    prefix = word.text.partition(mark)[0]
    listed = listing if word.text == mark else None
    return Word(text=word.text, raw=word.raw, known=False, prefix=prefix, listed=listed)


def _find(words: Sequence[Word]) -> list[Inner]:
    found: list[Inner] = []
    index = 1
    while index < len(words):
        if words[index].text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = index + 1
            while end < len(words) and words[end].text not in (";", "+"):
                end += 1
            listing = found_by([word.text for word in words])
            inner = tuple(_filled(w, "{}", listing) for w in words[index + 1 : end])
            found.append(Inner(words=inner, standing=True))
            index = end
        index += 1
    return found


def _eval(words: Sequence[Word]) -> list[Inner]:
    rest = [word for word in words[1:] if word.text != "--"]
    if any(not word.known for word in rest):
        return [Inner(opaque=True)]
    return [Inner(script=" ".join(word.text for word in rest), same_shell=True)]


def _trap(words: Sequence[Word]) -> list[Inner]:
    rest = [word for word in words[1:] if word.text != "--"]
    if len(rest) < 2 or rest[0].text in ("-", "-l", "-p", ""):
        return []
    known = rest[0].known
    return [Inner(script=rest[0].text if known else None, opaque=not known, hazard="trap")]


def _shell(words: Sequence[Word], stdin: str | None, piped: bool) -> list[Inner]:
    """`bash -c text`, and a shell that reads its commands from standard input."""
    odd, command = "", False
    index = 1
    while index < len(words):
        text = words[index].text
        if not words[index].known or not re.match(r"[-+].", text):
            break
        if text in ("-o", "+o", "-O", "+O", "--rcfile", "--init-file"):
            plain = index + 1 < len(words) and words[index + 1].text == "pipefail"
            odd = odd or ("" if plain else text)
            index += 1
        elif text.startswith("-") and not text.startswith("--"):
            command = command or "c" in text
            odd = odd or ("" if re.fullmatch(r"-[ceuxfnhsl]+", text) else text)
        elif text == "--":
            index += 1
            break
        elif text not in ("--norc", "--noprofile", "--posix"):
            odd = odd or text
        index += 1
    hazard = f"the option {odd} of {words[0].text}" if odd else ""
    if not words[0].plain or "/" in words[0].text:
        hazard = hazard or words[0].raw
    if command:
        if index >= len(words):
            return []
        if not words[index].known:
            return [Inner(opaque=True, hazard=hazard)]
        return [Inner(script=words[index].text, hazard=hazard)]
    if index < len(words) and _no_file(words[index]) and words[index].text != "/dev/stdin":
        return [Inner(opaque=True, hazard="it runs what it reads")]
    if index >= len(words) or words[index].text in ("-", "/dev/stdin"):
        if stdin is not None:
            return [Inner(script=stdin, hazard=hazard)]
        if piped:
            return [Inner(opaque=True, hazard="it runs what it reads")]
    return []


def _script_option(words: Sequence[Word]) -> list[Inner]:
    """`su -c text`, `script -c text`."""
    for index, word in enumerate(words[:-1]):
        if word.text in ("-c", "--command", "-qc"):
            text = words[index + 1]
            return [
                Inner(script=text.text if text.known else None, opaque=not text.known, hazard=_ROOT)
            ]
    return [Inner(words=tuple(words[-1:]), hazard=_ROOT, shadow=True)]


def _watch(words: Sequence[Word]) -> list[Inner]:
    start, _ = _after_options(words, [], ["-n", "--interval"])
    rest = words[start:]
    if not rest or any(not word.known for word in rest):
        return []
    return [Inner(script=" ".join(word.text for word in rest), hazard=_OTHER)]


def _ssh(words: Sequence[Word]) -> list[Inner]:
    """A command for another machine: rules that deny look at it, nothing else."""
    start, _ = _after_options(words, [], ["-o", "-p", "-i", "-l", "-F", "-J", "-L", "-R"])
    rest = words[start + 1 :]
    if not rest or any(not word.known for word in rest):
        return []
    return [Inner(script=" ".join(word.text for word in rest), hazard="ssh", shadow=True)]
