"""Grep: lines of files that match a regular expression, as `path:line:text`.

Ignored and binary files are left out, hidden ones are searched. Results are sorted by path and
bounded in number, in length and in time; what was left out is said. That nothing matches is an
answer, not an error. Must not change anything.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Literal

from glmcode.base.globs import with_literal
from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.output import bounded
from glmcode.tools.paths import Place, locate, missing, printable, quoted
from glmcode.tools.search import Found, run_search

HEAD_LIMIT = 250
MAX_LINES = 5_000
MAX_CONTEXT = 100
WIDTH = 500

Mode = Literal["content", "files_with_matches", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What was asked for, checked. limit: lines or files that are shown."""

    pattern: str
    place: Place
    is_file: bool
    glob: str
    mode: Mode
    context: int
    ignore_case: bool
    limit: int


async def prepare(
    ctx: ToolContext,
    call: Call,
    *,
    pattern: str,
    path: str | None = None,
    glob: str | None = None,
    output_mode: Mode = "content",
    context: int | None = None,
    ignore_case: bool = False,
    head_limit: int | None = None,
) -> Action:
    """Check the arguments; the search is the commit. Raises ToolError."""
    _check(pattern, context, head_limit)
    place, is_file = await asyncio.to_thread(search_root, ctx, path)
    request = _Request(
        pattern=pattern,
        place=place,
        is_file=is_file,
        glob=glob or "",
        mode=output_mode,
        context=min(int(context or 0), MAX_CONTEXT) if output_mode == "content" else 0,
        ignore_case=bool(ignore_case),
        limit=min(int(head_limit or HEAD_LIMIT), MAX_LINES),
    )
    title = f"Grep {quoted(pattern)} in {place.shown}"

    async def commit() -> ToolResult:
        found = await run_search(ctx, _job(ctx, request))
        text = bounded(ctx, _answer(request, found), name="grep", keep="head")
        body = f"{found.counts['matches']} in {found.counts['files']} files"
        return ToolResult(for_model=text, for_user=Preview(kind="text", title=title, body=body))

    return Action(
        effect=Effect.READ,
        subject=place.shown,
        preview=Preview(kind="text", title=title),
        commit=commit,
        paths=(str(place.real),),
        given=(str(place.path),),
    )


def _check(pattern: str, context: int | None, head_limit: int | None) -> None:
    if not pattern:
        raise ToolError("the pattern is empty and would match every line; give one")
    if any("\ud800" <= char <= "\udfff" for char in pattern):
        raise ToolError("the pattern holds half a character (a lone surrogate)")
    if "\0" in pattern:
        raise ToolError("the pattern holds a NUL character; only text files are searched")
    if context is not None and context < 0:
        raise ToolError(f"context is {context}; it must be 0 or more lines")
    if head_limit is not None and head_limit < 0:
        raise ToolError(f"head_limit is {head_limit}; it must be at least 1, or leave it out")


def search_root(ctx: ToolContext, path: str | None) -> tuple[Place, bool]:
    """Where to search, and whether that is a single file. Raises ToolError."""
    place = locate(ctx, path or ".")
    try:
        if place.real.is_dir():
            return place, False
        if place.real.is_file():
            return place, True
        if place.real.exists():
            raise ToolError(
                f"{place.shown} is no regular file (but a FIFO, a socket or a device); "
                "give a file or a folder as path"
            )
    except OSError as error:
        raise ToolError(f"{place.shown} cannot be searched: {error.strerror}") from error
    raise missing(ctx, place)


def _job(ctx: ToolContext, request: _Request) -> dict[str, Any]:
    pattern, multiline = across_lines(request.pattern)
    real = request.place.real
    return {
        "kind": "grep",
        "root": str(real.parent if request.is_file else real),
        "file": real.name if request.is_file else "",
        "workspace": str(ctx.workspace),
        "limit": request.limit,
        "mode": "lines" if request.mode == "content" else "files",
        "width": WIDTH,
        "globs": with_literal(_globs(request.glob)),
        "query": {
            "pattern": pattern,
            "ignore_case": request.ignore_case,
            "context": request.context,
            "multiline": multiline,
        },
    }


def _globs(glob: str) -> list[str]:
    """The patterns of a glob argument: commas outside braces separate, a folder means below it."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(glob):
        depth += (char == "{") - (char == "}")
        if char == "," and depth <= 0:
            parts.append(glob[start:index])
            start = index + 1
    parts = [part.strip() for part in [*parts, glob[start:]]]
    if len(parts) > 1:
        parts.append(glob)
    every = [part for part in parts if part.strip("!")]
    return every + [f"{one.rstrip('/')}/**" for one in every if not any(c in one for c in "*?[{")]


def across_lines(pattern: str) -> tuple[str, bool]:
    """The pattern with every \\n, real or escaped, fit for CRLF too; whether it has one."""
    out, in_class, found, index = [], False, False, 0
    while index < len(pattern):
        char = pattern[index]
        pair = pattern[index : index + 2]
        if pair == "\\n" or char == "\n":
            found = True
            out.append(pair if in_class and char != "\n" else "\\n" if in_class else "\\r?\\n")
            index += len(pair) if char == "\\" else 1
            continue
        if char == "\\":
            out.append(pair)
            index += 2
            continue
        if char == "[" and not in_class:
            in_class = True
            head = re.match(r"\[\^?\]?", pattern[index:])
            char = head.group() if head else char
        elif char == "]" and in_class:
            in_class = False
        out.append(char)
        index += len(char)
    return "".join(out), found


def _answer(request: _Request, found: Found) -> str:
    if not found.records:
        return _nothing(request, found)
    match request.mode:
        case "content":
            lines = _content(request, found)
        case "files_with_matches":
            lines = [_path(request, record) for record in found.records]
        case "count":
            lines = [f"{_path(request, r)}:{r['n']}" for r in found.records]
    note = _note(request, found)
    return "\n".join([*lines, note] if note else lines)


def _path(request: _Request, record: dict[str, Any]) -> str:
    """A file's path as it is shown: below the searched folder as that is shown."""
    if request.is_file:
        return request.place.shown
    shown = request.place.shown
    prefix = "" if shown == "." else f"{shown.rstrip('/')}/"
    return printable(prefix + str(record["f"]))


def _content(request: _Request, found: Found) -> list[str]:
    lines: list[str] = []
    for record in found.records:
        path = _path(request, record)
        last = None
        for number, matches, text, length in record.get("l", ()):
            if request.context and lines and (last is None or number > last + 1):
                lines.append("--")
            last = number
            mark = ":" if matches else "-"
            more = f"[... {length - len(text)} more characters]" if length > len(text) else ""
            lines.append(f"{path}{mark}{number}{mark}{text}{more}")
    return lines


def _note(request: _Request, found: Found) -> str:
    """What was left out, and the sum of a count; "" when there is nothing to say."""
    files, matches = found.counts["files"], found.counts["matches"]
    least = "at least " if found.early else ""
    parts: list[str] = []
    if request.mode == "content":
        shown = sum(matching for r in found.records for _, matching, _, _ in r.get("l", ()))
        if shown < matches:
            parts.append(f"{shown} of {least}{matches} matching lines")
    elif len(found.records) < files:
        parts.append(f"{len(found.records)} of {least}{files} files")
    if found.early and not parts:
        parts.append("the search was stopped before its end")
    if parts:
        parts.append("narrow the pattern, give path or glob, or raise head_limit")
    if request.mode == "count" and files > 1:
        parts.append(f"{least}{matches} matching lines in {least}{files} files")
    return f"[{'; '.join(parts)}]" if parts else ""


def _nothing(request: _Request, found: Found) -> str:
    counts = found.counts
    where = request.place.shown
    if request.is_file and counts.get("binary"):
        return f"{where} is a binary file; only text is searched"
    if request.is_file and counts.get("unread"):
        raise ToolError(f"{where} cannot be read")
    glob = f" (files matching {quoted(request.glob)})" if request.glob else ""
    said = f"no matches for {quoted(request.pattern)} in {where}{glob}"
    if found.early:
        said += "; the search was stopped before its end: search a smaller folder"
    elif not request.is_file and counts.get("searched") == 0:
        said += f"; there is no {'such ' if glob else ''}file to search"
    if counts.get("ignored"):
        said += "; ignored files were left out"
    return said
