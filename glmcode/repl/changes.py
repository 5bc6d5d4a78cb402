"""/diff: what this session changed, file by file, from its checkpoints; accept it, or revert it.

From how each file was before the session's first change to how it stands now; what somebody else
changed since is in it and said. What was accepted is not listed again until it changes. A file is
put back after a question with its diff, over a later change of somebody else only with the word
`force`, and as a turn of its own that /undo takes back. Must not decide what may be overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from glmcode.agent import Agent, Approval
from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Preview
from glmcode.repl.diff import counts, is_cut, read_diff
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.slash import argument
from glmcode.repl.undoing import SWITCHED_OFF

if TYPE_CHECKING:
    from glmcode.checkpoints.plan import Item
    from glmcode.checkpoints.undo import Plan, Undo

LINES = 200
"""Lines of the only changed file that are shown without its being named."""
LISTED = 200
VERBS = {
    "accept": "FILE, or all: looked at, and not listed again until it changes",
    "revert": "FILE: back to how it was before this session, after a question",
}


class Host(Protocol):
    """The conversation, as far as this needs it."""

    painter: Painter

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""


@dataclass(frozen=True, slots=True)
class _Changed:
    """A file of the session: what became of it, from then to now, and whether it was accepted."""

    item: Item
    path: str
    what: str
    body: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class _Session:
    """What the session changed as a whole."""

    undo: Undo
    plan: Plan | None
    files: Sequence[_Changed]

    def called(self, name: str) -> list[_Changed]:
        """The file of that name, else those whose path holds it."""
        exact = [one for one in self.files if one.path == name.removeprefix("./")]
        return exact or [one for one in self.files if name in one.path]


async def show_changes(host: Host, agent: Agent, text: str) -> bool:
    """Do what `/diff [FILE]`, `/diff accept FILE|all` or `/diff revert FILE` asks; whether there
    was something to do it with."""
    from glmcode.checkpoints.recorder import CheckpointError
    from glmcode.checkpoints.store import StoreError
    from glmcode.checkpoints.undo import UndoError

    if not agent.past.wanted:
        host.say([("warning", SWITCHED_OFF)])
        return False
    await agent.past.settled()
    verb, _, name = argument(text).partition(" ")
    if verb not in VERBS:
        verb, name = "", argument(text)
    try:
        session = await asyncio.to_thread(_look, agent)
        if not session.files:
            host.say([("dim", "this session changed no file")])
            return False
        match verb:
            case "accept":
                return await _accept(host, agent, session, name.strip())
            case "revert":
                return await _revert(host, agent, session, name.strip())
            case _:
                return _show(host, session, name)
    except (UndoError, StoreError, CheckpointError) as error:
        host.say([("warning", str(error))])
        return False


def changed_files(agent: Agent) -> list[str]:
    """The paths that this session changed, for completion; blocks and does not raise."""
    from glmcode.checkpoints.recorder import CheckpointError
    from glmcode.checkpoints.store import StoreError
    from glmcode.checkpoints.undo import Undo, UndoError, shown

    if not agent.past.wanted or not agent.past.begun:
        return []
    try:
        plan = Undo(agent.past.checkpoints).plan_since(0.0)
    except (UndoError, StoreError, CheckpointError):
        return []
    return [shown(item.path) for item in plan.items if not _is_folder(item)] if plan else []


def _look(agent: Agent) -> _Session:
    from glmcode.checkpoints.reviewed import accepted
    from glmcode.checkpoints.undo import Undo
    from glmcode.undo_text import changes

    undo = Undo(agent.past.checkpoints)
    plan = undo.plan_since(0.0)
    if plan is None:
        return _Session(undo, None, ())
    done = accepted(agent.past.checkpoints, plan.items)
    told = zip(plan.items, changes(undo, plan), strict=True)
    files = [_Changed(item, *one, item.path in done) for item, one in told if not _is_folder(item)]
    return _Session(undo, plan, files)


def _is_folder(item: Item) -> bool:
    return {entry.kind for entry in (item.now, item.target) if entry is not None} == {"d"}


def _show(host: Host, session: _Session, name: str) -> bool:
    """The list, or the diff of what is named."""
    if name == "all":
        chosen = list(session.files)
    elif name:
        chosen = session.called(name)
    else:
        return _list(host, session)
    if not chosen:
        host.say([("dim", f"no changed file is called {name}")])
        return False
    for one in chosen:
        host.say(_line(host, one))
        host.commit(host.painter.diff(one.body, one.path) if one.body else [])
    return True


def _list(host: Host, session: _Session) -> bool:
    left = [one for one in session.files if not one.accepted]
    for one in left[:LISTED]:
        host.say(_line(host, one))
    if len(left) > LISTED:
        host.say([("dim", f"and {len(left) - LISTED:,} more files")])
    if len(left) == 1 and left[0].body and not is_cut(left[0].body, LINES):
        host.commit(host.painter.diff(left[0].body, left[0].path))
    done = len(session.files) - len(left)
    accepted = f" ({done} accepted: /diff all shows them too)" if done else ""
    count = "nothing is left" if not left else f"{len(left)} file{'' if len(left) == 1 else 's'}"
    ways = "; /diff FILE shows one, /diff accept FILE, /diff revert FILE" if left else ""
    host.say([("dim", f"{count}{accepted}{ways}")])
    return True


def _line(host: Host, one: _Changed) -> Spans:
    spans = [("bold", host.painter.file(one.path, one.path)), ("dim", f"  {one.what}")]
    added, removed = counts(read_diff(one.body))
    if added or removed:
        spans += [("diff.add", f" +{added:,}"), ("diff.remove", f" -{removed:,}")]
    return [*spans, ("good", "  accepted")] if one.accepted else spans


async def _accept(host: Host, agent: Agent, session: _Session, name: str) -> bool:
    from glmcode.checkpoints.reviewed import accept

    chosen = list(session.files) if name == "all" else _one(host, session, name, "accept")
    if not chosen:
        return False
    items = [one.item for one in chosen]
    await asyncio.to_thread(accept, agent.past.checkpoints, items)
    what = chosen[0].path if len(chosen) == 1 else f"{len(chosen)} files"
    left = sum(not one.accepted for one in session.files if one not in chosen)
    host.say([("good", f"accepted: {what}"), ("dim", f"; {left} left to look at")])
    return True


async def _revert(host: Host, agent: Agent, session: _Session, name: str) -> bool:
    from glmcode.undo_text import outcome

    words = name.rpartition(" ")
    force = words[2] == "force" and not session.called(name)
    chosen = _one(host, session, words[0] if force else name, "revert")
    if not chosen or session.plan is None:
        return False
    (one,), plan = chosen, session.plan
    if one.item.impossible or (one.item.why and not force):
        host.say([("warning", f"{one.path} was not put back: {one.item.why}")])
        if not one.item.impossible:
            host.say([("dim", f"/diff revert {one.path} force does it all the same")])
        return False
    body = await asyncio.to_thread(_back, session, one)
    asked = ApprovalAsked(
        call_id=f"revert-{one.path}",
        name="Revert",
        subject=one.path,
        preview=Preview(kind="diff", title=one.path, body=body),
        question="Put it back?",
    )
    approval = await host.confirm(asked)
    if approval is None or not approval.allowed:
        host.say([("dim", "nothing was changed")])
        return False
    paths = {one.item.path}
    applied = await asyncio.to_thread(lambda: session.undo.revert(plan, paths, force=force))
    agent.past.forget(applied.done)
    host.say([("warning" if applied.failed else "good", outcome(plan, applied))])
    if applied.done:
        host.say([("dim", "/undo takes this back")])
    return bool(applied.done)


def _back(session: _Session, one: _Changed) -> str:
    from glmcode.undo_text import back

    return back(session.undo, one.item)


def _one(host: Host, session: _Session, name: str, verb: str) -> list[_Changed]:
    """The file that is meant; none, and why, where that is not clear."""
    if not name:
        host.say([("warning", f"/diff {verb} {VERBS[verb]}")])
        return []
    found = session.called(name)
    if len(found) > 1:
        named = ", ".join(one.path for one in found[:5])
        host.say([("warning", f"{len(found)} files are called {name}: {named}")])
        return []
    if not found:
        host.say([("warning", f"no changed file is called {name}")])
    return found
