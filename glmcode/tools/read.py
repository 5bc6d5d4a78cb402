"""Read: a text file with numbered lines, as much as a result may hold.

`N<TAB>line`, then one line in brackets that says what was shown and how to go on. Of a large file
that is asked for as a whole, the outline comes first and then its beginning. A file is
looked at before it is opened, binary content is named and not shown, and long lines are cut with
a note. What was read is remembered by content, whole or in part, so that Edit and Write know
whether the file is still the same. Must not change anything.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from glmcode.base.bigfile import BigFile, scan
from glmcode.base.files import FileFault, FileMissing, FileTooLarge, load
from glmcode.base.settled import in_thread, settled
from glmcode.base.textfile import BinaryFile, decode, split_lines
from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.output import bounded
from glmcode.tools.paths import Place, folder_instead, is_folder, locate, missing

LINES = 2_000
LINE_WIDTH = 2_000
OUTLINE_FROM = 20_000
"""Characters (some thousand tokens) from which a file that is read whole is outlined."""
OUTLINE_CHARS = 6_000
BEGINNING_CHARS = 8_000
_TAIL = 300
_MIN_ROOM = 200
_OUTLINED = "[a large file of {total} lines; its outline:]"
_BEGINNING = "[and its beginning:]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """Lines from `first` (1-based) on; total is None where nobody counted to the end."""

    first: int
    lines: list[str]
    total: int | None
    notes: tuple[str, ...] = ()
    digest: str | None = None
    size: int = 0
    outline: str = ""


async def prepare(
    ctx: ToolContext,
    call: Call,
    *,
    file_path: str,
    offset: int | None = None,
    limit: int | None = None,
) -> Action:
    """Check the arguments and the path; the reading is the commit. Raises ToolError."""
    first = _first(offset)
    wanted = _wanted(limit)
    place = await in_thread(_readable, ctx, file_path)
    preview = Preview(kind="text", title=f"Read {place.shown}", body=_range(offset, limit))

    async def commit() -> ToolResult:
        whole = offset is None and limit is None
        found = await settled(lambda stopped: _read(ctx, place, first, wanted, whole, stopped))
        shown, count = _answer(found, place, ctx.result_limit())
        text = bounded(ctx, shown, name="read", keep="head")
        if found.digest is not None and (found.lines or found.total == 0):
            ctx.seen[str(place.real)] = found.digest
        body = f"{count} line{'' if count == 1 else 's'}"
        return ToolResult(
            for_model=text,
            for_user=Preview(kind="text", title=f"Read {place.shown}", body=body),
        )

    return Action(
        effect=Effect.READ,
        subject=place.shown,
        preview=preview,
        commit=commit,
        paths=(str(place.real),),
        given=(str(place.path),),
    )


def _first(offset: int | None) -> int:
    if offset is None:
        return 1
    if offset < 0:
        raise ToolError(
            f"offset is {int(offset)}; lines are numbered from 1 (to see the end of a file, "
            "read it once: the last line of the result tells how many lines it has)"
        )
    return max(1, int(offset))


def _wanted(limit: int | None) -> int:
    if limit is None:
        return LINES
    if limit < 1:
        raise ToolError(f"limit is {int(limit)}; it must be at least 1, or leave it out")
    return int(limit)


def _range(offset: int | None, limit: int | None) -> str:
    parts = [f"{n} {v}" for n, v in (("offset", offset), ("limit", limit)) if v is not None]
    return ", ".join(parts)


def _readable(ctx: ToolContext, given: str) -> Place:
    place = locate(ctx, given)
    if is_folder(place.real):
        raise folder_instead(ctx, place)
    return place


def _read(
    ctx: ToolContext,
    place: Place,
    first: int,
    wanted: int,
    whole: bool,
    stopped: Callable[[], bool],
) -> _Lines:
    try:
        snapshot = load(place.real)
    except FileMissing as error:
        raise missing(ctx, place) from error
    except FileTooLarge:
        return _read_large(place, first, wanted, stopped)
    except FileFault as error:
        raise ToolError(f"{place.shown} {error}; Read shows only regular files") from error
    try:
        text = decode(snapshot.data)
    except BinaryFile as error:
        raise _binary(place, str(error), len(snapshot.data)) from error
    lines = split_lines(text.text)
    notes = []
    if text.guessed:
        notes.append("not UTF-8: shown as latin-1")
    elif text.encoding != "utf-8":
        notes.append(text.encoding.upper())
    outline = ""
    if whole and len(text.text) > OUTLINE_FROM:
        room = min(OUTLINE_CHARS, ctx.result_limit() // 3)
        outline = ctx.outline(place.real, "\n".join(lines) + "\n", room)
    return _Lines(
        first=first,
        lines=lines[first - 1 : first - 1 + wanted],
        total=len(lines),
        notes=tuple(notes),
        digest=snapshot.digest,
        outline=outline,
    )


def _read_large(place: Place, first: int, wanted: int, stopped: Callable[[], bool]) -> _Lines:
    try:
        found: BigFile = scan(place.real, first, min(wanted, 10 * LINES), LINE_WIDTH, stopped)
    except BinaryFile as error:
        raise _binary(place, str(error), place.real.stat().st_size) from error
    except FileFault as error:
        raise ToolError(f"{place.shown} {error}") from error
    return _Lines(
        first=first,
        lines=found.lines,
        total=found.total,
        notes=(f"{found.size:,} bytes, too large for Edit and Write",),
        size=found.size,
    )


def _binary(place: Place, kind: str, size: int) -> ToolError:
    return ToolError(
        f"{place.shown} is a binary file ({kind}, {size:,} bytes); Read shows only text: use a "
        "command that knows its format (file, xxd, ...)"
    )


def _answer(found: _Lines, place: Place, room: int) -> tuple[str, int]:
    """The numbered lines that fit and the line in brackets; how many lines that are."""
    if found.total == 0:
        return "[the file is empty]", 0
    if not found.lines:
        count = f"{found.total} line{'' if found.total == 1 else 's'}"
        return f"[nothing at offset {found.first}: the file has {count}]", 0
    room = max(room - _TAIL, _MIN_ROOM)
    head: list[str] = []
    if found.outline:
        head = [_OUTLINED.format(total=found.total), found.outline, _BEGINNING]
        room = max(min(room - len("\n".join(head)), BEGINNING_CHARS), _MIN_ROOM)
    out: list[str] = []
    cut: list[int] = []
    used = 0
    for number, line in enumerate(found.lines, found.first):
        width = min(LINE_WIDTH, room - 60)
        if len(line) > width:
            cut.append(number)
            more = "" if found.size else f"{len(line) - width} "
            line = f"{line[:width]}[... {more}more characters]"
        shown = f"{number}\t{line}".replace("\0", "\N{SYMBOL FOR NULL}")
        used += len(shown) + 1
        if out and used > room:
            if cut and cut[-1] == number:
                cut.pop()
            break
        out.append(shown)
    last = _last_line(found, place, found.first + len(out) - 1, cut)
    return "\n".join([*head, *out, last]), len(out)


def _last_line(found: _Lines, place: Place, last: int, cut: list[int]) -> str:
    total = f" of {found.total}" if found.total is not None else ""
    parts = [f"lines {found.first}-{last}{total}"]
    if found.total is None or last < found.total:
        parts.append(f"continue with offset={last + 1}")
    if found.outline:
        parts.append("for a definition, set offset to its line and limit to some lines")
    if cut:
        name = shlex.quote(place.shown)
        parts.append(
            f"long lines were cut: see line {cut[0]} with Bash: sed -n '{cut[0]}p' {name} | "
            f"cut -c{LINE_WIDTH + 1}-"
        )
    return f"[{'; '.join([*parts, *found.notes])}]"
