"""ripgrep behind one function, as the `rg` program or as the python-ripgrep wheel.

Both are given an explicit batch of files and asked for the same lines; what they leave out or
decide themselves (ignore rules, hidden files, binary files, order) is decided before. The wheel
returns a list of strings and cannot be interrupted, so all of this runs in the search's own
process, which can be killed. Must not import the rest of glmcode's search.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

MAX_MATCHES = 100_000
"""The most matching lines of one file that are looked at."""

_LINE = re.compile(r"(\d+)([\x01\x02])(.*)", re.DOTALL)

Line: TypeAlias = tuple[int, bool, str]
"""A line's number, whether it matches (or is context), and its text without its end."""


class PatternError(Exception):
    """The regular expression is not one; the text is ripgrep's own."""


class NoRipgrep(Exception):
    """Neither the program nor the wheel can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to search for. `context` is in lines; `multiline` lets matches cross line ends."""

    pattern: str
    ignore_case: bool = False
    context: int = 0
    multiline: bool = False


class Ripgrep:
    """One way to run ripgrep for one query: the program at `program`, else what was installed
    with this interpreter, a program or the wheel."""

    def __init__(self, query: Query, program: str | None) -> None:
        """Checks the pattern. Raises PatternError, NoRipgrep."""
        self._query = query
        self._wheel: Any = None
        programs = filter(None, (program, installed_program()))
        self._program = next((one for one in programs if self._program_works(one)), None)
        if self._program is None:
            self._wheel = _wheel()
            self._check_with_wheel()

    def search(self, paths: Sequence[str]) -> dict[str, list[Line]]:
        """The matching lines (and their context) of each path that has any."""
        if self._program is None:
            return _parsed(self._wheel_output(paths), paths)
        return _parsed(self._program_output(self._program, paths), paths)

    def _wheel_output(self, paths: Sequence[str]) -> str:
        query = self._query
        flags = "(?R)(?i)" if query.ignore_case else "(?R)"
        found: list[str] = self._wheel.search(
            [flags + query.pattern],
            # a second path makes the wheel name the file even when there is only one
            [*paths, os.devnull],
            heading=True,
            line_number=True,
            before_context=query.context,
            after_context=query.context,
            separator_field_match="\x01",
            separator_field_context="\x02",
            max_count=MAX_MATCHES,
            multiline=query.multiline,
        )
        return "".join(found)

    def _check_with_wheel(self) -> None:
        try:
            self._wheel.search([self._query.pattern], [os.devnull], multiline=self._query.multiline)
        except ValueError as error:
            raise PatternError(str(error)) from error

    def _command(self, program: str) -> list[str]:
        query = self._query
        command = [program, "--no-config", "--no-messages", "--color=never", "--text", "--crlf"]
        command += ["--no-ignore", "--hidden", "--heading", "--with-filename", "--line-number"]
        command += ["--field-match-separator=\\x01", "--field-context-separator=\\x02"]
        command += [f"--max-count={MAX_MATCHES}", f"--context={query.context}"]
        command += ["--multiline"] if query.multiline else []
        command += ["--ignore-case"] if query.ignore_case else ["--case-sensitive"]
        return [*command, f"--regexp={query.pattern}", "--"]

    def _program_works(self, program: str) -> bool:
        """Whether the program runs and knows the options. Raises PatternError."""
        try:
            done = subprocess.run(
                [*self._command(program), os.devnull],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=10,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return False
        if done.returncode == 1 and not done.stdout:
            return True
        said = done.stderr.decode("utf-8", "replace").removeprefix("rg: ").strip()
        if done.returncode == 2 and ("regex" in said or "is not allowed in a" in said):
            raise PatternError(said)
        return False

    def _program_output(self, program: str, paths: Sequence[str]) -> str:
        done = subprocess.run(
            [*self._command(program), *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.stdout.decode("utf-8", "replace")


def _parsed(output: str, paths: Sequence[str]) -> dict[str, list[Line]]:
    """A path stands on a line of its own, above its lines; what else there is separates."""
    known = set(paths)
    found: dict[str, list[Line]] = {}
    current: list[Line] = []
    for line in output.split("\n"):
        match = _LINE.fullmatch(line)
        if match is not None:
            text = match.group(3).removesuffix("\r")
            current.append((int(match.group(1)), match.group(2) == "\x01", text))
        elif line.removesuffix("\r") in known:
            current = found.setdefault(line.removesuffix("\r"), [])
    return found


def _wheel() -> Any:
    try:
        import python_ripgrep
    except ImportError as error:
        raise NoRipgrep("ripgrep is missing: install the program rg") from error
    return python_ripgrep


def find_program(search_path: str | None) -> str | None:
    """`rg` on a PATH, absolute entries only (a checkout may hold a program of that name)."""
    for folder in (search_path or "").split(os.pathsep):
        if folder.startswith("/") and _runs(Path(folder) / "rg"):
            return str(Path(folder) / "rg")
    return None


def installed_program() -> str | None:
    """The `rg` that the package ripgrep put beside this interpreter's programs: it is needed where
    python-ripgrep has no wheel."""
    if importlib.util.find_spec("python_ripgrep") is not None:
        return None
    import sysconfig

    beside = Path(sys.executable).parent  # a search runs without site: sys.prefix tells nothing
    user = Path(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    return next((str(one / "rg") for one in (beside, user) if _runs(one / "rg")), None)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
