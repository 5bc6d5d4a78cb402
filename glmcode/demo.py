"""`glmcode demo`: a tiny model on a real engine repairs a failing test in a real repository.

It makes a small git repository whose seed decides names, files and fault, shows the failing
test, lets the agent work with the profile `tiny`, and then judges the result itself: the
tests must pass and nothing else may have changed. The tiny model is a demonstration, not an
assistant. Must not trust what the model says about its own work.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.base.settings import ContextSettings, EngineSettings
from glmcode.demo_task import DemoTask, make_task
from glmcode.engine.lane import new_lane
from glmcode.exits import Exit
from glmcode.repl.clean import visible

if TYPE_CHECKING:
    import argparse

PROFILE = "tiny"
MAX_STEPS = 14
TEST_LIMIT_S = 60
IDENTITY = ("-c", "user.name=glmcode demo", "-c", "user.email=demo@localhost")


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """seed None: a different one each time. keep: leave the repository behind."""

    seed: int | None = None
    keep: bool = False
    verbose: bool = False
    nonce: str = ""


def run_demo(argv: list[str]) -> int:
    """The command; returns the exit code: 0 only if the tests pass and nothing else changed."""
    options = _options(argv)
    if isinstance(options, int):
        return options
    seed = options.seed if options.seed is not None else int(time.time()) % 1_000_000
    task = make_task(seed, nonce=options.nonce)
    folder = Path(tempfile.mkdtemp(prefix="glmcode-demo-")).resolve()
    try:
        return asyncio.run(_demo(task, seed, folder, options))
    except DemoError as error:
        _say(f"glmcode demo: {error}", error=True)
        return Exit.ERROR
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except asyncio.CancelledError:
        return Exit.TERMINATED
    finally:
        if options.keep:
            _say(f"the repository stays in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after `demo`."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode demo",
        description="A tiny model on the CPU repairs a failing test: a demonstration of the "
        "whole path, not an assistant.",
    )
    parser.add_argument("--task-seed", type=int, help="which repository (default: a new one)")
    parser.add_argument("--keep", action="store_true", help="leave the repository behind")
    parser.add_argument("--nonce", default="", help="a word that is mixed into every name")
    parser.add_argument("--verbose", action="store_true", help="tokens and cache hits per step")
    return parser


def _options(argv: list[str]) -> DemoOptions | int:
    try:
        given = build_parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if given.nonce and not (given.nonce.isascii() and given.nonce.isalnum()):
        _say("glmcode demo: --nonce takes letters and digits", error=True)
        return Exit.USAGE
    return DemoOptions(
        seed=given.task_seed, keep=given.keep, verbose=given.verbose, nonce=given.nonce
    )


async def _demo(task: DemoTask, seed: int, folder: Path, options: DemoOptions) -> int:
    from glmcode.agent import AgentOptions
    from glmcode.core.calls import TurnStop
    from glmcode.core.model import ModelError
    from glmcode.demo_view import DemoView
    from glmcode.opening import OpenError, open_agent
    from glmcode.permissions import parse_rules

    view = DemoView(verbose=options.verbose)
    view.title("models/tiny is a demonstration of the whole path, not a coding assistant.")
    _make_repository(task, folder)
    view.say(f"task seed {seed}: a new git repository in {folder}")
    before = _run_tests(task, folder)
    if before.returncode == 0:
        raise DemoError(f"the tests of seed {seed} pass before the repair: please report this")
    command = " ".join(task.test_command)
    view.command(command)
    view.output(before.stdout, before.returncode)
    agent_options = AgentOptions(
        lane=new_lane("interactive", folder, os.environ),
        workspace=folder,
        engine=EngineSettings(profile=PROFILE),
        context=ContextSettings(instructions=False, map="off"),
        mode="acceptEdits",
        allow=parse_rules([f"Bash({command})"]),
        max_turns=MAX_STEPS,
    )
    _own_python_first()
    _stop_on_signals()
    started = time.monotonic()
    try:
        agent = await open_agent(agent_options, view.event)
    except (ModelError, OpenError, TurnStop) as error:
        view.failed(str(error), getattr(error, "detail", ""))
        retryable = isinstance(error, ModelError) and error.kind == "unavailable"
        return Exit.UNAVAILABLE if retryable else Exit.ERROR
    view.ready(time.monotonic() - started, agent.client.model, agent.client.protocol)
    view.request(task.prompt)
    asked = time.monotonic()
    try:
        end = await agent.submit(task.prompt)
    finally:
        await agent.close()
    seconds = time.monotonic() - asked
    if end.detail:
        view.failed(end.detail, end.log)
    view.usage(agent.usage, end.steps, seconds)
    if end.retryable:
        return Exit.UNAVAILABLE
    return _verdict(task, folder)


def _verdict(task: DemoTask, folder: Path) -> int:
    """Run the tests ourselves and look at every changed file."""
    after = _run_tests(task, folder)
    changed = _changed_files(folder)
    if after.returncode != 0:
        _say("NOT repaired: the tests still fail. The tiny model misses some tasks; see its card.")
        return Exit.ERROR
    if changed != [task.fixed_path]:
        _say(f"NOT accepted: the tests pass, but these files changed: {', '.join(changed)}")
        return Exit.ERROR
    _say(f"repaired: the tests pass, and only {task.fixed_path} changed ({task.summary}).")
    return Exit.DONE


def _make_repository(task: DemoTask, folder: Path) -> None:
    for name, text in task.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "start"]):
        _git(folder, *command)


def _changed_files(folder: Path) -> list[str]:
    listed = _git(folder, "status", "--porcelain", "-z", "--untracked-files=all")
    names = [entry[3:] for entry in listed.split("\0") if entry]
    return sorted(name for name in names if "__pycache__" not in name)


def _git(folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        done = subprocess.run(
            ["git", *IDENTITY, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError as error:
        raise DemoError("git is not installed: the demo works in a git repository") from error
    except subprocess.CalledProcessError as error:
        raise DemoError(f"git {arguments[0]} failed: {error.stderr.strip()[:300]}") from error
    return done.stdout


def _run_tests(task: DemoTask, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *task.test_command[1:]]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=TEST_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"the tests did not end in {TEST_LIMIT_S} s") from error


def _own_python_first() -> None:
    """The model says `python`; let that be ours, whatever this machine calls it."""
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def _stop_on_signals() -> None:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)


def _say(text: str, *, error: bool = False) -> None:
    try:
        os.write(2 if error else 1, f"{visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
