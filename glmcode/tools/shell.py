"""How a command line becomes a bash process: its words and its environment. Pure.

bash gets a short program that evaluates the command and, at the end, writes the shell's folder
to a file: the folder persists between calls although every call is a new process. `eval`
takes any text (an open here-document, a last backslash, a syntax error in line 3) as `bash -c`
would, with the same line numbers. The report is written by an EXIT trap, so that `exit` and
`set -e` are covered, and once more after the command, in case it set an EXIT trap of its own.
A folder that was removed is reported as an empty line.
What is not reported leaves the folder as it was: `exec`, a killed shell, an own EXIT trap
together with `exit`. A subshell's folder never counts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

LONGEST_ARGUMENT = 100_000
"""Bytes; Linux takes 131,072 for one argument. A longer command is read from a descriptor."""
SCRIPT_FD = 64

NO_ANSWER = {
    # Pagers: nothing waits for a key.
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "SYSTEMD_PAGER": "cat",
    # Editors. git: `true` leaves the text as it is, so that `rebase --continue` and `--amend`
    # work and a commit without a message is aborted by git itself, in words; a list of commits
    # cannot be edited that way, so that fails. Everything else: fail rather than change nothing.
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "echo 'glmcode: no editor here, set GIT_SEQUENCE_EDITOR' >&2; false",
    "EDITOR": "false",
    "VISUAL": "false",
    # Passwords: an empty GIT_ASKPASS also switches off core.askPass and SSH_ASKPASS.
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "DEBIAN_FRONTEND": "noninteractive",
    # Plain output, and all of it before a time-out.
    "TERM": "dumb",
    "PYTHONUNBUFFERED": "1",
}
DROPPED = frozenset(
    {
        # What would run before the command or set its options,
        *("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS"),
        # ask in a window or on the person's terminal (pinentry),
        *("SSH_ASKPASS", "SUDO_ASKPASS", "GPG_TTY", "SSH_TTY"),
        # or force colours.
        *("FORCE_COLOR", "CLICOLOR_FORCE"),
    }
)


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the given one, with everything that could ask switched off."""
    kept = {name: value for name, value in environment.items() if name not in DROPPED}
    pagers = {name: "cat" for name in kept if name.endswith("_PAGER")}
    return kept | pagers | NO_ANSWER


def find_bash(environment: Mapping[str, str]) -> str | None:
    """The absolute path of bash: the first in PATH, else the usual places."""
    for folder in (*environment.get("PATH", "").split(os.pathsep), "/bin", "/usr/bin"):
        if folder.startswith("/") and (found := shutil.which("bash", path=folder)):
            return found
    return None


def bash_argv(bash: str, command: str, report: Path | None) -> tuple[list[str], bytes | None]:
    """The words to run, and the script to offer as descriptor 64 when it is too long for one.

    report: where the shell writes its folder at the end, None when nobody asks.
    """
    data = command.encode("utf-8")
    long = len(data) > LONGEST_ARGUMENT
    if long:
        program = f"__glmcode=$(</dev/fd/{SCRIPT_FD}); shift; exec {SCRIPT_FD}<&-"
    else:
        program = "__glmcode=$1; shift"
    program += '; eval -- "$__glmcode"'
    if report is not None:
        write = f"{{ builtin pwd -P || builtin echo; }} >|{quote(str(report))}"
        trap = f'{{ [[ "${{BASHPID:-$$}}" == "$$" ]] && {write}; }} 2>/dev/null'
        end = f'{{ set -- "$?"; set +xv; {write}; }} 2>/dev/null; exit "$1"'
        program = f"trap -- {quote(trap)} EXIT; {program}; {end}"
    argv = [bash, "--noprofile", "--norc", "-c", program, "bash", "" if long else command]
    return argv, data if long else None
