from __future__ import annotations

import asyncio
import subprocess
import sys

from glmcode.exits import Exit
from glmcode.repl.doorstep import Doorstep


class Inside:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def submit(self, text: str) -> None:
        self.heard.append(text)

    def stop(self) -> bool:
        self.heard.append("stop")
        return False

    def interrupt(self) -> None:
        self.heard.append("interrupt")

    def leave(self, code: int) -> None:
        self.heard.append(f"leave {code}")

    def show_all(self) -> None:
        self.heard.append("show all")


def test_what_was_typed_before_the_conversation_is_there_reaches_it_in_order() -> None:
    async def run() -> None:
        door = Doorstep(asyncio.get_running_loop().create_future())
        door.submit("one")
        door.submit("/help")
        door.show_all()
        assert door.stop()
        inside = Inside()
        door.let_in(inside)
        assert door.typed == []
        door.submit("three")
        assert not door.stop()
        door.interrupt()
        door.show_all()
        assert inside.heard == ["one", "/help", "three", "stop", "interrupt", "show all"]

    asyncio.run(run())


def test_ctrl_c_before_the_conversation_is_there_leaves_and_the_first_code_counts() -> None:
    async def run() -> None:
        left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        door = Doorstep(left)
        door.interrupt()
        door.leave(Exit.ERROR)
        assert left.result() == Exit.INTERRUPTED

    asyncio.run(run())


def test_the_prompt_stands_before_agent_engine_and_rich_are_imported() -> None:
    code = (
        "import sys, glmcode.cli_options, glmcode.engine.default, glmcode.repl.app,"
        " glmcode.repl.history, glmcode.repl.terminal\n"
        "heavy = ('glmcode.agent', 'glmcode.opening', 'glmcode.permissions', 'rich',"
        " 'tree_sitter', 'httpx', 'openai', 'jsonschema')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
