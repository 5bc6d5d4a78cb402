from __future__ import annotations

import json
import math
import time
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.glm.values import MAX_DEPTH, UNREADABLE, read_json, read_value

TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
LISTS = {"type": "array"}


def same(value: Any, want: Any) -> bool:
    return type(value) is type(want) and bool(value == want)


@pytest.mark.parametrize(
    ("text", "kind", "want"),
    [
        ("7", "integer", 7),
        (" 7\n", "integer", 7),
        ("-7", "integer", -7),
        ("3.0", "integer", 3),
        ("2.5", "integer", "2.5"),
        ("1e3", "integer", 1000),
        ("1e300", "integer", "1e300"),
        ("0x10", "integer", 16),
        ("1_000", "integer", 1000),
        ("ten", "integer", "ten"),
        ("true", "integer", "true"),
        ('"7"', "integer", '"7"'),
        ("", "integer", ""),
        ("2.5", "number", 2.5),
        ("2", "number", 2),
        (".5", "number", 0.5),
        ("NaN", "number", "NaN"),
        ("-Infinity", "number", "-Infinity"),
        ("1e999", "number", "1e999"),
        ("true", "boolean", True),
        ("True", "boolean", True),
        ("False ", "boolean", False),
        ("yes", "boolean", "yes"),
        ("1", "boolean", "1"),
        ("null", "null", None),
        ("None", "null", None),
        ('[1, {"a": "é"}]', "array", [1, {"a": "é"}]),
        ("[{'a': True, 'b': None, 'c': (1, 2)}]", "array", [{"a": True, "b": None, "c": [1, 2]}]),
        ("(1, 2)", "array", [1, 2]),
        ('[{"a":1]', "array", '[{"a":1]'),
        ('["\\ud800"]', "array", '["\\ud800"]'),
        ("[1\x00]", "array", "[1\x00]"),
        ("['\\d']", "array", ["\\d"]),
        ('{"a": 1}', "array", '{"a": 1}'),
        ('{"a": 1}', "object", {"a": 1}),
        ("{1: 2}", "object", "{1: 2}"),
        ("{'a': {1, 2}}", "object", "{'a': {1, 2}}"),
        ("dict(a=1)", "object", "dict(a=1)"),
    ],
)
def test_a_value_is_read_as_json_then_as_python_else_left_as_text(
    text: str, kind: str, want: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(read_value(text, {"type": kind}), want)


@given(text=st.text())
def test_a_string_is_the_exact_text(text: str) -> None:
    assert read_value(text, {"type": "string"}) == text
    assert read_value(text, None) == text
    assert read_value(text, {"enum": ["a", "b"]}) == text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("7", 7),
        ("true", True),
        ("True", True),
        ("null", None),
        ('"a"', "a"),
        ("'a'", "'a'"),
        ("1_000", "1_000"),
        ("['a']", ["a"]),
        ("hello", "hello"),
        ("", ""),
    ],
)
def test_an_argument_that_is_declared_without_a_type_is_json_where_it_can_be(
    text: str, want: Any
) -> None:
    assert same(read_value(text, {}), want)
    assert same(read_value(text, {"description": "anything"}), want)


@pytest.mark.parametrize(
    ("schema", "text", "want"),
    [
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "None", "None"),
        ({"type": ["string", "null"]}, " null", " null"),
        ({"type": ["string", "null"]}, "7", "7"),
        ({"type": ["string", "integer"]}, "7", 7),
        ({"type": ["string", "integer"]}, '"7"', '"7"'),
        ({"type": ["integer", "null"]}, "None", None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "7", 7),
        ({"oneOf": [{"type": "integer"}, {"type": "array"}]}, "x", "x"),
        ({"anyOf": [{"type": "integer"}, {}]}, "true", True),
        ({"allOf": [{}, {"type": "integer"}]}, "7", 7),
        ({"enum": [1, 2]}, "1", 1),
        ({"const": True}, "true", True),
        ({"type": "no such type"}, "7", "7"),
        ({"type": 3}, "7", 7),
        ("not a schema", "7", 7),
        ({"anyOf": []}, "7", 7),
    ],
)
def test_a_union_gives_the_value_where_its_text_is_that_and_else_the_text(
    schema: Any, text: str, want: Any
) -> None:
    assert same(read_value(text, schema), want)


HOSTILE = [
    "[" * 1_000_000,
    "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "[" + "-" * 150_000 + "1]",
    "1" + "+1" * 70_000,
    "[" + "a." * 90_000 + "b]",
    "[" + "not " * 45_000 + "1]",
    "[" + "lambda:" * 20_000 + "1]",
    "[1" + "**1" * 60_000 + "]",
    '{"a":' * 100_000,
    "9" * 100_000,
    "-" + "9" * 4_299,
    "0x" + "f" * 100_000,
    "[" + "9" * 5_000 + "]",
    "'" + "\\N{" * 50_000,
    "(" * 250 + "1" + ")" * 250,
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:6].encode("ascii", "replace"))
@pytest.mark.parametrize("kind", ["array", "integer", "object", "untyped"])
def test_hostile_text_is_left_as_text_without_raising_or_hanging(text: str, kind: str) -> None:
    begin = time.process_time()
    assert read_value(text, {} if kind == "untyped" else {"type": kind}) == text
    assert time.process_time() - begin < 5


@settings(max_examples=300)
@given(text=st.text("[]{}()'\"0123456789.eE+-_:, \\nTrueFalsNo\ud800é", max_size=30))
def test_whatever_is_read_can_be_written_as_json(text: str) -> None:
    for schema in ({}, *({"type": kind} for kind in TYPES[1:])):
        value = read_value(text, schema)
        if not isinstance(value, str):
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_comes_back_as_it_was(value: Any) -> None:
    finite = not any(math.isinf(x) for x in _floats(value))
    text = json.dumps(value)
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        finite = False
    assert read_json(text) == (value if finite else UNREADABLE)


def _floats(value: Any) -> list[float]:
    if isinstance(value, float):
        return [value]
    if isinstance(value, list):
        return [x for item in value for x in _floats(item)]
    return _floats(list(value.values())) if isinstance(value, dict) else []
