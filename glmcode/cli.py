"""The command line: one exact first word chooses a command, everything else is a conversation.

Nothing heavy is imported before it is known to be needed: `--version` and `--help` import
neither asyncio nor a library. This is the edge where an unforeseen fault becomes one
sentence; the details go to a file in the state folder. Must not do a command's work.
"""

from __future__ import annotations

import os
import sys
import time

from glmcode.base.nested import settle, way_out

TYPE_CHECKING = False  # importing typing for this would cost milliseconds
if TYPE_CHECKING:
    from glmcode.agent import AgentOptions
    from glmcode.cli_options import Arguments
    from glmcode.stream_json import Subtype

STARTED = time.monotonic()
COMMANDS = {
    "batch": ("batch_command", "run_batch"),
    "engine": ("engine_commands", "run_engine"),
    "debug": ("debug", "run_debug"),
    "hook": ("githooks.command", "run_hook_command"),
    "commit-message": ("githooks.message_command", "run_commit_message"),
    "map": ("map_command", "run_map"),
    "review": ("review_command", "run_review"),
    "sessions": ("sessions_commands", "run_sessions"),
    "doctor": ("doctor.command", "run_doctor"),
    "undo": ("undo_command", "run_undo"),
    "clean": ("clean_command", "run_clean"),
    "config": ("config_command", "run_config"),
    "completion": ("completion", "run_completion"),
    "demo": ("demo", "run_demo"),
}
"""First word -> module of the package and function, which takes the words after it."""
NO_TOPIC = """glmcode: help: nothing is called {}: `glmcode help` lists what there is, /help in a \
session its commands and keys (a prompt that begins so: glmcode -- help ...)
"""


class _Stopped(BaseException):
    """A signal came before the event loop took charge of signals."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> int:
    """Entry point of the `glmcode` script; returns the exit code and never raises."""
    _open_descriptors()
    argv = sys.argv[1:]
    settle(os.environ)
    if _is_headless(argv):
        _watch_signals()
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        return 130
    except _Stopped as stopped:
        return _stopped_early(argv, stopped.number)
    except BrokenPipeError:
        _silence_stdout()
        return 1
    except Exception as error:  # the edge: a person reads a sentence, never a traceback
        return _fault(argv, error)


def _open_descriptors() -> None:
    """What the caller closed is opened on nothing, so that no file of ours becomes stdout.

    Reading it ends at once and writing to it fails, as on a closed descriptor.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest free number


def _is_headless(argv: list[str]) -> bool:
    return any(word in ("-p", "--print") for word in _before_dashes(argv))


def _watch_signals() -> None:
    """Until the event loop takes over, a signal ends the run in words, not by its default."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise _Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _stopped_early(argv: list[str], number: int) -> int:
    import signal

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    if number == signal.SIGINT:
        return _unbegun(argv, "interrupted", 130, "interrupted")
    return _unbegun(argv, "terminated by a signal", 143, "interrupted")


def _unbegun(
    argv: list[str], error: str, code: int, subtype: Subtype = "error_during_execution"
) -> int:
    """End a headless run that has not begun: the sentence, and the result where JSON was asked."""
    _say(error, code)
    if not _is_headless(argv):
        return code
    from glmcode.stream_json import as_line, unbegun_lines

    try:
        cwd = os.getcwd()  # noqa: PTH109 (no pathlib for one word)
    except OSError:
        cwd = ""
    lines = unbegun_lines(
        _wanted_format(argv),
        cwd=cwd,
        subtype=subtype,
        error=error.partition("\n")[0],
        exit_code=code,
        duration_s=time.monotonic() - STARTED,
    )
    _print("".join(map(as_line, lines)))
    return code


def _wanted_format(argv: list[str]) -> str:
    """The last format in the arguments that is one, however wrong the rest of them is."""
    found = "text"
    words = _before_dashes(argv)
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        value = value if equals else after
        if name == "--output-format" and value in ("text", "json", "stream-json"):
            found = value
    return found


def _dispatch(argv: list[str]) -> int:
    first = argv[0] if argv else ""
    if first in ("-v", "--version"):
        from glmcode import __version__

        return _print(f"glmcode {__version__}\n")
    if first == "help" and len(argv) > 1 and argv[1] in COMMANDS:
        return _command(argv[1], [*argv[1:], "--help"])
    if argv[:2] == ["help", "stream-json"]:
        from glmcode.help_topics import stream_json

        return _print(stream_json(schema="--schema" in argv[2:]))
    if first == "help" and len(argv) > 1 and not argv[1].startswith("-"):
        sys.stderr.write(NO_TOPIC.format(ascii(argv[1])))
        return 2
    if first in ("-h", "--help", "help") or "--help" in _before_dashes(argv):
        from glmcode.help_text import HELP

        if first not in COMMANDS:
            return _print(HELP)
    return _command(first, argv)


def _command(first: str, argv: list[str]) -> int:
    if argv[:2] == ["engine", "status"]:
        from glmcode.status_now import told

        if (text := told(argv[2:])) is not None:
            return _print(text)
    if first not in COMMANDS:
        return _conversation(argv)
    from importlib import import_module

    module, function = COMMANDS[first]
    code: int = getattr(import_module(f"glmcode.{module}"), function)(argv[1:])
    return code


def _before_dashes(argv: list[str]) -> list[str]:
    return argv[: argv.index("--")] if "--" in argv else argv


def _conversation(argv: list[str]) -> int:
    from glmcode.cli_options import CannotResume, UsageError, parse_arguments
    from glmcode.engine.chunks import own_process
    from glmcode.permissions import RuleError
    from glmcode.trusting import Unanswered

    own_process()
    try:
        arguments: Arguments = parse_arguments(argv)
        if arguments.print_mode:
            return _headless(argv, arguments)
        return _interactive(arguments)
    except (UsageError, RuleError) as error:
        return _unbegun(argv, f"{error}\ntry: glmcode --help", 2)
    except CannotResume as error:
        return _unbegun(argv, str(error), 1)
    except Unanswered:
        return _unbegun(argv, "no answer: nothing was begun, and nothing is remembered", 130)


def _headless(argv: list[str], arguments: Arguments) -> int:
    from glmcode.cli_options import UsageError
    from glmcode.run_options import agent_options, going_on
    from glmcode.stdin import StdinError, StdinLate, read_stdin

    options = agent_options(arguments)
    prompt = arguments.prompt
    if arguments.talks:
        for notice in arguments.notices:
            _say(notice, 0)
        return _run(going_on(options, arguments, terminal=False), arguments, [prompt or ""])
    begin_s = 1.0 if prompt not in (None, "-") else 5.0
    limit = arguments.time_limit
    try:
        piped, notices = read_stdin(
            begin_s=begin_s, deadline=None if limit is None else STARTED + limit
        )
    except StdinLate:
        text = f"stopped: the time limit of {limit:g} s was reached while reading standard input"
        return _unbegun(argv, text, 53, "error_time_limit")
    except StdinError as error:
        raise UsageError(str(error)) from error
    for notice in (*arguments.notices, *notices):
        _say(notice, 0)
    parts = [part for part in (None if prompt == "-" else prompt, piped.rstrip("\n")) if part]
    if not any(part.strip() for part in parts):
        raise UsageError("no prompt: give one as an argument, or pipe it in")
    return _run(going_on(options, arguments, terminal=False), arguments, parts)


def _run(options: AgentOptions, arguments: Arguments, parts: list[str]) -> int:
    """One turn, or a conversation. parts: the prompt, and what follows it."""
    from glmcode.headless import HeadlessOptions, run_headless

    run = HeadlessOptions(
        prompt=parts[0],
        piped="\n\n".join(parts[1:]),
        output_format=arguments.output_format,
        partial=arguments.partial,
        time_limit=arguments.time_limit,
        last_message_file=arguments.last_message_file,
        schema=arguments.output_schema,
        verbose=arguments.ui.verbose,
        started=STARTED,
    )
    if arguments.talks:
        from glmcode.headless_talk import run_talk

        return run_talk(options, run)
    return run_headless(options, run)


def _interactive(arguments: Arguments) -> int:
    from glmcode.cli_options import UsageError

    if not (_is_terminal(0) and _is_terminal(1)):
        raise UsageError("no terminal here: use glmcode -p PROMPT for one turn without one")
    from glmcode.engine.default import NO_ENGINE, machine_profile
    from glmcode.run_options import agent_options, going_on

    engine = arguments.engine
    if not (engine.base_url or engine.profile or machine_profile() or way_out(os.environ)):
        return _say(NO_ENGINE, 75)
    for notice in arguments.notices:
        _say(notice, 0)
    stored: AgentOptions | None = None
    if arguments.resume is not None:  # it may ask which: before the screen is ours
        stored = going_on(agent_options(arguments), arguments, terminal=True)
    import asyncio

    from glmcode.repl.app import run_repl

    begun = run_repl(
        lambda: stored or agent_options(arguments),
        prompt=arguments.prompt,
        ui=arguments.ui,
        workspace=arguments.workspace,
    )
    return asyncio.run(begun)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _print(text: str) -> int:
    try:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        return 1
    return 0


def _say(text: str, code: int) -> int:
    from glmcode.repl.clean import visible

    try:
        os.write(2, f"glmcode: {visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
    return code


def _silence_stdout() -> None:
    """Point a broken stdout elsewhere, so that the interpreter's last flush says nothing."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)


def _fault(argv: list[str], error: Exception) -> int:
    import traceback

    from glmcode.base.paths import private_folder, state_folder
    from glmcode.exits import fault_words

    where = ""
    try:
        path = private_folder(state_folder()) / "faults.log"
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write("".join(traceback.format_exception(error)) + "\n")
        where = f"; details: {path}"
    except OSError:
        pass
    text = f"{fault_words(error)}{where}"
    begun = "glmcode.headless" in sys.modules  # then the run has told its own result
    return _say(text, 1) if begun else _unbegun(argv, text, 1)


if __name__ == "__main__":
    sys.exit(main())
