"""One run of a batch as a process of its own, which never outlives the batch.

It is `glmcode -p` with stream-json: its lines tell when the first answer came, how many steps were
made, and at the end the result. Must not know which task it is, and must not judge it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import glmcode
from glmcode.exits import Exit

END_S = 20.0
"""How long a run may take to end after it was told to."""
READ = 1 << 16
_ENTRY = (
    "import sys; sys.path.append(sys.argv.pop(1)); from glmcode.cli import main; sys.exit(main())"
)
"""With -P: nothing of the folder that is worked on is imported, and it is the same glmcode."""


async def run(
    words: Sequence[str],
    prompt: str,
    *,
    cwd: Path,
    log: Path,
    hold: int,
    heard: Callable[[], None],
) -> dict[str, Any]:
    """The result of `glmcode` with these words, and the model's name as `model`.

    The prompt goes in as a file, because an argument has a limit and a locale. heard is called at
    each answer of the model (it must not raise). Ends the run when cancelled. Raises OSError, and
    ValueError for words that the locale can't say.
    """
    package = str(Path(glmcode.__file__).parent.parent)
    began = time.monotonic()
    with log.open("wb") as file, tempfile.TemporaryFile(dir=log.parent) as asked:
        asked.write(prompt.encode("utf-8", "replace"))
        asked.seek(0)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _ENTRY, package, *words, "--", "-"),
            stdin=asked,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            cwd=cwd,
            pass_fds=(hold,),
            preexec_fn=ends_with_us(),
        )
    try:
        result = await _result(process, heard)
        await process.wait()
    except BaseException:
        await end(process)
        raise
    if result is not None:
        return result
    return {
        "exit_code": process.returncode or int(Exit.ERROR),
        "is_error": True,
        "error": f"the run ended without a result; {log} tells what it said",
        "duration_ms": round((time.monotonic() - began) * 1000),
    }


async def _result(
    process: asyncio.subprocess.Process, heard: Callable[[], None]
) -> dict[str, Any] | None:
    """Reads all lines; None where the last one is no result."""
    assert process.stdout is not None
    model, found, rest = "", None, b""
    while data := await process.stdout.read(READ):
        *lines, rest = (rest + data).split(b"\n") if b"\n" in data else ([rest + data])
        for line in lines:
            value = _value(line)
            match value.get("type"):
                case "system" if value.get("subtype") == "init":
                    model = str(value.get("model", ""))
                case "assistant":
                    heard()
                case "result" if isinstance(value.get("exit_code"), int):
                    found = {**value, "model": model}
    return found


def _value(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def ends_with_us() -> Any:
    """What a process does before it begins: it will be told to end when this one is killed."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    tell = ctypes.CDLL(None).prctl
    return lambda: tell(1, signal.SIGTERM)


async def end(process: asyncio.subprocess.Process) -> None:
    """Tell a process to end, and see that it does; what it says is not wanted any more."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), END_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
