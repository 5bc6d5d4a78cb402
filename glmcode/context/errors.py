"""Syntax errors: where a file stops being one of its language, and which of them a change made.

tree-sitter repairs what it cannot read and marks the place; the outermost marks are the errors.
A change is answerable for the errors that were not there before, so a file that was broken
already, or that a grammar cannot read, is reported only where it got worse. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glmcode.context.languages import Language
from glmcode.context.tags import parse

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_ERRORS = 50
_MAX_VISITED = 50_000
_LINE = 160
_SECONDS = 1.0
UNSURE = frozenset({"c", "cpp", "kotlin"})
"""Languages in which files that compile are often not readable for the grammar (macros; one-line
bodies): an error counts only where the file had none before."""


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """An error: line and column from 1 (in characters), what is missing if that is known, and
    the line itself without its indentation."""

    line: int
    column: int
    missing: str
    text: str


def errors_of(data: bytes, language: Language) -> list[SyntaxFault]:
    """The outermost errors of a file in their order; none when it cannot be parsed in time."""
    tree = parse(data, language, _SECONDS)
    if tree is None or not tree.root_node.has_error:
        return []
    found: list[SyntaxFault] = []
    cursor = tree.walk()
    for _ in range(_MAX_VISITED):
        node = cursor.node
        if node is None or len(found) >= MAX_ERRORS:
            break
        if node.is_error or node.is_missing:
            found.append(_fault(data, node))
        elif node.has_error and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return found
    return found


def _fault(data: bytes, node: Node) -> SyntaxFault:
    start = node.start_byte
    begin = data.rfind(b"\n", 0, start) + 1
    end = data.find(b"\n", begin)
    line = data[begin : len(data) if end < 0 else end][:4096].decode("utf-8", "replace")
    column = len(data[begin:start].decode("utf-8", "replace")) + 1
    missing = node.type if node.is_missing else ""
    return SyntaxFault(node.start_point[0] + 1, column, missing, line.strip()[:_LINE])


def to_bytes(faults: Sequence[SyntaxFault]) -> bytes:
    """For the worker's pipe."""
    return json.dumps([[f.line, f.column, f.missing, f.text] for f in faults]).encode()


def from_bytes(data: bytes) -> list[SyntaxFault]:
    """The inverse of to_bytes."""
    return [SyntaxFault(*fields) for fields in json.loads(data)]


def introduced(
    before: Sequence[SyntaxFault], after: Sequence[SyntaxFault], changed: tuple[int, int]
) -> list[SyntaxFault]:
    """Those errors of `after` that a change made.

    changed: first and last line, as they are now, that the change touched. An error is an old
    one if the same line had the same error; where the errors did not become more, one that
    lies elsewhere is an old one that moved.
    """
    known = Counter((fault.missing, fault.text) for fault in before)
    new: list[SyntaxFault] = []
    for fault in after:
        if known[fault.missing, fault.text]:
            known[fault.missing, fault.text] -= 1
        else:
            new.append(fault)
    if before and len(after) <= len(before):
        new = [fault for fault in new if changed[0] - 1 <= fault.line <= changed[1] + 1]
    return new


def changed_lines(before: bytes, after: bytes) -> tuple[int, int]:
    """First and last line of `after` (from 1) that are not the same in `before`."""
    old, new = before.split(b"\n"), after.split(b"\n")
    shortest = min(len(old), len(new))
    head = 0
    while head < shortest and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < shortest - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return head + 1, max(head + 1, len(new) - tail)
