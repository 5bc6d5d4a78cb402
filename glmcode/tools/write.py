"""Write: a whole file, new or in the place of one that was read before.

The content stands in the file as it was given; an existing file keeps its encoding, byte order
mark, mode and links, and CRLF line ends where it has no others and the content has only \\n.
Parent folders are made when the write is committed, not before. Must not decide permission.
"""

from __future__ import annotations

import os

from glmcode.base.files import FileMissing, Snapshot
from glmcode.base.settled import in_thread
from glmcode.base.textfile import (
    BinaryFile,
    Text,
    decode,
    encode,
    line_count,
    lines_with_ends,
    only_line_end,
)
from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.change import Change, action_for, known_file
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.diff import diff_texts
from glmcode.tools.paths import Place, folder_instead, is_folder, locate, printable


async def prepare(ctx: ToolContext, call: Call, *, file_path: str, content: str) -> Action:
    """Compute the write. Raises ToolError with advice, ToolRefused for a file never read."""
    return await in_thread(_prepare, ctx, call, file_path, content)


def _prepare(ctx: ToolContext, call: Call, given: str, content: str) -> Action:
    if any("\ud800" <= char <= "\udfff" for char in content):
        raise ToolError("content holds half a character (a lone surrogate); write it whole")
    place = locate(ctx, given)
    if given.endswith("/") or is_folder(place.path):
        raise _folder(ctx, place)
    try:
        before = known_file(ctx, place, empty_is_known=True)
    except FileMissing:
        return _creation(ctx, call, given, place, content)
    return _overwriting(ctx, call, given, place, before, content)


def _folder(ctx: ToolContext, place: Place) -> ToolError:
    if is_folder(place.path):
        return folder_instead(ctx, place)
    return ToolError(f"{place.shown}/ names a folder; give the path of a file")


def _creation(ctx: ToolContext, call: Call, given: str, place: Place, content: str) -> Action:
    _check_new(ctx, place)
    change = Change(
        given=given,
        place=place,
        before=None,
        data=content.encode(),
        diff=diff_texts("", content),
        said=f"created {place.shown}: {_lines(content)}",
    )
    return action_for(ctx, call, change, f"Write {place.shown}")


def _check_new(ctx: ToolContext, place: Place) -> None:
    """Refuse what could not be created anyway, so that nobody is asked about it."""
    folder = place.real.parent
    if os.path.lexists(place.path) and not is_folder(folder):
        target = printable(str(place.real))
        raise ToolError(f"{place.shown} is a link to {target}, whose folder does not exist")
    while not os.path.lexists(folder):
        folder = folder.parent
    shown = printable(ctx.shown(folder))
    if not is_folder(folder):
        raise ToolError(f"{place.shown} cannot be made: {shown} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ToolError(f"{place.shown} cannot be made: the folder {shown} may not be written")


def _overwriting(
    ctx: ToolContext, call: Call, given: str, place: Place, before: Snapshot, content: str
) -> Action:
    try:
        like = decode(before.data)
    except BinaryFile as error:
        what = f"{place.shown} is a binary file ({error})"
        raise ToolError(f"{what}; remove it with a command first") from error
    notes = []
    if like.mark:
        content = content.removeprefix("\ufeff")
    line_end = only_line_end(like.text)
    if line_end not in (None, "\n") and "\r" not in content and "\n" in content:
        content = content.replace("\n", line_end or "\n")
        notes.append("its CRLF line ends were kept" if line_end == "\r\n" else "CR kept")
    data = _encoded(place, like, content)
    if data == before.data:
        return _nothing(place, content)
    diff = diff_texts(like.text, content)
    said = f"wrote {place.shown}: {_lines(content)} {diff.counts}"
    if like.encoding != "utf-8":
        notes.append(f"still {like.encoding.upper()}")
    if notes:
        said += f"; {', '.join(notes)}"
    change = Change(given=given, place=place, before=before, data=data, diff=diff, said=said)
    return action_for(ctx, call, change, f"Write {place.shown}")


def _encoded(place: Place, like: Text, content: str) -> bytes:
    """The content in the file's encoding; of an unknown one only lines it has may be not ASCII."""
    if like.guessed and not content.isascii():
        known = set(lines_with_ends(like.text))
        if any(not line.isascii() and line not in known for line in lines_with_ends(content)):
            raise ToolError(
                f"{place.shown} is not UTF-8 and nothing says what it is, so new lines can only "
                "be ASCII; convert it first (iconv -f latin1 -t utf-8) and Read it again"
            )
    try:
        return encode(like, content)
    except UnicodeEncodeError as error:
        raise ToolError(f"the content cannot be written in {like.encoding.upper()}") from error


def _nothing(place: Place, content: str) -> Action:
    said = f"unchanged: {place.shown} holds exactly this already ({_lines(content)})"
    preview = Preview(kind="text", title=f"Write {place.shown}", body="nothing changes")

    async def commit() -> ToolResult:
        return ToolResult(for_model=said, for_user=preview)

    return Action(
        effect=Effect.READ,
        subject=place.shown,
        preview=preview,
        commit=commit,
        paths=(str(place.real),),
    )


def _lines(text: str) -> str:
    count = line_count(text)
    return f"{count} line{'' if count == 1 else 's'}"
