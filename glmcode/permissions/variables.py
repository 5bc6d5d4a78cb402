"""Variables: which change what runs, and which only change how text looks. Pure data.

An assignment in front of a command changes its environment, which no rule for the command alone
covers; language, colour and width are let through. Must not judge.
"""

from __future__ import annotations

import re

_DISPLAY = {
    "LANG": r"[\w.@-]*",
    "LANGUAGE": r"[\w.:-]*",
    "TZ": r"[A-Za-z][\w+-]*(?:/[A-Za-z][\w+-]*)*",
    "NO_COLOR": r"\w*",
    "FORCE_COLOR": r"\w*",
    "CLICOLOR": r"\w*",
    "COLUMNS": r"\d+",
    "LINES": r"\d+",
    "PAGER": r"cat|",
    "GIT_PAGER": r"cat|",
    "MANPAGER": r"cat|",
    "GIT_EDITOR": r"true|:",
    "GIT_SEQUENCE_EDITOR": r"true|:",
    "GIT_TERMINAL_PROMPT": r"0",
    "GIT_OPTIONAL_LOCKS": r"0",
    "PYTHONUNBUFFERED": r"1?",
    "PYTHONDONTWRITEBYTECODE": r"1?",
    "TERM": r"dumb|xterm(?:-256color)?|linux|vt100|screen",
}
_LOCALE = re.compile(r"LC_[A-Z]+")
_HARMFUL = re.compile(
    r"PATH|IFS|ENV|HOME|SHELL|EDITOR|VISUAL|\w*PAGER|BROWSER|LD_\w+|DYLD_\w+|GIT_\w+|SSH_\w+|BASH\w*"
    r"|PYTHON\w*|NODE_\w+|(?i:npm)_\w+|PERL\w*|RUBY\w*|GEM_\w+|BUNDLE_\w+|_?JAVA_\w+|JDK_\w+|CLASSPATH"
    r"|MAVEN_\w+|GRADLE_\w+|CARGO\w*|RUST\w*|GO[A-Z]+|CC|CXX|LD|AR|MAKE\w*|MAKEFLAGS|TAR_OPTIONS|RIPGREP\w*"
    r"|LESS\w*|MAN\w*|TMP|TEMP|TMPDIR|XDG_\w+|PS[0-4]|PROMPT_COMMAND|GREP_\w+|RSYNC_\w+|GCONV_PATH"
    r"|LOCPATH|NLSPATH|MALLOC_\w+|GLIBC_\w+|(?i:\w*_proxy)|GPG\w*|DOCKER_\w+|KUBECONFIG|AWS_\w+|PIP_\w+"
    r"|UV_\w+|VIRTUAL_ENV|TERMINFO\w*|TERMCAP|INPUTRC|CDPATH|GLOBIGNORE|POSIXLY_CORRECT|FPATH|OLDPWD"
    r"|PWD|histchars|HIST\w+|SHELLOPTS|OPTIND|OPTERR|EXECIGNORE|FIGNORE|TIMEFORMAT|COMP_\w+"
    r"|\w+_(?:COMMAND|OPTS|OPTIONS|ARGS|FLAGS|EDITOR|PROGRAM|WRAPPER|PRELOAD|PATH|HOME|CMD|BIN|SHELL)"
)


def harmless_value(name: str, value: str) -> bool:
    """Whether giving a command this variable only changes how its output looks."""
    if _LOCALE.fullmatch(name):
        return re.fullmatch(r"[\w.@-]*", value) is not None
    return name in _DISPLAY and re.fullmatch(_DISPLAY[name], value) is not None


def harmful_name(name: str) -> bool:
    """Whether a variable of the shell changes what later commands do."""
    return _HARMFUL.fullmatch(name) is not None
