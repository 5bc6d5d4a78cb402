"""The tasks of a batch, and what is known of each on the disk: a task is done, or it is not.

Done is what has a result in its file, which appears whole or not at all; nothing else is asked
when a batch is resumed. Must not run anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.base.files import FileFault, load

MOST_BYTES = 1 << 26
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_FLAGS = {
    "permission_mode": "--permission-mode",
    "model": "--model",
    "system_prompt": "--system-prompt",
    "append_system_prompt": "--append-system-prompt",
    "max_turns": "--max-turns",
    "max_output_tokens": "--max-output-tokens",
    "time_limit": "--time-limit",
}
_RULES = {"allowed_tools": "--allowed-tools", "disallowed_tools": "--disallowed-tools"}
KEYS = ("id", "prompt", "cwd", "repo", "base", *_FLAGS, *_RULES)


class BatchError(Exception):
    """The batch cannot be run as it is asked for (exit code 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One line of the file. cwd: relative to the workspace. words: its own options of a run.

    repo and base: another repository and commit for its worktree, "" for the batch's. digest: of
    the line's values; a result holds it, so that a line that changed is noticed.
    """

    id: str
    prompt: str
    cwd: str
    repo: str
    base: str
    words: tuple[str, ...]
    digest: str


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a JSONL file, in its order. Raises BatchError."""
    try:
        text = load(path, MOST_BYTES).data.decode("utf-8-sig")
    except FileFault as error:
        raise BatchError(f"{path} cannot be read: it {error}") from error
    except UnicodeDecodeError as error:
        raise BatchError(f"{path} is not UTF-8: {error}") from error
    tasks: dict[str, Task] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            task = _task(json.loads(line), f"{number:04}")
        except (ValueError, RecursionError) as error:
            raise BatchError(f"{where}: {error}") from error
        name = task.id.casefold()  # not every disk tells them apart
        if name in tasks:
            raise BatchError(f"{where}: the id {task.id} is there twice")
        tasks[name] = task
    if not tasks:
        raise BatchError(f"{path} holds no task")
    return list(tasks.values())


def _task(value: Any, number: str) -> Task:
    """Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError('a task is an object, such as {"id": "a", "prompt": "..."}')
    if unknown := sorted(value.keys() - set(KEYS)):
        raise ValueError(f"unknown key {unknown[0]!r} (a task has: {', '.join(KEYS)})")
    name, prompt = value.get("id", number), value.get("prompt")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ValueError(f"the id {name!r:.60} is no name of a file: letters, digits, . _ -")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("a task needs a prompt")
    for key in ("cwd", "repo", "base"):
        if not isinstance(value.get(key, ""), str) or "\0" in value.get(key, ""):
            raise ValueError(f"{key} is the name of a {'commit' if key == 'base' else 'folder'}")
    words = [f"{flag}={value[key]}" for key, flag in _FLAGS.items() if key in value]
    for key, flag in _RULES.items():
        rules = value.get(key, [])
        if not isinstance(rules, list) or not all(isinstance(one, str) for one in rules):
            raise ValueError(f"{key} is a list of rules")
        words += [f"{flag}={rule}" for rule in rules]
    whole = json.dumps({**value, "id": name}, sort_keys=True)
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()
    cwd, repo, base = (value.get(key, "") for key in ("cwd", "repo", "base"))
    return Task(
        id=name, prompt=prompt, cwd=cwd, repo=repo, base=base, words=tuple(words), digest=digest
    )


def _is_result(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("exit_code"), int)


class Output:
    """The folder of a batch: results/, patches/, logs/, worktrees/, batch.json, summary.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Raises OSError."""
        for name in ("results", "patches", "logs", "worktrees"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_bytes(b"*\n")

    def done(self, task: Task) -> Mapping[str, Any] | None:
        """The task's record, where it is done. Raises BatchError where it was another task, or
        the record is none."""
        path = self.folder / "results" / f"{task.id}.json"
        try:
            record = json.loads(load(path, MOST_BYTES).data)
        except FileFault:
            return None
        except ValueError as error:
            raise BatchError(f"{path} is no record of a batch: remove it") from error
        if not isinstance(record, dict) or not _is_result(record.get("result")):
            raise BatchError(f"{path} is no record of a batch: remove it")
        if record.get("task") != task.digest:
            raise BatchError(
                f"the task {task.id} is not the one that was done (in {path}): give it another "
                "id, or remove that record"
            )
        return record

    def base(self, root: Path, now: str) -> str:
        """The commit of a repository at which the batch began, kept from its first run on.

        Raises BatchError, OSError.
        """
        path = self.folder / "batch.json"
        kept: dict[str, str] = {}
        try:
            kept = dict(json.loads(load(path, MOST_BYTES).data)["bases"])
        except FileFault:
            pass
        except (ValueError, LookupError, TypeError) as error:
            raise BatchError(f"{path} is none of a batch: remove it") from error
        if str(root) not in kept:
            kept[str(root)] = now
            self.keep_json("batch.json", {"v": 1, "bases": kept})
        return str(kept[str(root)])

    def any_done(self) -> bool:
        """Whether some batch left results here."""
        return any((self.folder / "results").glob("*.json"))

    def keep(self, name: str, data: bytes) -> None:
        """Write a file so that it is whole or not there, also after a power cut. Raises OSError."""
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.new")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def keep_json(self, name: str, value: Mapping[str, Any]) -> None:
        """As keep. Raises OSError."""
        self.keep(name, (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
