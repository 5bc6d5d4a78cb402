"""From a command line to its parts: every simple command, wherever it hides.

The tree of tree-sitter-bash is walked by a white list of nodes; pipes, lists, subshells,
substitutions, loops, conditionals and here-documents are gone through, wrappers unwrapped, shells
whose text is literal parsed again. `cd` is followed. What is not on the list is a doubt, and what
stands below it is still looked at, for the rules that deny. Must not judge, raise or open files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.permissions.arithmetic import counts, is_counter
from glmcode.permissions.inner import Inner
from glmcode.permissions.outputs import lists_files, outcome_of
from glmcode.permissions.parts import Analysis, Part
from glmcode.permissions.statements import Statements, either, scope_of
from glmcode.permissions.syntax import DASH, WORDS, WordReader, parser, readable, tame, token_fault
from glmcode.permissions.words import Listing, Word, literal
from glmcode.permissions.wrappers import inner_of

if TYPE_CHECKING:
    from tree_sitter import Node

MOST_BYTES = 200_000
MOST_PARTS = 2_000
DEEPEST = 6
RESERVED = frozenset(
    [
        "if",
        "then",
        "elif",
        "else",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "select",
        "function",
        "in",
        "{",
        "}",
        "!",
        "[[",
        "]]",
        "coproc",
    ]
)
_BLOCKS = frozenset(
    [
        "program",
        "list",
        "do_group",
        "if_statement",
        "elif_clause",
        "else_clause",
        "while_statement",
        "case_item",
        "subshell",
        "compound_statement",
        "negated_command",
    ]
)


def warm() -> None:
    """Import the parser; called in a thread before the first command is judged."""
    parser()


def analyse(command: str, folders: Sequence[Path], home: str) -> Analysis:
    """All parts of a command that runs in one of the folders; what goes wrong is a doubt."""
    found = Analysis(command=command)
    if len(command) > MOST_BYTES:
        found.doubts.append("it is too long to be judged")
        return found
    try:
        Walk(found, command, tuple(folders), home).run()
    except ImportError:
        return Analysis(command=command, doubts=["syntax, for which tree-sitter-bash is missing"])
    except (ValueError, LookupError, OSError, RecursionError, AttributeError, TypeError):
        return Analysis(command=command, doubts=["syntax that is not understood"])
    return found


class Walk(Statements):
    """One source; a shell in a shell gets a walk of its own."""

    def __init__(
        self, found: Analysis, source: str, folders: tuple[Path, ...], home: str, depth: int = 0
    ) -> None:
        self._text = readable(_joined_lines(source))
        super().__init__(found, folders, self._text.encode("utf-8", "replace"))
        self._given = source
        self._home = home
        self._depth = depth
        self._shadow = False
        self._left: list[tuple[Path, ...]] = []  # where the shell was before
        self._read = WordReader(
            self._source,
            home,
            self._variable,
            self._substitution,
            self.found.doubts.append,
            self._counts,
        )

    def run(self) -> None:
        """Find everything."""
        bad = re.search(r"[\x00-\x08\x0b-\x1f\x7f]", self._text)
        if bad:
            self.found.doubts.append(f"the character {bad.group()!r}")
        if DASH in self._given:
            self.found.doubts.append(f"the character {DASH!r}")
        tree = parser().parse(tame(self._source))
        fault = token_fault(tree.root_node, self._source)
        if fault:
            self.found.doubts.append(fault)
        self._visit(tree.root_node)

    def _variable(self, name: str, at: int) -> Word | None:
        if name == "HOME":
            return literal(self._home) if self._untouched("HOME") else None
        if name == "PWD" and len(self.folders) == 1 and self._untouched("PWD"):
            return literal(str(self.folders[0]))
        if name not in self._variables and self._depth == 0 and is_counter(name, self._text):
            return Word(text="", known=False, prefix="0")
        return self._variables.get(name) if at < self._until.get(name, at + 1) else None

    def _counts(self, raw: str) -> bool:
        return self._depth == 0 and counts(raw, self._text)

    def _untouched(self, name: str, defined: int = 0) -> bool:
        """Whether nothing but its definitions and plain expansions mention a name."""
        used = len(re.findall(rf"\$\{{?{name}\b", self._text))
        return len(re.findall(rf"\b{name}\b", self._text)) - used == defined

    # statements

    def _visit(self, node: Node, stdin: str | None = None, feed: Part | None = None) -> Part | None:
        """Go through a statement; the last part of it, for a pipe."""
        match node.type:
            case "command":
                return self._command(node, stdin, feed)
            case "variable_assignment" | "variable_assignments":
                return self._assignments(node)
            case "pipeline":
                return self._pipeline(node, stdin, feed)
            case "redirected_statement":
                return self._redirected(node, feed)
            case "test_command":
                return self._test(node)
            case "for_statement":
                self._for(node)
                return None
            case "c_style_for_statement" if self._counting(node):
                return None
            case "compound_statement" if self._counts(self._read.text(node)):
                return None
            case "case_statement":
                self._case(node)
                return None
            case "declaration_command" | "unset_command":
                return self._declaration(node)
            case kind if kind in _BLOCKS:
                return self._block(node, stdin, feed)
        self._doubt(node)
        self._below(node)
        return None

    def _below(self, node: Node) -> None:
        for child in node.children:
            if child.type in ("command", "pipeline", "redirected_statement", "list"):
                self._visit(child)
            elif child.type in ("command_substitution", "process_substitution"):
                self._substitution(child)
            else:
                self._below(child)

    def _substitution(self, node: Node) -> Word:
        """The commands in `$(...)`; the word tells whether files of the workspace come out."""
        start, variables = self.folders, dict(self._variables)
        last: Part | None = None
        for child in node.children:
            if child.type == "file_redirect":
                self._file(child)
            elif child.is_named and child.type != "comment":
                last = self._visit(child)
            elif child.type not in ("$(", "`", ")", "<(", ">(", ";", "\n", "&", "comment"):
                self._doubt(node)
        self.folders, self._variables = start, variables
        raw = self._read.text(node)
        if node.type == "process_substitution":
            return Word(text="/dev/fd/63", raw=raw, prefix="/dev/fd/", plain=False)
        return outcome_of(last, raw)

    # simple commands

    def _command(
        self, node: Node, stdin: str | None, feed: Part | None, extra: Sequence[Word] = ()
    ) -> Part:
        words: list[Word] = []
        assigns: list[tuple[str, Word]] = []
        end = -1
        for child in node.children:
            kind = child.type
            if kind == "command_name":
                child = child.children[0] if child.child_count == 1 else child
                kind = child.type
            if kind == "variable_assignment":
                assigns.append(self._assignment(child))
            elif kind == "file_redirect":
                words += self._file(child)
            elif kind == "herestring_redirect":
                stdin = self._herestring(child)
            elif kind in WORDS:
                if child.start_byte == end:
                    self._doubt(node)
                words += self._read.words(child)
                end = child.end_byte
            elif kind == "heredoc_redirect":
                self._doubt(node)
            else:
                self._doubt(node)
                self._below(child)
        words += extra
        return self._add(words, node, tuple(assigns), stdin, feed)

    def _add(
        self,
        words: Sequence[Word],
        node: Node,
        assigns: tuple[tuple[str, Word], ...] = (),
        stdin: str | None = None,
        feed: Part | None = None,
    ) -> Part:
        first = words[0] if words else None
        if first is not None and first.plain and first.text in RESERVED - {"[[", "]]", "coproc"}:
            self._doubt(node)
        text = " ".join(self._read.text(node).split())
        part = self.put(words, text, assigns, stdin, feed)
        if part.name == "read" and (listing := lists_files(feed)):
            self._listed(part, listing, node)
        self._led = None
        self._move(part)
        return part

    def _move(self, part: Part) -> None:
        """Follow the shell to another folder."""
        if part.name == "popd" or (part.name == "cd" and part.words[-1].text == "-"):
            self.folders = reduce(either, self._left, self.folders) if self._left else ()
            part.hazard = "" if self._left else "where it leads isn't known"
        elif part.name in ("cd", "pushd"):
            self._left.append(self.folders)
            self.folders, self._led = _moved(part, self._home)

    def _listed(self, part: Part, listing: Listing, node: Node) -> None:
        """`read f` takes names of files from what is before it in the pipe."""
        names = [word.text for word in part.words[1:] if word.text.isidentifier()]
        if len(names) == 1 and self._untouched(names[0], 1):
            self._variables[names[0]] = Word(text="", known=False, listed=listing)
            self._until[names[0]] = scope_of(node)

    def put(
        self,
        words: Sequence[Word],
        text: str,
        assigns: tuple[tuple[str, Word], ...] = (),
        stdin: str | None = None,
        feed: Part | None = None,
    ) -> Part:
        """Add a part and all that it runs."""
        part = Part(
            words=tuple(words),
            text=text,
            folders=self.folders,
            assigns=assigns,
            stdin=stdin,
            piped=feed is not None,
            feed=feed,
        )
        part.shadow = self._shadow
        self.found.parts.append(part)
        if len(self.found.parts) > MOST_PARTS:
            self.found.doubts.append("it has too many parts to be judged")
            return part
        for inner in inner_of(part.words, _fed(part), part.piped, lists_files(part.feed)):
            self._unwrap(part, inner)
        return part

    def _unwrap(self, part: Part, inner: Inner) -> None:
        part.wraps = part.wraps or not (inner.standing or inner.shadow)
        part.hazard = part.hazard or inner.hazard
        part.opaque = part.opaque or inner.opaque
        if self._depth >= DEEPEST:
            self.found.doubts.append("it is nested too deep")
            return
        first = len(self.found.parts)
        shadowed, self._shadow = self._shadow, self._shadow or inner.shadow
        if inner.words:
            self._depth += 1
            assigns = (*part.assigns, *inner.assigns)
            run = self.put(inner.words, part.text, assigns, part.stdin, part.feed)
            if part.name in ("command", "builtin", "time"):
                self._move(run)
            self._depth -= 1
        if inner.script is not None:
            walk = Walk(self.found, inner.script, self.folders, self._home, self._depth + 1)
            walk._shadow = self._shadow
            walk.run()
            if inner.same_shell:
                self.folders = walk.folders
        self._shadow = shadowed
        part.inner += self.found.parts[first:]


def _fed(part: Part) -> str | None:
    """The literal text that a part reads: a here-document, or what an echo before it prints."""
    if part.stdin is not None or part.feed is None:
        return part.stdin
    if part.feed.name == "cat" and len(part.feed.words) == 1:
        return _fed(part.feed)
    if part.feed.name not in ("echo", "printf"):
        return None
    words = [word for word in part.feed.words[1:] if word.text not in ("-e", "-n", "%s\\n", "%s")]
    return " ".join(w.text for w in words) if all(w.known for w in words) else None


def _moved(part: Part, home: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Where the shell is behind a `cd`, and where it is if that succeeded."""
    words = [w for w in part.words[1:] if w.text not in ("-P", "-L", "--", "-e")]
    swaps = part.name == "pushd" and not words
    if swaps or len(words) > 1 or any(not w.known or w.text == "-" for w in words):
        return (), ()
    target = words[0].text if words else home
    physical = any(word.text == "-P" for word in part.words)
    where = os.path.realpath if physical else os.path.normpath
    new = tuple(Path(where(folder / target)) for folder in part.folders)
    return new if all(folder.is_dir() for folder in new) else either(part.folders, new), new


def _joined_lines(source: str) -> str:
    """Without the line ends that a backslash takes away, as far as that is certain."""
    if "\\\n" not in source or "<<" in source or re.search(r"'[^']*\\\n", source) or "#" in source:
        return source
    return re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1", source)
