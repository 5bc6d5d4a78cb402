"""`glmcode batch`: many tasks, each a run of its own, resumable after a kill.

Each task is a `glmcode -p` in a process of its own, so that nothing that happens to one reaches the
next. That process holds the batch's lock as well, and is told to end when the batch is killed: a
task that is begun again is never one that still runs. Must not change the caller's worktree where
worktrees are asked for.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.batch_progress import Progress, say
from glmcode.batch_running import DiskFull, Running, Settings
from glmcode.batch_summary import summary
from glmcode.batch_tasks import BatchError, Output, Task, read_tasks
from glmcode.batch_worktree import WorktreeError
from glmcode.exits import Exit, fault_words

if TYPE_CHECKING:
    import argparse

    from glmcode.base.settings import EngineSettings

LOCK_S = 40.0
"""How long the last run of a batch that was killed may take to end."""
MOST_JOBS = 256
_FILES = (
    "--output-schema",
    "--add-dir",
    "--system-prompt-file",
    "--append-system-prompt-file",
)
"""Options of a run that name a file or folder."""


def run_batch(argv: list[str]) -> int:
    """Run the tasks; `argv` is what follows `batch`. Returns the exit code."""
    from glmcode.cli_options import UsageError

    try:
        given, rest = build_parser().parse_known_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        return _Batch(given, rest).run()
    except (BatchError, UsageError) as error:
        return _said(f"{error}\ntry: glmcode batch --help", Exit.USAGE)
    except WorktreeError as error:
        return _said(str(error), Exit.ERROR)
    except DiskFull as error:
        return _said(f"{error}: free some; --resume goes on", Exit.ERROR)
    except OSError as error:
        return _said(_os_words(error, given.file), Exit.ERROR)
    except KeyboardInterrupt:
        return _said("interrupted; --resume goes on", Exit.INTERRUPTED)
    except _Stopped as stopped:
        if stopped.number == signal.SIGINT:
            return _said("interrupted; --resume goes on", Exit.INTERRUPTED)
        return _said("terminated; --resume goes on", Exit.TERMINATED)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode batch",
        description="Many tasks, each a run of its own. FILE has one JSON object a line: prompt, "
        "and if wanted id, cwd, permission_mode, allowed_tools, disallowed_tools, max_turns, "
        "max_output_tokens, time_limit, model, system_prompt, append_system_prompt; with "
        "--worktrees also repo (a folder of another repository) and base (a commit).",
        epilog="Options of a run (--profile, --base-url, --permission-mode, --output-schema, ...) "
        "and -C are those of `glmcode --help`, for every task. Exit code 1: some task failed; 75: "
        "none did, but some could not be tried.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the tasks, as JSONL")
    add("--output", metavar="DIR", help="where results go; else FILE's name and .out, beside it")
    add(
        "--worktrees",
        action="store_true",
        help="each task in a git worktree of its own, at the commit of HEAD; its changes become "
        "a patch, and nothing else stays",
    )
    add(
        "--jobs",
        metavar="N|auto",
        default="auto",
        help="so many tasks at once; auto (default): as many as the engine serves at once with "
        "--worktrees, else one",
    )
    add("--resume", action="store_true", help="go on: tasks that have a result are not run again")
    add(
        "--retry-failed",
        action="store_true",
        help="with --resume: but those that failed are",
    )
    return parser


class _Stopped(BaseException):
    """A signal came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Batch:
    def __init__(self, given: argparse.Namespace, rest: Sequence[str]) -> None:
        from glmcode.cli_options import UsageError, parse_arguments

        file = Path(given.file).expanduser().absolute()
        self.tasks = read_tasks(file)
        folder = Path(given.output).expanduser() if given.output else file.with_suffix(".out")
        folder = folder.absolute()
        arguments = parse_arguments(["-p", *rest])  # wrong words cost nothing yet
        self.rest = _absolute(rest)
        if arguments.prompt is not None:
            raise UsageError(f"one FILE, please (got {arguments.prompt!r} as well)")
        if arguments.resume or arguments.last_message_file or arguments.output_format != "text":
            raise UsageError("-c, -r, -o and --output-format are not for a batch")
        if given.retry_failed and not given.resume:
            raise UsageError("--retry-failed goes with --resume")
        for task in self.tasks:
            if not given.worktrees and (task.repo or task.base):
                raise UsageError(f"the task {task.id} has a repo or a base: add --worktrees")
        self.workspace = arguments.workspace
        self.output = Output(folder.parent.resolve() / folder.name)
        self.worktrees: bool = given.worktrees
        self.resume: bool = given.resume
        self.again: bool = given.retry_failed
        self.jobs = jobs_of(given.jobs, arguments.engine, given.worktrees)

    def run(self) -> int:
        self.output.make()
        lock = self._locked()
        try:
            if self.output.any_done() and not self.resume:
                raise BatchError(
                    f"{self.output.folder} holds results: add --resume to go on, or give another "
                    "--output"
                )
            return self._all(lock)
        finally:
            os.close(lock)

    def _locked(self) -> int:
        """The lock of the output folder, which a run of a batch that was killed may still hold."""
        path = self.output.folder / ".lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError as error:
                if time.monotonic() > end:
                    os.close(descriptor)
                    raise BatchError(
                        f"another batch, or a run of one, is at work in {self.output.folder}"
                    ) from error
                time.sleep(0.1)

    def _all(self, lock: int) -> int:
        done = {task.id: one for task in self.tasks if (one := self._done(task)) is not None}
        if done:
            say(f"{len(done)} of {len(self.tasks)} tasks are done already")
        jobs = max(1, min(self.jobs, len(self.tasks) - len(done)))
        if jobs > 1:
            say(f"{jobs} tasks at once")
        settings = Settings(
            words=self.rest,
            workspace=self.workspace,
            worktrees=self.worktrees,
            jobs=jobs,
            lock=lock,
        )
        progress = Progress(len(self.tasks), jobs)
        running = Running(self.tasks, self.output, settings, progress)
        asyncio.run(_until_told(running, done))
        code, text = summary(self.tasks, running.records, self.output)
        return code if _printed(text) else code or Exit.ERROR

    def _done(self, task: Task) -> Mapping[str, Any] | None:
        record = self.output.done(task)
        failed = record is not None and record["result"]["exit_code"] not in (0, Exit.UNANSWERED)
        return None if failed and self.again else record


async def _until_told(running: Running, done: Mapping[str, Mapping[str, Any]]) -> None:
    """Run until all is done, or a signal comes. Raises _Stopped, and what `all` does."""
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(running.all(done))
    told: list[int] = []

    def stop(number: int) -> None:
        if not told:  # the runs are being ended: a second signal would leave them alone
            told.append(number)
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, stop, number)
    try:
        await work
    except asyncio.CancelledError:
        if told:
            raise _Stopped(told[0]) from None
        raise


def jobs_of(given: str, engine: EngineSettings, worktrees: bool) -> int:
    """How many tasks at once, for what --jobs was given. Raises UsageError."""
    from glmcode.cli_options import UsageError

    if given == "auto":
        return _seats(engine) if worktrees else 1
    if not given.isdecimal() or not 1 <= int(given) <= MOST_JOBS:
        raise UsageError(f"--jobs {given}: a number from 1 to {MOST_JOBS}, or auto")
    return int(given)


def _seats(engine: EngineSettings) -> int:
    """How many requests the engine serves at once: as it runs, or as its profile says; 1 where
    nobody knows."""
    from glmcode.engine.attach import EngineUnavailable, engine_status
    from glmcode.engine.default import machine_profile
    from glmcode.engine.profile import ProfileError, load_profile

    name = engine.profile or machine_profile()
    if engine.base_url or name is None:
        return 1
    try:
        profile = load_profile(name)
        if not profile.base_url:
            status = engine_status(profile)
            if status.up:
                return min(status.seats, MOST_JOBS)
        return min(profile.seats, MOST_JOBS)
    except (ProfileError, EngineUnavailable):
        return 1  # each task says what is wrong


def _absolute(rest: Sequence[str]) -> list[str]:
    """The words with the files that they name from here: each run is in a folder of its own."""
    words: list[str] = []
    for word in rest:
        flag, equals, value = word.partition("=")
        if equals and flag in _FILES:
            word = f"{flag}={Path(value).expanduser().absolute()}"
        elif words and words[-1] in _FILES:
            word = str(Path(word).expanduser().absolute())
        words.append(word)
    return words


def _printed(text: str) -> bool:
    """Write the summary, as UTF-8 whatever the locale; whether that went well."""
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left has nowhere to go
        say(f"the summary could not be written to standard output: {error.strerror}")
        return False
    return True


def _os_words(error: OSError, file: str) -> str:
    words = fault_words(error)
    if words.startswith("a fault in"):
        return f"{error.filename or file}: {error.strerror or error}"
    return f"{error.filename or file}: {words}; --resume goes on"


def _said(text: str, code: int) -> int:
    say(text)
    return code
