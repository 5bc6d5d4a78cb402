"""The syntax of a few lines of a file, by its name: which stretch is a keyword, a string, …

Pygments does the reading. It is imported when a file is first spoken of, with the one module that
its language is in, and never asked for more than a few hundred lines: no key waits for colours.
What nobody knows has no syntax. Must not know colours: names of the theme's styles come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath
from threading import Thread
from typing import Any, TypeAlias

Stretch: TypeAlias = tuple[int, int, str]
"""Characters [from, to) of a line, and the name of their style."""

MOST_LINES = 200
MOST_CHARS = 12_000
LONGEST_LINE = 500

_PYTHON, _SCRIPT, _DATA = "python:PythonLexer", "javascript:JavascriptLexer", "data"
_C, _CPP, _SHELL, _HTML = "c_cpp:CLexer", "c_cpp:CppLexer", "shell:BashLexer", "html:HtmlLexer"
_TYPED = "javascript:TypeScriptLexer"
LANGUAGES = {
    **dict.fromkeys(("py", "pyi", "pyw"), _PYTHON),
    **dict.fromkeys(("js", "mjs", "cjs", "jsx"), _SCRIPT),
    **dict.fromkeys(("ts", "tsx", "mts", "cts"), _TYPED),
    **dict.fromkeys(("c", "h"), _C),
    **dict.fromkeys(("cc", "cpp", "cxx", "hh", "hpp", "hxx", "cu", "cuh"), _CPP),
    **dict.fromkeys(("sh", "bash", "zsh", "ksh"), _SHELL),
    **dict.fromkeys(("html", "htm", "xhtml"), _HTML),
    **dict.fromkeys(("yaml", "yml"), f"{_DATA}:YamlLexer"),
    **dict.fromkeys(("json", "jsonc", "jsonl"), f"{_DATA}:JsonLexer"),
    **dict.fromkeys(("md", "markdown"), "markup:MarkdownLexer"),
    **dict.fromkeys(("ini", "cfg"), "configs:IniLexer"),
    **dict.fromkeys(("ex", "exs"), "erlang:ElixirLexer"),
    **dict.fromkeys(("xml", "svg"), "html:XmlLexer"),
    **dict.fromkeys(("kt", "kts"), "jvm:KotlinLexer"),
    "toml": "configs:TOMLLexer",
    "go": "go:GoLexer",
    "rs": "rust:RustLexer",
    "java": "jvm:JavaLexer",
    "scala": "jvm:ScalaLexer",
    "cs": "dotnet:CSharpLexer",
    "rb": "ruby:RubyLexer",
    "php": "php:PhpLexer",
    "pl": "perl:PerlLexer",
    "lua": "scripting:LuaLexer",
    "swift": "objective:SwiftLexer",
    "hs": "haskell:HaskellLexer",
    "ml": "ml:OcamlLexer",
    "r": "r:SLexer",
    "jl": "julia:JuliaLexer",
    "sql": "sql:SqlLexer",
    "css": "css:CssLexer",
    "scss": "css:ScssLexer",
    "mk": "make:MakefileLexer",
    "cmake": "make:CMakeLexer",
    "tf": "configs:TerraformLexer",
    "zig": "zig:ZigLexer",
    "dart": "javascript:DartLexer",
    "vim": "textedit:VimLexer",
    "ps1": "shell:PowerShellLexer",
}
NAMES = {
    "makefile": LANGUAGES["mk"],
    "gnumakefile": LANGUAGES["mk"],
    "dockerfile": "configs:DockerLexer",
    "cmakelists.txt": LANGUAGES["cmake"],
    ".bashrc": _SHELL,
    ".profile": _SHELL,
    ".zshrc": _SHELL,
    "gemfile": LANGUAGES["rb"],
    "rakefile": LANGUAGES["rb"],
    "pkgbuild": _SHELL,
}
_ready: set[str] = set()
_OPTIONS = {"handlecodeblocks": False}
"""Of Markdown: what is inside of a fence would import other languages."""


def language_of(name: str) -> str:
    """Which lexer reads a file of this name, as "module:class" of pygments; "" for none."""
    path = PurePosixPath(name.strip())
    known = NAMES.get(path.name.lower())
    return known or LANGUAGES.get(path.suffix.removeprefix(".").lower(), "")


def stretches(language: str, lines: Sequence[str]) -> list[list[Stretch]]:
    """For each of some lines that follow each other what its stretches are; the rest is plain.

    Not more than the first few hundred are read, and none that are very long.
    """
    found: list[list[Stretch]] = [[] for _ in lines]
    lexer = lexer_of(language) if language else None
    if lexer is None:
        return found
    from glmcode.repl.highlight import style_of

    read, chars = 0, 0
    for line in lines[:MOST_LINES]:
        chars += len(line)
        if chars > MOST_CHARS or len(line) > LONGEST_LINE:
            break
        read += 1
    text = "\n".join(line.replace("\r", " ") for line in lines[:read]) + "\n"
    at, start = 0, 0
    for place, token, value in lexer.get_tokens_unprocessed(text):
        style = style_of(token)
        here = place
        for part in value.split("\n"):
            if here > place:
                at, start = at + 1, here
            if at >= read:
                return found
            if style and part:
                found[at].append((here - start, here - start + len(part), style))
            here += len(part) + 1
    return found


def get_ready(names: Iterable[str]) -> None:
    """Import in a thread what files of these names will need: a diff of them may come soon."""
    wanted = {language_of(name) for name in names} - _ready - {""}
    if wanted:
        _ready.update(wanted)
        thread = Thread(target=lambda: [lexer_of(one) for one in wanted], daemon=True)
        with suppress(RuntimeError):  # no more threads: then it is imported where it is needed
            thread.start()


@lru_cache(maxsize=64)
def lexer_of(language: str) -> Any:
    """The lexer, imported now; None where this pygments has none of that name."""
    module, _, name = language.partition(":")
    try:
        return getattr(import_module(f"pygments.lexers.{module}"), name)(**_OPTIONS)
    except (ImportError, AttributeError):
        return None
