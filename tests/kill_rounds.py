"""Rounds of kill -9 at random moments of real runs, and what must be true after each.

A scripted engine answers (tokens protocol) and remembers every prompt. After each kill: every
message that was shown stands in the session file; every prompt that the engine ever got is,
token by token, a point of the conversation that the file holds; what is said about open calls
is what the files show; and the next run goes on in it. Used by a slice in the suite and by
the campaign in tests/soak.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmcode.agent_resume import preamble_from_json
from glmcode.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from glmcode.glm.prompt import TokenPrompt
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.sessions import Conversation, fold, open_session
from tests.fake_engine import FakeEngine, Reply

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
TURN_S = 0.8
"""About as long as a turn of the script takes."""


def script(turns: int) -> list[Reply]:
    """Turns of five steps; each writes, edits and runs something of its own."""
    replies: list[Reply] = []
    for number in range(turns):
        name, log = f"f{number}.txt", f"echo {number} >> log.txt"
        reads = [{"name": "Read", "arguments": {"file_path": name}} for name in ("a.txt", "b.txt")]
        replies.append(Reply(text="I look. ", calls=reads, chunk=3, gap=0.002))
        named = [
            ("Write", {"file_path": name, "content": first_text(number)}),
            (
                "Edit",
                {"file_path": name, "old_string": "first", "new_string": "second"},
            ),
            ("Bash", {"command": log}),
        ]
        for tool, arguments in named:
            call = {"name": tool, "arguments": arguments}
            reasoning = f"now {tool} é"
            replies.append(Reply(reasoning=reasoning, calls=[call], chunk=3, gap=0.002))
        replies.append(Reply(text=f"Turn {number} is done: 中文.", chunk=3, gap=0.002))
    return replies


def first_text(number: int) -> str:
    """What a Write of the script writes."""
    return f"the first text of {number}\n" * 50


@dataclass
class Campaign:
    """Rounds in one folder. counts says what happened, for the reader of a campaign."""

    folder: Path
    engine: FakeEngine
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.work = self.folder / "work"
        self.work.mkdir()
        for name in ("a.txt", "b.txt"):
            (self.work / name).write_text("é <|user|> </think> 中文\n" * 3)
        self.environment = {**os.environ, "GLMCODE_HOME": str(self.folder / "home")}
        self.tokenizer = GlmTokenizer.load(TOKENIZER)
        self.prompts: dict[Path, list[list[int]]] = {}

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", "glmcode", "-p", "-y", "--output-format", "stream-json",
            "--base-url", self.engine.base_url, "--protocol", "tokens", "-m", "glm",
            "--set", f"engine.tokenizer={TOKENIZER}", *arguments,
        ]  # fmt: skip

    def round(self, number: int) -> None:
        """One run that is killed at some moment (or ends before), and all checks."""
        go_on = bool(self.files()) and self.chance.random() < 0.85
        asked = len(self.engine.steps)
        process = subprocess.Popen(
            self.command(*(["-c"] if go_on else []), f"prompt {number}"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.work, env=self.environment,
        )  # fmt: skip
        assert process.stdout is not None
        moment = self.chance.choice(("launch", "turn", "turn", "a file is made"))
        first = b"" if moment == "launch" else process.stdout.readline()
        if moment == "a file is made":
            self._wait_for_a_file(process)
        else:
            time.sleep(self.chance.uniform(0, 0.3 if moment == "launch" else TURN_S))
        process.kill()
        out, err = process.communicate()
        ended = process.returncode
        assert ended in (0, -9), err.decode()
        self.counts["ended" if ended == 0 else "killed"] += 1
        self.counts["gone on" if go_on else "new"] += 1
        lines = (first + out).split(b"\n")[:-1]
        self.check(number, [json.loads(line) for line in lines if line], asked)

    def _wait_for_a_file(self, process: subprocess.Popen[bytes]) -> None:
        """Until the run has made a file: its journal may not have the result yet."""
        before = len(set(self.work.glob("f*.txt")))
        end = time.monotonic() + TURN_S
        while len(set(self.work.glob("f*.txt"))) == before and time.monotonic() < end:
            if process.poll() is not None:
                return

    def files(self) -> list[Path]:
        """The session files, the one used last first."""
        found = (self.folder / "home").rglob("*.jsonl")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def check(self, number: int, lines: list[dict[str, Any]], asked: int) -> None:
        """What must be true now."""
        sent = [step.json["token_ids"] for step in self.engine.steps[asked:]]
        shown = [line for line in lines if line["type"] in ("assistant", "user")]
        paths = self.files()
        if not paths:
            assert not sent and not shown
            return
        path = paths[0]
        self.prompts.setdefault(path, []).extend(sent)
        told = fold(path)
        self._nothing_shown_is_lost(told, number, shown)
        self._prompts_are_points(told, self.prompts[path])
        if self.chance.random() < 0.5:
            stored = open_session(path)
            stored.journal.close()
            assert fold(path).open_calls == []
            self.counts["calls closed"] += stored.closed
            self._the_truth(stored.conversation, stored.closed)
            self._prompts_are_points(fold(path), self.prompts[path])

    def _nothing_shown_is_lost(
        self, told: Conversation, number: int, shown: list[dict[str, Any]]
    ) -> None:
        if not shown:
            return
        starts = [at for at, text in told.typed.items() if text == f"prompt {number}"]
        starts += [
            at
            for at, message in enumerate(told.messages)
            if isinstance(message, UserMessage) and message.text == f"prompt {number}"
        ]
        assert starts, f"the prompt of round {number} is not in the file"
        kept = told.messages[starts[0] + 1 :]
        assert len(shown) <= len(kept)
        for line, message in zip(shown, kept, strict=False):
            assert _as_shown(message) == _content(line)
        self.counts["messages shown"] += len(shown)

    def _prompts_are_points(self, told: Conversation, prompts: list[list[int]]) -> None:
        """Each prompt is the conversation up to some message, and the generation prompt."""
        prompt = TokenPrompt(self.tokenizer, preamble_from_json(told.header["preamble"]))
        points: set[int] = set()
        for message in told.messages:
            prompt.extend([message])
            points.add(len(prompt))
        ids = prompt.ids
        role = prompt.request_ids()[len(ids) :]
        for one in prompts:
            size = len(one) - len(role)
            assert size in points, "the engine saw what the file does not hold"
            assert one == [*ids[:size], *role]
        self.counts["prompts compared"] += len(prompts)

    def _the_truth(self, told: Conversation, closed: int) -> None:
        """What was said about open calls is what the files show."""
        by_id: dict[str, ToolCall] = {}
        for message in told.messages:
            if isinstance(message, AssistantMessage):
                by_id |= {call.id: call for call in message.calls}
        for answer in told.messages[len(told.messages) - closed :]:
            assert isinstance(answer, ToolMessage)
            call = by_id[answer.call_id]
            if call.name not in ("Write", "Edit"):
                continue
            file = self.work / call.arguments["file_path"]
            text = file.read_text() if file.exists() else ""
            before = call.arguments.get("old_string", "")
            after = call.arguments.get("content", call.arguments.get("new_string"))
            applied = after in text and (not before or before not in text)
            self.counts["applied" if applied else "not applied"] += 1
            assert ("The change was applied" in answer.text) is applied, answer.text

    def all_resume(self) -> None:
        """Every file that the campaign left goes on in a new process, to the end of a turn."""
        for path in self.files():
            asked = len(self.engine.steps)
            done = subprocess.run(
                self.command("-r", path.stem, "--", "the last word"), capture_output=True,
                stdin=subprocess.DEVNULL, cwd=self.work, env=self.environment, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr.decode()
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert lines[-1]["session_id"] == path.stem
            sent = [step.json["token_ids"] for step in self.engine.steps[asked:]]
            assert sent
            self.prompts.setdefault(path, []).extend(sent)
            self._prompts_are_points(fold(path), self.prompts[path])
            self.counts["files resumed"] += 1


def _content(line: dict[str, Any]) -> list[tuple[str, str]]:
    blocks = line["message"]["content"]
    keys = {"text": "text", "thinking": "thinking", "tool_use": "id", "tool_result": "content"}
    return [(block["type"], block[keys[block["type"]]]) for block in blocks]


def _as_shown(message: Message) -> list[tuple[str, str]]:
    match message:
        case AssistantMessage():
            parts = [("thinking", message.reasoning), ("text", message.text)]
            calls = [("tool_use", call_id) for call_id in message.call_ids()]
            return [part for part in parts if part[1]] + calls
        case ToolMessage():
            return [("tool_result", message.text)]
        case UserMessage():
            return [("text", message.text)]
