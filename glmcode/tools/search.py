"""Runs base/search_worker.py for Grep and Glob: in time, in flat memory, and killed when unwanted.

The worker's interpreter starts bare (no site packages: a tenth of a second would be lost on
them) and is told where glmcode and the ripgrep wheel lie. Its results come line by line, so what
was found before a time-out is kept. Must not format anything for the model.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glmcode.base.paths import private_folder
from glmcode.base.ripgrep import find_program
from glmcode.base.search_worker import Job
from glmcode.core.tool import ToolError
from glmcode.tools.context import ToolContext

SECONDS = 30.0
GRACE_S = 3.0
_MAX_OUTPUT = 64 * 1024 * 1024
_ROOT = Path(__file__).resolve().parents[2]
_MAIN = (
    "import sys; sys.path.append(sys.argv[1]); from glmcode.base.search_worker import main; main()"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search reported: a record for each file, and the counts of its end.

    early: it ended before everything was seen (time ran out, or enough was found).
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    early: bool = False


async def run_search(ctx: ToolContext, job: dict[str, Any]) -> Found:
    """Run a job (the fields of Job but for scratch, program, libraries). Raises ToolError."""
    scratch = await asyncio.to_thread(_scratch, ctx)
    whole = Job(
        **{"seconds": SECONDS, **job},
        scratch=str(scratch),
        program=find_program(ctx.environment.get("PATH")),
        libraries=_libraries(),
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _MAIN, str(_ROOT)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(ctx.environment),
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise ToolError(f"the search could not be started: {error.strerror}; try again") from error
    try:
        return await asyncio.to_thread(_visible, ctx, whole.root, await _listen(process, whole))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, scratch, True)


def _scratch(ctx: ToolContext) -> Path:
    """A folder that the worker makes if it needs one; the ordinary one if ours is not usable."""
    name = f"search-{secrets.token_hex(6)}"
    try:
        return private_folder(ctx.spill_folder) / name
    except OSError:
        return Path(tempfile.gettempdir()) / f"glmcode-{name}"


@lru_cache(maxsize=1)
def _libraries() -> list[str]:
    """The folders that the worker must look in for the wheel."""
    spec = find_spec("python_ripgrep")
    if spec is None or spec.origin is None:
        return []
    return [str(Path(spec.origin).parent.parent)]


def _visible(ctx: ToolContext, root: str, found: Found) -> Found:
    """Without the files that a rule keeps from being read; not even counted."""
    if ctx.hidden is None:
        return found
    records = [one for one in found.records if not ctx.hidden(Path(root) / str(one["f"]))]
    counts = {**found.counts, "files": len(records)}
    counts["matches"] = sum(
        one["n"] if "n" in one else sum(bool(line[1]) for line in one.get("l", ()))
        for one in records
    )
    return Found(records, counts, found.early)


async def _listen(process: asyncio.subprocess.Process, job: Job) -> Found:
    """Send the job and collect what is said, until the worker ends or time is up."""
    said = bytearray()
    errors = bytearray()
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(job.to_json())
    process.stdin.close()
    reading = (_collect(process.stdout, said), _collect(process.stderr, errors))
    timed_out = False
    try:
        async with asyncio.timeout(job.seconds + GRACE_S):
            await asyncio.gather(*reading)
    except TimeoutError:
        timed_out = True
    lines = bytes(said).split(b"\n")[:-1]
    return _found([json.loads(line) for line in lines], timed_out, bytes(errors))


async def _collect(stream: asyncio.StreamReader, into: bytearray) -> None:
    """Read a stream to its end; what is beyond a bound is dropped."""
    while chunk := await stream.read(1 << 16):
        if len(into) < _MAX_OUTPUT:
            into += chunk


def _found(records: list[dict[str, Any]], timed_out: bool, errors: bytes) -> Found:
    last = records[-1] if records else {}
    if "error" in last:
        raise _fault(last)
    if "end" in last:
        counts = last["end"]
        return Found(records[:-1], counts, bool(counts["early"]))
    if timed_out:
        matches = sum(record.get("n", 1) for record in records)
        return Found(records, {"files": len(records), "matches": matches}, True)
    why = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][-200:]
    raise ToolError(f"the search broke off ({why or 'killed'}); search a smaller folder")


def _fault(record: dict[str, Any]) -> ToolError:
    text = str(record["text"])
    text = text if len(text) <= 600 else f"{text[:400]}...{text[-200:]}"
    match record["error"]:
        case "pattern":
            return ToolError(f"the pattern is not a regular expression: {text}\n{_advice(text)}")
        case "missing":
            return ToolError(f"{text}; until then search with Bash (grep -rn)")
        case "memory":
            return ToolError(f"{text}; search a smaller folder or a narrower pattern")
    return ToolError(f"the search failed: {text}")


def _advice(text: str) -> str:
    if "look-around" in text or "backreference" in text:
        return "Look-around and backreferences do not exist here: search simpler, or use grep -P."
    return "To find such characters themselves, put a backslash before each: \\( \\) \\[ \\{ \\*."
