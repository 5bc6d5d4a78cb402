"""The command line: one exact first word chooses a command, everything else is a conversation.

Nothing heavy is imported before it is known to be needed: `--version` and `--help` import
neither asyncio nor a library. This is the edge where an unforeseen fault becomes one
sentence; the details go to a file in the state folder. Must not do a command's work.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # importing typing for this would cost milliseconds
if TYPE_CHECKING:
    from glmcode.agent import AgentOptions
    from glmcode.cli_options import Arguments

STARTED = time.monotonic()
LATER = (
    "hook",
    "review",
    "commit-message",
    "sessions",
    "config",
    "completion",
    "map",
    "undo",
    "doctor",
    "clean",
    "batch",
)


def main() -> int:
    """Entry point of the `glmcode` script; returns the exit code and never raises."""
    argv = sys.argv[1:]
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 1
    except Exception as error:  # the edge: a person reads a sentence, never a traceback
        return _fault(error)


def _dispatch(argv: list[str]) -> int:
    first = argv[0] if argv else ""
    if first in ("-v", "--version"):
        from glmcode import __version__

        return _print(f"glmcode {__version__}\n")
    if first in ("-h", "--help", "help") or "--help" in _before_dashes(argv):
        from glmcode.help_text import HELP

        if first not in ("engine", "demo", "debug"):
            return _print(HELP)
    match first:
        case "engine":
            from glmcode.engine_commands import run_engine

            return run_engine(argv[1:])
        case "debug":
            from glmcode.debug import run_debug

            return run_debug(argv[1:])
        case "demo":
            from glmcode.demo import run_demo

            return run_demo(argv[1:])
        case _ if first in LATER:
            return _say(
                f"the command {first!r} is not in this version; a prompt that begins with this "
                f"word goes after --: glmcode -- {first!r}",
                2,
            )
        case _:
            return _conversation(argv)


def _before_dashes(argv: list[str]) -> list[str]:
    return argv[: argv.index("--")] if "--" in argv else argv


def _conversation(argv: list[str]) -> int:
    from glmcode.cli_options import UsageError, parse_arguments
    from glmcode.permissions import RuleError

    try:
        arguments: Arguments = parse_arguments(argv)
        if arguments.print_mode:
            return _headless(arguments)
        return _interactive(arguments)
    except (UsageError, RuleError) as error:
        return _say(f"{error}\ntry: glmcode --help", 2)


def _headless(arguments: Arguments) -> int:
    from glmcode.cli_options import UsageError
    from glmcode.stdin import StdinError, read_stdin

    options = _agent_options(arguments)
    prompt = arguments.prompt
    begin_s = 1.0 if prompt not in (None, "-") else 5.0
    try:
        piped, notices = read_stdin(begin_s=begin_s)
    except StdinError as error:
        raise UsageError(str(error)) from error
    for notice in (*arguments.notices, *notices):
        _say(notice, 0)
    parts = [part for part in (None if prompt == "-" else prompt, piped.rstrip("\n")) if part]
    if not any(part.strip() for part in parts):
        raise UsageError("no prompt: give one as an argument, or pipe it in")
    from glmcode.headless import HeadlessOptions, run_headless

    run = HeadlessOptions(
        prompt="\n\n".join(parts),
        output_format=arguments.output_format,
        partial=arguments.partial,
        time_limit=arguments.time_limit,
        last_message_file=arguments.last_message_file,
        verbose=arguments.verbose,
        started=STARTED,
    )
    return run_headless(options, run)


def _interactive(arguments: Arguments) -> int:
    from glmcode.cli_options import UsageError

    if not (_is_terminal(0) and _is_terminal(1)):
        raise UsageError("no terminal here: use glmcode -p PROMPT for one turn without one")
    options = _agent_options(arguments)
    from glmcode.opening import NO_ENGINE, default_profile

    if not (arguments.engine.base_url or arguments.engine.profile or default_profile()):
        return _say(NO_ENGINE, 75)
    for notice in arguments.notices:
        _say(notice, 0)
    import asyncio

    from glmcode.repl.app import run_repl

    return asyncio.run(run_repl(options, prompt=arguments.prompt, verbose=arguments.verbose))


def _agent_options(arguments: Arguments) -> AgentOptions:
    """Rules are parsed here, before anything starts. Raises RuleError."""
    from glmcode.agent import AgentOptions
    from glmcode.permissions import parse_rules

    return AgentOptions(
        workspace=arguments.workspace,
        engine=arguments.engine,
        mode=arguments.mode,
        allow=parse_rules(arguments.allow),
        ask=parse_rules(arguments.ask),
        deny=parse_rules(arguments.deny),
        extra_folders=arguments.add_dirs,
        system_prompt=arguments.system_prompt,
        append_system_prompt=arguments.append_system_prompt,
        max_turns=arguments.max_turns,
        result_chars=arguments.result_chars,
    )


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _print(text: str) -> int:
    try:
        os.write(1, text.encode())
    except OSError:
        return 1
    return 0


def _say(text: str, code: int) -> int:
    try:
        os.write(2, f"glmcode: {text}\n".encode("utf-8", "replace"))
    except OSError:
        pass
    return code


def _silence_stdout() -> None:
    """Point a broken stdout elsewhere, so that the interpreter's last flush says nothing."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)


def _fault(error: Exception) -> int:
    import traceback

    from glmcode.base.paths import private_folder, state_folder

    where = ""
    try:
        path = private_folder(state_folder()) / "faults.log"
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write("".join(traceback.format_exception(error)) + "\n")
        where = f"; details: {path}"
    except OSError:
        pass
    return _say(f"a fault in glmcode: {type(error).__name__}: {error}{where}", 1)


if __name__ == "__main__":
    sys.exit(main())
