"""Reads the options of a conversation: arguments, settings files and environment, in order.

Everything a caller can get wrong ends in UsageError with one sentence. Must not import the
agent or the engine: a usage error costs nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from glmcode.base.config import ConfigError, load_config, parse_mode, parse_sandbox
from glmcode.base.settings import (
    PROTOCOLS,
    Config,
    ContextSettings,
    EngineSettings,
    Mode,
    PermissionSettings,
    SandboxMode,
    UiSettings,
)
from glmcode.core.faults import ModelError
from glmcode.engine.endpoint import Endpoint, address_of
from glmcode.engine.lane import CLASSES, Lane, QueueClass, new_lane
from glmcode.option_types import key_value, positive_float, positive_int, text_file, thinking
from glmcode.trusting import is_trusted

FORMATS = ("text", "json", "stream-json")


class UsageError(Exception):
    """The caller asked for something that cannot be; exit code 2."""


class CannotResume(Exception):
    """The session that is asked for cannot be gone on with; exit code 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Which session to go on with. session_id: the beginning of an id; "": to be chosen from a
    list; None: the one used last. fork: in a copy of it."""

    session_id: str | None
    fork: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Parsed arguments with settings folded in; paths are real paths.

    permissions: the settings as they stand; mode, rules and sandbox are what the flags made
    of them. sandbox: None: it goes with the permission mode.
    """

    prompt: str | None
    print_mode: bool
    output_format: Literal["text", "json", "stream-json"]
    talks: bool
    partial: bool
    max_turns: int | None
    max_output_tokens: int | None
    time_limit: float | None
    last_message_file: Path | None
    output_schema: Mapping[str, Any] | None
    mode: Mode
    allow: tuple[str, ...]
    ask: tuple[str, ...]
    deny: tuple[str, ...]
    sandbox: SandboxMode | None
    permissions: PermissionSettings
    caches: tuple[Path, ...]
    workspace: Path
    trusted: bool
    add_dirs: tuple[Path, ...]
    system_prompt: str | None
    append_system_prompt: str | None
    resume: Resume | None
    engine: EngineSettings
    lane: Lane
    context: ContextSettings
    result_chars: int
    checkpoints: bool
    ui: UiSettings
    notices: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def build_parser() -> argparse.ArgumentParser:
    """The parser of a conversation's options; help is static (help_text.py)."""
    parser = _Parser(prog="glmcode", add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add("prompt", nargs="*")
    add("-p", "--print", action="store_true", dest="print_mode")
    add("--output-format", choices=FORMATS, default="text")
    add("--input-format", choices=("text", "stream-json"), default="text")
    add("--include-partial-messages", action="store_true", dest="partial")
    add("--max-turns", type=positive_int)
    add("--max-output-tokens", type=positive_int)
    add("--time-limit", type=positive_float)
    add("-o", "--output-last-message", dest="last_message_file")
    add("--output-schema")
    add("--permission-mode")
    add("-y", "--yolo", "--dangerously-skip-permissions", action="store_true", dest="yolo")
    add("--allowed-tools", "--allowedTools", action="append", default=[])
    add("--disallowed-tools", "--disallowedTools", action="append", default=[])
    add("--sandbox")
    add("--add-dir", action="append", default=[])
    add("--trust", action="store_true")
    add("-C", "--cd", "--cwd", dest="cd")
    add("-c", "--continue", action="store_true", dest="latest")
    add("-r", "--resume", nargs="?", const="")
    add("--fork-session", action="store_true")
    add("--system-prompt")
    add("--append-system-prompt")
    add("--system-prompt-file", type=text_file)
    add("--append-system-prompt-file", type=text_file)
    add("--no-instructions", action="store_true")
    add("--profile")
    add("--base-url")
    add("--api-key-env")
    add("-m", "--model")
    add("--protocol", choices=PROTOCOLS)
    add("--thinking", type=thinking)
    add("--queue-class", choices=CLASSES)
    add("--queue-timeout", type=positive_float)
    add("--no-wait", action="store_true")
    add("--set", action="append", default=[], type=key_value, dest="settings")
    add("--verbose", action="store_true")
    add("--plain", action="append_const", dest="settings", const=("ui.plain", "true"))
    return parser


def parse_arguments(argv: Sequence[str], *, enter: bool = True) -> Arguments:
    """Arguments and settings as one value. enter: make -C DIR the process's own folder.

    Raises UsageError, Unanswered.
    """
    flags, prompt = _split(argv)
    workspace = _workspace(flags.cd, enter)
    trusted = bool(flags.trust) or is_trusted(workspace, terminal=not flags.print_mode)
    try:
        config, notices = load_config(workspace, os.environ, flags.settings, trusted=trusted)
        mode = _mode(flags, config)
        sandbox = _sandbox(flags, config)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if flags.profile and flags.base_url:
        raise UsageError("--profile and --base-url exclude each other: one engine answers")
    if any(not rule.strip(" ,") for rule in flags.disallowed_tools):
        raise UsageError("--disallowed-tools was given nothing to deny: give a rule, such as Bash")
    return Arguments(
        prompt=prompt,
        print_mode=flags.print_mode,
        output_format=flags.output_format,
        talks=_talks(flags, prompt),
        partial=flags.partial,
        max_turns=flags.max_turns,
        max_output_tokens=flags.max_output_tokens,
        time_limit=flags.time_limit,
        last_message_file=_output_file(flags.last_message_file),
        output_schema=_output_schema(flags),
        mode=mode,
        allow=(*config.permissions.allow, *flags.allowed_tools),
        ask=config.permissions.ask,
        deny=(*config.permissions.deny, *flags.disallowed_tools),
        sandbox=sandbox,
        permissions=config.permissions,
        caches=tuple(_cache(folder) for folder in config.permissions.sandbox_writable),
        workspace=workspace,
        trusted=trusted,
        add_dirs=tuple(_folder(folder, "--add-dir") for folder in flags.add_dir),
        system_prompt=flags.system_prompt,
        append_system_prompt=flags.append_system_prompt,
        resume=_resume(flags),
        engine=_engine(flags, config),
        lane=_lane(flags, config, workspace),
        context=_context(flags, config),
        result_chars=config.tools.result_chars,
        checkpoints=config.tools.checkpoints,
        ui=replace(config.ui, verbose=flags.verbose or config.ui.verbose),
        notices=tuple(notices),
    )


def _split(argv: Sequence[str]) -> tuple[Any, str | None]:
    """Flags, and the prompt: everything after `--` is prompt, whatever it looks like."""
    argv = list(argv)
    forced: list[str] = []
    if "--" in argv:
        position = argv.index("--")
        argv, forced = argv[:position], argv[position + 1 :]
    flags = build_parser().parse_intermixed_args(argv)
    _words(flags)
    words = [*flags.prompt, *forced]
    if len(words) > 1:
        raise UsageError(f"one prompt, please: put quotes around it (got {len(words)} words)")
    return flags, _clean(words[0]) if words else None


def _words(flags: Any) -> None:
    """The two system prompts as text, whichever way each was given."""
    for name in ("system_prompt", "append_system_prompt"):
        given, read = getattr(flags, name), getattr(flags, f"{name}_file")
        if given is not None and read is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} and {option}-file exclude each other: give one of them")
        setattr(flags, name, _clean(given) if read is None else read)


def _mode(flags: Any, config: Config) -> Mode:
    if flags.yolo:
        if flags.permission_mode and parse_mode(flags.permission_mode) != "bypassPermissions":
            raise ConfigError("-y and --permission-mode say different things: give one of them")
        return "bypassPermissions"
    return parse_mode(flags.permission_mode or config.permissions.mode)


def _sandbox(flags: Any, config: Config) -> SandboxMode | None:
    """The flag, else the setting, else None: it goes with the permission mode."""
    given = flags.sandbox or config.permissions.sandbox
    return parse_sandbox(given) if given else None


def _talks(flags: Any, prompt: str | None) -> bool:
    """Whether standard input is a conversation, and not a part of the prompt."""
    if flags.input_format == "text":
        return False
    if not flags.print_mode or flags.output_format != "stream-json":
        raise UsageError(
            "--input-format stream-json is a conversation between programs: add -p "
            "and --output-format stream-json"
        )
    if prompt == "-":
        raise UsageError("with --input-format stream-json messages come as lines: leave - out")
    return True


def _resume(flags: Any) -> Resume | None:
    if not flags.latest and flags.resume is None:
        if flags.fork_session:
            raise UsageError("--fork-session copies a session: name it with -c or -r ID")
        return None
    if flags.latest and flags.resume is not None:
        raise UsageError("-c and -r exclude each other: -c goes on with the session used last")
    if flags.resume == "" and flags.print_mode:
        raise UsageError(
            "-r needs the id of a session here (`glmcode sessions list` shows them), "
            "or use -c for the one used last"
        )
    if flags.system_prompt is not None or flags.append_system_prompt is not None:
        raise UsageError(
            "a session goes on with the system prompt that it began with: leave out "
            "--system-prompt and --append-system-prompt, or start a new session"
        )
    return Resume(session_id=None if flags.latest else flags.resume, fork=flags.fork_session)


def _engine(flags: Any, config: Config) -> EngineSettings:
    engine = config.engine
    given = {
        "profile": flags.profile,
        "base_url": flags.base_url,
        "api_key_env": flags.api_key_env,
        "model": flags.model,
        "protocol": flags.protocol,
        "thinking": flags.thinking,
    }
    if flags.profile:
        engine = replace(engine, base_url="")
    engine = replace(engine, **{name: value for name, value in given.items() if value is not None})
    if engine.base_url and not engine.base_url.startswith(("http://", "https://", "unix:")):
        raise UsageError(
            f"the base URL {engine.base_url!r} must begin with http:// or https://, such as "
            "http://localhost:8000/v1, or with unix:, such as unix:/PATH/OF/SOCKET"
        )
    if engine.base_url:
        try:
            address_of(Endpoint(base_url=engine.base_url))
        except ModelError as error:
            raise UsageError(f"the base URL is not one: {error}") from error
    return engine


def _lane(flags: Any, config: Config, workspace: Path) -> Lane:
    """How urgent this run is to an engine that others use, and how long it waits for it."""
    if flags.no_wait and flags.queue_timeout:
        raise UsageError("--no-wait and --queue-timeout exclude each other: give one of them")
    wait = 0.0 if flags.no_wait else flags.queue_timeout or config.engine.queue_timeout or None
    return new_lane(_queue_class(flags, config), workspace, os.environ, wait_s=wait)


def _queue_class(flags: Any, config: Config) -> QueueClass:
    given = flags.queue_class or config.engine.queue_class
    for kind in CLASSES:
        if given == kind:
            return kind
    if given:
        raise UsageError(f"engine.queue_class: {given!r} is none of {', '.join(CLASSES)}")
    return "scripted" if flags.print_mode else "interactive"


def _context(flags: Any, config: Config) -> ContextSettings:
    return replace(config.context, instructions=False) if flags.no_instructions else config.context


def _workspace(given: str | None, enter: bool) -> Path:
    if given is not None:
        folder = _folder(given, "-C")
        try:
            if enter:
                os.chdir(folder)
        except OSError as error:
            raise UsageError(f"-C {given}: {error.strerror}") from error
        return folder
    try:
        return Path(os.getcwd()).resolve(strict=True)  # noqa: PTH109 (reports a deleted folder)
    except OSError as error:
        raise UsageError("the working directory is gone: change to one that exists") from error


def _folder(given: str, flag: str) -> Path:
    if not given:  # a variable of a script that is not set must not mean the current folder
        raise UsageError(f"{flag} was given an empty name: give a folder")
    try:
        folder = Path(given).expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{flag} {given}: no such folder") from error
    if not folder.is_dir():
        raise UsageError(f"{flag} {given}: not a folder")
    return folder


def _cache(given: str) -> Path:
    """A folder of permissions.sandbox_writable; it need not exist."""
    try:
        folder = Path(given).expanduser()
    except RuntimeError as error:
        raise UsageError(f"permissions.sandbox_writable {given}: {error}") from error
    if not folder.is_absolute():
        raise UsageError(
            f"permissions.sandbox_writable {given}: must be an absolute path, or begin with ~/"
        )
    return folder


def _output_file(given: str | None) -> Path | None:
    if given is None:
        return None
    try:
        path = Path(given).expanduser().absolute()
        if not path.is_dir() and path.parent.is_dir():
            return path
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"-o {given}: not a path that can be used ({error})") from error
    raise UsageError(f"-o {given}: not a file in a folder that exists")


def _output_schema(flags: Any) -> Mapping[str, Any] | None:
    if flags.output_schema is None:
        return None
    if not flags.print_mode:
        raise UsageError("--output-schema is for runs without a terminal: add -p")
    from glmcode.agent_structured import SchemaError, read_schema

    try:
        return read_schema(Path(flags.output_schema).expanduser())
    except (SchemaError, RuntimeError) as error:
        raise UsageError(f"--output-schema: {error}") from error


def _clean(text: str | None) -> str | None:
    """Arguments that are not UTF-8 arrive as lone surrogates: replaced, as everywhere."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
