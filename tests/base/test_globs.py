from __future__ import annotations

import time
import warnings

import pytest

from glmcode.base.globs import expand_braces, glob_regex


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.py", ["a.py", "src/a.py", "a/b/c.py", ".py"], ["a.pyc", "a.py/x"]),
        ("**/*.py", ["a.py", "src/a.py"], ["a.txt"]),
        ("src/*.py", ["src/a.py"], ["a.py", "src/b/a.py", "x/src/a.py"]),
        ("src/**/*.py", ["src/a.py", "src/b/c/a.py"], ["a.py"]),
        ("src/**", ["src/a", "src/b/c"], ["src", "a"]),
        ("**", ["a", "a/b"], []),
        ("*", ["a", "a/b"], []),
        ("/*.py", ["a.py"], ["src/a.py"]),
        ("./src/*.py", ["src/a.py"], ["a.py"]),
        ("src//a.py", ["src/a.py"], []),
        ("**/test_*.{py,pyi}", ["test_a.py", "x/test_b.pyi"], ["test_a.pyc"]),
        ("{src,lib}/**/*.{c,h}", ["src/a.c", "lib/x/a.h"], ["doc/a.c"]),
        ("a{b,{c,d}}e", ["abe", "ace", "ade"], ["ae"]),
        ("*.{py}", ["a.py"], ["a.{py}"]),
        ("{unbalanced", ["{unbalanced"], ["unbalanced"]),
        ("a}b", ["a}b"], []),
        ("[ab].txt", ["a.txt", "x/b.txt"], ["c.txt"]),
        ("[!ab].txt", ["c.txt"], ["a.txt", "/.txt"]),
        ("[^a-c]", ["d", "-"], ["a", "b"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[z-a]", ["[z-a]"], ["z"]),
        ("[unclosed", ["[unclosed"], ["u"]),
        ("file[1].txt", ["file1.txt"], ["file[1].txt"]),
        (r"file\[1\].txt", ["file[1].txt"], ["file1.txt"]),
        ("[+--]x", ["+x", ",x", "-x"], ["ax"]),
        ("[[&&~~||]", ["&", "~", "|", "["], ["a"]),
        ("te?t", ["test", "text"], ["tet", "te/t"]),
        ("src/**.py", ["src/a.py", "src/x/a.py"], ["a.py"]),
        ("**.py", ["a.py", "src/x/a.py"], []),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/z/c"], ["a/c", "b/c"]),
        ("**/node_modules/**", ["node_modules/x", "a/node_modules/b/c"], ["node_modules"]),
        ("a+b(c).txt", ["a+b(c).txt"], ["aab.txt"]),
        ("*ä*", ["xäy"], ["xay"]),
        ("*a*b*", ["ab", "xaybz", "aabb"], ["ba"]),
        ("*ab", ["abab", "ab"], ["aba"]),
        ("a*a", ["aa", "aba"], ["a"]),
    ],
)
def test_a_pattern_matches_what_people_expect(pattern: str, yes: list[str], no: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regex = glob_regex(pattern)
    assert [one for one in yes if not regex.fullmatch(one)] == []
    assert [one for one in no if regex.fullmatch(one)] == []


def test_braces_without_end_do_not_explode() -> None:
    assert len(expand_braces("{a,b}" * 30)) < 1_000
    assert expand_braces("x") == ["x"]
    assert expand_braces("${HOME}") == ["$HOME"]


@pytest.mark.parametrize(
    "pattern", ["*a" * 60 + "!", "**/a/" * 30 + "!", "{a,b}" * 12 + "*" * 50, "[a-z]*" * 30 + "!"]
)
def test_hostile_patterns_take_no_time(pattern: str) -> None:
    began = time.monotonic()
    regex = glob_regex(pattern)
    for length in range(150, 200):
        regex.fullmatch("a/" * 60 + "a" * length)
    assert time.monotonic() - began < 10
