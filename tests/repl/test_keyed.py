from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from prompt_toolkit.application.current import set_app
from prompt_toolkit.key_binding.key_processor import KeyPress

from glmcode.repl.doorstep import Doorstep
from glmcode.repl.history import FileHistory
from glmcode.repl.screen import Live
from glmcode.repl.terminal import Terminal


def test_every_key_says_that_somebody_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = os.openpty()

    async def run() -> None:
        live = Live(tail=lambda height: [], status=lambda width: [])
        live.keyed = 0.0
        door = Doorstep(asyncio.get_running_loop().create_future())
        kept = FileHistory(tmp_path / "history")
        terminal = Terminal(live, door, kept, lambda: None, workspace=tmp_path)
        with set_app(terminal._app):
            terminal._app.key_processor.feed(KeyPress("a"))
            terminal._app.key_processor.process_keys()
            await terminal._app.cancel_and_wait_for_background_tasks()
        assert live.keyed > 0.0 and terminal.entry.text == "a"

    with os.fdopen(slave, "w") as text:
        monkeypatch.setattr(sys, "stdin", text)
        monkeypatch.setattr(sys, "stdout", text)
        asyncio.run(run())
    os.close(master)
