"""Tags: what a file defines and which names it uses, read from its syntax tree.

The rules of what a tag is are the queries of languages.py; here their matches become plain
values, bounded whatever the file holds: so many definitions, so many names, so many characters
a signature, so much time a file. A file that does not parse gives what could be read of it.
Must not touch the disk.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING

from glmcode.context.languages import Language, grammar_of, query_of

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

PARSE_S = 1.0
"""Seconds of processor time (a busy machine decides nothing) after which a file is given up."""
MAX_DEFINITIONS = 3_000
MAX_NAMES = 4_000
MAX_DEPTH = 2_000
"""Brackets that may stand in one another."""
NAME_CHARS = 80
SIGNATURE_CHARS = 96
_SCANNED = 400
_CHUNK = 1 << 16
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"()[]{}")
_SPACE = re.compile(r"\s+")
_LOCALS = frozenset({"function", "method", "constructor"})


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition: its line (from 1), the line it ends on, nesting depth, kind, name, words.

    signature is its source from the line of the name on, in one line, without the body. name
    is empty for what nests others without defining a name (an impl block).
    """

    line: int
    end: int
    depth: int
    kind: str
    name: str
    signature: str


@dataclass(frozen=True, slots=True)
class FileTags:
    """Definitions in the order of the source; how often each other name is used.

    family: names mean the same thing within one family of languages only.
    """

    definitions: tuple[Definition, ...] = ()
    references: tuple[tuple[str, int], ...] = ()
    family: str = ""


NOTHING = FileTags()


def to_bytes(tags: FileTags) -> bytes:
    """Tags as one JSON value, for a pipe or the cache."""
    definitions = [[d.line, d.end, d.depth, d.kind, d.name, d.signature] for d in tags.definitions]
    value = [definitions, tags.references, tags.family]
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def from_bytes(data: bytes) -> FileTags:
    """The inverse of to_bytes; NOTHING for what is no such value."""
    try:
        definitions, references, family = json.loads(data)
        return FileTags(
            tuple(
                Definition(line, end, depth, intern(kind), intern(name), signature)
                for line, end, depth, kind, name, signature in definitions
            ),
            tuple((intern(name), count) for name, count in references),
            intern(family),
        )
    except (ValueError, TypeError):
        return NOTHING


def parse(data: bytes, language: Language, seconds: float = PARSE_S) -> Tree | None:
    """The syntax tree; None when there is no grammar or the time was up."""
    grammar = grammar_of(language)
    if grammar is None:
        return None
    from tree_sitter import Parser

    until = time.thread_time() + seconds
    try:
        return Parser(grammar).parse(
            lambda at, point: data[at : at + _CHUNK],
            progress_callback=lambda at, error: time.thread_time() > until,
        )
    except ValueError:
        return None


def tags_of(data: bytes, language: Language, seconds: float = PARSE_S) -> FileTags:
    """Definitions and references of a file; NOTHING where it cannot be parsed in time."""
    if _is_too_deep(data):
        return NOTHING
    tree, query = parse(data, language, seconds), query_of(language)
    if tree is None or query is None:
        return NOTHING
    from tree_sitter import QueryCursor

    cursor = QueryCursor(query, match_limit=20_000)
    found = cursor.matches(tree.root_node)
    definitions: dict[int, tuple[str, Node, Node]] = {}
    scopes: dict[int, Node] = {}
    references: list[Node] = []
    for _, captures in found:
        names = captures.get("name")
        for capture, nodes in captures.items():
            if capture == "scope":
                scopes[nodes[0].start_byte] = nodes[0]
            elif names and capture.startswith("definition."):
                definitions.setdefault(names[0].start_byte, (capture[11:], names[0], nodes[0]))
            elif names and capture.startswith("reference."):
                references.append(names[0])
    return FileTags(
        tuple(_definitions(data, definitions, scopes)),
        _references(data, references, definitions.keys()),
        language.family,
    )


def _is_too_deep(data: bytes) -> bool:
    """Whether brackets nest as in no program: a query costs the square of the depth."""
    brackets = data.translate(None, _NO_BRACKETS)
    if len(brackets) <= MAX_DEPTH:
        return False
    depth = 0
    for byte in brackets:
        depth += 1 if byte in b"([{" else -1
        if depth > MAX_DEPTH:
            return True
        depth = max(depth, 0)
    return False


def _definitions(
    data: bytes, found: dict[int, tuple[str, Node, Node]], scopes: dict[int, Node]
) -> list[Definition]:
    """Nested by the extents of their nodes; what is local to a function is left out."""
    nodes = [
        (node.start_byte, -node.end_byte, kind, name.start_byte, name.end_byte, name, node)
        for kind, name, node in found.values()
    ]
    nodes += [
        (node.start_byte, -node.end_byte, "", node.start_byte, node.start_byte, node, node)
        for node in scopes.values()
    ]
    nodes.sort(key=lambda entry: entry[:5])
    made: list[Definition] = []
    open_nodes: list[tuple[int, str]] = []
    line = 0
    for _, minus_end, kind, name_start, name_end, name, node in nodes:
        while open_nodes and name_start >= open_nodes[-1][0]:
            open_nodes.pop()
        inside_code = any(outer in _LOCALS for _, outer in open_nodes)
        depth = len(open_nodes)
        open_nodes.append((-minus_end, kind))
        word = data[name_start:name_end].decode("utf-8", "replace")
        if inside_code or len(word) > NAME_CHARS:
            continue
        alone = name.start_point[0] + 1 != line
        line = name.start_point[0] + 1
        made.append(
            Definition(
                line=line,
                end=node.end_point[0] + 1,
                depth=depth,
                kind=kind or "scope",
                name=word,
                signature=_signature(data, node, name_start, name_end, alone),
            )
        )
        if len(made) >= MAX_DEFINITIONS:
            break
    made.sort(key=lambda definition: (definition.line, definition.depth))
    return made


def _signature(data: bytes, node: Node, start: int, end: int, alone: bool) -> str:
    """The line of a name, and further ones while a bracket is open; without the body.

    It begins with the line, or, where the line defines something before it, with the node.
    """
    begin = data.rfind(b"\n", max(0, start - _SCANNED), start) + 1
    begin = max(begin, start - _SCANNED) if alone else max(begin, min(node.start_byte, start))
    body = node.child_by_field_name("body")
    stop = body.start_byte if body is not None and body.start_byte >= end else end + _SCANNED
    text = data[begin : min(stop, end + _SCANNED)].decode("utf-8", "replace")
    depth = 0
    for at, char in enumerate(text):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif depth <= 0 and at and char in "\n{;":
            text = text[:at]
            break
    text = _SPACE.sub(" ", text).strip().rstrip(":{}=; ")
    text = "".join(char for char in text if char.isprintable())
    text = text.replace("( ", "(").replace(" )", ")").replace(",)", ")").replace("[ ", "[")
    return text if len(text) <= SIGNATURE_CHARS else f"{text[: SIGNATURE_CHARS - 3]}..."


def _references(data: bytes, nodes: list[Node], defined: object) -> tuple[tuple[str, int], ...]:
    """Each name once, with its count, sorted; a name where it is defined is no use of it."""
    counts: dict[bytes, int] = {}
    seen: set[int] = set()
    for node in nodes:
        start = node.start_byte
        if start in seen or start in defined:  # type: ignore[operator]
            continue
        seen.add(start)
        word = data[start : node.end_byte]
        if 1 < len(word) <= NAME_CHARS:
            if word not in counts and len(counts) >= MAX_NAMES:
                continue
            counts[word] = counts.get(word, 0) + 1
    return tuple(sorted((word.decode("utf-8", "replace"), count) for word, count in counts.items()))
