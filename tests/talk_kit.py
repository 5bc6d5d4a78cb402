"""A caller that talks with a real `glmcode -p --input-format stream-json` over pipes."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from queue import Empty, Queue
from types import TracebackType
from typing import Any

from jsonschema import Draft202012Validator

from glmcode.stream_schema import schema
from tests.fake_engine import FakeEngine
from tests.test_headless import Headless

PATIENCE_S = 60.0
OUTPUT = Draft202012Validator({**schema(), "anyOf": [{"$ref": "#/$defs/output"}]})
INPUT = Draft202012Validator({**schema(), "anyOf": [{"$ref": "#/$defs/input"}]})
Line = dict[str, Any]


def user(text: str, **more: Any) -> Line:
    return {"type": "user", "message": {"role": "user", "content": text}, **more}


def request(number: str, subtype: str, **more: Any) -> Line:
    return {
        "type": "control_request",
        "request_id": number,
        "request": {"subtype": subtype, **more},
    }


def answer(number: str, **response: Any) -> Line:
    inner = {"subtype": "success", "request_id": number, "response": response}
    return {"type": "control_response", "response": inner}


class Caller:
    """`said` holds every line that came so far, in order."""

    def __init__(self, headless: Headless, engine: FakeEngine, *arguments: str) -> None:
        words = ["--input-format", "stream-json", "--output-format", "stream-json", *arguments]
        self.said: list[Line] = []
        self._lines: Queue[Line | None] = Queue()
        self.process = subprocess.Popen(
            headless.command(engine, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=headless.work,
            env=headless.environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def send(self, *lines: Line | bytes) -> None:
        assert self.process.stdin is not None
        for line in lines:
            data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            self.process.stdin.write(data)
        self.process.stdin.flush()

    def until(self, wanted: Callable[[Line], bool] | str) -> Line:
        """The next line that is wanted, a string meaning its type or subtype."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except Empty:
                raise AssertionError(f"{wanted} did not come after {self.said[-3:]}") from None
            assert line is not None, f"it ended before {wanted}: {self.said[-3:]} {self.errors()}"
            OUTPUT.validate(line)
            self.said.append(line)
            if isinstance(wanted, str):
                if wanted in (line["type"], line.get("subtype")):
                    return line
            elif wanted(line):
                return line

    def close(self) -> None:
        """End its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> int:
        """End its input, read all, and give its exit code."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.close()
        return self.wait()

    def wait(self) -> int:
        """Read all that comes, and give its exit code."""
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            OUTPUT.validate(line)
            self.said.append(line)
        return self.process.wait(timeout=PATIENCE_S)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def kinds(self) -> list[str]:
        return [line["type"] for line in self.said]
