"""A changelog from a range of commits, through the Python API.

    python examples/changelog.py v1.2..HEAD --title 1.3

Prints Markdown. The answer is bound to a JSON Schema and then checked: an entry must name commits
of the range, and what no entry names is listed at the end, so that nothing is lost and nothing is
made up. The model may look at the repository (`git show`), and change nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import glmcode

KINDS = ("added", "changed", "fixed", "removed", "security")
AT_ONCE = 80
"""Commits of one request."""
ENTRIES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "commits": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["text", "commits"],
        "additionalProperties": False,
    },
}
SCHEMA = {
    "type": "object",
    "properties": dict.fromkeys(KINDS, ENTRIES),
    "required": list(KINDS),
    "additionalProperties": False,
}
PROMPT = """\
Write the changelog of the commits below for the people who use this software. One entry for each \
change that they can notice, in one sentence, with the ids of the commits that made it; leave out \
what only concerns those who work on it. Look at a commit where its message does not say enough.

{log}"""


def commits(span: str) -> dict[str, str]:
    """Subject and body by short id, the newest first. Raises CalledProcessError."""
    command = ["git", "log", "--no-merges", "-z", "--format=%h%n%B", span, "--"]
    text = subprocess.run(command, check=True, capture_output=True).stdout.decode(
        "utf-8", "replace"
    )
    found = (entry.partition("\n") for entry in text.split("\0") if entry.strip())
    return {name.strip(): body.strip() for name, _, body in found}


def asked(found: dict[str, str], options: glmcode.Options) -> Iterator[dict[str, Any]]:
    names = list(found)
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        log = "\n\n".join(f"{name} {found[name]}" for name in part)
        yield glmcode.run(PROMPT.format(log=log), **options).structured_output


def markdown(title: str, found: dict[str, str], answers: list[dict[str, Any]]) -> str:
    lines, named = [f"## {title}"], set()
    for kind in KINDS:
        entries = []
        for entry in (one for answer in answers for one in answer[kind]):
            known = [name for name in entry["commits"] if name in found]
            if known:  # what names no commit of the range was made up
                named.update(known)
                entries.append(f"- {' '.join(entry['text'].split())} ({', '.join(known)})")
        lines += ["", f"### {kind.capitalize()}", "", *entries] if entries else []
    rest = [
        f"- {body.splitlines()[0]} ({name})" for name, body in found.items() if name not in named
    ]
    return "\n".join([*lines, *(["", "### Not mentioned above", "", *rest] if rest else []), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("range", help="such as v1.2..HEAD")
    parser.add_argument("--title", default="Unreleased")
    parser.add_argument("--profile")
    parser.add_argument("--base-url")
    given = parser.parse_args()
    options: glmcode.Options = {
        "schema": SCHEMA,
        "permission_mode": "dontAsk",
        "allowed_tools": ["Bash(git show *)", "Bash(git log *)"],
        "disallowed_tools": ["Edit", "Write"],
        "max_turns": 30,
    }
    if given.profile:
        options["profile"] = given.profile
    if given.base_url:
        options["base_url"] = given.base_url
    try:
        found = commits(given.range)
        print(markdown(given.title, found, list(asked(found, options))), end="")
    except subprocess.CalledProcessError as error:
        print(error.stderr.decode("utf-8", "replace").strip(), file=sys.stderr)
        return 2
    except glmcode.GlmcodeError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
