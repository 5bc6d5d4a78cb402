"""`glmcode doctor [--profile NAME] [--deep] [--json]`: one line for each matter.

Checks run side by side in threads, each with a limit, so that whatever hangs costs its own line
alone. Exit code 0: no fault; 1: at least one; 2: wrong use.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from glmcode import __version__
from glmcode.base.config import ConfigError, load_config
from glmcode.base.settings import EngineSettings
from glmcode.doctor.line import Asked, Line, fault, ok
from glmcode.engine.default import machine_profile
from glmcode.engine.profile import Profile, ProfileError, load_profile
from glmcode.exits import Exit
from glmcode.repl.clean import for_terminal, visible

if TYPE_CHECKING:
    import argparse

Check: TypeAlias = Callable[[], list[Line]]

_SOON_S = 20.0
_LATE_S = 90.0
_DEEP_S = 600.0
LOOK_S = 0.2
_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@dataclass(slots=True)
class _Running:
    """A check in its thread."""

    name: str
    limit_s: float
    lines: list[Line] | None = None
    done: threading.Event = field(default_factory=threading.Event)


def run_doctor(argv: list[str]) -> int:
    """Look at this machine; returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        asked, lines = _asked(options.profile, deep=options.deep)
    except ProfileError as error:
        print(visible(str(error)), file=sys.stderr)
        if options.json:
            print(json.dumps({"error": str(error)}))
        return Exit.USAGE
    try:
        lines += collect(_checks(asked))
        _print(lines, as_json=options.json)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.ERROR if any(line.state == "fault" for line in lines) else Exit.DONE


def look_around(settings: EngineSettings, stop: threading.Event) -> list[Line]:
    """All checks for an engine as these settings want it. Blocks for up to a minute.

    stop: nobody waits any more.
    """
    if settings.base_url:
        asked = Asked(settings=settings, server=settings.base_url, key_env=settings.api_key_env)
        lines = [ok("engine", f"{settings.base_url}: none of this machine is wanted")]
    else:
        try:
            asked, lines = _asked(settings.profile or None, deep=False)
        except ProfileError as error:
            return [fault("profile", str(error), "correct engine.profile or the file")]
    return lines + collect(_checks(asked), stop)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="glmcode doctor",
        description="What works on this machine, what does not, and what to do about it.",
    )
    parser.add_argument("--profile", metavar="NAME", help="the engine that is wanted here")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also import vLLM, and try the KV dtype on the GPU (minutes)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _asked(name: str | None, *, deep: bool) -> tuple[Asked, list[Line]]:
    """What is wanted here: a profile's engine, a server, or just a client.

    Raises ProfileError for a profile that was named on the command line.
    """
    lines: list[Line] = []
    settings = EngineSettings()
    try:
        settings = load_config(None, os.environ)[0].engine
        lines.append(ok("settings", "can be read"))
    except ConfigError as error:
        lines.append(fault("settings", str(error), "correct it"))
    if name is None and settings.base_url:
        asked = Asked(
            settings=settings, server=settings.base_url, key_env=settings.api_key_env, deep=deep
        )
        return asked, [*lines, ok("engine", "none is wanted here: engine.base_url is set")]
    chosen = name or settings.profile or machine_profile()
    if not chosen:
        text = (
            "none is wanted here: no GPU, no engine.profile. A server: --base-url URL; the demo: "
        )
        lines.append(ok("engine", text + "glmcode demo"))
        return Asked(settings=settings, deep=deep), lines
    try:
        profile = load_profile(chosen)
    except ProfileError as error:
        if name is not None:
            raise
        lines.append(fault("profile", str(error), "correct engine.profile or the file"))
        return Asked(settings=settings, deep=deep), lines
    return _asked_for(profile, settings, deep), [*lines, _profile_line(profile)]


def _asked_for(profile: Profile, settings: EngineSettings, deep: bool) -> Asked:
    from dataclasses import replace

    if profile.base_url:
        key = settings.api_key_env or profile.api_key_env
        return Asked(settings=settings, server=profile.base_url, key_env=key, deep=deep)
    if settings.python and not profile.python:
        profile = replace(profile, python=settings.python)
    return Asked(settings=settings, profile=profile, deep=deep)


def _profile_line(profile: Profile) -> Line:
    what = profile.base_url or profile.description or profile.model
    return ok("engine", f"profile {profile.name}: {what}")


def _checks(asked: Asked) -> list[tuple[str, float, Check]]:
    """Name, limit in seconds, and the check; in the order of the answer."""
    from glmcode.doctor import machine
    from glmcode.doctor.model import model_lines
    from glmcode.doctor.server import server_lines

    late = _DEEP_S if asked.deep else _LATE_S
    return [
        ("python", _SOON_S, machine.python_line),
        ("locale", _SOON_S, machine.locale_line),
        ("terminal", _SOON_S, machine.terminal_line),
        ("git", _SOON_S, machine.git_line),
        ("ripgrep", _SOON_S, machine.ripgrep_line),
        ("folders", _SOON_S, machine.folder_lines),
        ("sandbox", _SOON_S, machine.sandbox_line),
        ("server", _SOON_S, lambda: server_lines(asked)),
        ("vllm", late, lambda: _software(asked)),
        ("gpus", _LATE_S, lambda: _cards(asked)),
        ("model", _LATE_S, lambda: model_lines(asked)),
    ]


def _software(asked: Asked) -> list[Line]:
    from glmcode.doctor.software import look, software_lines

    if asked.profile is None:
        return [ok("vllm", "not needed: no engine is wanted here")]
    here = look(asked.profile)
    lines = software_lines(asked, here)
    if asked.deep and here.cuda and here.probe is not None:
        from glmcode.doctor.numeric import numeric_line

        lines.append(numeric_line(here.probe.python, asked.profile.kv_dtype))
    return lines


def _cards(asked: Asked) -> list[Line]:
    from glmcode.doctor.cards import card_lines, fit_line, host_lines
    from glmcode.engine.gpus import find_gpus

    here = find_gpus()
    return [*card_lines(asked, here), *fit_line(asked, here), *host_lines(asked, here)]


def collect(
    checks: list[tuple[str, float, Check]], stop: threading.Event | None = None
) -> list[Line]:
    """Run them side by side; a check that does not end in its time is a fault of its own.

    stop: once it is set, nothing is waited for.
    """
    began = time.monotonic()
    running = []
    for name, limit_s, check in checks:
        one = _Running(name=name, limit_s=limit_s)
        threading.Thread(target=_run, args=(one, check), daemon=True).start()
        running.append(one)
    lines: list[Line] = []
    for one in running:
        while not one.done.wait(min(LOOK_S, max(0.0, began + one.limit_s - time.monotonic()))):
            if (stop is not None and stop.is_set()) or time.monotonic() >= began + one.limit_s:
                break
        if one.lines is None:
            text = f"no answer within {one.limit_s:g} s"
            todo = "something that it asks hangs: a driver, a network disk, a program"
            lines.append(fault(one.name, text, todo))
        else:
            lines += one.lines
    return lines


_FAULTS = (OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError)
"""What odd files and programs make a check raise; a fault of its own is a line, too."""


def _run(one: _Running, check: Check) -> None:
    try:
        one.lines = check()
    except _FAULTS as error:
        text = f"it cannot be looked at: {type(error).__name__}: {error}"
        one.lines = [fault(one.name, text, "see what it says; please report it")]
    finally:
        one.done.set()


def _print(lines: list[Line], *, as_json: bool) -> None:
    counts = {state: sum(line.state == state for line in lines) for state in _MARKS}
    if as_json:
        checks = [
            {
                "name": line.name,
                "state": line.state,
                "text": line.text,
                "todo": line.todo or None,
                "details": list(line.details),
            }
            for line in lines
        ]
        value = {
            "version": __version__,
            "ok": not counts["fault"],
            "faults": counts["fault"],
            "warnings": counts["warning"],
            "checks": checks,
        }
        print(json.dumps(value, indent=2))
        return
    width = max(len(line.name) for line in lines)
    for line in lines:
        _show(f"{_MARKS[line.state]}  {line.name:<{width}}  {line.text}")
        for text in line.details:
            _show(f"{'':<{width + 11}}- {text}")
        if line.todo:
            _show(f"{'':<{width + 11}}-> {line.todo}")
    many = ", ".join(
        f"{counts[state]} {state}{'' if counts[state] == 1 else 's'}" for state in _MARKS
        if state != "ok"
    )  # fmt: skip
    _show(f"\nglmcode {__version__}: {many}")


def _show(text: str) -> None:
    print(for_terminal(text))
