"""From nodes of tree-sitter-bash to words, every token checked against bash's own lexing.

tree-sitter and bash do not agree everywhere: it takes other white space, overlooks a backtick in a
here-document, ends one at a line that bash reads on. So each leaf must be what its text says, and
all bytes between leaves must be blanks; else it is a doubt. Must not judge; the parser is
imported when first needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from glmcode.permissions.parts import Doubt
from glmcode.permissions.words import Piece, Word, ansi_c, unknown, unquoted, words_of

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

    Nested = Callable[[Node], Word]
else:
    Nested = Any

_GAP = re.compile(rb"(?:[ \t\n]|\\\n)*")
_EASY = re.compile(r"[A-Za-z0-9_./:=@%+,^\-]+")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f'\"`<>|;&()]|\$(?=.)", re.DOTALL)
_EXPANSION = re.compile(
    r"\$\{(?:#?(?:[A-Za-z_]\w*(?:\[(?:\d+|[@*])\])?|\d+|[@*?#])"
    r"|(?:[A-Za-z_]\w*(?:\[(?:\d+|[@*])\])?|\d+|[@*])"
    r"(?:(?::?[-+]|##?|%%?|//?|\^\^?|,,?)[^$`{}\\'\"<>]*|:\d+(?::\d+)?))\}"
)
_NUMBERS = re.compile(r"\$\(\([\d\s+\-*/%()<>=!&|^~?:]*\)\)")
_SPECIAL = {"?": "0", "#": "0", "$": "0", "!": "0"}
WORDS = frozenset(
    [
        "word",
        "number",
        "string",
        "raw_string",
        "ansi_c_string",
        "concatenation",
        "simple_expansion",
        "expansion",
        "command_substitution",
        "process_substitution",
        "arithmetic_expansion",
        "brace_expression",
    ]
)
DASH = "\ue000"
"""Stands for a `-` in front of a here-document, which the parser loses."""
_LOST = re.compile(r"(?<=[ \t])-(?=[ \t]+<<[^<])")
_WIDE = re.compile("[^\x00-\xff]")
_LETTERS = {2: "\xe9", 3: "\xe9x", 4: "\xe9\xe9"}
_ATOMS = frozenset(("string", "raw_string", "ansi_c_string", "heredoc_body", "comment"))


def readable(source: str) -> str:
    """A source as the parser can read it."""
    return _LOST.sub(DASH, source)


def tame(source: bytes) -> bytes:
    """The same for the parser alone, byte for byte as long.

    Its scanner looks characters up in a table that ends at 255 and reads whatever lies behind it:
    one of a high plane after a brace ends the process. To bash all of them are letters of a word.
    """
    return _WIDE.sub(_stand_in, source.decode("utf-8", "replace")).encode("utf-8")


def _stand_in(wide: re.Match[str]) -> str:
    return _LETTERS[len(wide.group().encode("utf-8"))]


class _Loaded:
    parser: Parser | None = None


def parser() -> Parser:
    """The parser of this process; the first call imports it."""
    if _Loaded.parser is None:
        import tree_sitter
        import tree_sitter_bash

        language = tree_sitter.Language(tree_sitter_bash.language())
        _Loaded.parser = tree_sitter.Parser(language)
    return _Loaded.parser


def token_fault(root: Node, source: bytes) -> str:
    """Why the tree does not account for every byte as bash would; "" when it does."""
    if root.has_error:
        return "its syntax is not understood"
    cursor = root.walk()
    position = 0
    while True:
        node = cursor.node
        assert node is not None
        atom = node.type in _ATOMS
        if atom or node.child_count == 0:
            gap = source[position : node.start_byte]
            if node.start_byte < position or not _GAP.fullmatch(gap):
                return "its syntax is not understood"
            before = source[node.start_byte - 1 : node.start_byte]
            if node.type == "comment" and before not in b" \t\n;&|()":
                return "a # that may be no comment"
            if node.type == "file_descriptor" and before not in b" \t\n;&|()":
                return "a digit that may belong to a word"
            position = node.end_byte
        if not atom and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                fault = "its syntax is not understood"
                return "" if _GAP.fullmatch(source[position:]) else fault


class WordReader:
    """Reads words of one source. variable: the known word of a name, or None.

    nested: visits the commands of a substitution and gives the word that it leaves.
    counts: whether arithmetic is harmless.
    """

    def __init__(
        self,
        source: bytes,
        home: str,
        variable: Callable[[str, int], Word | None],
        nested: Nested,
        doubt: Doubt,
        counts: Callable[[str], bool],
    ) -> None:
        self._source = source
        self._home = home
        self._variable = variable
        self._nested = nested
        self._doubt = doubt
        self._counts = counts

    def text(self, node: Node) -> str:
        """The source of a node."""
        return self._decoded(node.start_byte, node.end_byte)

    def _decoded(self, start: int, end: int) -> str:
        return self._source[start:end].decode("utf-8", "replace").replace(DASH, "-")

    def words(self, node: Node) -> list[Word]:
        """The words that a node becomes."""
        raw = self.text(node)
        if node.type == "word" and _EASY.fullmatch(raw):
            return [Word(text=raw, raw=raw, prefix=raw)]
        whole = self._whole(node, raw)
        if whole is not None:
            return [whole] if node.type == "string" else unquoted(whole)
        return words_of(self.pieces(node), raw, self._home)

    def _whole(self, node: Node, raw: str) -> Word | None:
        """What a word is that consists of one expansion."""
        quoted = node.type == "string" and node.child_count == 3
        inner = node.children[1] if quoted else node
        if quoted and raw != f'"{self.text(inner)}"':
            return None
        if inner.type == "simple_expansion" and self.text(inner) != "$@":
            found = self._variable(self.text(inner)[1:], inner.start_byte)
            if found is not None and quoted:
                return replace(found, raw=raw, split=False)
            return found if found is not None and not found.split else None
        if inner.type == "command_substitution":
            self._check_backticks(inner)
            found = self._nested(inner)
            if found.known:
                return found if quoted or not re.search(r"[\s*?\[]", found.text) else unknown(raw)
            return replace(found, split=False) if quoted else found
        if inner.type == "process_substitution":
            return self._nested(inner)
        return None

    def pieces(self, node: Node) -> list[Piece]:
        """The pieces of a word; what is not known to be harmless is a doubt and unknown."""
        raw = self.text(node)
        match node.type:
            case "word" | "number" | "variable_name" | "extglob_pattern" | "test_operator":
                return self._plain(raw)
            case "raw_string":
                return [("quoted", raw[1:-1])]
            case "ansi_c_string":
                return [("quoted", ansi_c(raw[2:-1]))]
            case "string":
                return self._string(node)
            case "concatenation":
                return self._joined(node)
            case "simple_expansion" | "expansion" | "command_substitution":
                return [self._expanded(node, quoted=False)]
            case "arithmetic_expansion":
                return [self._expanded(node, quoted=False)]
            case "brace_expression":
                return [("plain", raw)]
            case "process_substitution":
                self._nested(node)
                return [("unknown", "/dev/fd/")]
        self._doubt(f"`{raw[:40]}`")
        return [("split", "")]

    def _plain(self, raw: str) -> list[Piece]:
        pieces: list[Piece] = []
        for index, part in enumerate(re.split(r"\\(.)", raw, flags=re.DOTALL)):
            if index % 2:
                if part != "\n":
                    pieces.append(("quoted", part))
            elif part:
                if _FORBIDDEN.search(part) or part.endswith("\\"):
                    self._doubt(f"`{raw[:40]}`")
                pieces.append(("plain", part))
        return pieces or [("quoted", "")]

    def _joined(self, node: Node) -> list[Piece]:
        pieces: list[Piece] = []
        position = node.start_byte
        for child in node.children:
            if child.start_byte != position or child.type not in WORDS:
                self._doubt(f"`{self.text(node)[:40]}`")
            pieces += self.pieces(child)
            position = child.end_byte
        return pieces

    def _string(self, node: Node) -> list[Piece]:
        raw = self.text(node)
        if len(raw) < 2 or raw[0] != '"' or raw[-1] != '"':
            self._doubt(f"`{raw[:40]}`")
            return [("unknown", "")]
        return self.inside(node, node.start_byte + 1, node.end_byte - 1, '"') or [("quoted", "")]

    def inside(self, node: Node, start: int, end: int, quote: str) -> list[Piece]:
        """The pieces of text in which only `$`, backtick and backslash mean something."""
        pieces: list[Piece] = []
        position = start
        for child in node.children:
            if child.is_named and child.type not in ("string_content", "heredoc_content"):
                self._literal(position, child.start_byte, quote, pieces)
                pieces.append(self._expanded(child, quoted=True))
                position = child.end_byte
        self._literal(position, end, quote, pieces)
        return pieces

    def _literal(self, start: int, end: int, quote: str, pieces: list[Piece]) -> None:
        raw = self._decoded(start, end)
        if not raw:
            return
        bare = re.sub(r"\\.", "", raw, flags=re.DOTALL)
        wrong = "`" in bare or (quote and quote in bare)
        if wrong or re.search(r"\$[A-Za-z0-9_{(\[@*#?$!-]", bare):
            self._doubt(f"`{raw.strip()[:40]}`")
        if "\\" in raw:
            escaped = r"\\([$`\"\\])" if quote else r"\\([$`\\])"
            raw = re.sub(escaped, r"\1", raw.replace("\\\n", ""))
        pieces.append(("quoted", raw))

    def _expanded(self, node: Node, *, quoted: bool) -> Piece:
        raw = self.text(node)
        hole: Piece = ("unknown", "") if quoted else ("split", "")
        match node.type:
            case "simple_expansion":
                return self._of_variable(node, raw[1:], hole, quoted)
            case "expansion":
                if not _EXPANSION.fullmatch(raw):
                    self._doubt(f"`{raw[:40]}`")
                    self._visit_below(node)
                    return hole
                name = raw[2:-1]
                if name.startswith("@") or "[@]" in name:
                    hole = ("split", "")  # quoted or not: as many words as there are
                if re.fullmatch(r"\w+", name):
                    return self._of_variable(node, name, hole, quoted)
                return ("unknown", "0") if raw.startswith("${#") else hole
            case "command_substitution":
                self._check_backticks(node)
                found = self._nested(node)
                if found.known and (quoted or not re.search(r"[\s*?\[]", found.text)):
                    return ("quoted", found.text)
                begins = "" if found.known else found.prefix
                return ("unknown" if quoted or not found.split else "split", begins)
            case "arithmetic_expansion":
                if not (_NUMBERS.fullmatch(raw) or self._counts(raw)):
                    self._doubt(f"the arithmetic {raw[:40]}, which may run code")
                    self._visit_below(node)
                return ("unknown", "0")
        self._doubt(f"`{raw[:40]}`")
        self._visit_below(node)
        return hole

    def _of_variable(self, node: Node, name: str, hole: Piece, quoted: bool) -> Piece:
        if name in _SPECIAL:
            return ("unknown", _SPECIAL[name])
        if name == "@":
            return ("split", "")
        found = self._variable(name, node.start_byte)
        if found is None:
            return hole
        if found.known and (quoted or not re.search(r"[\s*?\[\\]", found.text)):
            return ("quoted", found.text) if found.text or quoted else hole
        if (found.glob or (found.known and not quoted)) and not re.search(r"[\s\\{~]", found.text):
            return ("plain", found.text)
        return ("unknown", found.prefix) if quoted or not found.split else hole

    def _check_backticks(self, node: Node) -> None:
        raw = self.text(node)
        if raw.startswith("`") and "\\" in raw:
            self._doubt("a backslash within backticks")

    def _visit_below(self, node: Node) -> None:
        """Find the commands hidden in what is not understood, for rules that deny."""
        for child in node.children:
            if child.type in ("command_substitution", "process_substitution"):
                self._nested(child)
            else:
                self._visit_below(child)
