"""/feedback: a file that a report may carry, without secrets and without what was said.

Versions, settings, the engine's state and the end of the logs; secrets are taken out by the values
of the variables that look like them and by the forms that keys have, addresses lose what stands
before an @, and the person's own folder becomes ~. Must not send anything, nor read the session.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from glmcode import __version__
from glmcode.agent import Agent, AgentOptions
from glmcode.base.config import ConfigError
from glmcode.base.paths import private_folder, state_folder
from glmcode.config_command import setting_rows, toml_text
from glmcode.engine.default import machine_profile
from glmcode.engine.paths import engine_paths
from glmcode.repl.looking import Rows, engine_rows, where
from glmcode.sandbox import withheld

LOG_LINES = 60
LEAST = 6
"""Letters of a value that is a secret by its variable's name: shorter ones are words."""
HIDDEN = "[withheld]"
_FORMS = re.compile(
    r"\b(?:sk|pk|rk|hf|ghp|gho|ghs|ghu|glpat|xox[abposr]|pypi)[-_][A-Za-z0-9_\-]{8,}"
    r"|\bgithub_pat_\w{8,}|\bAKIA[A-Z0-9]{12,}|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|(?<=[Bb]earer )\S+"
)
_USERINFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_GIVEN = re.compile(r"(?i)\b([\w-]*(?:api[_-]?key|token|secret|password|passwd)\s*[=:]\s*)(\S+)")


def feedback_rows(options: AgentOptions, agent: Agent | None) -> Rows:
    """Write it, and tell where it lies. Blocks. Raises OSError."""
    text = cleaned(report(options, agent), os.environ)
    folder = private_folder(state_folder() / "feedback")
    path = folder / time.strftime("glmcode-%Y%m%d-%H%M%S.txt")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode("utf-8", "replace"))
    return [
        ("written", f"{path} ({len(text):,} characters)"),
        ("holds", "versions, settings, the engine's state, the end of logs; nothing that was said"),
        ("sent", "nothing is sent: look at it, then put it where you report (glmcode's issues)"),
        ("also", "glmcode doctor --json for the machine; /export for the conversation"),
    ]


def report(options: AgentOptions, agent: Agent | None) -> str:
    """What stands in it, before anything is taken out. Blocks."""
    model = "none yet" if agent is None else f"{agent.client.model}, {agent.client.protocol}"
    used = "" if agent is None else "{:,} of {:,} tokens".format(*agent.context_tokens())
    head: Rows = [
        ("glmcode", __version__),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("terminal", f"{os.environ.get('TERM_PROGRAM', '')} {os.environ.get('TERM', '')}".strip()),
        ("engine", where(options)),
        ("model", model),
        ("context", used),
        ("mode", options.mode if agent is None else agent.policy.mode),
    ]
    parts = [_rows(head), "", "# Engine", _rows(engine_rows(options)), "", "# Settings"]
    parts.append(_settings(options))
    for title, log in _logs(options):
        parts += ["", f"# {title}", *_end(log)]
    return "\n".join(parts) + "\n"


def _rows(rows: Rows) -> str:
    return "\n".join(f"{label:<10}{value}" for label, value in rows)


def _settings(options: AgentOptions) -> str:
    """What is set; of each, who says so."""
    try:
        rows, _ = setting_rows(options.workspace, [], trusted=options.trusted)
    except ConfigError as error:
        return str(error)
    given = [row for row in rows if row.value is not None and row.value != row.one.default]
    return "\n".join(f"{row.one.key} = {toml_text(row.value)}" for row in given) or "all defaults"


def _logs(options: AgentOptions) -> Sequence[tuple[str, Path]]:
    logs = [("Faults", state_folder() / "faults.log")]
    name = options.engine.profile or machine_profile()
    if name and not options.engine.base_url:
        paths = engine_paths(name)
        logs += [("Engine's log", paths.log), ("Supervisor's log", paths.supervisor_log)]
    return logs


def _end(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            lines = deque(file, maxlen=LOG_LINES)
    except OSError:
        return ["none"]
    return [line.decode("utf-8", "replace").rstrip("\n") for line in lines] or ["empty"]


def cleaned(text: str, environment: Mapping[str, str]) -> str:
    """The text without secrets, and with ~ for the person's own folder."""
    secret = {environment[name] for name in withheld(environment)}
    for value in sorted(secret, key=len, reverse=True):
        if len(value) >= LEAST:
            text = text.replace(value, HIDDEN)
    text = _USERINFO.sub(HIDDEN, _FORMS.sub(HIDDEN, text))
    text = _GIVEN.sub(rf"\1{HIDDEN}", text)
    home = environment.get("HOME", "").rstrip("/")
    return text.replace(home, "~") if len(home) > 1 else text
