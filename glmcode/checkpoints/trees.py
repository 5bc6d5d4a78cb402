"""What differs between two recorded states of a workspace, path by path.

Listings are shared by content, so only folders that differ are read. Where a listing was not
whole, nothing is concluded from it. Pure but for what `get` reads.
"""

from __future__ import annotations

from collections.abc import Callable

from glmcode.checkpoints.entries import Delta, Entry, same, unkept, unpack
from glmcode.checkpoints.folder import UNLISTED


def diff(get: Callable[[bytes], bytes], old: bytes, new: bytes) -> Delta:
    """From one root to another (b"": nothing at all). Raises Damaged, and what get raises."""
    delta: Delta = {}
    stack = [("", old, new)]
    while stack:
        prefix, was, now = stack.pop()
        if was == now:
            continue
        before = dict(unpack(get(was))) if was else {}
        after = dict(unpack(get(now))) if now else {}
        if UNLISTED in before or UNLISTED in after:
            _unlisted(prefix, before, now, delta)
            continue
        for name in before.keys() | after.keys():
            one, other = before.get(name), after.get(name)
            if one == other:
                continue
            path = f"{prefix}{name}"
            if not same(one, other):
                delta[path] = (_bare(one), _bare(other))
            below = (_listing(one), _listing(other))
            if any(below):
                stack.append((f"{path}/", *below))
    return delta


def _unlisted(prefix: str, before: dict[str, Entry], now: bytes, delta: Delta) -> None:
    """A folder that went away although what it held is not known can't be brought back whole."""
    folder = prefix.rstrip("/")
    if UNLISTED in before and not now and folder in delta:
        why = before[UNLISTED].why
        delta[folder] = (unkept(f"a folder that was {why}", 0, 0, 0), delta[folder][1])


def _listing(entry: Entry | None) -> bytes:
    return entry.id if entry is not None and entry.kind == "d" else b""


def _bare(entry: Entry | None) -> Entry | None:
    """Without its listing: what stands below has entries of its own."""
    return Entry("d", entry.mode, b"") if entry is not None and entry.kind == "d" else entry
