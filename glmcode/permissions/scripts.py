"""Whether the small languages inside commands only look: sed, awk, test, find. Pure.

A white list each: what is not understood counts as harmful. Must not judge anything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from glmcode.permissions.options import Scan
from glmcode.permissions.words import Word

_ADDRESS = r"(?:\d+~\d+|\d+|\$|\+\d+|/(?:[^/\\\n\[]|\\.|\[\^?\]?[^\]/\n]*\])*/I?)"
_SED_HEAD = re.compile(rf"[\s;{{}}]*(?:{_ADDRESS}(?:\s*,\s*{_ADDRESS})?)?\s*!?\s*")
_SED_PLAIN = re.compile(r"[pdPDgGhHxnN=lqQzF]\s*\d*\s*(?=[;}\n]|$)|#[^\n]*")
_SED_TEXT = re.compile(r"[aic](?:[^\\\n]|\\.)*(?=\n|$)", re.DOTALL)
_SED_LABEL = re.compile(r"(?::|[btT])\s*[\w.-]*\s*(?=[;}\n]|$)")
_SED_FLAGS = re.compile(r"[gpiIM0-9m]*\s*(?=[;}\n]|$)")
_AWK_HARM = re.compile(r"system|getline|\bclose\b|@|\bARGV\b|\bENVIRON\b|/inet|\bPROCINFO\b|SHELL")
_AWK_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|.', re.DOTALL)
_AWK_OPERAND = re.compile(r"(?<!print)(?<!printf)(?<!return)(?<!\bin)[\w)\]$\"]\s*$")
_AWK_REGEX = re.compile(r"(?:[^/\\\n\[]|\\.|\[\^?\]?[^\]/\n]*\])*/")
_TEST_ONE = frozenset(
    [
        "-z",
        "-n",
        "-e",
        "-f",
        "-d",
        "-r",
        "-w",
        "-x",
        "-s",
        "-L",
        "-h",
        "-b",
        "-c",
        "-p",
        "-S",
        "-t",
        "-g",
        "-u",
        "-k",
        "-O",
        "-G",
        "-N",
    ]
)
_TEST_TWO = frozenset(
    ["=", "==", "!=", "<", ">", "=~", "-nt", "-ot", "-ef", "-eq", "-ne", "-lt", "-le", "-gt", "-ge"]
)
_TEST_NUMBERS = frozenset(["-eq", "-ne", "-lt", "-le", "-gt", "-ge"])
_FIND_ALONE = frozenset(
    [
        "-print",
        "-print0",
        "-ls",
        "-prune",
        "-quit",
        "-empty",
        "-readable",
        "-writable",
        "-executable",
        "-nouser",
        "-nogroup",
        "-true",
        "-false",
        "-depth",
        "-d",
        "-mount",
        "-xdev",
        "-daystart",
        "-follow",
        "-noleaf",
        "-not",
        "-a",
        "-and",
        "-o",
        "-or",
        "-warn",
        "-nowarn",
        "!",
        "(",
        ")",
        ",",
        "-ignore_readdir_race",
        "-L",
        "-H",
        "-P",
        "-E",
    ]
)
_FIND_VALUED = frozenset(
    [
        "-name",
        "-iname",
        "-path",
        "-ipath",
        "-wholename",
        "-iwholename",
        "-lname",
        "-ilname",
        "-regex",
        "-iregex",
        "-regextype",
        "-type",
        "-xtype",
        "-size",
        "-mtime",
        "-mmin",
        "-atime",
        "-amin",
        "-ctime",
        "-cmin",
        "-used",
        "-perm",
        "-user",
        "-group",
        "-uid",
        "-gid",
        "-links",
        "-inum",
        "-maxdepth",
        "-mindepth",
        "-printf",
        "-fstype",
        "-newermt",
        "-newerat",
        "-newerct",
        "-samefile",
        "-newer",
        "-anewer",
        "-cnewer",
    ]
)
_FIND_FILES = frozenset(("-newer", "-anewer", "-cnewer", "-samefile"))
_FIND_RUNS = frozenset(("-exec", "-execdir"))


def sed_is_harmless(script: str) -> bool:
    """Whether a script of sed neither runs a command nor opens a file."""
    position = 0
    while position < len(script):
        head = _SED_HEAD.match(script, position)
        position = head.end() if head else position
        if position >= len(script):
            return True
        for pattern in (_SED_PLAIN, _SED_LABEL, _SED_TEXT):
            found = pattern.match(script, position)
            if found:
                position = found.end()
                break
        else:
            if script[position] not in "sy" or position + 1 >= len(script):
                return False
            end = _after_delimiters(script, position + 1)
            flags = _SED_FLAGS.match(script, end) if end else None
            if flags is None:
                return False
            position = flags.end()
    return True


def _after_delimiters(script: str, start: int) -> int:
    """The index behind `/a/b/`; 0 when it has no end."""
    mark = script[start]
    if mark in "\\\n[" or mark.isalnum() or mark.isspace():
        return 0
    index, left = start + 1, 2
    while index < len(script):
        if script[index] == "\\":
            index += 1
        elif script[index] == "[" and left == 2 and mark in script[index:].partition("]")[0]:
            return 0
        elif script[index] == mark:
            left -= 1
            if left == 0:
                return index + 1
        index += 1
    return 0


def awk_is_harmless(script: str) -> bool:
    """Whether a program of awk neither runs a command nor opens a file of its own."""
    text = _awk_code(script)
    if text is None or _AWK_HARM.search(script):
        return False
    text = text.replace("||", "").replace(">=", "")
    if "|" in text:
        return False
    for found in re.finditer(">", text):
        statement = re.split(r"[{};\n]", text[: found.start()])[-1]
        _, prints, printed = statement.rpartition("print")
        if prints and printed.count("(") <= printed.count(")"):
            return False
    return True


def _awk_code(script: str) -> str | None:
    """A program of awk without its strings, patterns and comments; None when that is unclear."""
    text = script.replace("\\\n", " ")
    out, index = "", 0
    while index < len(text):
        found = _AWK_TOKEN.match(text, index)
        assert found is not None
        token, index = found.group(), found.end()
        if token == "/" and not _AWK_OPERAND.search(out):
            regex = _AWK_REGEX.match(text, index)
            if regex is None:
                return None
            token, index = '""', regex.end()
        elif token == '"':
            return None
        elif token[0] == '"':
            token = '""'
        elif token[0] == "#":
            token = ""
        out += token
    return re.sub(r"(,|&&|\|\|)\s*\n\s*", r"\1 ", out)


def test_is_harmless(words: Sequence[Word]) -> bool:
    """Whether `[ a = b ]`, `test -f x` or `[[ ... ]]` evaluates nothing that is hidden in text.

    `-v a[$(x)]` and arithmetic comparison in `[[` run code, so operators must be known.
    """
    double = words[0].text == "[["
    inner = list(words[1:])
    if words[0].text in ("[", "[["):
        if not inner or inner[-1].text != ("]]" if double else "]"):
            return False
        inner = inner[:-1]
    groups: list[list[Word]] = [[]]
    for word in inner:
        if double and word.known and word.text in ("&&", "||", "(", ")"):
            groups.append([])
        else:
            groups[-1].append(word)
    return all(_one_test(group, double=double) for group in groups if group)


def _one_test(words: list[Word], *, double: bool) -> bool:
    while words and words[0].known and words[0].text == "!":
        words = words[1:]
    if not double and any(w.split or (w.glob and not w.raw.startswith('"')) for w in words):
        return False
    match words:
        case [one]:
            return not (one.known and one.text in (">", "<"))
        case [operator, _]:
            return operator.known and operator.text in _TEST_ONE
        case [left, operator, right]:
            if not operator.known or operator.text not in _TEST_TWO:
                return False
            if operator.text in ("<", ">") and not double:
                return False
            numbers = double and operator.text in _TEST_NUMBERS
            return not numbers or all(
                word.known and re.fullmatch(r"-?\d+", word.text) for word in (left, right)
            )
    return False


def find_parts(words: Sequence[Word]) -> tuple[list[Word], list[Word], list[tuple[Word, str]], str]:
    """Of find's words: roots and files it looks at, harmful ones with the reason, an odd one."""
    roots: list[Word] = []
    files: list[Word] = []
    hazards: list[tuple[Word, str]] = []
    odd, index, begun = "", 1, False
    while index < len(words):
        word = words[index]
        text = word.text if word.known else word.prefix
        index += 1
        if not begun and not (text.startswith(("-", "(", "!")) and word.known):
            if word.may_be_option:
                odd = odd or word.raw
            roots.append(word)
        elif text in _FIND_VALUED and word.known:
            begun = True
            if text in _FIND_FILES and index < len(words):
                files.append(words[index])
            index += 1
        elif text in _FIND_RUNS:
            begun = True
            while index < len(words) and words[index].text not in (";", "+"):
                index += 1
            index += 1
        elif text in ("-delete", "-fprint", "-fprint0", "-fprintf", "-fls", "-ok", "-okdir"):
            hazards.append((word, f"{text} makes it change something"))
            begun = True
            index += text.startswith("-f")
        elif word.known and (text in _FIND_ALONE or text.startswith("-O")):
            begun = begun or text not in ("-L", "-H", "-P", "-E")
        else:
            odd = odd or (word.raw or text)
    return roots, files, hazards, odd


_JQ_ENVIRONMENT = re.compile(r"(?<![.\w\"])env\b(?!\s*:)|\$ENV|\b(?:import|include)\b")


def shows_environment(name: str, found: Scan) -> Word | None:
    """The word with which jq or ps show variables of the environment, or jq reads other files."""
    if name == "jq":
        for word in found.operands[:1]:
            unclear = not word.known and not word.prefix.startswith((".", "[", "{"))
            if unclear or _JQ_ENVIRONMENT.search(word.text):
                return word
    if name == "ps":
        shown = [word for word in found.operands if re.fullmatch(r"[A-Za-z]*e[A-Za-z]*", word.text)]
        shown += [word for _, word in found.given if word is not None and "env" in word.text]
        return shown[0] if shown else None
    return None
