"""No token is prefilled twice: shown through real vLLM with the tiny model, with what that saves.

One long turn of the agent (it reads file after file), a new user message, a compaction, an
answer that is interrupted, the session resumed in a new process, and a fork of it: at each
request every whole block of the engine's cache that could be reused must have been (cached
tokens as the engine reports them, block size as its supervisor does). Then the same
conversation as a client of chat completions sends it: messages through the checkpoint's own
template, which leaves out earlier reasoning. What such a client has computed is counted from
the rendered prompts and, with --measure, measured on the same engine under a salt of its own.

    python benchmarks/prefix.py [--steps N] [--measure] [--keep-engine]

It starts an engine of the profile tiny in a folder of its own (one to two minutes) and stops it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from results import keep

from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import EngineSettings
from glmcode.context.compaction import instruction
from glmcode.core.events import Appended, Delta, Event
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.messages import message_from_json as to_message
from glmcode.glm.template import render
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.opening import open_agent
from glmcode.sessions import read_entries

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny"
READ = "Read these files: {files}"
NAMES = """
    price order basket total volume amount height width length depth speed angle radius area
    score rank level stock batch parcel invoice budget margin discount salary bonus tariff fee
    deposit credit debit interest account branch ticket seat route trip fare motor signal sensor
""".split()  # noqa: SIM905
GROUP = 40
"""Files of one request, at most."""
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
    """Small files to read, and names of functions that are defined somewhere."""
    rng = random.Random(1)
    files = [f"{name}.txt" for name in NAMES[:count]]
    for name in files:
        (work / name).write_text(f"{_word(rng)} {_word(rng)}\n")
    functions = [f"measure_{_word(rng)}" for _ in range(6)]
    (work / "src").mkdir()
    for name in functions:
        path = work / "src" / f"{name.removeprefix('measure_')}.py"
        path.write_text(f"def {name}(value):\n    return value\n")
    return files, functions


def _word(rng: random.Random) -> str:
    syllables = rng.randint(2, 4)
    return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(syllables))


class Conversation:
    """The session in this process; `moments` holds (label, ledger lines so far).

    steps: of the long turn: it ends there, and is handed another list where it ends sooner.
    """

    def __init__(self, work: Path, steps: int) -> None:
        self.options = AgentOptions(
            workspace=work,
            engine=EngineSettings(profile="tiny"),
            mode="bypassPermissions",
            max_turns=steps,
        )
        self.moments: list[tuple[str, int]] = []
        self.agent: Agent
        self.stop_at = ""
        self.steps = steps
        self.lists: Iterator[str] = iter(())
        self.reading = False
        self.typed = 0

    def emit(self, event: Event) -> None:
        """Interrupt where it was asked for; say more where the model thinks it is done."""
        if self.stop_at and isinstance(event, Delta) and event.kind == self.stop_at:
            self.stop_at = ""
            self.agent.cancel()
        message = event.message if isinstance(event, Appended) else None
        ended = isinstance(message, AssistantMessage) and not message.call_ids()
        if self.reading and ended and self.agent.requests.ledger.totals.requests < self.steps:
            self.typed += 1
            self.agent.steer(next(self.lists))

    def mark(self, moment: str) -> None:
        """What was asked until now belongs to this moment."""
        self.moments.append((moment, self.agent.requests.ledger.totals.requests))

    async def run(self, files: Sequence[str], functions: Sequence[str]) -> Path:
        """The moments that need one process; the session's file."""
        self.agent = await open_agent(self.options, self.emit)
        agent = self.agent
        groups = [files[at : at + GROUP] for at in range(0, len(files), GROUP)]
        self.lists = cycle(READ.format(files=", ".join(group)) for group in groups)
        self.reading = True
        end = await agent.submit(next(self.lists))
        self.reading = False
        said = f", {1 + self.typed} messages" if self.typed else ""
        self.mark(f"a turn of {end.steps} steps{said}")
        await agent.submit(WHERE.format(name=functions[0]))
        self.mark("a new user message")
        compacted = await agent.compact()
        self.mark("/compact asks" if compacted else "/compact asks (no summary came)")
        if not compacted:
            await agent.window.compact("full", full=True)
            self.mark("/compact asks again, a mechanical segment")
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
    salt = f"as messages {time.time_ns()}"
    for one in asked:
        body = {
            "model": "tiny", "token_ids": [*one.prompt, *one.answer], "output_mode": "tokens",
            "sampling_params": {"max_tokens": 1, "temperature": 0}, "cache_salt": salt,
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
    """The table of all requests."""
    print(f"\nblocks of {block} tokens; possible: what earlier requests had left, in whole blocks")
    print(f"{'moment':<40} {'request':<11} {'prompt':>7} {'possible':>9} {'cached':>7} {'new':>6}")
    for row in rows:
        told = "?" if row.cached is None else f"{row.cached:,}"
        new = "?" if row.cached is None else f"{row.prompt - row.cached:,}"
        wrong = "" if row.whole else "   <-- less" if row.cached is not None else "   (broke off)"
        print(f"{row.moment:<40} {row.kind:<11} {row.prompt:>7,} {row.possible:>9,} {told:>7} "
              f"{new:>6}{wrong}")  # fmt: skip


def summed(
    rows: Sequence[Row], asked: Sequence[Asked], left: Sequence[int], told: Sequence[int] | None
) -> dict[str, Any]:
    """Both ways side by side, moment by moment; what broke off counts in neither."""
    sums: dict[str, dict[str, int]] = {}
    for number, (row, one) in enumerate(zip(rows, asked, strict=True)):
        if row.cached is None:
            continue
        for name in (row.moment, "all"):
            into = sums.setdefault(name, dict.fromkeys(("requests", "ours", "as_messages"), 0))
            into["requests"] += 1
            into["ours"] += row.prompt - row.cached
            into["as_messages"] += len(one.prompt) - left[number]
            if told is not None:
                found = into.get("measured", 0) + len(one.prompt) - told[number]
                into["measured"] = found
    print("\ntokens computed: by glmcode, and by a client that sends the same as messages")
    print(f"{'moment':<40} {'requests':>8} {'glmcode':>8} {'messages':>9} {'(measured)':>10}")
    total = sums.pop("all")
    for name, into in [*sums.items(), ("all", total)]:
        real = f"{into['measured']:,}" if told is not None else ""
        print(f"{name:<40} {into['requests']:>8} {into['ours']:>8,} {into['as_messages']:>9,} "
              f"{real:>10}")  # fmt: skip
    again = total["as_messages"] - total["ours"]
    print(f"\nnot computed again: {again:,} tokens ({total['as_messages'] / total['ours']:.2f} x)")
    return {"moments": sums, "all": total, "not_computed_again": again}


def main() -> None:
    """Run everything, print, keep the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="of the long turn")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--keep-engine", action="store_true", help="and use GLMCODE_HOME's")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="glm-prefix-") as folder:
        if not given.keep_engine:
            os.environ["GLMCODE_HOME"] = f"{folder}/home"
        work = Path(folder).resolve() / "work"
        work.mkdir()
        try:
            _run(work, given.steps, measure=given.measure)
        finally:
            if not given.keep_engine:
                stop = [sys.executable, "-m", "glmcode", "engine", "stop", "--profile", "tiny"]
                subprocess.run(stop, check=False)


def _run(work: Path, steps: int, *, measure: bool) -> None:
    from glmcode.engine.attach import engine_status
    from glmcode.engine.paths import engine_paths

    files, functions = make_files(work, max(steps, GROUP))
    conversation = Conversation(work, steps)
    path = asyncio.run(conversation.run(files, functions))
    session = in_a_new_process(work, path.stem, WHERE.format(name=functions[4]))
    moments = [*conversation.moments, ("resumed in a new process", len(ledger_of(path)))]
    fork = in_a_new_process(work, session, WHERE.format(name=functions[5]), "--fork-session")
    lines = ledger_of(path.with_name(f"{fork}.jsonl"))
    rows = rows_of(lines, [*moments, ("a fork", len(lines))])
    block = engine_status("tiny").block
    show(rows, block)
    asked = as_messages(path.with_name(f"{fork}.jsonl"), GlmTokenizer.load(TOKENIZER))
    told = asyncio.run(measured(asked, engine_paths("tiny").socket)) if measure else None
    sums = summed(rows, asked, reusable(asked, block), told)
    keep({"prefix": {"block": block, **sums}})
    counted = [row for row in rows if row.cached is not None]
    missed = [row for row in counted if not row.whole]
    if missed:
        raise SystemExit(f"{len(missed)} request(s) reused less than they could")


if __name__ == "__main__":
    main()
