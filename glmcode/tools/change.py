"""What Write and Edit share: the checks before a change, the Action, and its commit.

A file may be changed only if the model knows what is in it: its content must be what was last
read or written in this session. That is asked when the change is prepared and, because a person
may think for an hour, again when it is committed, together with where the path leads. The tools
compute new bytes; everything that touches the disk is base/replace.py, in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from glmcode.base.files import (
    FileChanged,
    FileFault,
    FileMissing,
    FileTooLarge,
    Snapshot,
    digest_of,
    fault,
    load,
)
from glmcode.base.pinned import pinned
from glmcode.base.replace import replace_file, unwritable
from glmcode.base.settled import settled
from glmcode.base.textfile import HEAD, BinaryFile, binary_kind, decode, line_count
from glmcode.core.tool import (
    Action,
    Effect,
    FileChange,
    Preview,
    ToolError,
    ToolRefused,
    ToolResult,
)
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.diff import Diff, diff_texts
from glmcode.tools.paths import Place, locate

Errors = Callable[[], Sequence[tuple[int, int, str]]]
"""Gives line, column and what is missing of the syntax errors that a change made."""

_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file's new bytes. `given` is the path as the model wrote it; before is None for a new
    file; `said` is the result's text."""

    given: str
    place: Place
    before: Snapshot | None
    data: bytes
    diff: Diff
    said: str


def known_file(ctx: ToolContext, place: Place, *, empty_is_known: bool = False) -> Snapshot:
    """The file as it stands, if it may be changed. Raises ToolError, ToolRefused, FileMissing."""
    try:
        now = load(place.real)
    except FileMissing:
        raise
    except FileTooLarge as error:
        raise ToolError(f"{place.shown} {error}; change it with a command instead") from error
    except FileFault as error:
        raise ToolError(f"{place.shown} {error}") from error
    seen = ctx.seen.get(str(place.real))
    if seen is None and not (empty_is_known and not now.data):
        kind = binary_kind(now.data[:HEAD])
        if kind is not None:
            raise ToolError(
                f"{place.shown} is a binary file ({kind}), which can be neither read nor "
                "changed here: use a command (remove it first, if it shall be replaced)"
            )
        raise ToolRefused(
            f"{place.shown} was not read in this session: Read it first, then try again"
        )
    if seen is not None and seen != now.digest:
        raise ToolRefused(
            f"{place.shown} changed since it was last read (a command, an editor or another "
            "program wrote it): Read it again, then try again"
        )
    why = unwritable(now.status, place.real)
    if why is not None:
        raise ToolError(f"{place.shown} {why}; ask the user, or change the mode with a command")
    return now


def action_for(ctx: ToolContext, call: Call, change: Change, title: str) -> Action:
    """The Action of a change: preview, intent, and the commit that checks everything again.

    Raises ToolError where what a person made of it can't be written.
    """
    change = _as_edited(ctx, call, change)
    preview = Preview(kind="diff", title=title, body=change.diff.body)
    real = str(change.place.real)

    before = change.before.data if change.before else None
    errors = ctx.syntax(change.place.real, before, change.data)  # found while it is authorized

    def work(stopped: Callable[[], bool], first: Callable[[], object]) -> ToolResult:
        text = _commit(ctx, change, errors, stopped, first)
        return ToolResult(for_model=text, for_user=preview)

    async def commit() -> ToolResult:
        return await settled(lambda stopped: work(stopped, lambda: None))

    return Action(
        effect=Effect.WRITE,
        subject=change.place.shown,
        preview=preview,
        commit=commit,
        work=work,
        paths=(real,),
        given=(str(change.place.path),),
        changes=(
            FileChange(
                path=real,
                before=change.before.digest if change.before else None,
                after=digest_of(change.data),
            ),
        ),
        draft=change.data,
    )


def _as_edited(ctx: ToolContext, call: Call, change: Change) -> Change:
    """The change as a person edited it: the very bytes that were saved."""
    data = ctx.edited.get(call.id)
    if data is None:
        return change
    if change.before is not None and data == change.before.data:
        raise ToolError("the file would stay as it is")
    try:
        text = decode(data).text
        before = decode(change.before.data).text if change.before is not None else ""
    except BinaryFile as error:
        raise ToolError(f"what was saved is not text ({error})") from error
    diff = diff_texts(before, text)
    verb = "wrote" if change.before is not None else "created"
    count = line_count(text)
    lines = f"{count} line{'' if count == 1 else 's'}"
    said = f"{verb} {change.place.shown}: {lines} {diff.counts}"
    return replace(change, data=data, diff=diff, said=said)


def _commit(
    ctx: ToolContext,
    change: Change,
    errors: Errors,
    stopped: Callable[[], bool],
    first: Callable[[], object],
) -> str:
    place, real = change.place, change.place.real
    if locate(ctx, change.given).real != real:
        raise ToolRefused(f"{place.shown} leads to another file now: Read it again")
    later: Callable[[], object] | None = first
    if not os.path.lexists(real.parent):
        first()
        later = None
    try:
        with _folders(real.parent) as made:
            digest = replace_file(
                real,
                change.data,
                expected=change.before.digest if change.before else None,
                backups=ctx.spill_folder / "backups",
                stopped=stopped,
                meanwhile=later,
            )
    except FileChanged as error:
        raise ToolRefused(f"{place.shown} {error}: Read it again, then try again") from error
    except FileFault as error:
        raise ToolError(f"{place.shown} {error}") from error
    ctx.seen[str(real)] = digest
    said = f"{change.said} (made folder {ctx.shown(made[-1])})" if made else change.said
    return said + _told(errors())


def _told(found: Sequence[tuple[int, int, str]]) -> str:
    """The syntax errors that the change made, as one more line; "" where there is none."""
    if not found:
        return ""
    places = [
        f"line {line}, column {column}" + (f' (missing "{missing}")' if missing else "")
        for line, column, missing in found[:_LISTED]
    ]
    if len(found) > _LISTED:
        places.append(f"{len(found) - _LISTED} more")
    plural = "s" if len(found) > 1 else ""
    return (
        f"\n[the change stands, but it made {'' if plural else 'a '}syntax error{plural}: "
        f"{'; '.join(places)}. Look there, and correct it with Edit]"
    )


@contextmanager
def _folders(folder: Path) -> Iterator[list[Path]]:
    """Make a folder and those above it (yielded, outermost first); removed again on failure."""
    made: list[Path] = []
    done = False
    try:
        for one in reversed((folder, *folder.parents)):
            if not os.path.lexists(one):
                with pinned(one.parent) as held:
                    (held / one.name).mkdir()
                made.append(one)
        yield made
        done = True
    except OSError as error:
        raise FileFault(f"was not written: its folder {fault(error)}") from error
    finally:
        if not done:
            with suppress(OSError):
                for one in reversed(made):
                    one.rmdir()
