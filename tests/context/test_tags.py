from __future__ import annotations

import pytest

from glmcode.context.languages import (
    BY_NAME,
    LANGUAGES,
    _own_query,
    _shipped_query,
    grammar_of,
    language_of,
)
from glmcode.context.tags import FileTags, from_bytes, parse, tags_of, to_bytes

SAMPLES = {
    "python": (
        "a.py",
        """from shop.base import Basket, Price as Cost
LIMIT = 1

@traced
class Order(Basket):
    def add(self,
            item: Item) -> Total:
        def inner(): pass
        return compute(item).finish()
""",
        "constant LIMIT|class Order| function add",
        {"Basket", "Price", "traced", "Item", "Total", "compute", "finish"},
    ),
    "javascript": (
        "a.mjs",
        """import {Basket} from './x';
export const LIMIT = 1;
class Order extends Base {
  add(item) { return compute(item).finish(); }
}
function total() {}
const sum = (a) => new Price(a);
""",
        "constant LIMIT|class Order| method add|function total|function sum",
        {"Basket", "Base", "compute", "finish", "Price"},
    ),
    "typescript": (
        "a.ts",
        """import { Basket } from './x';
export class Order<T> extends Base implements Shape {
  add(item: Item): Total { return compute(item).finish(); }
}
export type Alias = Union;
export enum Colour { Red }
export interface Face { draw(): void }
""",
        "class Order| method add|type Alias|type Colour|interface Face| method draw",
        {"Basket", "Base", "Shape", "Item", "Total", "compute", "finish", "Union"},
    ),
    "tsx": (
        "a.tsx",
        "export function App(p: Props) { return <Frame x={1}><Bar/></Frame>; }\n",
        "function App",
        {"Props", "Frame", "Bar"},
    ),
    "go": (
        "a.go",
        """package shop

const Limit = 1

type Order struct{ price Price }

func (o *Order) Add(item Item) { compute(); o.Finish() }

type Face interface {
	Draw(x int) error
}
""",
        "constant Limit|type Order|method Add|type Face| method Draw",
        {"Price", "Item", "compute", "Finish"},
    ),
    "rust": (
        "a.rs",
        """use shop::base::{Basket, Price};
pub struct Order { total: Total }
impl Order {
    pub fn add(&self) -> Sum { base::compute(x); note!("") }
}
pub trait Face { fn draw(&self); }
pub const LIMIT: u8 = 1;
""",
        "class Order|scope | method add|interface Face| method draw|constant LIMIT",
        {"Basket", "Price", "Total", "Sum", "compute", "note"},
    ),
    "c": (
        "a.c",
        """#define MAX(a) (a)
struct order { int x; };
typedef struct order order_t;
static int add(basket_t *p)
{
    return compute(p);
}
""",
        "macro MAX|class order|type order_t|function add",
        {"basket_t", "compute"},
    ),
    "cpp": (
        "a.h",
        """namespace shop {
class Order : public Base {
 public:
  int add(Item b);
};
}
int shop::Order::add(Item b) { return compute(b)->finish(); }
""",
        "scope | class Order|  function add|method add",
        {"Base", "Item", "compute", "finish"},
    ),
    "java": (
        "A.java",
        """package shop;
import shop.base.Basket;
public class Order extends Base implements Face {
  static final int LIMIT = 1;
  Order() {}
  Total add(Item b) { return compute(b); }
}
enum Colour { RED }
""",
        "class Order| constant LIMIT| constructor Order| method add|type Colour",
        {"Basket", "Base", "Face", "Total", "Item", "compute"},
    ),
    "ruby": (
        "a.rb",
        """module Shop
  LIMIT = 1
  class Order < Base
    def add(item)
      Price.new(item).finish
    end
    def self.empty; end
  end
end
""",
        "module Shop| constant LIMIT| class Order|  method add|  method empty",
        {"Base", "Price", "finish"},
    ),
    "php": (
        "a.php",
        """<?php
namespace Shop;
use Base\\Basket;
class Order extends Base {
  const LIMIT = 1;
  function add(Item $x) { compute($x); new Price(); }
}
""",
        "module Shop|class Order| constant LIMIT| function add",
        {"Basket", "Base", "Item", "compute", "Price"},
    ),
    "csharp": (
        "a.cs",
        """namespace Shop;
public class Order<T> : Base, IFace {
  public int Size { get; set; }
  public Total Add(Item f) { Compute(); f.Finish(); return new Price(); }
}
public enum Colour { Red }
""",
        "module Shop|class Order| property Size| method Add|type Colour",
        {"Base", "IFace", "Total", "Item", "Compute", "Finish", "Price"},
    ),
    "kotlin": (
        "a.kt",
        """package shop
import shop.base.Basket
class Order(val a: Int) : Base(a), Face {
    fun add(item: Item): Total {
        return compute(item).finish()
    }
}
typealias Alias = Map<String, Int>
""",
        "class Order| function add|type Alias",
        {"Basket", "Base", "Face", "Item", "Total", "compute", "finish"},
    ),
    "bash": (
        "run",
        """#!/usr/bin/env bash
export LIMIT=1
add() {
  compute "$1"
}
function total { add; }
""",
        "constant LIMIT|function add|function total",
        {"compute", "add"},
    ),
}


def tags(name: str, text: str) -> FileTags:
    data = text.encode()
    language = language_of(name, data)
    assert language is not None
    return tags_of(data, language)


def test_every_language_has_a_sample_here() -> None:
    assert {language.name for language in LANGUAGES} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_definitions_with_their_nesting_and_uses_are_found(name: str) -> None:
    file, text, expected, uses = SAMPLES[name]
    language = language_of(file, text.encode())
    assert language is not None and language.name == name
    found = tags(file, text)
    shown = "|".join(f"{' ' * d.depth}{d.kind} {d.name}" for d in found.definitions)
    assert shown == expected
    assert uses <= {used for used, _ in found.references}
    tree = parse(text.encode(), language)
    assert tree is not None and not tree.root_node.has_error


@pytest.mark.parametrize("name", SAMPLES)
def test_both_halves_of_each_query_fit_the_grammar(name: str) -> None:
    from tree_sitter import Query

    grammar = grammar_of(BY_NAME[name])
    assert grammar is not None
    assert Query(grammar, _own_query(BY_NAME[name])).pattern_count > 0
    shipped = _shipped_query(BY_NAME[name])
    assert bool(shipped) is (name not in ("kotlin", "bash"))
    assert Query(grammar, shipped).pattern_count > 0 or name in ("kotlin", "bash")


def test_a_signature_is_the_source_in_one_line_without_the_body() -> None:
    found = tags("a.py", SAMPLES["python"][1])
    assert [(d.line, d.end, d.signature) for d in found.definitions] == [
        (2, 2, "LIMIT = 1"),
        (5, 9, "class Order(Basket)"),
        (6, 9, "def add(self, item: Item) -> Total"),
    ]
    go = tags("a.go", SAMPLES["go"][1])
    assert go.definitions[2].signature == "func (o *Order) Add(item Item)"
    long = tags("a.py", f"def f({', '.join(f'argument_{n}' for n in range(40))}): pass\n")
    assert len(long.definitions[0].signature) == 96
    assert long.definitions[0].signature.endswith("...")


def test_what_is_local_to_a_function_is_no_definition_of_the_file() -> None:
    found = tags("a.py", "def f():\n    def g(): pass\n    class H: pass\n    x = 1\n")
    assert [d.name for d in found.definitions] == ["f"]


def test_a_name_is_counted_where_it_is_used_and_not_where_it_is_defined() -> None:
    found = tags("a.py", "def load(): pass\nload()\nload()\nsave(load())\n")
    assert dict(found.references) == {"load": 3, "save": 1}


def test_tags_survive_the_pipe_and_the_cache() -> None:
    for file, text, _, _ in SAMPLES.values():
        found = tags(file, text)
        assert from_bytes(to_bytes(found)) == found
    for damaged in (b"", b"{}", b"[1]", b"[[[1]],[],1]", b"\xff", b"null"):
        assert from_bytes(damaged) == FileTags()


@pytest.mark.parametrize(
    ("name", "data", "language"),
    [
        ("x", b"#!/usr/bin/python3.11\n", "python"),
        ("x", b"#! /usr/bin/env -S node --harmony\n", "javascript"),
        ("x", b"#!/bin/sh\n", "bash"),
        ("x", b"#!/usr/bin/perl\n", None),
        ("x", b"print(1)\n", None),
        ("x.txt", b"#!/bin/sh\n", None),
        ("Rakefile", b"task\n", "ruby"),
        ("a.PY", b"", "python"),
        ("a.h", b"int f(void);\n", "c"),
        ("a.h", b"#pragma once\nnamespace a {}\n", "cpp"),
    ],
)
def test_a_language_is_known_by_name_or_first_line(
    name: str, data: bytes, language: str | None
) -> None:
    found = language_of(name, data)
    assert (found.name if found else None) == language
