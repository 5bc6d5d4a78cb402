"""`glmcode batch`: many tasks one after another, each a run of its own, resumable after a kill.

Each task is a `glmcode -p` in a process of its own, so that nothing that happens to one reaches the
next. That process holds the batch's lock as well, and is told to end when the batch is killed: a
task that is begun again is never one that still runs. Must not change the caller's worktree where
worktrees are asked for.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.batch_tasks import BatchError, Output, Task, read_tasks
from glmcode.batch_worktree import WorktreeError, base_commit, make, patch, remove
from glmcode.exits import Exit
from glmcode.repl.clean import one_line, visible

if TYPE_CHECKING:
    import argparse

LOCK_S = 20.0
"""How long the last run of a batch that was killed may take to end."""
END_S = 20.0
"""How long a run may take to end after it was told to."""
LATER = (Exit.UNAVAILABLE, Exit.INTERRUPTED, Exit.TERMINATED, -signal.SIGKILL)
"""Codes of a run that says nothing about its task: it is not done, and --resume tries it again."""


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
        return _say(f"{error}\ntry: glmcode batch --help", Exit.USAGE)
    except WorktreeError as error:
        return _say(str(error), Exit.ERROR)
    except OSError as error:
        return _say(f"{error.filename or given.file}: {error.strerror or error}", Exit.ERROR)
    except KeyboardInterrupt:
        return _say("interrupted; --resume goes on", Exit.INTERRUPTED)
    except _Terminated:
        return _say("terminated; --resume goes on", Exit.TERMINATED)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode batch",
        description="Many tasks one after another. FILE has one JSON object a line: prompt, and if "
        "wanted id, cwd, permission_mode, allowed_tools, disallowed_tools, max_turns, "
        "max_output_tokens, time_limit, model, system_prompt, append_system_prompt.",
        epilog="Options of a run (--profile, --base-url, --permission-mode, --output-schema, ...) "
        "and -C are those of `glmcode --help`, for every task. Exit code 1: some task failed; 75: "
        "none did, but some could not be tried.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the tasks, as JSONL")
    parser.add_argument(
        "--output", metavar="DIR", help="where results go; else FILE's name and .out, beside it"
    )
    parser.add_argument(
        "--worktrees",
        action="store_true",
        help="each task in a git worktree of its own, at the commit of HEAD; its changes become "
        "a patch, and nothing else stays",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on: tasks that have a result are not run again"
    )
    return parser


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came."""


def _terminated(number: int, frame: object) -> None:
    raise _Terminated


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
        self.workspace = arguments.workspace
        self.output = Output(folder)
        self.worktrees: bool = given.worktrees
        self.resume: bool = given.resume
        self.root, self.base = self.workspace, ""

    def run(self) -> int:
        self.output.make()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, _terminated)
        self.lock = self._locked()
        try:
            if self.output.any_done() and not self.resume:
                raise BatchError(
                    f"{self.output.folder} holds results: add --resume to go on, or give another "
                    "--output"
                )
            if self.worktrees:
                self.root, now = base_commit(self.workspace)
                self.base = self.output.base(now)
            return self._all()
        finally:
            os.close(self.lock)

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

    def _all(self) -> int:
        records: dict[str, Mapping[str, Any]] = {}
        done = [task for task in self.tasks if self.output.done(task) is not None]
        if done:
            _say(f"{len(done)} of {len(self.tasks)} tasks are done already", 0)
        for number, task in enumerate(self.tasks, 1):
            record = self.output.done(task)
            if record is None:
                where = f"[{number}/{len(self.tasks)}] {task.id}"
                _say(f"{where}: {one_line(task.prompt, 70)}", 0)
                record = self._one(task)
                _say(f"{where}: {_told(record)}", 0)
            records[task.id] = record
        return self._summary(records)

    def _one(self, task: Task) -> Mapping[str, Any]:
        """Run one task and keep what came of it. Raises OSError, WorktreeError."""
        place = self.output.folder / "worktrees" / task.id
        try:
            if self.worktrees:
                make(self.root, self.base, place)
            result = self._ran(task, self._folder(task, place))
        except (WorktreeError, BatchError) as error:
            result = {"exit_code": int(Exit.ERROR), "is_error": True, "error": str(error)}
        record: dict[str, Any] = {"v": 1, "id": task.id, "task": task.digest, "result": result}
        if result["exit_code"] in LATER:
            return record
        if self.worktrees and place.is_dir():
            try:
                self.output.keep(f"patches/{task.id}.patch", patch(place, self.base))
                record |= {"base": self.base, "patch": f"patches/{task.id}.patch"}
            except WorktreeError as error:
                result |= {"exit_code": int(Exit.ERROR), "is_error": True, "error": str(error)}
        self.output.keep_json(f"results/{task.id}.json", record)
        if self.worktrees:
            remove(self.root, place)
        return record

    def _folder(self, task: Task, place: Path) -> Path:
        """Where a task works. Raises BatchError."""
        inner = self.workspace.relative_to(self.root) if self.worktrees else Path()
        start = place / inner if self.worktrees else self.workspace
        folder = (start / task.cwd).resolve()
        if not folder.is_dir():
            raise BatchError(f"its folder {task.cwd} is not there")
        if self.worktrees and not folder.is_relative_to(place.resolve()):
            raise BatchError(f"its folder {task.cwd} lies outside of the worktree")
        return folder

    def _ran(self, task: Task, folder: Path) -> dict[str, Any]:
        """The result of the run. Raises OSError, and what a signal raises."""
        words = ["-p", "--output-format", "json", *self.rest, *task.words, "--cd", str(folder)]
        command = [sys.executable, "-m", "glmcode", *words, "--", task.prompt]
        began = time.monotonic()
        log = self.output.folder / "logs" / f"{task.id}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=self.workspace,
                pass_fds=(self.lock,),
                preexec_fn=_ends_with_us(),
            )
            try:
                told, _ = child.communicate()
            except BaseException:
                _end(child)
                raise
        try:
            result = json.loads(told)
            if isinstance(result, dict) and isinstance(result.get("exit_code"), int):
                return result
        except ValueError:
            pass
        return {
            "exit_code": child.returncode or int(Exit.ERROR),
            "is_error": True,
            "error": f"the run ended without a result; {log} tells what it said",
            "duration_ms": round((time.monotonic() - began) * 1000),
        }

    def _summary(self, records: Mapping[str, Mapping[str, Any]]) -> int:
        codes = Counter(int(one["result"]["exit_code"]) for one in records.values())
        later = sum(codes[code] for code in LATER)
        good = codes[Exit.DONE] + codes[Exit.UNANSWERED]
        failed = len(records) - good - later
        code = Exit.ERROR if failed else Exit.UNAVAILABLE if later else Exit.DONE
        tasks = {
            name: {key: one["result"].get(key) for key in ("exit_code", "subtype", "error")}
            for name, one in records.items()
        }
        counted = {str(one): number for one, number in sorted(codes.items())}
        self.output.keep_json(
            "summary.json",
            {"v": 1, "exit_code": int(code), "exit_codes": counted, "tasks": tasks},
        )
        parts = ", ".join(f"exit code {one}: {number}" for one, number in counted.items())
        open_ = f"; {later} could not be tried: --resume does" if later else ""
        text = f"{good} of {len(records)} tasks done, {failed} failed ({parts}){open_}\n"
        sys.stdout.write(f"{text}{self.output.folder}\n")
        return code


def _absolute(rest: Sequence[str]) -> list[str]:
    """The words with the files that they name from here: each run is in a folder of its own."""
    words: list[str] = []
    for word in rest:
        flag, equals, value = word.partition("=")
        if equals and flag in ("--output-schema", "--add-dir"):
            word = f"{flag}={Path(value).expanduser().absolute()}"
        elif words and words[-1] in ("--output-schema", "--add-dir"):
            word = str(Path(word).expanduser().absolute())
        words.append(word)
    return words


def _told(record: Mapping[str, Any]) -> str:
    result = record["result"]
    code = result["exit_code"]
    if code not in (Exit.DONE, Exit.UNANSWERED):
        return f"exit code {code}: {one_line(str(result.get('error', '')), 200)}"
    usage = result.get("usage", {})
    cached = usage.get("cache_read_input_tokens", 0)
    prompt = cached + usage.get("input_tokens", 0)
    share = f", {100 * cached / prompt:.0f} % of {prompt:,} prompt tokens cached" if prompt else ""
    seconds = result.get("duration_ms", 0) / 1000
    denied = ", something was not allowed" if code == Exit.UNANSWERED else ""
    return f"done in {result.get('num_turns', 0)} steps, {seconds:.1f} s{share}{denied}"


def _ends_with_us() -> Any:
    """What a run does before it begins: it will be told to end when this process is killed."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    tell = ctypes.CDLL(None).prctl
    return lambda: tell(1, signal.SIGTERM)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Tell a run to end, and see that it does; its result is not wanted any more."""
    child.terminate()
    try:
        child.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()


def _say(text: str, code: int) -> int:
    try:
        os.write(2, f"glmcode: {visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
    return code
