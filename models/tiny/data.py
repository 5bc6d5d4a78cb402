"""Training conversations: small repository tasks, each with the answers the model is to give.

Kinds: *fix* (run the tests, find the function that failed, read its file, edit the wrong line,
run them again, report), *set* (change a constant), *where* (say where a function is defined),
*write* (create a file with one line), *run* (run a command and give its exit status). All draw
on words and faults that the demo holds out; `fix_pieces` also builds the conversation of a
given repository, for evaluation.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from glmcode import demo_task
from models.tiny import longer, outputs
from models.tiny.asking import CREATE, FIND, FIX, FIX_BARE, RUN, SET, asked, command
from models.tiny.conversation import Conversation, Piece
from models.tiny.words import Words

DEFAULT_COMMAND = "python -m pytest -q"
CONSTANT_FOLDERS = ("", "", "src/", "config/", "app/")


@dataclass(frozen=True, slots=True)
class Repair:
    """A fix as it unfolds: what is run, found, read, changed, and what the tools say."""

    command: str
    function: str
    path: str
    old: str
    new: str
    failed: str
    found: str
    read: str
    edited: str
    passed: str


def conversation(rng: random.Random, words: Words) -> list[Piece]:
    """One training conversation: a fix, a chain, or short tasks in a row; perhaps a summary."""
    talk = Conversation()
    words.restart()
    kind = rng.random()
    if kind < 0.62:
        fix(rng, words, talk)
        if rng.random() < 0.06:
            short(rng, words, talk, first=False)
    elif kind < 0.68:
        longer.chain(rng, words, talk)
        if rng.random() < 0.3:
            short(rng, words, talk, first=False)
    else:
        for number in range(rng.choice([1, 2, 2, 3, 3, 8])):
            short(rng, words, talk, first=number == 0)
    if rng.random() < 0.08:
        longer.summary(rng, words, talk)
        if rng.random() < 0.3:
            short(rng, words, talk, first=False)
    return talk.pieces


def easy_conversation(rng: random.Random, words: Words) -> list[Piece]:
    """One short task: what training begins with, to learn copying sooner."""
    talk = Conversation()
    words.restart()
    short(rng, words, talk)
    return talk.pieces


def short(rng: random.Random, words: Words, talk: Conversation, first: bool = True) -> None:
    """One of the short kinds."""
    kind = rng.choices((set_constant, where, write, run), (4, 3, 2, 1))[0]
    kind(rng, words, talk, first)


def fix(rng: random.Random, words: Words, talk: Conversation) -> None:
    """A repair, in rare cases with a refusal, a stale file, or nothing to repair."""
    module = words.module()
    line, named = command(rng, words, module)
    request = rng.choice(FIX if named else FIX_BARE).format(command=line)
    talk.user(asked(rng, words, request))
    if rng.random() < 0.02:
        clean(rng, words, talk, line)
    else:
        unfold(rng, words, talk, repair(rng, words, module, line))


def clean(rng: random.Random, words: Words, talk: Conversation, line: str) -> None:
    """The tests pass at once."""
    talk.call("Bash", "Run the tests first.", command=line)
    passed = outputs.passed_run(rng, words, rng.randint(1, 6), "unittest" not in line)
    talk.result(outputs.bash(rng, passed, 0))
    talk.say("The tests pass: there is nothing to fix.")


def repair(rng: random.Random, words: Words, module: str, line: str) -> Repair:
    """A random repository with one wrong line, and what the tools say about it."""
    path = f"{words.folder()}{module}.py"
    while True:
        names: list[str] = []
        while len(names) < rng.choice([1, 2, 2, 3, 3, 4]):
            name = words.function()
            if name not in names:
                names.append(name)
        faults = [demo_task.draw_fault(rng, held=False) for _ in names]
        wrong = rng.randrange(len(names))
        if rng.random() < 0.4:
            faults[wrong] = disguised(rng, words, faults[wrong])
        sources = [source(rng, words, names, faults, wrong)]
        lines, old, new = sources[0]
        if "\n".join(lines).count(old) == 1:
            break
    function, fault = names[wrong], faults[wrong]
    test = f"test_{function}" if rng.random() < 0.94 else f"test_{words.function()}"
    failure = outputs.Failure(
        function=function,
        test=test,
        module=module,
        path=f"tests/test_{module}.py",
        line=rng.randint(5, 60),
        call=f"{function}({fault.call})",
        want=fault.want,
        got=fault.got,
        total=len(names) + rng.choice([0, 0, 0, 1, 2, 5]),
    )
    pytest = "pytest" in line or ("unittest" not in line and rng.random() < 0.5)
    start = next(i for i, text in enumerate(lines, 1) if text.startswith(f"def {function}("))
    return Repair(
        command=line,
        function=function,
        path=path,
        old=old,
        new=new,
        failed=outputs.bash(rng, outputs.failed_run(rng, words, failure, pytest), 1),
        found=found(rng, words, function, f"{path}:{start}:{lines[start - 1]}"),
        read=outputs.read(rng, lines),
        edited=outputs.edited(rng, path, lines.index(old) + 1),
        passed=outputs.bash(rng, outputs.passed_run(rng, words, failure.total, pytest), 0),
    )


def disguised(rng: random.Random, words: Words, fault: demo_task.Fault) -> demo_task.Fault:
    """The fault with a wrong line of any kind, so that it has to be copied, not guessed."""
    call = re.fullmatch(r"(\w+)\((.+)\)", fault.right)
    if call:
        wrong = f"{other(rng, call[1], (*FUNCTIONS, words.noun()))}({call[2]})"
    else:
        left, sign, right = fault.right.split(" ")
        wrong = f"{left} {other(rng, sign, SIGNS)} {right}"
        if rng.random() < 0.3:
            wrong = f"{right} {sign} {left}"
        elif rng.random() < 0.2:
            wrong = f"{left} {sign} {rng.choice([words.noun(), str(rng.randint(2, 999))])}"
    if wrong == fault.right:
        return fault
    return replace(fault, wrong=wrong, got=str(rng.randint(-20, 200)))


def other(rng: random.Random, right: str, choices: tuple[str, ...]) -> str:
    """A wrong choice, but none that is held out for demos."""
    held = demo_task.HELD_FAULTS
    return rng.choice([c for c in choices if c != right and (right, c) not in held])


SIGNS = ("+", "-", "*", "//", "%", "**", "|", "&", "^", "<<", "<", ">", "<=", ">=", "==", "!=")
FUNCTIONS = ("sum", "max", "min", "len", "sorted", "abs", "any", "all", "list", "set", "round")


def source(
    rng: random.Random, words: Words, names: list[str], faults: list[demo_task.Fault], wrong: int
) -> tuple[list[str], str, str]:
    """The lines of a module, its wrong line, and the right one."""
    typed, named = rng.random() < 0.35, rng.random() < 0.25
    lines: list[str] = []
    if rng.random() < 0.6:
        lines += [f'"""{words.noun().capitalize()} {words.noun()}."""', ""]
    if rng.random() < 0.2:
        lines += [rng.choice(["import math", "import os", f"import {words.noun()}"]), ""]
    if rng.random() < 0.15:
        lines += [f"{words.noun().upper()} = {rng.randint(1, 99)}", ""]
    old = new = ""
    for number, (name, fault) in enumerate(zip(names, faults, strict=True)):
        made = demo_task.function_lines(
            name, fault, broken=number == wrong, typed=typed, named=named
        )
        if number == wrong:
            right = demo_task.function_lines(name, fault, broken=False, typed=typed, named=named)
            old, new = next((a, b) for a, b in zip(made, right, strict=True) if a != b)
        if rng.random() < 0.08:
            made.insert(0, f"# {words.noun()} {words.noun()}")
        if lines:
            lines += [""] * (2 if lines[-1] or number else 1)
        lines += made
    return lines, old, new


def found(rng: random.Random, words: Words, function: str, hit: str) -> str:
    """Grep's hits for `def function`: the definition, at times beside longer names."""
    hits = [hit]
    if rng.random() < 0.12:
        for _ in range(rng.randint(1, 2)):
            longer = f"{function}_{words.noun()}"
            path = f"{words.folder()}{words.module()}.py"
            hits.append(f"{path}:{rng.randint(1, 99)}:def {longer}({rng.choice('abnxy')}):")
    return "\n".join(sorted(hits))


def unfold(rng: random.Random, words: Words | None, talk: Conversation, steps: Repair) -> None:
    """The conversation of a repair; without words, with no notes and nothing odd."""

    def result(text: str) -> None:
        talk.result(outputs.noted(rng, words, text) if words else text)

    talk.call("Bash", "Run the tests first.", command=steps.command)
    result(steps.failed)
    talk.call("Grep", f"{steps.function} is wrong. Where is it?", pattern=f"def {steps.function}")
    result(steps.found)
    talk.call("Read", "", file_path=steps.path)
    result(steps.read)
    odd = rng.random() if words else 1.0
    change(talk, steps)
    if odd < 0.02:
        talk.result(rng.choice(["not run: the user said no", "not run: the user refused"]))
        talk.say(f"The edit of {steps.path} was refused: nothing is changed.")
        return
    if odd < 0.05:
        talk.result(f"error: {steps.path} {rng.choice(STALE)}")
        talk.call("Read", "Read it again.", file_path=steps.path)
        result(steps.read)
        change(talk, steps)
    result(steps.edited)
    talk.call("Bash", "Run the tests again.", command=steps.command)
    result(steps.passed)
    talk.say(f"Fixed {steps.function} in {steps.path}: the tests pass.")


STALE = (
    "changed on disk since it was read; read it again.",
    "has changed since you read it: read it again, then edit.",
    "must be read again before it is edited.",
)


def change(talk: Conversation, steps: Repair) -> None:
    """The edit of the wrong line."""
    talk.call(
        "Edit",
        f"{steps.function} needs {steps.new.strip()}",
        file_path=steps.path,
        old_string=steps.old,
        new_string=steps.new,
    )


def set_constant(rng: random.Random, words: Words, talk: Conversation, first: bool = True) -> None:
    """Change a constant in a named file."""
    path = f"{rng.choice([*CONSTANT_FOLDERS, words.folder()])}{words.module()}.py"
    names: list[str] = []
    while len(names) < rng.randint(1, 6):
        name = words.noun() + rng.choice(["", f"_{words.noun()}", f"_{words.noun()}"])
        if name.upper() not in names:
            names.append(name.upper())
    lines = [f"{name} = {constant(rng, words)}" for name in names]
    spot = rng.randrange(len(names))
    name, old = names[spot], lines[spot]
    value = constant(rng, words)
    if f"{name} = {value}" == old or "\n".join(lines).count(old) != 1:
        return set_constant(rng, words, talk, first)
    if rng.random() < 0.5:
        lines = [f'"""{words.noun().capitalize()} {words.noun()}."""', "", *lines]
    request = rng.choice(SET).format(name=name, path=path, value=value)
    talk.user(asked(rng, words, request, first))
    talk.call("Read", "", file_path=path)
    talk.result(outputs.noted(rng, words, outputs.read(rng, lines)))
    talk.call(
        "Edit",
        f"{name} should be {value}",
        file_path=path,
        old_string=old,
        new_string=f"{name} = {value}",
    )
    if rng.random() < 0.04:
        talk.result("not run: the user said no")
        talk.say(f"The edit of {path} was refused: nothing is changed.")
        return None
    talk.result(outputs.noted(rng, words, outputs.edited(rng, path, lines.index(old) + 1)))
    talk.say(f"{name} in {path} is now {value}.")
    return None


def constant(rng: random.Random, words: Words) -> str:
    """A value as it stands in Python source."""
    kind = rng.random()
    if kind < 0.65:
        return str(rng.randint(0, 10 ** rng.randint(1, 4)))
    if kind < 0.8:
        return f"{rng.randint(0, 9)}.{rng.randint(0, 99)}"
    if kind < 0.9:
        return f'"{words.noun()}"'
    return rng.choice(["True", "False", "None"])


def where(rng: random.Random, words: Words, talk: Conversation, first: bool = True) -> None:
    """Say where a function is defined."""
    name = words.function()
    path = f"{words.folder()}{words.module()}.py"
    number = rng.randint(1, 300)
    typed = rng.random() < 0.3
    fault = demo_task.draw_fault(rng, held=False)
    header = demo_task.function_lines(name, fault, broken=False, typed=typed, named=False)[0]
    talk.user(asked(rng, words, rng.choice(FIND).format(name=name), first))
    talk.call("Grep", f"Where is {name}?", pattern=f"def {name}")
    hits = found(rng, words, name, f"{path}:{number}:{header}")
    talk.result(outputs.noted(rng, words, hits))
    talk.say(f"{name} is defined in {path}, line {number}.")


def write(rng: random.Random, words: Words, talk: Conversation, first: bool = True) -> None:
    """Create a file with one line."""
    suffix = rng.choice([".txt", ".md", ".txt", ".cfg"])
    path = rng.choice(["", "notes/", "docs/", f"{words.noun()}/"]) + words.module() + suffix
    text = " ".join(words.noun() for _ in range(rng.randint(1, 5)))
    if rng.random() < 0.5:
        text = text.capitalize() + rng.choice(["", ".", "!"])
    talk.user(asked(rng, words, rng.choice(CREATE).format(path=path, text=text), first))
    talk.call("Write", "", file_path=path, content=text + "\n")
    if rng.random() < 0.05:
        talk.result("not run: the user said no")
        talk.say(f"The file {path} was refused: nothing is changed.")
        return
    size = rng.choice(["1 line", "1 line", "1 lines"])
    talk.result(outputs.noted(rng, words, f"created {path}: {size}"))
    talk.say(f"Created {path}.")


def run(rng: random.Random, words: Words, talk: Conversation, first: bool = True) -> None:
    """Run a command and give its exit status."""
    line = rng.choice(
        [
            f"sleep {rng.randint(1, 90)}", f"echo {words.noun()}", "ls -la", f"ls {words.noun()}",
            f"cat {words.noun()}.txt", f"python {words.module()}.py", f"make {words.noun()}",
            f"wc -l {words.module()}.py", "git status", f"echo {words.noun()} {words.noun()}",
            f"touch {words.noun()}.txt", f"python -c 'print({rng.randint(1, 99)})'", "pwd", "date",
        ]
    )  # fmt: skip
    talk.user(asked(rng, words, rng.choice(RUN).format(command=line), first))
    talk.call("Bash", "", command=line)
    status = rng.choice([0, 0, 0, 1, 2, 127, 130])
    output = "\n".join(
        " ".join(words.noun() for _ in range(rng.randint(1, 4))) for _ in range(rng.randint(0, 3))
    )
    talk.result(outputs.noted(rng, words, outputs.bash(rng, output, status)))
    talk.say(f"The command ended with exit code {status}.")
