"""Edit: replace a piece of text in a file that was read before; nothing else changes a byte.

The exact text must stand there once (or replace_all); if it stands nowhere, one run of lines
that differs only in indentation and trailing space is taken (loose.py); otherwise the answer
shows the closest real lines. Encoding, byte order mark, line ends and final newline stay. Must
not decide permission, and must not guess between two places.
"""

from __future__ import annotations

from glmcode.base.files import FileMissing
from glmcode.base.settled import in_thread
from glmcode.base.textfile import BinaryFile, Text, decode, encode, normalised
from glmcode.core.tool import Action, ToolError
from glmcode.tools.change import Change, action_for, known_file
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.diff import diff_texts
from glmcode.tools.loose import replace_loosely
from glmcode.tools.match import Plain, Replaced, places, replace_at
from glmcode.tools.nearest import explain_miss
from glmcode.tools.paths import Place, locate, missing

_LISTED = 20
_COUNTED = 1_000
_IGNORED = "; indentation and trailing space were ignored in finding it"


async def prepare(
    ctx: ToolContext,
    call: Call,
    *,
    file_path: str,
    old_string: str,
    new_string: str,
    replace_all: bool = False,
) -> Action:
    """Compute the edit. Raises ToolError with advice, ToolRefused for a stale file."""
    return await in_thread(
        _prepare, ctx, call, file_path, old_string, new_string, bool(replace_all)
    )


def _prepare(ctx: ToolContext, call: Call, given: str, old: str, new: str, every: bool) -> Action:
    place = locate(ctx, given)
    try:
        before = known_file(ctx, place)
    except FileMissing as error:
        if not old:
            raise ToolError(f"{place.shown} does not exist; make it with Write") from error
        raise missing(ctx, place) from error
    try:
        text = decode(before.data)
    except BinaryFile as error:
        raise ToolError(
            f"{place.shown} is a binary file ({error}); Edit changes only text: use a command"
        ) from error
    if text.mark and "\ufeff" not in text.text:
        old, new = old.removeprefix("\ufeff"), new.removeprefix("\ufeff")
    _check_arguments(place, text, old, new)
    done = _replaced(place, text, old, new, every)
    diff = diff_texts(text.text, done.text)
    change = Change(
        given=given,
        place=place,
        before=before,
        data=_encoded(place, text, done),
        diff=diff,
        said=f"edited {place.shown}: {_where(done)} {diff.counts}"
        + (_IGNORED if done.loose else ""),
    )
    return action_for(ctx, call, change, f"Edit {place.shown}")


def _check_arguments(place: Place, text: Text, old: str, new: str) -> None:
    for name, value in (("old_string", old), ("new_string", new)):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise ToolError(f"{name} holds half a character (a lone surrogate); write it whole")
    if not old:
        how = "it is empty: use Write" if not text.text else "give the text to replace"
        raise ToolError(f"old_string is empty; {place.shown} cannot be edited so; {how}")
    if old == new:
        raise ToolError("old_string and new_string are the same; nothing would change")
    if normalised(old) == new.replace("\r\n", "\n"):
        raise ToolError(
            "old_string and new_string differ only in line ends, which Edit keeps as the file "
            "has them; change line ends with a command (sed, dos2unix, unix2dos)"
        )


def _replaced(place: Place, text: Text, old: str, new: str, every: bool) -> Replaced:
    plain = Plain(text.text)
    wanted, given = normalised(old), new.replace("\r\n", "\n")
    if every:
        starts = places(plain.text, wanted, overlapping=False)
    else:
        starts = places(plain.text, wanted, overlapping=True, limit=_COUNTED)
    if starts and (every or len(starts) == 1):
        return replace_at(plain, starts, wanted, given)
    if starts:
        count = len(starts) if len(starts) < _COUNTED else plain.text.count(wanted)
        raise _ambiguous(place, [plain.line_of(at) for at in starts[:_LISTED]], count)
    if not every:
        found = replace_loosely(plain, wanted, given)
        if isinstance(found, Replaced):
            if found.text == text.text:
                raise ToolError(
                    f"old_string was found in {place.shown} only without its indentation, and "
                    "new_string then changes nothing; Read the file and copy the text exactly"
                )
            return found
        if found:
            raise _ambiguous(place, found, len(found))
    why = explain_miss(plain.text, wanted, given)
    raise ToolError(f"old_string was not found in {place.shown}. {why}")


def _ambiguous(place: Place, lines: list[int], count: int) -> ToolError:
    return ToolError(
        f"old_string stands {count} times in {place.shown}, at lines {_listed(lines, count)}; "
        "add lines around it until it is unique, or set replace_all to replace every one"
    )


def _where(done: Replaced) -> str:
    count = len(done.lines)
    if count == 1:
        return f"1 replacement at line {done.lines[0]}"
    return f"{count} replacements at lines {_listed(list(done.lines), count)}"


def _listed(lines: list[int], count: int) -> str:
    more = f" and {count - _LISTED} more" if count > _LISTED else ""
    return ", ".join(str(line) for line in lines[:_LISTED]) + more


def _encoded(place: Place, text: Text, done: Replaced) -> bytes:
    """The new bytes. In a file of unknown encoding only ASCII may be put in."""
    if text.guessed and not done.inserted.isascii():
        raise ToolError(
            f"{place.shown} is not UTF-8 and nothing says what it is, so only ASCII text can be "
            "put into it; convert it first (iconv -f latin1 -t utf-8), or leave the accents out"
        )
    try:
        return encode(text, done.text)
    except UnicodeEncodeError as error:
        raise ToolError(f"new_string cannot be written in {text.encoding.upper()}") from error
