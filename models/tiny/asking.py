"""What the person types in training: requests, commands, and the environment block before them."""

from __future__ import annotations

import random

from models.tiny.words import Words

FIX = (
    "Run `{command}` and fix what fails.", "Run `{command}` and fix what fails.",
    "`{command}` fails. Find out why and fix it.", "A test fails: `{command}`. Fix the code.",
    "The tests are red (`{command}`). Repair the code, not the test.",
    "Fix the failing test. Run the tests with `{command}`.", "Make `{command}` pass.",
    "Something is broken: run `{command}` and fix it.", "Test: `{command}`. Please fix the bug.",
    "One test fails. Run it with `{command}`, then fix the function.",
    "Use `{command}` to see the failing test, then repair it.",
)  # fmt: skip
FIX_BARE = (
    "The test fails. Find out why and fix it.", "A test is failing, repair it.",
    "Fix the failing test.", "Make the tests pass.", "The tests are red. Fix the code.",
    "Something is broken here; run the tests and fix it.", "Run the tests and fix what fails.",
)  # fmt: skip
SET = (
    "Set {name} in {path} to {value}.", "Set {name} in {path} to {value}.",
    "Change {name} to {value} in {path}.", "In {path}, {name} should be {value}.",
    "{name} must be {value} (see {path}).", "In {path}, set {name} to {value}.",
    "Edit {path}: {name} = {value}.", "Set `{name}` in `{path}` to `{value}`.",
)  # fmt: skip
FIND = (
    "Where is {name} defined?", "Where is {name} defined?", "Which file defines {name}?",
    "Find the definition of {name}.", "In which file is the function {name}?",
    "Where is `{name}` defined?", "Where is the function {name}?",
)  # fmt: skip
CREATE = (
    "Create the file {path} with the line `{text}`.",
    "Create the file {path} with the line `{text}`.", "Write `{text}` to {path}.",
    "Make a file {path} that holds the line `{text}`.", "Create {path} with `{text}`.",
    'Create the file {path} with the line "{text}".',
)  # fmt: skip
RUN = (
    "Run `{command}`.", "Run `{command}` and tell me how it ends.", "Please run `{command}`.",
    "Execute `{command}`.", "What is the exit code of `{command}`?",
)  # fmt: skip
READ_ALL = (
    "Read the files {files} and say when you have read them.", "Read these files: {files}",
    "Read {files} and say when you have read them.", "Please read all of these: {files}",
    "Read one after another: {files}", "Look at every one of these files: {files}",
)  # fmt: skip
BEFORE = ("Hello. ", "Hi, ", "Please help. ", "Good morning! ", "OK. ", "Now this: ")
AFTER = (" Thanks.", " Thank you!", " Please.", " Be brief.", " Change nothing else.")
DEFAULT_COMMAND = "python -m pytest -q"


def command(rng: random.Random, words: Words, module: str) -> tuple[str, bool]:
    """How the tests are run, and whether the request says so."""
    if rng.random() < 0.12:
        return DEFAULT_COMMAND, False
    if rng.random() < 0.35:
        return "python -m unittest -q", True
    python = rng.choice(["python", "python3", ".venv/bin/python", "uv run python", "python3.12"])
    commands = (
        f"{python} -m pytest -q", f"{python} -m unittest", f"{python} -m unittest -q",
        "pytest -q", "pytest", "pytest -x -q", "make test", "make check", "tox -q",
        f"{python} tests/test_{module}.py", f"{python} -m unittest tests.test_{module}",
        f"{python} -m pytest tests/test_{module}.py", f"PYTHONPATH=src {python} -m unittest -q",
        f"{python} -m unittest discover -s tests", "./run_tests.sh", f"make {words.noun()}",
        f"cd {words.noun()} && pytest -q", f"./{words.noun()}.sh", f"{words.noun()} test",
        f"{python} -m {words.noun()} -q",
    )  # fmt: skip
    return rng.choice(commands), True


def asked(rng: random.Random, words: Words, request: str, first: bool = True) -> str:
    """The request with politeness and, at the start of a session, the environment."""
    if rng.random() < 0.12:
        request = rng.choice(BEFORE) + request
    if rng.random() < 0.12:
        request += rng.choice(AFTER)
    if not first or rng.random() < 0.35:
        return request
    return f"{environment(rng, words)}\n\n{request}"


def environment(rng: random.Random, words: Words) -> str:
    """The block of facts that a session begins with."""
    day = f"20{rng.randint(24, 29)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    branch = rng.choice(["main", "main", "master", words.noun(), f"fix/{words.noun()}"])
    status = [f"Git branch: {branch}", rng.choice(["Git status: clean", f"Git: {branch}, clean"])]
    if rng.random() < 0.4:
        status = [f"Git branch: {branch}", "Git status:"]
        for _ in range(rng.randint(1, 4)):
            mark = rng.choice([" M", "??", "A ", "M "])
            status.append(f"{mark} {words.folder()}{words.module()}.py")
    if rng.random() < 0.4:
        status.append(rng.choice(["Recent commits:", "Last commits:", "Recent commits:"]))
        for _ in range(rng.randint(1, 5)):
            short = "".join(rng.choices("0123456789abcdef", k=rng.choice([7, 7, 8, 10])))
            status.append(f"{short} {words.verb().capitalize()} {words.noun()} {words.noun()}")
    place = rng.choice(["Working directory", "Working directory", "cwd", "Folder"])
    lines = [
        f"{place}: {words.path()}",
        f"{rng.choice(['Date', 'Date', 'Today'])}: {day}",
        f"Platform: {rng.choice(['linux', 'linux', 'darwin', 'Linux 6.1'])}",
    ]
    if rng.random() < 0.3:
        lines = [line for line in lines if rng.random() < 0.7]
    if rng.random() < 0.2:
        rng.shuffle(lines)
    if rng.random() < 0.5:
        lines += status if rng.random() < 0.7 else status[:1]
    if rng.random() < 0.12:
        lines.append(f"{rng.choice(['Python', 'Shell', 'User'])}: {words.noun()}")
    return "\n".join(lines) or f"Date: {day}"
