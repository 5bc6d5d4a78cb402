"""The process that searches: it walks a tree, runs ripgrep over batches of files, and reports.

A process of its own because a pattern, a file system or the wheel may take for ever, and a
process can be killed. One JSON object comes on standard input (`Job`), one JSON line goes out
for each file with a match, at last a line `end`. Files are visited in the order of their paths,
so the first results are the first by path, and the search may end early. Started by
tools/search.py without site packages; must import only the standard library and glmcode.base.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from glmcode.base.files import FileFault, open_regular
from glmcode.base.globs import glob_regex
from glmcode.base.ignore import rules_for
from glmcode.base.ripgrep import MAX_MATCHES, Line, NoRipgrep, PatternError, Query, Ripgrep
from glmcode.base.searchable import Preparer, Searchable
from glmcode.base.walk import Walk

_BATCH_FILES = 200
_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_NAMES = 64 * 1024
_MEMORY = 4 << 30
_LITERAL_STOPS = frozenset("\\.+*?()|[]{}^$\n\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to look for, and where.

    scratch: a folder that is made when copies are needed and that the caller removes.

    root: absolute real path of a folder, or with `file` the folder of that one file. start:
    the folder below root where the walk begins, "" for root. globs: patterns, one of which a
    file must match; one that begins with `!` must not match. limit: lines (mode "lines") or
    files to report in full; width: characters kept of a line. seconds: when to stop; enough_s:
    when to stop counting once the limit is reached.
    """

    kind: Literal["grep", "files"]
    root: str
    workspace: str
    scratch: str
    limit: int
    seconds: float
    enough_s: float = 8.0
    start: str = ""
    file: str = ""
    globs: list[str] = field(default_factory=list)
    query: dict[str, Any] = field(default_factory=dict)
    mode: Literal["lines", "files"] = "lines"
    width: int = 500
    program: str | None = None
    libraries: list[str] = field(default_factory=list)

    def to_json(self) -> bytes:
        """The form in which a job is sent."""
        return json.dumps(asdict(self)).encode()


@dataclass(slots=True)
class _Worker:
    """One job under way; `left` is how much may still be reported in full."""

    job: Job
    left: int
    began: float = field(default_factory=time.monotonic)
    stopped: bool = False
    walk: Walk | None = None

    def late(self) -> bool:
        """Whether to stop now: out of time, or enough was found and counted for a while."""
        passed = time.monotonic() - self.began
        if passed > self.job.seconds or (self.left <= 0 and passed > self.job.enough_s):
            self.stopped = True
        return self.stopped

    def names(self) -> Iterator[str]:
        """The files of the job that match its globs, relative to its root, sorted."""
        job = self.job
        if job.file:
            yield job.file
            return
        top = f"{job.root.rstrip('/')}/{job.start}" if job.start else job.root
        rules = rules_for(top, job.workspace)
        self.walk = Walk(top, rules, self.late, links=job.kind == "files")
        prefix = f"{job.start}/" if job.start else ""
        inside = job.root.removeprefix(job.workspace).strip("/")
        wanted = [glob_regex(one) for one in job.globs if not one.startswith("!")]
        unwanted = [glob_regex(one[1:]) for one in job.globs if one.startswith("!")]
        for name in self.walk.files():
            name = prefix + name
            forms = (name, f"{inside}/{name}") if inside and job.kind == "grep" else (name,)
            if wanted and not any(one.fullmatch(form) for one in wanted for form in forms):
                continue
            if not any(one.fullmatch(form) for one in unwanted for form in forms):
                yield name

    def list_files(self) -> dict[str, Any]:
        """Report names; returns the counts of the end line."""
        total = 0
        for name in self.names():
            total += 1
            if self.left > 0:
                self.left -= 1
                _say({"f": name})
        return {"files": total, "matches": total}

    def grep(self) -> dict[str, Any]:
        """Report files with matches; returns the counts of the end line."""
        query = Query(**self.job.query)
        ripgrep = Ripgrep(query, self.job.program)
        preparer = Preparer(self.job.root, Path(self.job.scratch), _needle(query))
        files = matches = searched = 0
        for batch, seen in self._batches(preparer):
            searched += seen
            found = ripgrep.search([one.path for one in batch]) if batch else {}
            for one in batch:
                if one.path in found:
                    files += 1
                    matches += self._report(one, found[one.path])
            preparer.clear()
        return {
            "files": files,
            "matches": matches,
            "searched": searched,
            "binary": preparer.binary,
            "unread": preparer.unreadable,
        }

    def _batches(self, preparer: Preparer) -> Iterator[tuple[list[Searchable], int]]:
        """Files to search together, and how many files were looked at for them."""
        batch: list[Searchable] = []
        size = seen = names = 0
        for name in self.names():
            if self.late():
                break
            seen += 1
            ready = preparer.prepare(name)
            if ready is None:
                continue
            batch.append(ready)
            size, names = size + ready.size, names + len(ready.path) * 4
            if len(batch) >= _BATCH_FILES or size > _BATCH_BYTES or names > _BATCH_NAMES:
                yield batch, seen
                batch, size, seen, names = [], 0, 0, 0
        yield batch, seen

    def _report(self, file: Searchable, lines: list[Line]) -> int:
        """Say what was found in a file, as much as is wanted; returns its matching lines."""
        count = sum(matching for _, matching, _ in lines)
        record: dict[str, Any] = {"f": file.name, "n": count}
        if count >= MAX_MATCHES:
            record["more"] = True
        if self.left <= 0:
            return count
        if self.job.mode == "lines":
            shown = lines[: self.left]
            self.left -= len(shown)
            width = self.job.width
            record["l"] = [[n, m, text[:width], len(text)] for n, m, text in shown]
        else:
            self.left -= 1
        _say(record)
        return count

    def end(self, counts: dict[str, Any]) -> dict[str, Any]:
        """The last line."""
        ignored = self.walk.ignored if self.walk else 0
        closed = self.walk.unreadable if self.walk else 0
        return {"end": {**counts, "ignored": ignored, "closed": closed, "early": self.stopped}}


def _needle(query: Query) -> bytes | None:
    """The pattern itself, when it is plain text that a match must hold."""
    if query.ignore_case or _LITERAL_STOPS & set(query.pattern):
        return None
    return query.pattern.encode()


def _say(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do the job that comes on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    job = Job(**json.loads(sys.stdin.buffer.read()))
    sys.path += job.libraries
    worker = _Worker(job, job.limit)
    try:
        if job.file:
            _check_one_file(job)
        counts = worker.grep() if job.kind == "grep" else worker.list_files()
        _say(worker.end(counts))
    except PatternError as error:
        _say({"error": "pattern", "text": str(error)})
    except NoRipgrep as error:
        _say({"error": "missing", "text": str(error)})
    except (OSError, FileFault) as error:
        _say({"error": "disk", "text": str(error)})
    except MemoryError:
        _say({"error": "memory", "text": "the search needs too much memory"})


def _check_one_file(job: Job) -> None:
    """Whether the one file of a job can be opened. Raises FileFault."""
    fd, _ = open_regular(Path(job.root) / job.file)
    os.close(fd)
