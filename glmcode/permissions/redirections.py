"""Redirections and here-documents: the files that they touch, the text that they hand over. Pure.

`2>&1` and closing touch nothing; `>&name` writes. The end of a here-document is looked for as bash
does, because the parser sometimes takes another line for it. Must not judge.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.permissions.parts import Analysis, Touch, Way
from glmcode.permissions.syntax import WORDS, WordReader
from glmcode.permissions.words import Word

if TYPE_CHECKING:
    from tree_sitter import Node


class Redirections:
    """What a walk through a source knows, and how it takes redirections."""

    def __init__(self, found: Analysis, folders: tuple[Path, ...], source: bytes) -> None:
        self.found = found
        self.folders = folders
        self._source = source
        self._read: WordReader

    def _doubt(self, node: Node) -> None:
        shown = " ".join(self._read.text(node).split())
        self.found.doubts.append(f"`{shown[:60]}{'...' if len(shown) > 60 else ''}`")

    def _file(self, node: Node) -> list[Word]:
        """A redirection; gives the words after its target, which belong to the command."""
        operator, described, words = "", False, []
        for child in node.children:
            if child.type == "file_descriptor":
                described = True
            elif child.type in WORDS:
                words += self._read.words(child)
            elif not child.is_named:
                operator += child.type
            else:
                self._doubt(node)
        raw = self._read.text(node)
        ways: tuple[Way, ...] = ()
        if operator in (">", ">>", ">|", "&>", "&>>"):
            ways = ("write",)
        elif operator == "<":
            ways = ("read",)
        elif operator == ">&" and words and re.fullmatch(r"\d+-?|-", words[0].text):
            pass
        elif operator == ">&" and not described:
            ways = ("write",)
        elif operator == "<&" and words and re.fullmatch(r"\d+-?|-", words[0].text):
            pass
        elif operator not in ("<&-", ">&-"):
            self._doubt(node)
        if ways and not words:
            self._doubt(node)
        for way in ways:
            for word in words[:1]:
                touch = Touch(way=way, word=word, folders=self.folders, text=raw)
                self.found.touches.append(touch)
        return words[1:]

    def _heredoc(
        self, node: Node, files: list[Node], extra: list[Word], after: list[Node]
    ) -> str | None:
        """The text that a here-document hands over; None where it isn't known.

        What stands behind it on its line is added: redirections, words, and other commands.
        """
        raw_start, body = "", None
        for child in node.children:
            match child.type:
                case "heredoc_start":
                    raw_start = self._read.text(child)
                case "heredoc_body":
                    body = child
                case "heredoc_end":
                    self._check_end(child, raw_start, body)
                case "file_redirect":
                    files.append(child)
                case "<<" | "<<-" | "&&" | "||" | "|":
                    pass
                case kind if kind in WORDS:
                    extra += self._read.words(child)
                case "file_descriptor" | "comment":
                    pass
                case _ if child.is_named:
                    after.append(child)
                case _:
                    self._doubt(child)
        if body is None:
            return ""
        text = self._read.text(body)
        if raw_start[:1] in ("'", '"'):
            return text
        pieces = self._read.inside(body, body.start_byte, body.end_byte, "")
        return text if all(kind == "quoted" for kind, _ in pieces) else None

    def _check_end(self, node: Node, raw_start: str, body: Node | None) -> None:
        """Whether bash ends the here-document where the tree does."""
        name = re.fullmatch(r"(['\"]?)([\w.-]+)\1", raw_start)
        follows = self._source[node.end_byte : node.end_byte + 1]
        text = self._read.text(body) if body is not None else ""
        lines = [line.lstrip("\t") for line in text.split("\n")]
        ended = name is not None and self._read.text(node).strip("\t") == name.group(2)
        if not ended or follows not in (b"", b"\n") or (name and name.group(2) in lines):
            self._doubt(node)
        if name and not name.group(1) and text.endswith("\\\n"):
            self._doubt(node)

    def _herestring(self, node: Node) -> str | None:
        words = [w for c in node.children if c.type in WORDS for w in self._read.words(c)]
        return words[0].text + "\n" if len(words) == 1 and words[0].known else None
