"""Argument values: the text between the tags, read by the JSON Schema of its parameter.

A string is the exact text. Anything else is read as JSON, then in Python notation, and is
left as text where neither gives a value of an allowed type, so that validation can say so.
What is read is plain JSON of bounded depth and finite numbers: it can always be stored,
shown and sent on. Nothing here raises or hangs, whatever the text.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Kinds: TypeAlias = frozenset[str]

MAX_DEPTH = 64
"""Deepest nesting of a value that is read; deeper text stays text."""

_MAX_PYTHON = 200_000
"""Longest text that is tried in Python notation; that parser is slow and recursive."""

_MAX_BITS = 4096
_EXACT_FLOAT = 2**53
_NAMES = ("null", "boolean", "integer", "number", "array", "object", "string")
_STRING: Kinds = frozenset({"string"})
_ANY: Kinds = frozenset(_NAMES)
_WRITTEN: Kinds = frozenset({"null", "boolean", "array", "object"})
_PYTHON = re.compile(r"[\[({]|[-+]?\.?\d|(?:True|False|None)\Z")


def read_value(text: str, schema: Any) -> Any:
    """The value of an argument; `schema` is that of its parameter, None if there is none."""
    if schema is None:
        return text
    kinds = _kinds(schema)
    if kinds == _STRING:
        return text
    if kinds is not None and "string" in kinds:
        if text != text.strip():
            return text
        value = read_json(text)
        fitting = _fitting(value, kinds - _STRING)
        return text if fitting is UNREADABLE else fitting
    value = _fitting(read_json(text), _ANY if kinds is None else kinds)
    if value is UNREADABLE:
        value = _fitting(_read_python(text), _WRITTEN if kinds is None else kinds)
    return text if value is UNREADABLE else value


class _Unreadable:
    """The type of UNREADABLE, which no JSON value equals."""


UNREADABLE = _Unreadable()


def read_json(text: str, unique_keys: bool = False) -> Any:
    """Plain JSON, or UNREADABLE. unique_keys: an object that repeats a key is unreadable."""
    pairs = _unique if unique_keys else None
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return UNREADABLE
    return value if is_plain(value) else UNREADABLE


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _read_python(text: str) -> Any:
    """Python notation of anything but a bare string, as JSON values; or UNREADABLE."""
    stripped = text.strip()
    if len(stripped) > _MAX_PYTHON or not _PYTHON.match(stripped):
        return UNREADABLE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(stripped)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return UNREADABLE
    if not is_plain(value, tuples=True):
        return UNREADABLE
    return json.loads(json.dumps(value))


def is_plain(value: Any, tuples: bool = False) -> bool:
    """Whether it is JSON that can be written again: finite, bounded, well-formed text."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(type(key) is str and _is_text(key) for key in item):
                    return False
                below.extend(item.values())
            elif isinstance(item, list) or (tuples and isinstance(item, tuple)):
                below.extend(item)
            elif not _is_plain_scalar(item):
                return False
        if not below:
            return True
        level = below
    return False


def _is_plain_scalar(value: Any) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return value.bit_length() <= _MAX_BITS
        case float():
            return math.isfinite(value)
        case str():
            return _is_text(value)
    return False


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fitting(value: Any, kinds: Kinds) -> Any:
    """The value as one of the kinds, or UNREADABLE; 3.0 is the integer 3 where one is asked."""
    match value:
        case None:
            fits = "null" in kinds
        case bool():
            fits = "boolean" in kinds
        case int():
            fits = "integer" in kinds or "number" in kinds
        case float():
            if "number" not in kinds and "integer" in kinds and value.is_integer():
                return int(value) if abs(value) <= _EXACT_FLOAT else UNREADABLE
            fits = "number" in kinds
        case str():
            fits = "string" in kinds
        case list():
            fits = "array" in kinds
        case dict():
            fits = "object" in kinds
        case _:
            fits = False
    return value if fits else UNREADABLE


def _kinds(schema: Any, depth: int = 4) -> Kinds | None:
    """The JSON types that a schema names; None where it does not say."""
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    match schema.get("type"):
        case str(name):
            return frozenset({name})
        case list() | tuple() as names if names:
            return frozenset(name for name in names if isinstance(name, str))
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list | tuple):
            return _union(_kinds(part, depth - 1) for part in schema[word])
    if isinstance(schema.get("allOf"), list | tuple):
        known = (_kinds(part, depth - 1) for part in schema["allOf"])
        return next((kinds for kinds in known if kinds is not None), None)
    if isinstance(schema.get("enum"), list | tuple):
        return frozenset(_name(value) for value in schema["enum"])
    return frozenset({_name(schema["const"])}) if "const" in schema else None


def _union(parts: Iterable[Kinds | None]) -> Kinds | None:
    kinds: set[str] = set()
    for part in parts:
        if part is None:
            return None
        kinds |= part
    return frozenset(kinds) or None


def _name(value: Any) -> str:
    fitting = (k for k in _NAMES if _fitting(value, frozenset({k})) is not UNREADABLE)
    return next(fitting, "string")
