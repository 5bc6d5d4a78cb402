"""What tools give back in training: test runs, Read, Grep, Edit, in the agent's own formats.

The forms are those of glmcode's tools; what varies between machines (Python's markers, times,
warnings, notes at the end) varies here too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from models.tiny.words import Words

RULE, LINE = "=" * 70, "-" * 70


@dataclass(frozen=True, slots=True)
class Failure:
    """One failing test: where it is and what it said."""

    function: str
    test: str
    module: str
    path: str
    line: int
    call: str
    want: str
    got: str
    total: int


def bash(rng: random.Random, output: str, status: int) -> str:
    """A command's output and its last line."""
    gap = "\n" if output and rng.random() < 0.1 else ""
    last = f"[exit {status} in {rng.randint(0, 9)}.{rng.randint(0, 9)} s]"
    return f"{output}\n{gap}{last}" if output else last


def read(rng: random.Random | None, lines: list[str]) -> str:
    """A whole file as Read shows it; with `rng`, now and then in another form."""
    size = len(lines)
    form = rng.random() if rng else 1.0
    mark = ": " if rng and form < 0.02 else "\t"
    body = "\n".join(f"{i}{mark}{line}" for i, line in enumerate(lines, 1))
    if form < 0.01:
        return body
    last = f"[{size} lines]" if form < 0.03 else f"[lines 1-{size} of {size}]"
    return f"{body}\n{last}"


def edited(rng: random.Random | None, path: str, line: int) -> str:
    """Edit's result for one line; with `rng`, now and then in another form."""
    form = rng.random() if rng else 1.0
    if form < 0.01:
        return f"edited {path}"
    if form < 0.03:
        return f"edited {path}: 1 replacement (line {line})"
    return f"edited {path}: 1 replacement at line {line} (+1 -1)"


def noted(rng: random.Random, words: Words, result: str) -> str:
    """The result, now and then with a reminder at its end."""
    if rng.random() > 0.06:
        return result
    notes = (
        "[note: the todo list is empty]",
        f"[note: {words.noun()}.py changed on disk]",
        f"[note: {rng.randint(10, 90)} % of the context is used]",
        f"[note: {words.noun()} {words.noun()} {words.noun()}]",
        f"[hook: {words.noun()} passed]",
        f"[no new syntax errors in {words.noun()}.py]",
        f"[instructions of {words.folder()}AGENTS.md]\n{_sentences(rng, words)}",
    )
    return f"{result}\n{rng.choice(notes)}"


def _sentences(rng: random.Random, words: Words) -> str:
    return "\n".join(
        " ".join(words.noun() for _ in range(rng.randint(2, 6))).capitalize() + "."
        for _ in range(rng.randint(1, 4))
    )


def failed_run(rng: random.Random, words: Words, failure: Failure, pytest: bool) -> str:
    """The output of a test run with one failing test."""
    output = _pytest(rng, failure) if pytest else _unittest(rng, words, failure)
    return _warned(rng, words, output)


def passed_run(rng: random.Random, words: Words, total: int, pytest: bool) -> str:
    """The output of a test run in which all pass."""
    if pytest:
        percent = " " * rng.randint(0, 8) + "[100%]" if rng.random() < 0.6 else ""
        return _warned(rng, words, f"{'.' * total}{percent}\n{total} passed in {_seconds(rng)}s")
    plural = "" if total == 1 else "s"
    dots = "." * total + "\n" if rng.random() < 0.3 else ""
    output = f"{dots}{LINE}\nRan {total} test{plural} in 0.{rng.randint(0, 30):03d}s\n\nOK"
    return _warned(rng, words, output)


def _seconds(rng: random.Random) -> str:
    return f"{rng.randint(0, 2)}.{rng.randint(0, 99):02d}"


def _warned(rng: random.Random, words: Words, output: str) -> str:
    if rng.random() > 0.06:
        return output
    warnings = (
        f"{words.path()}/{words.noun()}.py:{rng.randint(1, 99)}: DeprecationWarning: old",
        f"WARNING: {words.noun()} is not set",
        f"bash: warning: setlocale: LC_ALL: cannot change locale ({words.noun()})",
    )
    return f"{rng.choice(warnings)}\n{output}"


def _unittest(rng: random.Random, words: Words, f: Failure) -> str:
    title = "".join(part.capitalize() for part in f.module.split("_"))
    title = rng.choice([f"{title}Test", f"{title}Test", f"Test{title}", f"{title}Tests"])
    stem = f"test_{f.module}"
    where = rng.choice([f"tests.{stem}", f"tests.{stem}", stem])
    name = f"{where}.{title}.{f.test}" if rng.random() < 0.9 else f"{where}.{title}"
    file = f"{words.path()}/tests/{stem}.py"
    statement = f"self.assertEqual({f.call}, {f.want})"
    lines = [f'  File "{file}", line {f.line}, in {f.test}', f"    {statement}"]
    if rng.random() < 0.35:
        begin, rest = len(f.call) + 17, len(statement) - len(f.call) - 17
        marker = f"{'~' * 16}^{'^' * (len(statement) - 17)}"
        if rng.random() < 0.3:
            marker = f"{'~' * begin}{'^' * rest}"
        lines.append(f"    {marker}")
    dots = ""
    if rng.random() < 0.3:
        spot = rng.randrange(f.total)
        dots = "." * spot + "F" + "." * (f.total - spot - 1) + "\n"
    plural = "" if f.total == 1 else "s"
    return "\n".join(
        [
            f"{dots}{RULE}",
            f"FAIL: {f.test} ({name})",
            LINE,
            "Traceback (most recent call last):",
            *lines,
            f"AssertionError: {f.got} != {f.want}",
            "",
            LINE,
            f"Ran {f.total} test{plural} in 0.{rng.randint(0, 30):03d}s",
            "",
            "FAILED (failures=1)",
        ]
    )


def _pytest(rng: random.Random, f: Failure) -> str:
    passed = f.total - 1
    spot = rng.randint(0, passed)
    dots = "." * spot + "F" + "." * (passed - spot)
    if rng.random() < 0.6:
        dots += " " * rng.randint(1, 12) + "[100%]"
    summary = f"FAILED {f.path}::{f.test} - assert {f.got} == {f.want}"
    tail = f"1 failed{f', {passed} passed' if passed else ''} in {_seconds(rng)}s"
    edge = "=" * rng.randint(3, 30)
    short = f"{edge} short test summary info {edge}"
    if rng.random() < 0.15:
        return "\n".join([dots, short, summary, tail])
    side = "_" * rng.randint(3, 24)
    return "\n".join(
        [
            dots,
            f"{edge} FAILURES {edge}",
            f"{side} {f.test} {side}",
            "",
            f"    def {f.test}():",
            f">       assert {f.call} == {f.want}",
            f"E       assert {f.got} == {f.want}",
            f"E        +  where {f.got} = {f.call}",
            "",
            f"{f.path}:{f.line}: AssertionError",
            short,
            summary,
            tail,
        ]
    )
