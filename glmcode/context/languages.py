"""The languages that are parsed: which files are theirs, their grammar, their query for tags.

A grammar is a wheel of its own and is imported when a file of its language first comes by; the
module itself imports none, so that asking for a language by name costs nothing. The query is
the one that the wheel ships followed by ours (`queries/NAME.scm`), which adds what the map
wants and the wheel's lacks. A language whose wheel is missing is no language here, not a fault.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Language as Grammar
    from tree_sitter import Query

_QUERIES = Path(__file__).resolve().parent / "queries"


@dataclass(frozen=True, slots=True)
class Language:
    """One language: the wheel's module, the function in it that gives the grammar, its files."""

    name: str
    module: str
    function: str = "language"
    extensions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    tags_folder: str = ""

    @property
    def family(self) -> str:
        """Languages of one family call each other's functions by their names."""
        return _FAMILIES.get(self.name, self.name)


_FAMILIES = {
    "typescript": "javascript",
    "tsx": "javascript",
    "cpp": "c",
    "kotlin": "java",
}

LANGUAGES = (
    Language(
        "python",
        "tree_sitter_python",
        extensions=("py", "pyi", "pyw"),
        names=("SConstruct", "SConscript", "wscript"),
        interpreters=("python", "python2", "python3", "pypy3"),
    ),
    Language(
        "javascript",
        "tree_sitter_javascript",
        extensions=("js", "mjs", "cjs", "jsx"),
        names=("Jakefile",),
        interpreters=("node", "nodejs"),
    ),
    Language(
        "typescript",
        "tree_sitter_typescript",
        "language_typescript",
        extensions=("ts", "mts", "cts"),
        interpreters=("deno", "ts-node", "tsx"),
    ),
    Language("tsx", "tree_sitter_typescript", "language_tsx", extensions=("tsx",)),
    Language("go", "tree_sitter_go", extensions=("go",)),
    Language("rust", "tree_sitter_rust", extensions=("rs",)),
    Language("c", "tree_sitter_c", extensions=("c", "h")),
    Language(
        "cpp",
        "tree_sitter_cpp",
        extensions=("cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "inl", "ipp", "tpp",
                    "cu", "cuh"),
    ),
    Language("java", "tree_sitter_java", extensions=("java",)),
    Language(
        "ruby",
        "tree_sitter_ruby",
        extensions=("rb", "rake", "gemspec", "ru"),
        names=("Rakefile", "Gemfile", "Guardfile", "Vagrantfile"),
        interpreters=("ruby",),
    ),
    Language(
        "php", "tree_sitter_php", "language_php", extensions=("php",), interpreters=("php",)
    ),
    Language(
        "csharp", "tree_sitter_c_sharp", extensions=("cs",), tags_folder="tree_sitter_c-sharp"
    ),
    Language("kotlin", "tree_sitter_kotlin", extensions=("kt", "kts")),
    Language(
        "bash",
        "tree_sitter_bash",
        extensions=("sh", "bash", "bats"),
        interpreters=("sh", "bash", "dash", "ash"),
    ),
)  # fmt: skip
BY_NAME = {language.name: language for language in LANGUAGES}
_BY_EXTENSION = {end: language for language in LANGUAGES for end in language.extensions}
_BY_FILE_NAME = {name: language for language in LANGUAGES for name in language.names}
_BY_INTERPRETER = {name: language for language in LANGUAGES for name in language.interpreters}
_SHEBANG = re.compile(rb"#![ \t]*(?:/[^\s]*/)?(?:env[ \t]+(?:-S[ \t]*)?)?([A-Za-z0-9_+-]+)")
_CPP_HEADER = re.compile(
    rb"^[ \t]*(?:class|namespace|template|using|public:|private:|protected:)\b|\bstd::", re.M
)


def may_have_language(name: str) -> bool:
    """Whether a file of this name may be source: known by its name, or only by its content."""
    return "." not in name or _by_name(name) is not None


def language_of(name: str, data: bytes) -> Language | None:
    """The language of a file, from its name or its first line; None when it is none of ours."""
    found = _by_name(name)
    if found is None:
        if "." in name or not data.startswith(b"#!"):
            return None
        shebang = _SHEBANG.match(data[:200])
        if shebang is None:
            return None
        program = re.sub(r"[0-9.]+$", "", shebang[1].decode()) or "sh"
        found = _BY_INTERPRETER.get(shebang[1].decode()) or _BY_INTERPRETER.get(program)
    elif found.name == "c" and name.endswith(".h") and _CPP_HEADER.search(data[:65536]):
        found = BY_NAME["cpp"]
    return found


def _by_name(name: str) -> Language | None:
    return _BY_FILE_NAME.get(name) or _BY_EXTENSION.get(name.rpartition(".")[2].lower())


@lru_cache(maxsize=32)
def grammar_of(language: Language) -> Grammar | None:
    """The grammar; None where its wheel is missing or does not fit the library."""
    try:
        from tree_sitter import Language as Grammar

        return Grammar(getattr(import_module(language.module), language.function)())
    except (ImportError, AttributeError, ValueError, TypeError):
        return None


@lru_cache(maxsize=32)
def query_of(language: Language) -> Query | None:
    """The query for tags; the wheel's part is left out where it does not compile."""
    grammar = grammar_of(language)
    if grammar is None:
        return None
    from tree_sitter import Query, QueryError

    shipped, own = _shipped_query(language), _own_query(language)
    for text in (f"{shipped}\n{own}", own, shipped):
        try:
            return Query(grammar, text)
        except QueryError:
            continue
    return None


def _shipped_query(language: Language) -> str:
    folder = _package_folder(language)
    if folder is None:
        return ""
    if language.tags_folder:
        folder = folder.parent / language.tags_folder
    try:
        return (folder / "queries" / "tags.scm").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _own_query(language: Language) -> str:
    names = ("typescript", "tsx") if language.name == "tsx" else (language.name,)
    return "\n".join((_QUERIES / f"{name}.scm").read_text(encoding="utf-8") for name in names)


def _package_folder(language: Language) -> Path | None:
    try:
        spec = find_spec(language.module)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


@lru_cache(maxsize=32)
def fingerprint(language: Language) -> bytes:
    """What the tags of a language depend on besides the file: the wheel and our query.

    It changes when either does; nothing is imported for it.
    """
    parts = [language.name, _own_query(language)]
    folder = _package_folder(language)
    if folder is not None:
        try:
            with os.scandir(folder) as entries:
                binaries = (e for e in entries if e.name.endswith((".so", ".pyd")))
                parts += sorted(f"{e.name} {e.stat().st_size}" for e in binaries)
        except OSError:
            pass
    return "\n".join(parts).encode()
