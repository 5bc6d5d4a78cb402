"""The head of every prompt: tool specs and system message, as they are and in many variations.

The model must go on working when a sentence in prompts/ or tools/ is changed, so training
shuffles tools, drops words and sentences, and adds instructions and maps.
"""

from __future__ import annotations

import copy
import json
import random
from functools import lru_cache
from typing import Any

from glmcode.base.data import prompt_text
from glmcode.tools.specs import load_specs
from models.tiny.conversation import Piece
from models.tiny.words import Words

BEFORE = (
    "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
AFTER = (
    "\n</tools>\n\nFor each function call, output the function name and arguments within the "
    "following XML format:\n"
)
EXAMPLE = (
    "<tool_call>", "{function-name}\n", "<arg_key>", "{arg-key-1}", "</arg_key>", "\n",
    "<arg_value>", "{arg-value-1}", "</arg_value>", "\n", "<arg_key>", "{arg-key-2}",
    "</arg_key>", "\n", "<arg_value>", "{arg-value-2}", "</arg_value>", "\n...\n", "</tool_call>",
)  # fmt: skip
EXTRA = (
    "Use four spaces.", "Keep functions short.", "Run the linter before you finish.",
    "Tests live in tests/.", "Write plain English.", "Do not touch generated files.",
    "Every public function has a docstring.", "Ask before adding a dependency.",
    "The main branch is protected.", "Never print secrets.", "Log to standard error.",
)  # fmt: skip


def head_pieces(specs: list[dict[str, Any]], system: str, tags: bool) -> list[Piece]:
    """The template's head. `tags`: the format example holds control tokens, not text."""
    listed = "\n".join(json.dumps(spec, ensure_ascii=False) for spec in specs)
    pieces = [Piece("[gMASK]", True), Piece("<sop>", True), Piece("<|system|>", True)]
    if tags:
        pieces.append(Piece(f"{BEFORE}{listed}{AFTER}"))
        pieces += [Piece(part, part.startswith("<")) for part in EXAMPLE]
    else:
        pieces.append(Piece(f"{BEFORE}{listed}{AFTER}{''.join(EXAMPLE)}"))
    return [*pieces, Piece("<|system|>", True), Piece(f"\n{system}")]


def real_specs() -> list[dict[str, Any]]:
    """The specs of tools/ as every prompt carries them."""
    return [copy.deepcopy(spec.function()) for spec in load_specs()]


@lru_cache(maxsize=1)
def real_system() -> str:
    """The text of prompts/system.md."""
    return prompt_text("system.md")


def real_head(tags: bool = True) -> list[Piece]:
    """The head as glmcode sends it with neither instructions nor a map."""
    return head_pieces(real_specs(), real_system(), tags)


def varied_head(rng: random.Random, words: Words) -> list[Piece]:
    """A full head; three in ten are the real one."""
    specs, system = real_specs(), real_system()
    tags = rng.random() < 0.6
    if rng.random() < 0.3:
        return head_pieces(specs, system, tags)
    if rng.random() < 0.4:
        rng.shuffle(specs)
    if rng.random() < 0.15:
        specs = rng.sample(specs, rng.randint(4, len(specs)))
    for spec in specs:
        _vary_spec(rng, words, spec)
    if rng.random() < 0.2:
        for _ in range(rng.randint(1, 3)):
            specs.insert(rng.randint(0, len(specs)), _invented(rng, words))
    return head_pieces(specs, _vary_system(rng, words, system), tags)


def _invented(rng: random.Random, words: Words) -> dict[str, Any]:
    """A tool that does not exist: new ones will join the real ones."""

    def sentence() -> str:
        return " ".join(words.noun() for _ in range(rng.randint(3, 12))).capitalize() + "."

    properties = {
        words.noun(): {"type": rng.choice(["string", "integer"]), "description": sentence()}
        for _ in range(rng.randint(1, 3))
    }
    name = words.verb().capitalize() + words.noun().capitalize()
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    function = {"name": name, "description": sentence(), "parameters": schema}
    return {"type": "function", "function": function}


def _vary_spec(rng: random.Random, words: Words, spec: dict[str, Any]) -> None:
    function = spec["function"]
    properties = function["parameters"]["properties"].values()
    for holder in [function, *(p for p in properties if "description" in p)]:
        if rng.random() < 0.5:
            text = holder["description"].split()
            spot = rng.randrange(len(text))
            del text[spot : spot + rng.randint(0, 6)]
            if rng.random() < 0.3:
                text.insert(spot, words.noun())
            holder["description"] = " ".join(text)


def _vary_system(rng: random.Random, words: Words, system: str) -> str:
    lines = system.split("\n")
    if rng.random() < 0.06:
        lines = list(EXTRA[: rng.randint(1, 6)])
    elif rng.random() < 0.8:
        share = rng.choice([0.3, 0.6, 0.9, 0.95])
        lines = [line for line in lines if rng.random() < share] or lines[:1]
    if rng.random() < 0.3:
        rng.shuffle(lines)
    lines = [_vary_line(rng, words, line) if rng.random() < 0.3 else line for line in lines]
    if rng.random() < 0.3:
        title = rng.choice(["# Instructions (AGENTS.md)", "# AGENTS.md", "Project instructions:"])
        lines += ["", title, *rng.sample(EXTRA, rng.randint(1, 8))]
    if rng.random() < 0.25:
        lines += ["", rng.choice(["# Repository map", "# Map", "Files of the repository:"])]
        for _ in range(rng.choice([2, 6, 6, 30])):
            lines.append(f"{words.folder()}{words.module()}.py")
            lines += [f"  def {words.function()}" for _ in range(rng.randint(0, 2))]
    return "\n".join(lines)


def _vary_line(rng: random.Random, words: Words, line: str) -> str:
    text = line.split()
    for _ in range(rng.randint(1, 3)):
        if len(text) > 2:
            spot = rng.randrange(len(text))
            if rng.random() < 0.5:
                del text[spot]
            else:
                text[spot] = words.noun()
    return " ".join(text)
