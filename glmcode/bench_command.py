"""`glmcode engine bench`: how fast the engine of this machine is, for its owner and for others.

Prints a table; writes it (markdown) and the figures (JSON) into a folder, and the figures also
beside the engine, where the time that waiting takes is estimated from them. An engine that does
not run is started, and its load time is the first figure.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.engine.profile import Profile
from glmcode.exits import Exit
from glmcode.moving import MovingLine
from glmcode.repl.clean import visible

if TYPE_CHECKING:
    import argparse

    from glmcode.engine.attach import EngineAddress
    from glmcode.engine.bench import Report

FIGURES = "bench.json"


def add_bench(
    add: Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser],
    chosen: Callable[[argparse.Namespace], Profile],
) -> None:
    """The command, among those of `glmcode engine`."""
    text = "measure an engine: prefill, decode, first token, cache; 128K tokens may take minutes"
    bench = add("bench", lambda given: run_bench(chosen(given), given), text)
    bench.add_argument(
        "--depths", type=_depths, metavar="N,N", help="tokens of the prompts (1000 to 128000)"
    )
    bench.add_argument("--runs", type=_count, default=3, metavar="N", help="per depth (3)")
    bench.add_argument("--json", action="store_true", help="the figures on stdout, as JSON")
    bench.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write bench.md and bench.json there"
    )


def run_bench(profile: Profile, options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    from glmcode.engine.attach import EngineUnavailable
    from glmcode.engine.bench import BenchError, as_markdown

    try:
        report, head = asyncio.run(_measure(profile, options))
    except EngineUnavailable as error:
        _say(str(error))
        return Exit.UNAVAILABLE
    except BenchError as error:
        _say(visible(str(error)))
        return Exit.ERROR
    figures = json.dumps({**head, **report.to_json()}, indent=1)
    table = as_markdown(report, {name: str(value) for name, value in head.items()})
    print(figures if options.json else table)
    return _write(profile, options.output, figures, table)


async def _measure(profile: Profile, options: argparse.Namespace) -> tuple[Report, dict[str, Any]]:
    from glmcode.engine.attach import EngineUnavailable, attach
    from glmcode.engine.bench import DEPTHS, Bench, BenchError
    from glmcode.engine.endpoint import Endpoint, address_of
    from glmcode.engine.http import HttpTransport
    from glmcode.glm.tokenizer import GlmTokenizer, TokenizerError

    engine = await attach(profile, lambda event: None)
    if engine.tokenizer is None:
        raise BenchError(f"the tokenizer of {profile.name} is not on this machine: see engine pull")
    try:
        tokenizer = GlmTokenizer.load(engine.tokenizer)
    except TokenizerError as error:
        raise BenchError(str(error)) from error
    transport = HttpTransport(address_of(Endpoint(socket=engine.socket)), {})
    line = MovingLine()

    def tell(text: str) -> None:
        if line.moves:
            line.show(text)

    bench = Bench(transport, engine.model, tokenizer, engine.window, tell)
    try:
        report = await bench.run(options.depths or DEPTHS, options.runs)
    finally:
        line.clear()
        await transport.close()
    try:
        return report, await _head(profile, engine)
    except EngineUnavailable as error:
        raise BenchError(f"the engine went away: {error}") from error


async def _head(profile: Profile, engine: EngineAddress) -> dict[str, Any]:
    from glmcode.engine.attach import find_status
    from glmcode.engine.paths import engine_paths

    status = await find_status(engine_paths(profile.name))
    return {
        "profile": profile.name,
        "model": engine.model,
        "window_tokens": engine.window,
        "vllm": status.vllm if status else "",
        "load_s": round(status.start_s, 1) if status else 0.0,
        "machine": f"{platform.system()} {platform.machine()}",
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }


def _write(profile: Profile, folder: Path | None, figures: str, table: str) -> int:
    from glmcode.engine.paths import engine_paths

    wanted = [(engine_paths(profile.name).figures, figures)]
    if folder is not None:
        wanted += [(folder / "bench.md", table), (folder / FIGURES, figures)]
    code = Exit.DONE
    for path, text in wanted:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            _say(f"{path} can't be written: {error.strerror}")
            code = Exit.ERROR
    return code


def _say(text: str) -> None:
    print(f"glmcode: {text}", file=sys.stderr, flush=True)


def _count(given: str) -> int:
    import argparse

    if not given.isascii() or not given.isdigit() or not 0 < int(given) <= 1000:
        raise argparse.ArgumentTypeError(f"{given!r} is no number of runs (1 to 1000)")
    return int(given)


def _depths(given: str) -> tuple[int, ...]:
    import argparse

    words = given.split(",")
    if not all(w.isascii() and w.isdigit() and 0 < int(w) < 10**7 for w in words):
        raise argparse.ArgumentTypeError(f"{given!r} is no list of token counts, such as 1000,8000")
    return tuple(sorted({int(word) for word in words}))
