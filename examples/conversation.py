"""A program that talks with glmcode in lines of stream-json (docs/stream-json.md).

    python examples/conversation.py "Rename load to read_config" [OPTION OF glmcode -p ...]

It prints what the model says and asks you what glmcode asks: y, a (yes, for this session), or the
reason for a no. After each answer you may say something else; an empty line ends it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

GLMCODE = [sys.executable, "-m", "glmcode", "-p"]
STREAMS = ["--input-format", "stream-json", "--output-format", "stream-json"]


class Conversation:
    """One run of glmcode, line by line."""

    def __init__(self, options: list[str]) -> None:
        self.process = subprocess.Popen(
            [*GLMCODE, *STREAMS, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def send(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def say(self, text: str) -> None:
        self.send({"type": "user", "message": {"role": "user", "content": text}})

    def answer(self, number: str, typed: str, rules: list[str]) -> None:
        response: dict[str, Any] = {"behavior": "deny", "message": typed}
        if typed in ("y", "a"):
            keeps = {"remember": "session"} if typed == "a" and rules else {}
            response = {"behavior": "allow", **keeps}
        inner = {"subtype": "success", "request_id": number, "response": response}
        self.send({"type": "control_response", "response": inner})

    def turn(self) -> None:
        """Show lines until the turn's result, and answer what is asked."""
        assert self.process.stdout is not None
        for line in map(json.loads, self.process.stdout):
            match line["type"]:
                case "assistant":
                    for block in line["message"]["content"]:
                        print(block.get("text", ""), end="\n" if "text" in block else "")
                case "control_request":
                    asked = line["request"]
                    print(asked["question"] or asked["preview"]["title"], asked["preview"]["body"])
                    self.answer(line["request_id"], typed("y, a, or why not: "), asked["rules"])
                case "result":
                    if line["is_error"]:
                        print(f"{line['subtype']}: {line['result']}")
                    return


def typed(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        return ""


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    talk = Conversation(sys.argv[2:])
    said = sys.argv[1]
    try:
        talk.send(
            {
                "type": "control_request",
                "request_id": "hello",
                "request": {"subtype": "initialize", "approvals": True},
            }
        )
        while said:
            talk.say(said)
            talk.turn()
            said = typed("> ")
        assert talk.process.stdin is not None
        talk.process.stdin.close()
    except BrokenPipeError:
        pass  # glmcode has ended, and has said why
    return talk.process.wait()


if __name__ == "__main__":
    sys.exit(main())
