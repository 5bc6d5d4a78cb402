"""Longer training conversations: a chain of many files to read, and the summary of what was done.

A *chain* is one call a step for as many steps as files are named, which is how a long turn is
tried on the tiny model. A *summary* answers prompts/compact.md at the end of any conversation,
with thinking off, by naming the request, every call and every file. Both are copying practice
over long distances.
"""

from __future__ import annotations

import random

from glmcode.base.data import prompt_text
from models.tiny import outputs
from models.tiny.asking import READ_ALL, asked
from models.tiny.conversation import Conversation
from models.tiny.words import Words

LONGEST = 44


def chain(rng: random.Random, words: Words, talk: Conversation, first: bool = True) -> None:
    """Read the named files one after another."""
    most = rng.choices((4, 12, 28, LONGEST), (5, 4, 3, 2))[0]
    paths: list[str] = []
    for _ in range(rng.randint(2, most)):
        path = f"{words.folder()}{words.module()}{rng.choice(['.py', '.py', '.txt', '.md'])}"
        if path not in paths:
            paths.append(path)
    separator = rng.choice([", ", ", ", " ", "\n", "\n- "])
    listed = ("\n- " if separator == "\n- " else "") + separator.join(paths)
    talk.user(asked(rng, words, rng.choice(READ_ALL).format(files=listed), first))
    before = ""
    for path in paths:
        talk.call("Read", f"After {before} comes {path}" if before else "", file_path=path)
        lines = [" ".join(words.noun() for _ in range(rng.randint(1, 4)))]
        lines *= 1 if rng.random() < 0.7 else rng.randint(1, 4)
        missing = rng.random() < 0.02
        talk.result(f"error: {path} does not exist" if missing else outputs.read(rng, lines))
        before = path
    talk.say(f"All files are read; the last was {before}.", f"After {before} comes nothing")


def summary(rng: random.Random, words: Words, talk: Conversation) -> None:
    """Cut the conversation at the end of a step, perhaps, and sum it up under four headings."""
    finished = talk.cut(rng) if rng.random() < 0.4 else True
    request = talk.requests[-1]
    talk.user(_instruction(rng, words) + ("" if rng.random() < 0.8 else f"\n\n{_focus(words)}"))
    talk.no_think()
    done = [f"- {name} {value}" for name, value in talk.deeds] or ["- nothing"]
    paths = dict.fromkeys(value for name, value in talk.deeds if name in FILE_TOOLS)
    files = [f"- {path}" for path in paths] or ["- none"]
    left = "Nothing." if finished else "Go on with the request."
    parts = (("Request", [request]), ("Done", done), ("Files", files), ("Left", [left]))
    talk.say("\n\n".join(f"## {title}\n" + "\n".join(lines) for title, lines in parts))


FILE_TOOLS = ("Read", "Edit", "Write")


def _focus(words: Words) -> str:
    return f"Above all keep: {words.noun()} {words.noun()}"


def _instruction(rng: random.Random, words: Words) -> str:
    text = prompt_text("compact.md").strip()
    if rng.random() < 0.5:
        return text
    lines = [line for line in text.split("\n") if rng.random() < 0.85] or [text]
    if rng.random() < 0.3:
        lines.insert(rng.randrange(len(lines) + 1), " ".join(words.noun() for _ in range(4)))
    return "\n".join(lines)
