"""Statements that hold statements: lists, pipes, conditionals, loops, tests. Pure.

What may not run at all leaves the folder before it as possible as the one behind it; a loop's body
is gone through once for each value that is known. Must not judge.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.permissions.parts import Analysis, Part
from glmcode.permissions.redirections import Redirections
from glmcode.permissions.syntax import WORDS
from glmcode.permissions.words import Listing, Word, literal, unknown

if TYPE_CHECKING:
    from tree_sitter import Node

MOST_ROUNDS = 20
_TOKENS = frozenset((";", "&", "&&", "||", "|", "|&", "\n", "(", ")", "{", "}", "!", ";;"))
_KEYWORDS = frozenset(
    [
        "if",
        "then",
        "elif",
        "else",
        "fi",
        "while",
        "until",
        "for",
        "do",
        "done",
        "in",
        "case",
        "esac",
    ]
)


class Statements(Redirections):
    """The statements of one source; what a simple command is, its walk knows."""

    def __init__(self, found: Analysis, folders: tuple[Path, ...], source: bytes) -> None:
        super().__init__(found, folders, source)
        self._variables: dict[str, Word] = {}
        self._until: dict[str, int] = {}  # the byte behind which a variable may not be set
        self._began = folders  # where the statement visited last began
        self._led: tuple[Path, ...] | None = None  # where the last command, a cd, leads

    @abstractmethod
    def _visit(self, node: Node, stdin: str | None = None, feed: Part | None = None) -> Part | None:
        """Go through a statement; the last part of it, for a pipe."""

    @abstractmethod
    def _command(
        self, node: Node, stdin: str | None, feed: Part | None, extra: Sequence[Word] = ()
    ) -> Part: ...

    @abstractmethod
    def _add(
        self,
        words: Sequence[Word],
        node: Node,
        assigns: tuple[tuple[str, Word], ...] = (),
        stdin: str | None = None,
        feed: Part | None = None,
    ) -> Part: ...

    @abstractmethod
    def _below(self, node: Node) -> None:
        """Find the commands in what is not understood, for rules that deny."""

    @abstractmethod
    def _counts(self, raw: str) -> bool:
        """Whether arithmetic only counts."""

    @abstractmethod
    def _untouched(self, name: str, defined: int = 0) -> bool:
        """Whether nothing but its definitions and plain expansions mention a name."""

    def _block(self, node: Node, stdin: str | None, feed: Part | None) -> Part | None:
        """Statements one after the other; where one may not run, its folder may not count."""
        before, last = self.folders, None
        sure: tuple[Path, ...] | None = None
        alone = node.type == "subshell"
        branches = node.type in ("if_statement", "while_statement", "elif_clause")
        for child in node.children:
            kind = child.type
            if kind == "comment":
                continue
            if not child.is_named:
                if kind not in _TOKENS and kind not in _KEYWORDS:
                    self._doubt(node)
                if kind == "&&" and self._led is not None and _leads(child.prev_sibling):
                    self.folders = self._led
                if kind in ("&", "||", "then", "do"):
                    sure = self._led if kind == "||" and _leads(child.prev_sibling) else None
                    self.folders = either(before, self.folders)
                continue
            if node.type == "case_item" and kind in (*WORDS, "extglob_pattern"):
                self._read.words(child)
                continue
            start = self.folders
            last = self._visit(child, stdin, feed) or last
            self._began = start
            if sure is not None and _exits(child):
                self.folders = sure
            if branches or kind in ("else_clause", "elif_clause"):
                self.folders = either(start, self.folders)
        if alone:
            self.folders = before
        if node.type == "while_statement" and self.folders != before:
            self.folders = ()
        return last

    def _pipeline(self, node: Node, stdin: str | None, feed: Part | None) -> Part | None:
        start = self.folders
        last = feed
        for child in node.children:
            if not child.is_named or child.type == "comment":
                if child.type not in ("|", "|&", "comment", "\n"):
                    self._doubt(child)
                continue
            self.folders = start
            last = self._visit(child, stdin, last)
        self.folders = start
        return last

    def _for(self, node: Node) -> None:
        name, values, body = "", [], None
        for child in node.children:
            if child.type == "variable_name":
                name = self._read.text(child)
            elif child.type in WORDS:
                values += self._read.words(child)
            elif child.type == "do_group":
                body = child
            elif child.type not in ("for", "in", ";", "\n", "comment"):
                self._doubt(node)
        if body is None:
            return
        before = self.folders
        trackable = name.isidentifier() and self._untouched(name, 1)
        few = 0 < len(values) <= MOST_ROUNDS and not any(value.split for value in values)
        if trackable and few:
            for value in values:
                self._variables[name] = value
                self._visit(body)
        else:
            if trackable and values and all(value.listed for value in values):
                listing = values[0].listed if len(values) == 1 else Listing()
                self._variables[name] = Word(text="", known=False, listed=listing)
            self._visit(body)
            if self.folders != before:
                self.folders = ()
        self._variables.pop(name, None)
        self.folders = either(before, self.folders) if self.folders else ()

    def _counting(self, node: Node) -> bool:
        """Go through `for ((i=0; i<3; i++))` where it only counts."""
        body = node.child_by_field_name("body")
        if body is None or body.type != "do_group":
            return False
        head = self._read.text(node)[: body.start_byte - node.start_byte]
        found = re.fullmatch(r"for *(\(\(.*\)\))\s*;?\s*", head)
        if found is None or not self._counts(found.group(1)):
            return False
        before = self.folders
        self._visit(body)
        self.folders = before if self.folders == before else ()
        return True

    def _case(self, node: Node) -> None:
        start = self.folders
        ends = start
        for child in node.children:
            if child.type == "case_item":
                self.folders = start
                self._block(child, None, None)
                ends = either(ends, self.folders)
            elif child.type in WORDS:
                self._read.words(child)
            elif child.type not in ("case", "in", "esac", "\n", ";", "comment"):
                self._doubt(node)
        self.folders = ends

    def _test(self, node: Node) -> Part:
        """`[ ... ]` and `[[ ... ]]` as a command with words: operators are words too."""
        words: list[Word] = []

        def flatten(one: Node) -> None:
            if one.type in WORDS or one.type in ("test_operator", "extglob_pattern", "regex"):
                words.extend(self._read.words(one))
            elif one.child_count == 0:
                words.append(literal(self._read.text(one)))
            else:
                for child in one.children:
                    flatten(child)

        flatten(node)
        return self._add(words, node)

    def _declaration(self, node: Node) -> Part:
        """`export a=b`: the name it changes and the value, as words."""
        words: list[Word] = []
        for child in node.children:
            if child.type == "variable_assignment":
                name, value = self._assignment(child)
                known = value.known and bool(name)
                words.append(Word(text=f"{name}={value.text}", known=known, prefix=f"{name}="))
            elif child.type in WORDS or child.type == "variable_name":
                words += self._read.words(child)
            elif not child.is_named:
                words.append(literal(child.type))
            else:
                self._doubt(node)
        return self._add(words, node)

    def _assignments(self, node: Node) -> Part:
        nodes = [node] if node.type == "variable_assignment" else node.children
        pairs = tuple(self._assignment(child) for child in nodes)
        for name, value in pairs:
            if value.known and name.isidentifier() and self._untouched(name, 1):
                self._variables[name] = value
                self._until[name] = scope_of(node)
        return self._add([], node, assigns=pairs)

    def _assignment(self, node: Node) -> tuple[str, Word]:
        name, value = "", literal("")
        for child in node.children:
            if child.type == "variable_name":
                name = self._read.text(child)
            elif child.type in WORDS:
                words = self._read.words(child)
                value = words[0] if len(words) == 1 else unknown(self._read.text(child))
            elif child.type == "array":
                for item in child.children:
                    if item.type in WORDS:
                        self._read.words(item)
                value = unknown(self._read.text(child))
            elif child.type not in ("=", "+="):
                self._doubt(node)
                self._below(child)
        if value.glob:  # expanded where the variable is, not here
            value = replace(literal(value.text), raw=value.raw)
        return name, value

    def _redirected(self, node: Node, feed: Part | None) -> Part | None:
        body: Node | None = None
        stdin: str | None = None
        extra: list[Word] = []
        after: list[Node] = []
        files: list[Node] = []
        for child in node.children:
            if child.type == "file_redirect":
                files.append(child)
            elif child.type == "heredoc_redirect":
                stdin = self._heredoc(child, files, extra, after)
            elif child.type == "herestring_redirect":
                stdin = self._herestring(child)
            elif child.is_named and child.type != "comment" and body is None:
                body = child
            elif child.type != "comment":
                self._doubt(child)
        last = None
        if body is not None and body.type in ("list", "pipeline"):
            self._began = self.folders
            last = self._visit(body, stdin, feed)  # its last command is redirected
            end, self.folders = self.folders, self._began
            extra += [word for one in files for word in self._file(one)]
            self.folders = end
        else:
            extra += [word for one in files for word in self._file(one)]
            if body is not None and body.type == "command":
                last, extra = self._command(body, stdin, feed, extra), []
            elif body is not None:
                last = self._visit(body, stdin, feed)
        if extra:
            self._doubt(node)
        for one in after:
            start = self.folders
            last = self._visit(one, None, last)
            self.folders = either(start, self.folders)
        return last


def _leads(node: Node | None) -> bool:
    """Whether a statement succeeds only if its last command does, in this very shell."""
    if node is None:
        return False
    named = [child for child in node.children if child.is_named]
    if node.type == "list":
        return any(child.type == "&&" for child in node.children) and _leads(named[-1])
    if node.type == "redirected_statement":
        return named[0].type == "command"
    return node.type == "command"


def _exits(node: Node) -> bool:
    """Whether nothing of this shell runs behind a statement."""
    if node.type == "compound_statement":
        named = [child for child in node.children if child.is_named and child.type != "comment"]
        return bool(named) and _exits(named[-1])
    return node.type == "command" and re.fullmatch(rb"exit(?: +\d+)?", node.text or b"") is not None


def scope_of(node: Node) -> int:
    """The byte up to which an assignment is sure to have happened, in the shell that asks.

    What stands in a condition, a branch, a loop, a pipe or a subshell counts within it.
    """
    child, parent = node, node.parent
    while parent is not None:
        following = child.next_sibling
        if following is not None and following.type == "&":
            return child.end_byte
        kind = parent.type
        if kind == "list" and child.prev_sibling is not None:
            return _end_of_list(child, parent)
        if kind == "if_statement":
            others = [c for c in parent.children if c.type in ("elif_clause", "else_clause")]
            later = [c.start_byte for c in others if c.start_byte > node.start_byte]
            return min([*later, parent.end_byte])
        if kind in ("pipeline", "case_item", "else_clause", "elif_clause"):
            return child.end_byte if kind == "pipeline" else parent.end_byte
        if kind not in ("program", "list", "compound_statement", "redirected_statement"):
            return parent.end_byte
        child, parent = parent, parent.parent
    return child.end_byte


def _end_of_list(child: Node, parent: Node) -> int:
    """How far what stands behind `&&` counts: up to the list's end, or the next `||`."""
    before = child.prev_sibling
    if before is None or before.type != "&&":
        return child.end_byte
    while parent.parent is not None and parent.parent.type == "list":
        following = parent.next_sibling
        if following is None or following.type != "&&":
            break
        parent = parent.parent
    return parent.end_byte


def either(one: tuple[Path, ...], other: tuple[Path, ...]) -> tuple[Path, ...]:
    """Folders after something that may or may not have run; () is anywhere."""
    if not one or not other:
        return ()
    both = tuple(dict.fromkeys((*one, *other)))
    return both if len(both) <= 8 else ()
