"""No token is prefilled twice: shown through real vLLM with the tiny model, with what that saves.

One long turn of the agent (it reads file after file), a new user message, a compaction, an
answer that is interrupted, the session resumed in a new process, and a fork of it: at each
request every whole block of the engine's cache that could be reused must have been (cached
tokens as the engine reports them, block size as its supervisor does). Then the same
conversation as a client of chat completions sends it: messages through the checkpoint's own
template, which leaves out earlier reasoning. What such a client has computed is counted from
the rendered prompts and, with --measure, measured on the same engine under a salt of its own.

    python benchmarks/prefix.py [--files N] [--measure] [--keep-engine]

It starts an engine of the profile tiny in a folder of its own (one to two minutes) and stops it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import keep

from glmcode.agent import Agent, AgentOptions
from glmcode.base.config import EngineSettings
from glmcode.context.compaction import instruction
from glmcode.core.events import Delta, Event
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.messages import message_from_json as to_message
from glmcode.glm.template import render
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.opening import open_agent
from glmcode.sessions import read_entries

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny"
NAMES = ("apple", "bridge", "candle", "desert", "engine", "forest", "garden", "harbor")
READ = "Read the files {files} and say when you have read them."
WHERE = "Where is {name} defined?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request. prefix: its tokens that earlier requests held; possible: in whole blocks."""

    moment: str
    kind: str
    prompt: int
    possible: int
    cached: int | None

    @property
    def whole(self) -> bool:
        """Every block that could be reused was."""
        return self.cached is not None and self.cached >= self.possible


def make_files(work: Path, count: int) -> tuple[list[str], list[str]]:
    """Small modules; their names and those of their functions."""
    files, functions = [], []
    for number in range(count):
        stem = f"{NAMES[number % len(NAMES)]}_{number // len(NAMES) + 1}"
        name = f"measure_{stem}"
        text = f'def {name}(value, scale):\n    """Scale a value."""\n    return value * scale\n'
        (work / f"{stem}.py").write_text(text)
        files.append(f"{stem}.py")
        functions.append(name)
    return files, functions


class Conversation:
    """The session in this process; `moments` holds (label, ledger lines so far)."""

    def __init__(self, work: Path) -> None:
        self.options = AgentOptions(
            workspace=work, engine=EngineSettings(profile="tiny"), mode="bypassPermissions"
        )
        self.moments: list[tuple[str, int]] = []
        self.agent: Agent
        self.stop_at = ""

    def emit(self, event: Event) -> None:
        """Interrupt where it was asked for."""
        if self.stop_at and isinstance(event, Delta) and event.kind == self.stop_at:
            self.stop_at = ""
            self.agent.cancel()

    def mark(self, moment: str) -> None:
        """What was asked until now belongs to this moment."""
        self.moments.append((moment, self.agent.requests.ledger.totals.requests))

    async def run(self, files: Sequence[str], functions: Sequence[str]) -> Path:
        """The moments that need one process; the session's file."""
        self.agent = await open_agent(self.options, self.emit)
        agent = self.agent
        end = await agent.submit(READ.format(files=", ".join(files)))
        self.mark(f"a turn of {end.steps} steps")
        await agent.submit(WHERE.format(name=functions[0]))
        self.mark("a new user message")
        compacted = await agent.compact()
        self.mark("/compact asks" if compacted else "/compact asks (nothing came of it)")
        await agent.submit(WHERE.format(name=functions[1]))
        self.mark("after /compact")
        self.stop_at = "reasoning"
        await agent.submit(WHERE.format(name=functions[2]))
        self.mark("an interrupted answer")
        await agent.submit(WHERE.format(name=functions[3]))
        self.mark("after the interrupt")
        await agent.close()
        return agent.journal.path


def in_a_new_process(work: Path, session: str, prompt: str, *options: str) -> str:
    """Go on with a session by the command; the id under which it went on."""
    command = [
        sys.executable, "-m", "glmcode", "-p", prompt, "--profile", "tiny", "-C", str(work),
        "-y", "--output-format", "json", "--resume", session, *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    try:
        return str(json.loads(done.stdout)["session_id"])
    except (ValueError, KeyError):
        raise SystemExit(f"resuming failed: {done.stdout[-400:]} {done.stderr[-400:]}") from None


def ledger_of(path: Path) -> list[dict[str, Any]]:
    """The ledger lines of a session."""
    return [entry for entry in read_entries(path) if entry["t"] == "ledger"]


def rows_of(lines: Sequence[dict[str, Any]], moments: Sequence[tuple[str, int]]) -> list[Row]:
    """The table's rows, each under its moment."""
    rows, at = [], 0
    for moment, until in moments:
        rows += [
            Row(moment=moment, kind=line["kind"], prompt=line["prompt"],
                possible=line["expected"], cached=line["cached"])
            for line in lines[at:until]
        ]  # fmt: skip
        at = until
    return rows


# The same as messages


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client that sends messages: prompt and answer as ids."""

    prompt: list[int]
    answer: list[int]


def as_messages(path: Path, tokenizer: GlmTokenizer) -> list[Asked]:
    """Each request of a session file as the template renders its messages."""
    entries = list(read_entries(path))
    preamble = entries[0]["preamble"]
    held: list[Message] = []
    asked: list[Asked] = []
    waiting: list[int] | None = None
    for entry in entries[1:]:
        if entry["t"] == "compaction":
            held = [to_message(value) for value in entry["messages"]]
        elif entry["t"] == "ledger":
            if waiting is not None:
                asked.append(Asked(waiting, []))
            extra = entry["kind"] == "compaction"
            waiting = rendered(preamble, held, tokenizer, instruction(1_000) if extra else None)
        elif entry["t"] == "message":
            message = to_message(entry["message"])
            held.append(message)
            if isinstance(message, AssistantMessage) and waiting is not None:
                asked.append(Asked(waiting, list(message.token_ids or ())))
                waiting = None
    return asked


def rendered(
    preamble: dict[str, Any], messages: Sequence[Message], tokenizer: GlmTokenizer,
    question: str | None,
) -> list[int]:  # fmt: skip
    """The ids of a conversation as the checkpoint's template writes it."""
    made: list[dict[str, Any]] = [{"role": "system", "content": preamble["system"]}]
    made += [openai_form(message) for message in messages]
    if question is not None:
        made.append({"role": "user", "content": question})
    return tokenizer.encode(render(made, preamble["tools"], add_generation_prompt=True))


def openai_form(message: Message) -> dict[str, Any]:
    """A message as a careful client sends it, its reasoning included."""
    match message:
        case UserMessage():
            return {"role": "user", "content": message.text}
        case ToolMessage():
            return {"role": "tool", "content": message.text}
        case AssistantMessage():
            calls = [
                {"function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call in message.calls
            ]
            return {
                "role": "assistant",
                "content": message.text,
                "reasoning_content": message.reasoning,
                "tool_calls": calls,
            }


def reusable(asked: Sequence[Asked], block: int) -> list[int]:
    """For each request the tokens that any request before it has left, in whole blocks."""
    found = []
    for number, one in enumerate(asked):
        best = max((common([*b.prompt, *b.answer], one.prompt) for b in asked[:number]), default=0)
        found.append(min(best, len(one.prompt) - 1) // block * block)
    return found


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Ids that both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


async def measured(asked: Sequence[Asked], socket: Path) -> list[int]:
    """The same requests put to the engine under a salt: the cached tokens that it reports.

    Prompt and answer go in together, which leaves in the cache what generating would have.
    """
    from glmcode.engine.endpoint import Endpoint, address_of
    from glmcode.engine.http import HttpTransport

    transport = HttpTransport(address_of(Endpoint(socket=socket)), {})
    found = []
    for one in asked:
        body = {
            "model": "tiny", "token_ids": [*one.prompt, *one.answer], "output_mode": "tokens",
            "sampling_params": {"max_tokens": 1, "temperature": 0}, "cache_salt": "as messages",
        }  # fmt: skip
        response = await transport.open(
            "POST", "/inference/v1/generate", (json.dumps(body).encode(),)
        )
        data = b""
        while piece := await response.read():
            data += piece
        response.release()
        details = json.loads(data)["usage"].get("prompt_tokens_details") or {}
        found.append(int(details.get("cached_tokens") or 0))
    await transport.close()
    return found


def show(rows: Sequence[Row], block: int) -> None:
    """The table."""
    print(f"\nblocks of {block} tokens; possible: what earlier requests had left, in whole blocks")
    print(f"{'moment':<40} {'request':<11} {'prompt':>7} {'possible':>9} {'cached':>7} {'new':>6}")
    for row in rows:
        told = "?" if row.cached is None else f"{row.cached:,}"
        new = "?" if row.cached is None else f"{row.prompt - row.cached:,}"
        wrong = "" if row.whole else "   <-- less" if row.cached is not None else "   (broke off)"
        print(f"{row.moment:<40} {row.kind:<11} {row.prompt:>7,} {row.possible:>9,} {told:>7} "
              f"{new:>6}{wrong}")  # fmt: skip


def main() -> None:
    """Run everything, print, keep the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--keep-engine", action="store_true", help="and use GLMCODE_HOME's")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glm-prefix-") as folder:
        if not given.keep_engine:
            os.environ["GLMCODE_HOME"] = f"{folder}/home"
        work = Path(folder).resolve() / "work"
        work.mkdir()
        try:
            _run(work, given.files, measure=given.measure)
        finally:
            if not given.keep_engine:
                stop = [sys.executable, "-m", "glmcode", "engine", "stop", "--profile", "tiny"]
                subprocess.run(stop, check=False)


def _run(work: Path, count: int, *, measure: bool) -> None:
    from glmcode.engine.attach import engine_status
    from glmcode.engine.paths import engine_paths

    files, functions = make_files(work, count)
    conversation = Conversation(work)
    path = asyncio.run(conversation.run(files, functions))
    session = in_a_new_process(work, path.stem, WHERE.format(name=functions[4]))
    moments = [*conversation.moments, ("resumed in a new process", len(ledger_of(path)))]
    fork = in_a_new_process(work, session, WHERE.format(name=functions[5]), "--fork-session")
    lines = ledger_of(path.with_name(f"{fork}.jsonl"))
    rows = rows_of(lines, [*moments, ("a fork", len(lines))])
    block = engine_status("tiny").block
    show(rows, block)
    counted = [row for row in rows if row.cached is not None]
    ours = sum(row.prompt - (row.cached or 0) for row in counted)
    asked = as_messages(path.with_name(f"{fork}.jsonl"), GlmTokenizer.load(TOKENIZER))
    left = reusable(asked, block)
    theirs = sum(len(one.prompt) - reused for one, reused in zip(asked, left, strict=True))
    sums: dict[str, Any] = {
        "requests": len(rows), "block": block, "prompt_tokens": sum(row.prompt for row in rows),
        "computed": ours, "as_messages_computed": theirs,
        "not_computed_again": theirs - ours, "ratio": round(theirs / ours, 2),
        "blocks_missed": sum(max(0, r.possible - (r.cached or 0)) // block for r in counted),
    }  # fmt: skip
    if measure:
        told = asyncio.run(measured(asked, engine_paths("tiny").socket))
        pairs = zip(asked, told, strict=True)
        sums["as_messages_measured"] = sum(max(0, len(a.prompt) - c) for a, c in pairs)
    print("\n" + json.dumps(sums, indent=1))
    keep({"prefix": sums})
    missed = [row for row in counted if not row.whole]
    if missed:
        raise SystemExit(f"{len(missed)} request(s) reused less than they could")


if __name__ == "__main__":
    main()
