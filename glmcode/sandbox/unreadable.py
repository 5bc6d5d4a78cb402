"""Paths that a rule forbids to read, so that a command cannot read them either.

Rules judge the words of a command; what a program opens by itself they can't see. Here the
plain part of such rules becomes paths: a file or folder by its name, `folder/**`, and `*` in
the folder where the pattern begins. Patterns that search deeper are left to the rules:
walking the tree before each command would cost more than it brings. Reads the disk, judges
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from glmcode.sandbox.looking import exists

MOST = 200


def unreadable(patterns: Iterable[str], folders: Iterable[Path]) -> tuple[Path, ...]:
    """What of the patterns of `Read` rules exists; folders: those that they are relative to."""
    roots = tuple(folders)
    found: dict[Path, None] = {}
    for pattern in patterns:
        for path in _candidates(_plain(pattern), roots):
            if len(found) < MOST and path not in roots:
                found[path] = None
    return tuple(found)


def _plain(pattern: str) -> str:
    """Without what means "and all below", and "anywhere"."""
    for end in ("/**/*", "/**", "/*"):
        pattern = pattern.removesuffix(end)
    return pattern.removeprefix("./").removeprefix("**/")


def _candidates(pattern: str, roots: tuple[Path, ...]) -> Iterator[Path]:
    if pattern in ("", "*") or "**" in pattern:
        return
    try:
        if pattern.startswith("~"):
            yield from _existing(Path("/"), str(Path(pattern).expanduser()).lstrip("/"))
            return
        if pattern.startswith("/"):
            yield from _existing(Path("/"), pattern.lstrip("/"))
        if not pattern.startswith("//"):
            for root in roots:
                yield from _existing(root, pattern.lstrip("/"))
    except (OSError, ValueError, RuntimeError):
        return


def _existing(root: Path, pattern: str) -> Iterator[Path]:
    if any(sign in pattern for sign in "*?["):
        yield from sorted(root.glob(pattern))[:MOST]
    elif exists(root / pattern):
        yield root / pattern
