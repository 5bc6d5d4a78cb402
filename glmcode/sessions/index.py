"""Which sessions there are: found by their files, without reading more than their heads.

There is no index file that could disagree with the sessions: a list reads the first lines of
each. Sessions without a message of a person do not count. Must not change anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from glmcode.sessions.journal import sessions_folder, sessions_root
from glmcode.sessions.last import title_given
from glmcode.sessions.lines import SessionError, damaged, read_entries

TITLE_CHARS = 100


class SessionUnknown(SessionError):
    """No session, or more than one, is meant by an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A session in a list. created and used are seconds since the epoch; size in bytes.

    fault: why it cannot be read, else "".
    """

    session_id: str
    path: Path
    workspace: str = ""
    title: str = ""
    model: str = ""
    protocol: str = ""
    forked_from: str = ""
    created: float = 0.0
    used: float = 0.0
    size: int = 0
    fault: str = ""


def list_sessions(workspace: Path | None) -> list[Summary]:
    """The sessions of a workspace (None: of all), the one used last first."""
    folders = [sessions_folder(workspace)] if workspace else _folders()
    found = [summary for folder in folders for summary in _in_folder(folder)]
    return sorted(found, key=lambda one: one.used, reverse=True)


def latest_session(workspace: Path) -> Path:
    """The file of the session that was used last here. Raises SessionUnknown."""
    dated = [(_used(path), path) for path in sessions_folder(workspace).glob("*.jsonl")]
    for _, path in sorted(dated, reverse=True):
        summary = summarise(path)
        if summary is not None:
            return path
    raise SessionUnknown(
        f"there is no session of {workspace} to continue: start one without -c "
        "(`glmcode sessions list --all` lists those of other folders)"
    )


def find_session(workspace: Path, prefix: str) -> Path:
    """The file of the session whose id begins so; here, else anywhere. Raises SessionUnknown."""
    plain = bool(prefix) and all(c.isalnum() or c in "-_." for c in prefix) and prefix[0] != "."
    for folders in ([sessions_folder(workspace)], _folders()) if plain else ():
        paths = [p for f in folders for p in f.glob(f"{prefix}*.jsonl")]
        exact = [path for path in paths if path.stem == prefix]
        paths = exact or paths
        if len(paths) == 1:
            return paths[0]
        if paths:
            listed = ", ".join(sorted(path.stem for path in paths)[:6])
            raise SessionUnknown(
                f"{len(paths)} sessions begin with {prefix!r}: {listed}; give more of the id"
            )
    raise SessionUnknown(f"no session begins with {prefix!r}: see `glmcode sessions list --all`")


def summarise(path: Path) -> Summary | None:
    """A session by its head and the title it was given; None when no person said anything in it."""
    try:
        status = path.stat()
    except OSError:
        return None
    summary = Summary(
        session_id=path.stem,
        path=path,
        created=status.st_mtime,
        used=status.st_mtime,
        size=status.st_size,
    )
    header: dict[str, object] = {}
    title = None
    try:
        for entry in read_entries(path):
            if not header:
                if entry.get("t") != "header":
                    raise damaged(path, 1, "the header of the session is missing")
                header = entry
            title = title_of(entry)
            if title is not None:
                break
    except SessionError as error:
        return _with_header(summary, header, "(cannot be read)", fault=str(error))
    if title is None:
        return None
    return _with_header(summary, header, title_given(path)[:TITLE_CHARS] or title)


def title_of(entry: dict[str, object]) -> str | None:
    """The first line of what a person said, if the entry is that."""
    message = entry.get("message")
    if not isinstance(message, dict) or message.get("role") != "user":
        return None
    if message.get("origin") != "person":
        return None
    said = str(entry.get("typed", message.get("text", "")))
    return " ".join(said.split())[:TITLE_CHARS]


def _with_header(
    summary: Summary, header: dict[str, object], title: str, fault: str = ""
) -> Summary:
    at = header.get("at")
    return Summary(
        session_id=summary.session_id,
        path=summary.path,
        workspace=str(header.get("workspace", "")),
        title=title,
        model=str(header.get("model", "")),
        protocol=str(header.get("protocol", "")),
        forked_from=str(header.get("forked_from", "")),
        created=float(at) if isinstance(at, int | float) else summary.created,
        used=summary.used,
        size=summary.size,
        fault=fault,
    )


def _folders() -> list[Path]:
    try:
        return sorted(path for path in sessions_root().iterdir() if path.is_dir())
    except OSError:
        return []


def _in_folder(folder: Path) -> list[Summary]:
    summaries = (summarise(path) for path in folder.glob("*.jsonl"))
    return [summary for summary in summaries if summary is not None]


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def ago(seconds: float, now: float | None = None) -> str:
    """A moment of the past in words: 5 min ago, 3 h ago, 2026-11-25."""
    past = (time.time() if now is None else now) - seconds
    if past < 90:
        return "just now"
    if past < 5400:
        return f"{past / 60:.0f} min ago"
    if past < 129_600:
        return f"{past / 3600:.0f} h ago"
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
