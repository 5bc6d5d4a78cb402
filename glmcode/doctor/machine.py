"""The machine as any client needs it: Python, locale, terminal, git, ripgrep, folders, sandbox."""

from __future__ import annotations

import importlib.util
import locale
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from glmcode.base.paths import cache_folder, config_folder, state_folder
from glmcode.base.ripgrep import installed_program
from glmcode.doctor.line import Line, fault, ok, warning
from glmcode.engine.bounded import bounded

ASK_S = 5.0
_LITTLE = 1 << 30
_NOTHING = 64 << 20


def python_line() -> list[Line]:
    """The interpreter that glmcode runs under."""
    version, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    if sys.version_info < (3, 11):  # noqa: UP036 (run from a checkout under any Python)
        return [fault("python", f"{version} on {system}", "use Python 3.11 or later")]
    if sys.platform == "win32":
        return [fault("python", f"{version} on Windows", "use WSL: glmcode needs Unix")]
    return [ok("python", f"{version} on {system}")]


def locale_line() -> list[Line]:
    """Whether text is UTF-8."""
    encoding = locale.getpreferredencoding(False)
    named = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C"
    if encoding.lower().replace("-", "") == "utf8":
        return [ok("locale", f"{encoding} ({named})")]
    return [
        warning(
            "locale",
            f"{encoding} ({named}): text of programs that you run may be garbled",
            "export LANG=C.UTF-8",
        )
    ]


def terminal_line() -> list[Line]:
    """Whether a session can be drawn."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return [ok("terminal", "none here: glmcode -p works, a session needs one")]
    kind, size = os.environ.get("TERM", ""), shutil.get_terminal_size()
    text = f"{kind or 'TERM is not set'}, {size.columns} x {size.lines}"
    if kind in ("", "dumb", "unknown"):
        todo = "set TERM (xterm-256color); until then a session is plain lines"
        return [warning("terminal", text, todo)]
    if size.columns < 40:
        return [warning("terminal", text, "make it wider: diffs need 40 columns")]
    return [ok("terminal", text)]


def git_line() -> list[Line]:
    """git, for branch, status and checkpoints of what it ignores."""
    return [_program("git", "repositories are not recognised: no branch, no status", "install git")]


def ripgrep_line() -> list[Line]:
    """ripgrep as a program or as the wheel: Grep needs one of them."""
    found = _program("rg", "", "")
    if found.state == "ok":
        return [Line(name="ripgrep", state="ok", text=found.text)]
    if importlib.util.find_spec("python_ripgrep") is not None:
        return [ok("ripgrep", "the python-ripgrep wheel (there is no rg that works)")]
    if installed := installed_program():
        return [ok("ripgrep", f"{installed}, installed with this Python")]
    todo = "install ripgrep (rg), or pip install python-ripgrep (ripgrep from Python 3.13 on)"
    return [fault("ripgrep", f"{found.text}, and the wheel is not there: Grep fails", todo)]


def _program(name: str, without: str, todo: str) -> Line:
    path = shutil.which(name)
    if path is None:
        return warning(name, f"{name} is not installed" + (f": {without}" if without else ""), todo)
    told = bounded([path, "--version"], ASK_S)
    if told.code != 0:
        return warning(name, f"{path} does not answer: {told.why()}", todo or f"repair {path}")
    number = re.search(r"\d+(\.\d+)+", told.out)
    return ok(name, f"{number[0] if number else 'unknown version'} ({path})")


def folder_lines() -> list[Line]:
    """glmcode's own folders: writable, and with room."""
    lines = []
    for name, folder in (("state", state_folder()), ("cache", cache_folder())):
        place = _existing(folder)
        if not os.access(place, os.W_OK | os.X_OK):
            todo = f"make {place} writable, or set GLMCODE_HOME"
            lines.append(fault(f"{name} folder", f"{folder} cannot be written", todo))
            continue
        free = shutil.disk_usage(place).free
        text = f"{folder}, {free / (1 << 30):.1f} GiB free"
        todo = "free some space: glmcode clean removes what is old"
        if free < _NOTHING:
            lines.append(fault(f"{name} folder", text, todo))
        elif free < _LITTLE:
            lines.append(warning(f"{name} folder", text, todo))
        else:
            lines.append(ok(f"{name} folder", text))
    place = config_folder()
    if place.exists() and not os.access(place, os.R_OK | os.X_OK):
        lines.append(fault("config folder", f"{place} cannot be read", "correct its mode"))
    return lines


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def sandbox_line() -> list[Line]:
    """Which sandbox commands get here, and what it does not keep them from."""
    from glmcode.sandbox import find_backend, not_covered

    backend = find_backend()
    open_ = not_covered(backend, root=os.geteuid() == 0)
    if backend.mechanism == "none":
        text = f"none works here ({backend.why}): commands run with all your rights"
        return [warning("sandbox", text, "install bubblewrap, or use a kernel with Landlock")]
    more = {
        "bubblewrap": backend.program,
        "landlock": f"ABI {backend.abi}",
        "seatbelt": "sandbox-exec",
    }[backend.mechanism]
    text = f"{backend.mechanism} ({more}); not covered:"
    if backend.mechanism == "landlock":
        todo = "bubblewrap covers more: install it, if this system lets it run"
        return [warning("sandbox", text, todo, *open_)]
    return [ok("sandbox", text, *open_)]
