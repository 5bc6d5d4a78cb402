"""Makes the small repositories that `glmcode demo` repairs: one wrong line, one failing test.

The seed decides names, files, fault and wording, so there is no end of different ones and the
same seed always gives the same bytes. The grammar of faults is shared with the generator that
trains models/tiny, which draws only what is *not* held out here: `draw_fault(held=True)` and
the words below are never seen in training, so a solved demo was not learned by heart. Pure:
writes no file, runs nothing, and must import nothing beyond the standard library.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


VERBS = _words(
    """gather carve weave forge polish harvest measure compare borrow donate rotate stretch
    bounce hover glide whisper chase repair deliver arrange collect divide attach detach
    flatten mirror balance settle adjust compute derive estimate assign combine resolve
    reduce expand convert select inspect"""
)
NOUNS = _words(
    """castle forest meadow pebble lantern saddle violin trumpet marble copper silver walnut
    acorn falcon otter badger salmon velvet quilt compass glacier canyon desert island lagoon
    carpet curtain ladder hammer chisel anvil kettle teapot biscuit orchard harvester voyage
    temple market village candle mountain dragon shipment payment customer employee vehicle
    student teacher lesson museum gallery theater ticketing warehouse container freight"""
)
FOLDERS = ("", "", "core/", "app/", "shop/", "engine/")
OPERATORS: dict[str, tuple[str, ...]] = {
    "+": ("the sum of {a} and {b}", "{a} plus {b}", "{a} and {b} added together"),
    "-": ("{a} minus {b}", "the difference of {a} and {b}", "{a} less {b}"),
    "*": ("the product of {a} and {b}", "{a} times {b}", "{a} multiplied by {b}"),
    "//": ("{a} divided by {b}, rounded down", "the whole quotient of {a} and {b}"),
    "%": ("the remainder of {a} divided by {b}", "{a} modulo {b}"),
}
COMPARISONS: dict[str, tuple[str, ...]] = {
    "<": ("whether {a} is less than {b}", "True if {a} is below {b}"),
    ">": ("whether {a} is greater than {b}", "True if {a} is above {b}"),
    "<=": ("whether {a} is at most {b}", "True if {a} does not exceed {b}"),
    ">=": ("whether {a} is at least {b}", "True if {a} is not below {b}"),
    "==": ("whether {a} equals {b}", "True if {a} and {b} are the same"),
}
FOLDS: dict[str, tuple[str, ...]] = {
    "sum": ("the total of {a}", "all {a} added up"),
    "max": ("the largest of {a}", "the highest of {a}"),
    "min": ("the smallest of {a}", "the lowest of {a}"),
    "len": ("how many {a} there are", "the number of {a}"),
}
PAIRS: dict[str, tuple[str, ...]] = {
    "max": ("the larger of {a} and {b}", "the maximum of {a} and {b}"),
    "min": ("the smaller of {a} and {b}", "the minimum of {a} and {b}"),
}
# (right, wrong): drawn for demos only, never in training.
HELD_FAULTS = frozenset(
    {
        ("+", "//"), ("-", "%"), ("*", "-"), ("//", "+"), ("%", "*"), ("+", "*"),
        ("<", ">="), (">", "<="), ("<=", "=="), (">=", "<"), ("==", ">"),
        ("sum", "len"), ("max", "sum"), ("min", "max"), ("len", "min"),
    }
)  # fmt: skip
VARIABLES = _words("a b c n m x y z p q u v left right first second base step low high")
LISTS = ("values", "items", "numbers", "scores", "prices", "sizes", "points", "weights")
_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "//": lambda x, y: x // y,
    "%": lambda x, y: x % y,
    "<": lambda x, y: x < y,
    ">": lambda x, y: x > y,
    "<=": lambda x, y: x <= y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "max": max,
    "min": min,
}
_FOLD: dict[str, Callable[[Sequence[int]], int]] = {"sum": sum, "max": max, "min": min, "len": len}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One small function: what it should return, what it wrongly returns, a call that tells."""

    doc: str
    right: str
    wrong: str
    parameters: tuple[tuple[str, str], ...]
    result: str
    call: str
    want: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTask:
    """A repository with exactly one failing test, and what its repair must look like.

    `files` maps relative paths to contents; `fixed_text` is the whole repaired content of
    `fixed_path`; every other file must stay as it is.
    """

    files: dict[str, str]
    prompt: str
    test_command: tuple[str, ...]
    fixed_path: str
    fixed_text: str
    summary: str


def held_constant(value: int) -> bool:
    """Whether a right constant is kept for demos."""
    return value % 7 == 3


def draw_fault(rng: random.Random, held: bool) -> Fault:
    """A function with a fault, from the held-out ones or from the others."""
    kind = rng.random()
    if kind < 0.45:
        return _binary(rng, held, OPERATORS, "int")
    if kind < 0.6:
        return _binary(rng, held, COMPARISONS, "bool")
    if kind < 0.75:
        return _fold(rng, held)
    if kind < 0.85 and not held:
        return _choice(rng)
    return _constant(rng, held)


def function_lines(name: str, fault: Fault, *, broken: bool, typed: bool, named: bool) -> list[str]:
    """The source of one function. `named`: through a variable `result`, in two lines."""
    arguments = ", ".join(f"{n}: {t}" if typed else n for n, t in fault.parameters)
    arrow = f" -> {fault.result}" if typed else ""
    lines = [f"def {name}({arguments}){arrow}:", f'    """Return {fault.doc}."""']
    body = fault.wrong if broken else fault.right
    if named:
        return [*lines, f"    result = {body}", "    return result"]
    return [*lines, f"    return {body}"]


def make_task(seed: int, nonce: str = "") -> DemoTask:
    """The demo task of a seed. `nonce` (letters and digits) is appended to every name."""
    rng = random.Random(f"glmcode demo {seed}")
    tail = f"_{nonce}" if nonce else ""
    while True:
        task = _try_task(rng, tail)
        if task is not None:
            return task


def _try_task(rng: random.Random, tail: str) -> DemoTask | None:
    module = _module(rng) + tail
    folder = rng.choice(FOLDERS)
    path = f"{folder}{module}.py"
    count = rng.randint(2, 4)
    names = [f"{name}{tail}" for name in _functions(rng, count)]
    faults = [draw_fault(rng, held=True) for _ in names]
    wrong = rng.randrange(count)
    typed, named = rng.random() < 0.4, rng.random() < 0.25
    head = [f'"""{rng.choice(NOUNS).capitalize()} {rng.choice(NOUNS)}{tail}."""']
    texts = []
    for broken in (True, False):
        blocks = [
            "\n".join(
                function_lines(name, fault, broken=broken and i == wrong, typed=typed, named=named)
            )
            for i, (name, fault) in enumerate(zip(names, faults, strict=True))
        ]
        texts.append("\n\n\n".join(["\n".join(head), *blocks]) + "\n")
    line = next(a for a, b in zip(*(t.split("\n") for t in texts), strict=True) if a != b)
    if texts[0].count(line) != 1:
        return None
    test = f"tests/test_{module}.py"
    command = ("python", "-m", "unittest", "-q")
    return DemoTask(
        files={
            path: texts[0],
            "tests/__init__.py": "",
            test: _test_file(path, module, names, faults),
        },
        prompt=f"Run `{' '.join(command)}` and fix what fails.",
        test_command=command,
        fixed_path=path,
        fixed_text=texts[1],
        summary=f"{names[wrong]} in {path} returns {faults[wrong].wrong}"
        f" where it should return {faults[wrong].right}",
    )


def _test_file(path: str, module: str, names: list[str], faults: list[Fault]) -> str:
    title = "".join(part.capitalize() for part in module.split("_"))
    lines = ["import unittest", ""]
    dotted = path.removesuffix(".py").replace("/", ".")
    lines += [f"from {dotted} import {', '.join(sorted(names))}", "", ""]
    lines.append(f"class {title}Test(unittest.TestCase):")
    for name, fault in zip(names, faults, strict=True):
        lines += [
            f"    def test_{name}(self):",
            f"        self.assertEqual({name}({fault.call}), {fault.want})",
            "",
        ]
    return "\n".join(lines[:-1]) + "\n"


def _module(rng: random.Random) -> str:
    first, second = rng.sample(NOUNS, 2)
    return first if rng.random() < 0.6 else f"{first}_{second}"


def _functions(rng: random.Random, count: int) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        name = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
        if name not in names:
            names.append(name)
    return names


def _wrong_for(
    rng: random.Random, right: str, table: dict[str, tuple[str, ...]], held: bool
) -> str:
    """A wrong choice for `right` from the same table, held out or not as asked."""
    return rng.choice([w for w in table if w != right and ((right, w) in HELD_FAULTS) == held])


def _binary(
    rng: random.Random, held: bool, table: dict[str, tuple[str, ...]], result: str
) -> Fault:
    a, b = rng.sample(VARIABLES, 2)
    right = rng.choice(list(table))
    wrong = _wrong_for(rng, right, table, held)
    while True:
        x, y = rng.randint(1, 40), rng.randint(1, 12)
        if rng.random() < 0.3:
            y = x
        want, got = _COMPUTE[right](x, y), _COMPUTE[wrong](x, y)
        if want != got:
            break
    return Fault(
        doc=rng.choice(table[right]).format(a=a, b=b),
        right=f"{a} {right} {b}",
        wrong=f"{a} {wrong} {b}",
        parameters=((a, "int"), (b, "int")),
        result=result,
        call=f"{x}, {y}",
        want=str(want),
        got=str(got),
    )


def _choice(rng: random.Random) -> Fault:
    a, b = rng.sample(VARIABLES, 2)
    right, wrong = rng.sample(list(PAIRS), 2)
    x, y = rng.sample(range(1, 60), 2)
    return Fault(
        doc=rng.choice(PAIRS[right]).format(a=a, b=b),
        right=f"{right}({a}, {b})",
        wrong=f"{wrong}({a}, {b})",
        parameters=((a, "int"), (b, "int")),
        result="int",
        call=f"{x}, {y}",
        want=str(_COMPUTE[right](x, y)),
        got=str(_COMPUTE[wrong](x, y)),
    )


def _fold(rng: random.Random, held: bool) -> Fault:
    name = rng.choice(LISTS)
    right = rng.choice(list(FOLDS))
    wrong = _wrong_for(rng, right, FOLDS, held)
    while True:
        values = [rng.randint(1, 30) for _ in range(rng.randint(2, 4))]
        want, got = _FOLD[right](values), _FOLD[wrong](values)
        if want != got:
            break
    return Fault(
        doc=rng.choice(FOLDS[right]).format(a=name),
        right=f"{right}({name})",
        wrong=f"{wrong}({name})",
        parameters=((name, "list[int]"),),
        result="int",
        call=str(values),
        want=str(want),
        got=str(got),
    )


def _constant(rng: random.Random, held: bool) -> Fault:
    a = rng.choice(VARIABLES)
    sign, word = rng.choice([("+", "plus"), ("-", "minus"), ("*", "times")])
    end = 100 if held else rng.choice((10, 100, 100, 1000))
    right = rng.choice([k for k in range(2, end) if held_constant(k) == held])
    wrong = rng.choice([k for k in range(2, end) if k != right])
    x = rng.randint(1, 30)
    return Fault(
        doc=f"{a} {word} {right}",
        right=f"{a} {sign} {right}",
        wrong=f"{a} {sign} {wrong}",
        parameters=((a, "int"),),
        result="int",
        call=str(x),
        want=str(_COMPUTE[sign](x, right)),
        got=str(_COMPUTE[sign](x, wrong)),
    )
