"""Glob: the files whose path matches a pattern, one a line, sorted by path.

A pattern without a slash matches names at any depth, as in .gitignore; the part of a pattern
before its first wildcard is walked to directly, so that an ignored folder can be listed by
naming it. Bounded in number and time; no match is an answer. Must not change anything.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.base.globs import has_wildcard, unclosed, with_literal
from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.grep import search_root
from glmcode.tools.output import bounded
from glmcode.tools.paths import Place, locate, printable, quoted
from glmcode.tools.search import Found, run_search

LIMIT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A pattern relative to the folder `place`; `start` is where below it the walk begins."""

    asked: str
    pattern: str
    place: Place
    start: str


async def prepare(ctx: ToolContext, call: Call, *, pattern: str, path: str | None = None) -> Action:
    """Resolve where to look; the walk is the commit. Raises ToolError."""
    request = await asyncio.to_thread(_request, ctx, pattern, path)
    title = f"Glob {quoted(pattern)} in {request.place.shown}"

    async def commit() -> ToolResult:
        found = await run_search(ctx, _job(ctx, request))
        if not found.records and (mark := unclosed(request.asked)):
            raise ToolError(
                f"the pattern {quoted(request.asked)} is not valid: {mark[0]} at character "
                f"{mark[1]} is never closed (and no name holds it as it stands); close it, or "
                f"write \\{mark[0]} for the character itself"
            )
        text = bounded(ctx, _answer(request, found), name="glob", keep="head")
        body = f"{found.counts['files']} files"
        return ToolResult(for_model=text, for_user=Preview(kind="text", title=title, body=body))

    return Action(
        effect=Effect.READ,
        subject=request.place.shown,
        preview=Preview(kind="text", title=title),
        commit=commit,
        paths=(os.path.realpath(request.place.real / request.start),),
        given=(str(request.place.path / request.start),),
    )


def _request(ctx: ToolContext, pattern: str, path: str | None) -> _Request:
    if not pattern.strip():
        raise ToolError("the pattern is empty; give one, such as '**/*.py'")
    if "\0" in pattern or any("\ud800" <= char <= "\udfff" for char in pattern):
        raise ToolError("the pattern holds a character that no path can have")
    asked = pattern
    place, is_file = search_root(ctx, path)
    if is_file:
        raise ToolError(f"{place.shown} is a file; give the folder to look in as path")
    if pattern.startswith(("/", "~")):
        place, pattern = _split_absolute(ctx, pattern)
    while pattern.startswith(("./", "../")):
        head, _, pattern = pattern.partition("/")
        if head == "..":
            place = locate(ctx, str(place.path / ".."))
    return _Request(asked=asked, pattern=pattern, place=place, start=_start(place, pattern))


def _split_absolute(ctx: ToolContext, pattern: str) -> tuple[Place, str]:
    """An absolute pattern as the folder before its first wildcard, and the rest, anchored."""
    parts = pattern.rstrip("/").split("/")
    count = next((i for i, one in enumerate(parts) if has_wildcard(one)), len(parts) - 1)
    place = locate(ctx, "/".join(parts[:count]) or "/")
    return place, "/" + "/".join(parts[count:])


def _start(place: Place, pattern: str) -> str:
    """The folders before the first wildcard, if they exist."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    fixed: list[str] = []
    for part in parts[: -1 if "/" in pattern.rstrip("/") else 0]:
        if has_wildcard(part) or part == "..":
            break
        fixed.append(part)
    while fixed and not (place.real / Path(*fixed)).is_dir():
        fixed.pop()
    return "/".join(fixed)


def _job(ctx: ToolContext, request: _Request) -> dict[str, Any]:
    pattern = request.pattern
    globs = [pattern]
    if not has_wildcard(pattern):
        globs.append(f"{pattern.rstrip('/')}/**")
    return {
        "kind": "files",
        "root": str(request.place.real),
        "workspace": str(ctx.workspace),
        "start": request.start,
        "limit": LIMIT,
        "globs": with_literal(globs),
    }


def _answer(request: _Request, found: Found) -> str:
    shown = request.place.shown
    if not found.records:
        said = f"no files match {quoted(request.asked)} in {shown}"
        if found.early:
            said += "; the search was stopped before its end: search a smaller folder"
        if found.counts.get("ignored"):
            said += "; ignored files were left out"
        return said
    prefix = "" if shown == "." else f"{shown.rstrip('/')}/"
    lines = [printable(prefix + str(record["f"])) for record in found.records]
    total = found.counts["files"]
    if total > len(lines) or found.early:
        least = "at least " if found.early else ""
        lines.append(f"[{len(lines)} of {least}{total} files; narrow the pattern or give path]")
    return "\n".join(lines)
