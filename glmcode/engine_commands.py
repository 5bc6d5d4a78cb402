"""`glmcode engine ...`: start, stop, restart, status, logs, plan, profiles.

For people and scripts: progress on a terminal as one line, elsewhere as plain lines; the
answer on stdout, everything else on stderr; one sentence for every failure, never a
traceback. The work is done in `engine/`; this module only reads arguments and prints.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.bench_command import add_bench
from glmcode.consent import add_yes, look, refused
from glmcode.engine.attach import (
    EngineUnavailable,
    all_statuses,
    attach,
    engine_status,
    find_status,
    rest,
    wake,
)
from glmcode.engine.default import machine_profile
from glmcode.engine.halt import HaltError, halt
from glmcode.engine.paths import PathsError, engine_paths, known_engines
from glmcode.engine.profile import (
    Profile,
    ProfileError,
    list_profiles,
    load_profile,
)
from glmcode.engine.state import EngineStatus, describe
from glmcode.exits import Exit
from glmcode.listen_options import Listen, add_listen, door_of, listening, open_door
from glmcode.log_command import print_log
from glmcode.moving import MovingLine
from glmcode.repl.clean import for_terminal, visible
from glmcode.setup_commands import add_setup
from glmcode.status_commands import status_json, status_lines, watch_status

if TYPE_CHECKING:
    import argparse

    from glmcode.core.events import Event


def run_engine(argv: list[str]) -> int:
    """Run one engine command; returns the exit code."""
    _open_streams()
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.USAGE
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # logs hold what a locale may not
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except ProfileError as error:
        _say(str(error))
        return Exit.USAGE
    except EngineUnavailable as error:
        _say(str(error))
        if error.log:
            _say("  " + error.log.replace("\n", "\n  "))
        return Exit.UNAVAILABLE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.ERROR
    except (HaltError, PathsError, OSError) as error:
        _say(str(error))
        return Exit.ERROR
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser
    from glmcode.plan_commands import add_plan_options

    parser = Parser(
        prog="glmcode engine", description="The engine that serves a profile on this machine."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--profile", metavar="NAME", help="the profile to serve")
        command.set_defaults(run=run, verb=name)
        return command

    start = add("start", _start, "start an engine and wait until it is ready")
    start.add_argument("--no-wait", action="store_true", help="do not wait until it is ready")
    add_listen(start)
    add_yes(start)
    add_yes(add("stop", _stop, "stop an engine; returns when it is gone"))
    restart = add("restart", _restart, "stop an engine and start it again")
    restart.add_argument("--no-wait", action="store_true", help="do not wait until it is ready")
    add_yes(restart)
    add_yes(add("sleep", _rest, "lend the GPUs: the weights go to host memory, the cache is lost"))
    add("wake", _rest, "take the GPUs again, in less time than a start")
    status = add("status", _status, "what one engine is doing, or all of them")
    status.add_argument("--json", action="store_true", help="as JSON; with --watch one a line")
    status.add_argument("--watch", action="store_true", help="go on telling what it does")
    logs = add("logs", _logs, "the engine's log")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    logs.add_argument("-n", "--lines", type=int, default=40, metavar="N", help="last N lines")
    plan = add("plan", _plan, "what fits on which GPUs, and the command line, without starting it")
    add_plan_options(plan)
    add_setup(add, _chosen)
    add_bench(add, lambda given: _startable(_chosen(given)))
    profiles = add("profiles", _profiles, "the profiles that can be served")
    profiles.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _open_streams() -> None:
    """What the caller closed is nothing to read and nowhere to write, and stops no command."""
    nothing = Path(os.devnull)
    sys.stdin = sys.stdin or nothing.open(encoding="utf-8")
    sys.stdout = sys.stdout or nothing.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nothing.open("w", encoding="utf-8")


def _chosen(arguments: argparse.Namespace) -> Profile:
    """The profile that is meant: named, configured, or the one for this machine."""
    from glmcode.base.config import ConfigError, load_config

    name = arguments.profile
    python = ""
    try:
        settings = load_config(None, os.environ)[0].engine
        name, python = name or settings.profile, settings.python
    except ConfigError as error:
        raise ProfileError(str(error)) from error
    name = name or machine_profile()
    if not name:
        raise ProfileError(
            f"no profile named: --profile NAME (known: {', '.join(list_profiles())})"
        )
    profile = load_profile(name)
    if python:
        from dataclasses import replace

        profile = replace(profile, python=python)
    return profile


def _startable(profile: Profile) -> Profile:
    if profile.base_url:
        raise ProfileError(
            f"profile {profile.name} is a server that somebody else runs ({profile.base_url}): "
            "there is no engine here to start, measure or stop"
        )
    return profile


def _start(arguments: argparse.Namespace) -> int:
    profile = _startable(_chosen(arguments))
    wanted = listening(arguments)
    now = asyncio.run(look(profile.name))
    if now is not None and _differs(now, profile):
        if (code := refused({profile.name: now}, "reload", yes=arguments.yes)) is not None:
            return code
        _say(f"{profile.name}: it runs with other settings and is started again with these")
        wanted = _end(profile.name, wanted)
    return _start_now(arguments, profile, wanted)


def _differs(status: EngineStatus, profile: Profile) -> bool:
    """Whether an engine that is there has other settings than those that are wanted."""
    there = status.up or status.state in ("starting", "sleeping")
    return there and bool(status.digest) and status.digest != profile.digest()


def _end(name: str, wanted: Listen | None) -> Listen | None:
    """End an engine that is started again at once; where that one is to listen."""
    was = asyncio.run(door_of(name))
    asyncio.run(halt(engine_paths(name), again=True))
    return was if wanted is None else wanted


def _start_now(arguments: argparse.Namespace, profile: Profile, wanted: Listen | None) -> int:
    if profile.nodes > 1:
        _tell_others(profile)
    progress = Progress(profile.name)
    try:
        status = asyncio.run(_wake(profile, progress, wanted, wait=not arguments.no_wait))
    except KeyboardInterrupt:
        progress.clear()
        _say(f"{profile.name}: it goes on starting: glmcode engine stop ends it")
        raise
    finally:
        progress.clear()
    took = "" if arguments.no_wait else f"; started in {status.start_s:.1f} s"
    _show(f"{profile.name}: {describe(status)}{took}")
    if status.listening:
        _show(f"  listening on {status.listening}")
    if status.door:
        _say(f"{profile.name}: {status.door}")
    return Exit.DONE


def _tell_others(profile: Profile) -> None:
    """What the other machines have to run, before the wait for them begins."""
    from glmcode.engine.prepare import SetupError
    from glmcode.launch_text import others_lines
    from glmcode.plan_commands import launch_of

    try:
        for line in others_lines(launch_of(profile).others):
            _say(line)
    except (ProfileError, SetupError):
        return  # the start itself says it better


async def _wake(
    profile: Profile, progress: Progress, wanted: Listen | None, *, wait: bool
) -> EngineStatus:
    status = await wake(profile)
    if wanted is not None:
        status = await open_door(profile, wanted)
    if wait:
        await attach(profile, progress)
        status = await find_status(engine_paths(profile.name)) or status
    return status


def _stop(arguments: argparse.Namespace) -> int:
    names = [_named(arguments)] if arguments.profile else _running()
    if not names:
        print("no engine was running")
    found = {name: asyncio.run(look(name)) for name in names}
    if (code := refused(found, "stop", yes=arguments.yes)) is not None:
        return code
    for name in names:
        was = asyncio.run(halt(engine_paths(name)))
        print(f"{name}: stopped" if was else f"{name}: no engine was running")
    return Exit.DONE


def _running() -> list[str]:
    """Names of the engines whose supervisor lives, or was killed and may have left something."""
    from glmcode.engine.holder import holder

    known = known_engines()
    return [paths.name for paths in known if paths.child.exists() or holder(paths) is not None]


def _named(arguments: argparse.Namespace) -> str:
    """A profile's name that need not be loadable: an engine may outlive its profile's file."""
    if arguments.profile:
        name: str = arguments.profile
        if name not in [paths.name for paths in known_engines()]:
            load_profile(name)
        return name
    known = known_engines()
    return known[0].name if len(known) == 1 else _chosen(arguments).name


def _restart(arguments: argparse.Namespace) -> int:
    profile = _startable(_chosen(arguments))
    now = asyncio.run(look(profile.name))
    if (code := refused({profile.name: now}, "restart", yes=arguments.yes)) is not None:
        return code
    return _start_now(arguments, profile, _end(profile.name, None))


def _rest(arguments: argparse.Namespace) -> int:
    name = _named(arguments)
    if arguments.verb == "sleep":
        found = {name: asyncio.run(look(name))}
        if (code := refused(found, "sleep", yes=arguments.yes)) is not None:
            return code
    status = asyncio.run(rest(name, sleep=arguments.verb == "sleep"))
    _show(f"{name}: {describe(status)}")
    return Exit.DONE


def _status(arguments: argparse.Namespace) -> int:
    if arguments.watch:
        return watch_status(_named(arguments), as_json=arguments.json)
    if arguments.profile:
        found: list[EngineStatus | EngineUnavailable]
        try:
            found = [engine_status(name := _named(arguments))]
        except EngineUnavailable as error:
            error.profile = name
            found = [error]
    else:
        found = all_statuses()
    if arguments.json:
        values = [status_json(item) for item in found]
        print(json.dumps(values[0] if arguments.profile else values))
        return Exit.DONE
    if not found:
        print("no engine was started on this machine")
    for item in found:
        for line in status_lines(item):
            _show(line)
    return Exit.DONE


def _logs(arguments: argparse.Namespace) -> int:
    paths = engine_paths(_named(arguments))
    if not paths.log.is_file():
        _say(f"no engine of profile {paths.name} was started on this machine: no log")
        return Exit.ERROR
    print_log(paths.log, arguments.lines, follow=arguments.follow)
    return Exit.DONE


def _plan(arguments: argparse.Namespace) -> int:
    from glmcode.plan_commands import run_plan

    return run_plan(arguments, _chosen)


def _profiles(arguments: argparse.Namespace) -> int:
    from glmcode.profiles_command import run_profiles

    return run_profiles(arguments.json)


def _show(text: str) -> None:
    """On standard output: profiles may hold anything, a terminal must not obey it."""
    print(for_terminal(text))


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr)


class Progress:
    """Shows events of a start on stderr: one line that changes, or a line now and then."""

    def __init__(self, name: str) -> None:
        from glmcode.waits import Waits

        self._name = name
        self._line = MovingLine()
        self._waits = Waits(eager=False, detail=False)

    def __call__(self, event: Event) -> None:
        """Take an event; must neither block nor raise."""
        from glmcode.core.events import EngineProgress, Notice
        from glmcode.repl.status import phase_text

        if isinstance(event, Notice):
            self.clear()
            _say(event.text)
        if not isinstance(event, EngineProgress):
            return
        text = f"{self._name}: {phase_text(event)}"
        if self._line.moves:
            self._line.show(text)
        elif self._waits.due(event, time.monotonic()):
            _say(text)

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        self._line.clear()
