"""What can be set, table by table: names, defaults, what each is for. The one source.

The README's table, `glmcode config` and the completions are made from these definitions, so
that no text can say another thing than the code. Empty strings mean "not set". Must not read
or write a file (config.py does), nor judge values beyond their type and choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

Mode: TypeAlias = Literal["plan", "default", "acceptEdits", "dontAsk", "bypassPermissions"]
MODES: tuple[Mode, ...] = get_args(Mode)
SandboxMode: TypeAlias = Literal["read-only", "workspace-write", "danger-full-access"]
SANDBOXES: tuple[SandboxMode, ...] = get_args(SandboxMode)
PROTOCOLS = ("tokens", "chat")
Reasoning: TypeAlias = Literal["keep", "template"]
REASONING: tuple[Reasoning, ...] = get_args(Reasoning)
MAP = ("on", "off", "auto")
ENTER = ("queue", "steer")
SHOWN = ("folded", "shown")
KEYS = ("emacs", "vi")
THEMES = ("auto", "dark", "light", "ansi")
LINKS = ("auto", "on", "off")
NOTIFY = ("off", "bell", "osc9", "osc777", "command")
CLASSES = ("interactive", "scripted", "hook", "background")


def _setting(default: Any, about: str, *, choices: tuple[str, ...] = (), shown: str = "") -> Any:
    """One setting. about: a sentence for people, in Markdown. choices: the words that it may be,
    none: anything of its type. shown: how the default reads where the value says too little."""
    return field(default=default, metadata={"about": about, "choices": choices, "shown": shown})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """[engine]: which engine answers, and how this run shares it."""

    profile: str = _setting("", "the engine to use when no flag names one")
    base_url: str = _setting("", "a server instead, as `--base-url`")
    api_key_env: str = _setting("", "the variable that holds the server's key")
    model: str = _setting("", "the model's name at the server")
    protocol: str = _setting(
        "", "`tokens` or `chat`; chosen and said if not set", choices=PROTOCOLS
    )
    tokenizer: str = _setting("", "a `tokenizer.json` that equals the server's, for `tokens`")
    python: str = _setting("", "the interpreter that has vLLM")
    idle_stop: float = _setting(
        0.0, "minutes without a request after which an engine is stopped; 0: never"
    )
    thinking: str = _setting(
        "on",
        "how much the model may think: `on`, `off`, or the most tokens of it in a step, as "
        "`--thinking`",
    )
    warm: bool = _setting(
        True, "compute a resumed or compacted session ahead while you type, on an engine of ours"
    )
    stall: int = _setting(
        60,
        "seconds without a token and without any progress of an engine of ours after which it "
        "is said to stand still, and `-p` ends with 75; 0: never",
    )
    queue_class: str = _setting(
        "",
        "how urgently runs ask an engine that others use, too, as `--queue-class`",
        choices=CLASSES,
        shown="`interactive` on a terminal, else `scripted`",
    )
    queue_timeout: int = _setting(
        0, "longest wait in an engine's queue in seconds, as `--queue-timeout`; 0: any"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionSettings:
    """[permissions]: the mode, rules in the form Tool(pattern), and the sandbox of commands."""

    mode: str = _setting("default", "the permission mode of a new run", choices=MODES)
    allow: tuple[str, ...] = _setting((), "rules of what is done unasked")
    ask: tuple[str, ...] = _setting((), "rules of what is always asked about")
    deny: tuple[str, ...] = _setting((), "rules of what is never done")
    sandbox: str = _setting(
        "",
        "the [sandbox](docs/sandbox.md) of commands",
        choices=SANDBOXES,
        shown="`workspace-write`, with `-y` `danger-full-access`",
    )
    sandbox_writable: tuple[str, ...] = _setting(
        (), "further folders that commands may write, such as caches"
    )
    sandbox_network: bool = _setting(False, "whether commands in the sandbox reach the network")
    sandbox_engine: bool = _setting(
        True, "whether commands in the sandbox may ask this run's engine"
    )
    sandbox_auto_allow: bool | None = _setting(
        None,
        "whether commands run unasked where the sandbox is complete",
        shown="asked once",
    )
    environment: tuple[str, ...] = _setting(
        (), "variables that look like secrets and commands get all the same, by name or pattern"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """[context]: what the window holds, and what leaves it."""

    reasoning: str = _setting(
        "keep",
        "`template` cuts the reasoning of earlier turns at each message, which is then computed "
        "again from there",
        choices=REASONING,
    )
    compact: bool = _setting(
        True, "compact by itself; if not, the hard limit ends the turn and says so"
    )
    instructions: bool = _setting(True, "read `AGENTS.md` files")
    map: str = _setting(
        "auto",
        "the repository map: `on`, `off`, or as the engine's profile says (`tiny`: off)",
        choices=MAP,
    )
    window: int = _setting(
        0,
        "use at most so many tokens; 0: all that the engine or server has (of a server that does "
        "not say, it is learned from the first prompt that is too long)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSettings:
    """[tools]: what tools return, and what is recorded before they change anything."""

    result_chars: int = _setting(
        30_000, "most characters of one tool result; the whole goes to a file"
    )
    checkpoints: bool = _setting(
        True, "record the workspace before it is changed, so that it can be undone"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UiSettings:
    """[ui]: what is shown."""

    verbose: bool = _setting(False, "tokens, cache hits and seconds per step")
    enter: str = _setting(
        "queue",
        "what Enter does while a turn runs: `queue` sends the message when the turn has ended, "
        "`steer` hands it to the turn; Ctrl-S does the other",
        choices=ENTER,
    )
    reasoning: str = _setting(
        "folded",
        "the model's reasoning: `folded` to a line with its count, which Ctrl-O unfolds, or "
        "`shown`",
        choices=SHOWN,
    )
    plain: bool = _setting(
        False,
        "lines in order, without cursor movement, colour or a live part, as for screen readers; "
        "always so where `TERM` is `dumb`",
    )
    keys: str = _setting("emacs", "the keys that edit the input", choices=KEYS)
    theme: str = _setting(
        "auto",
        "the colours: `dark`, `light`, the terminal's own sixteen (`ansi`), or `auto`: as the "
        "terminal says of its background (`COLORFGBG`), `ansi` where it doesn't",
        choices=THEMES,
    )
    links: str = _setting(
        "auto",
        "file paths that can be clicked (OSC 8); `auto`: where the terminal is known to have them",
        choices=LINKS,
    )
    title: bool = _setting(True, "the folder and what goes on in the window's title")
    notify: str = _setting(
        "off",
        "what tells you that a turn ended or asks while you did something else: `bell`, `osc9` or "
        "`osc777` (the terminal's notifications), or `command`",
        choices=NOTIFY,
    )
    notify_after: int = _setting(
        10, "seconds without a key of yours after which you count as gone, and a turn as long"
    )
    notify_command: tuple[str, ...] = _setting(
        (),
        "the program of `command` and its arguments, such as `notify-send glmcode`; what happened "
        "is added as the last argument; never read from a repository",
    )


TABLES: Mapping[str, type[Any]] = {
    "engine": EngineSettings,
    "permissions": PermissionSettings,
    "context": ContextSettings,
    "tools": ToolSettings,
    "ui": UiSettings,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, table by table."""

    engine: EngineSettings = EngineSettings()
    permissions: PermissionSettings = PermissionSettings()
    context: ContextSettings = ContextSettings()
    tools: ToolSettings = ToolSettings()
    ui: UiSettings = UiSettings()


@dataclass(frozen=True, slots=True)
class Definition:
    """One setting as people see it. key: `table.name`. kind: what its values are, in a word."""

    key: str
    default: Any
    about: str
    choices: tuple[str, ...]
    shown: str
    kind: str


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def definitions() -> Iterator[Definition]:
    """All settings, in the order of their tables."""
    for table, kind in TABLES.items():
        for one in fields(kind):
            yield _definition(table, one)


def _definition(table: str, one: Field[Any]) -> Definition:
    data = one.metadata
    if isinstance(one.default, tuple):
        kind = "a list of texts"
    elif data["choices"]:
        kind = "one of " + ", ".join(data["choices"])
    else:
        kind = _KINDS[type(False if one.default is None else one.default)]
    return Definition(
        f"{table}.{one.name}", one.default, data["about"], data["choices"], data["shown"], kind
    )


def markdown_table() -> str:
    """The settings as the table that stands in the README."""
    lines = ["| key | default | what |", "|---|---|---|"]
    for one in definitions():
        lines.append(f"| `{one.key}` | {one.shown or _markdown(one.default)} | {one.about} |")
    return "\n".join(lines) + "\n"


def _markdown(default: Any) -> str:
    match default:
        case "" | ():
            return ""
        case bool():
            return str(default).lower()
        case str():
            return f"`{default}`"
        case float():
            return f"{default:g}"
        case _:
            return str(default)
