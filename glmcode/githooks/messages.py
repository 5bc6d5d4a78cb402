"""Messages of commits: proposed from what is staged, and judged against it.

A message is proposed in the repository's own style (the subjects of its last commits are shown)
and only where there is none yet; comments and whatever else stands in git's file stay. Must not
replace what a person wrote.
"""

from __future__ import annotations

import codecs
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from glmcode.repl.clean import visible
from glmcode.review.diff import parse_diff
from glmcode.review.git import GitError, ask_git, run_git
from glmcode.review.showing import overview, show_file
from glmcode.review.source import staged_diff

SUBJECTS = 15
WIDTH = 72
SCISSORS = ">8"
AUTOMATIC = tuple("#;@!$%^&|:")
CONVENTIONAL = re.compile(r"^[a-z]+(\([^)]*\))?!?: \S")
SKIPPED = ("fixup! ", "squash! ", "amend! ", "Merge ", "Revert ")
PROPOSAL: Mapping[str, Any] = {
    "type": "object",
    "properties": {"subject": {"type": "string"}, "body": {"type": "string"}},
    "required": ["subject", "body"],
    "additionalProperties": False,
}
CHECK: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "reasons": {"type": "array", "maxItems": 5, "items": {"type": "string"}},
        "verdict": {"enum": ["pass", "warn", "block"]},
    },
    "required": ["reasons", "verdict"],
    "additionalProperties": False,
}


class Asks(Protocol):
    """Who answers: asking.Asking, or a session that has an engine already."""

    def structured(self, system: str, text: str, schema: Mapping[str, Any]) -> Any:
        """The answer to one question, as an instance of a schema. Raises NoAnswer."""


def proposed(root: Path, asking: Asks) -> str:
    """A message for what is staged; "" where nothing is. Raises NoAnswer, GitError."""
    data = staged_diff(root)
    files = parse_diff(data)
    if not files:
        return ""
    told = asking.structured("commit_message.md", f"{_style(root)}\n{_diff(files)}", PROPOSAL)
    subject = " ".join(str(told["subject"]).split()).lstrip("#; ")  # else a comment, to git
    paragraphs = [" ".join(one.split()) for one in str(told["body"]).split("\n\n")]
    body = "\n\n".join(textwrap.fill(one, WIDTH) for one in paragraphs if one)
    return visible(f"{subject}\n\n{body}\n" if body else f"{subject}\n")


def prepare(root: Path, words: Sequence[str], asking: Asks) -> None:
    """prepare-commit-msg FILE [SOURCE [COMMIT]]: write a message where there is none."""
    if not words or len(words) > 1:  # a message, a template, a merge, a squash or a commit is there
        return
    file = root / words[0]
    held = file.read_bytes()
    text = held.decode("utf-8", "replace")
    if written(text, comment_char(root, text)).strip():
        return
    message = proposed(root, asking)
    if message and file.read_bytes() == held:
        file.write_bytes(message.encode(_encoding(root), "replace") + held)


def check(root: Path, words: Sequence[str], asking: Asks, say: Callable[[str], None]) -> bool:
    """commit-msg FILE: judge the message against what is staged; whether it is to be stopped."""
    if not words:
        return False
    text = (root / words[0]).read_bytes().decode("utf-8", "replace")
    message = text.strip() if _no_editor(root) else written(text, comment_char(root, text)).strip()
    files = parse_diff(staged_diff(root))
    if not message or not files or message.startswith(SKIPPED):
        return False
    asked = f"{_style(root)}\nThe message:\n\n{message}\n\n{_diff(files)}"
    told = asking.structured("commit_check.md", asked, CHECK)
    reasons = [" ".join(str(one).split()) for one in told["reasons"]]
    verdict = told["verdict"] if reasons else "pass"  # nobody is stopped without being told why
    if verdict == "pass":
        return False
    say(f"commit-msg: {verdict}: {'; '.join(reasons)}")
    return bool(verdict == "block")


def written(text: str, comment: str) -> str:
    """What a person wrote: without comments, and without what stands below the scissors."""
    lines = []
    for line in text.splitlines():
        if line.startswith(comment):
            if SCISSORS in line and "---" in line:
                break
            continue
        lines.append(line)
    return "\n".join(lines)


def comment_char(root: Path, text: str) -> str:
    """What comments of this message begin with."""
    for key in ("core.commentString", "core.commentChar"):
        found = _setting(root, key)
        if found == "auto":  # git took one that no line began with; its own comments are the last
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
            return last[:1] if last[:1] in AUTOMATIC else "#"
        if found:
            return found
    return "#"


def _no_editor(root: Path) -> bool:
    """Whether git opens none and keeps every line, as with -m: `#12 is mended` is no comment."""
    return os.environ.get("GIT_EDITOR") == ":" and _setting(root, "commit.cleanup") != "strip"


def _setting(root: Path, key: str) -> str:
    try:
        return ask_git(root, "config", "--get", key)
    except GitError:
        return ""


def _encoding(root: Path) -> str:
    """What git takes the bytes of a message for."""
    try:
        return codecs.lookup(_setting(root, "i18n.commitEncoding")).name
    except LookupError:
        return "utf-8"


def _style(root: Path) -> str:
    words = ("log", f"--max-count={SUBJECTS}", "--no-merges", "--no-show-signature")
    done = run_git(root, (*words, "--encoding=UTF-8", "--format=%s"))
    subjects = done.stdout.decode("utf-8", "replace").splitlines() if not done.returncode else []
    if not subjects:
        return "This is the first commit of the repository.\n"
    told = "Subjects of this repository, the newest first:\n" + "\n".join(subjects) + "\n"
    if sum(bool(CONVENTIONAL.match(one)) for one in subjects) * 2 > len(subjects):
        told += "It uses Conventional Commits (type(scope): subject).\n"
    return told


def _diff(files: Sequence[Any]) -> str:
    shown = "\n".join(show_file(file) for file in files if not file.binary)
    return f"What is staged:\n{overview(files)}\n\n{shown}"
