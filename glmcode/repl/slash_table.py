"""The slash commands that there are: the one source of /help, completion and the README's table.

Values only. `when` says what a command may find: "now" runs at once, also before the engine is
reached; "open" needs the conversation but no rest; "idle" says so while a turn runs; "queued"
waits in line like a message. Must not act.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

When = Literal["now", "open", "idle", "queued"]


@dataclass(frozen=True, slots=True)
class Command:
    """name: with its slash. about: one line. arguments: as /help shows them, "" for none."""

    name: str
    about: str
    arguments: str = ""
    aliases: tuple[str, ...] = ()
    when: When = "open"

    @property
    def usage(self) -> str:
        """Name and arguments."""
        return f"{self.name} {self.arguments}".rstrip()


TABLE = (
    Command("/help", "what there is; of one command or key", "[WORD]", aliases=("/?",), when="now"),
    Command("/status", "engine, model, session, tokens", aliases=("/usage",), when="now"),
    Command("/context", "what the context window holds"),
    Command("/compact", "replace the conversation by a summary that keeps what is said to matter",
            "[WHAT]", when="queued"),
    Command("/cache", "what was reused of each prompt, what was computed again, and why",
            when="now"),
    Command("/undo", "take back what the last turn, or the last N, changed", "[N] [force]",
            when="queued"),
    Command("/redo", "take the last undo back", "[force]", when="queued"),
    Command("/rewind", "back to before the last turn, or the last N, in files and conversation",
            "[N] [force]", when="queued"),
    Command("/permissions", "mode, sandbox and rules as they stand",
            "[sandbox_auto_allow on|off]"),
    Command("/mode", "the permission mode, or change it", "[NAME]"),
    Command("/plan", "the mode that only looks (as /mode plan)"),
    Command("/sessions", "the other sessions of this folder, with ages and tokens"),
    Command("/resume", "go on in another session, on the same engine: choose it from a list",
            "[ID|NUMBER|WORDS]", when="idle"),
    Command("/fork", "go on in a copy of this session, or of another", "[ID|NUMBER]", when="idle"),
    Command("/rename", "give this session a title", "TITLE"),
    Command("/diff", "what this session changed, file by file; accept FILE, revert FILE",
            "[FILE|accept FILE|revert FILE]", when="queued"),
    Command("/export", "the conversation into a file: .md, .html or .json", "[FILE]"),
    Command("/copy", "the last answer into the clipboard, through the terminal (OSC 52)"),
    Command("/init", "have the model write an AGENTS.md from the repository", "[WHAT]",
            when="queued"),
    Command("/review", "have what is staged (else changed) judged, or what REF tells",
            "[REF]", when="idle"),
    Command("/commit", "commit what is staged, with a proposed message, after asking",
            "[MESSAGE]", when="idle"),
    Command("/btw", "ask beside the conversation, which stays as it is", "QUESTION",
            when="idle"),
    Command("/todo", "the model's todo list"),
    Command("/memory", "which AGENTS.md files count here", when="now"),
    Command("/model", "which model answers; with a name, go on with that one in this session",
            "[NAME]", when="now"),
    Command("/profile", "which engines there are; with a name, go on with that one in this session",
            "[NAME]", when="now"),
    Command("/engine", "how the engine is; start or end it, or see its log",
            "[status|start|stop|restart|log]", when="now"),
    Command("/thinking", "how much the model may think: as it likes, not at all, or TOKENS a step",
            "[on|off|TOKENS]"),
    Command("/doctor", "what works on this machine, and what to do about the rest", when="now"),
    Command("/config", "what is set, or set it for the sessions to come", "[KEY [VALUE]]",
            when="now"),
    Command("/theme", "the colours: a sample of each, or change them", "[NAME]", when="now"),
    Command("/editor", "your editor ($VISUAL, $EDITOR) on the draft, as Ctrl-G", "[TEXT]",
            when="now"),
    Command("/vim", "vi's keys in this session, or emacs' again", when="now"),
    Command("/feedback", "write a file for a report, without secrets; sends nothing", when="now"),
    Command("/clear", "a new session on the same engine", aliases=("/new",), when="idle"),
    Command("/exit", "leave (as does Ctrl-D)", aliases=("/quit",), when="now"),
)  # fmt: skip
COMMANDS: Mapping[str, Command] = {one.name: one for one in TABLE}
ALIASES: Mapping[str, str] = {alias: one.name for one in TABLE for alias in one.aliases}


def markdown_table() -> str:
    """The commands as the table that stands in the README."""
    lines = ["| command | also | what |", "|---|---|---|"]
    for one in TABLE:
        usage = one.usage.replace("|", "\\|")
        also = ", ".join(f"`{alias}`" for alias in one.aliases)
        lines.append(f"| `{usage}` | {also} | {one.about} |")
    return "\n".join(lines) + "\n"
