"""What stands at a path, as a value: kind, mode and identity; and the bytes of such values.

A file is known by the sha256 of its bytes, a link by its target, a folder by its mode (inside a
tree: by the sha256 of its listing). What is not kept (too large, unreadable, a socket) is known
by size and time, so that a change is seen although it can't be taken back. Must not touch the disk.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["f", "l", "d", "x"]
"""File, symbolic link, directory, or something that is not kept."""

_HEAD = struct.Struct("<cHH")
_COUNT = struct.Struct("<I")


class Damaged(Exception):
    """Stored bytes are not what we wrote."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing at a path. mode: permission bits (0 for links).

    id: sha256 of a file's bytes, a link's target, a folder's listing ("" outside of trees), or
    for what is not kept "why<NUL>size:mtime_ns".
    """

    kind: Kind
    mode: int
    id: bytes

    @property
    def why(self) -> str:
        """Why its bytes are not kept, or ""."""
        return os.fsdecode(self.id.split(b"\0")[0]) if self.kind == "x" else ""


Delta: TypeAlias = dict[str, tuple[Entry | None, Entry | None]]
"""Path -> what stood there before and after; None: nothing. Paths in the workspace are relative,
others absolute; bytes that are not UTF-8 are surrogates."""


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether both are the same for a person: listings of folders do not count."""
    if one is None or other is None:
        return one is other
    if one.kind == "d" or other.kind == "d":
        return one.kind == other.kind and one.mode == other.mode
    return one == other


def unkept(why: str, mode: int, size: int, mtime_ns: int) -> Entry:
    """The entry of something whose bytes are not kept."""
    return Entry("x", mode, os.fsencode(why) + b"\0%d:%d" % (size, mtime_ns))


def pack(entries: Iterable[tuple[str, Entry]]) -> bytes:
    """Named entries as bytes, in the given order."""
    parts: list[bytes] = []
    for name, entry in entries:
        parts += (
            _HEAD.pack(entry.kind.encode(), entry.mode, len(entry.id)),
            entry.id,
            os.fsencode(name),
            b"\0",
        )
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[tuple[str, Entry]]:
    """What `pack` was given. Raises Damaged."""
    at = 0
    try:
        while at < len(data):
            kind, mode, size = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            end = data.index(b"\0", at + size)
            yield os.fsdecode(data[at + size : end]), Entry(_kind(kind), mode, data[at : at + size])
            at = end + 1
    except (struct.error, ValueError) as error:
        raise Damaged("a listing in the checkpoint store is damaged") from error


def _kind(code: bytes) -> Kind:
    match code:
        case b"f":
            return "f"
        case b"l":
            return "l"
        case b"d":
            return "d"
        case b"x":
            return "x"
    raise ValueError(code)


_ABSENT = Entry("x", 0, b"absent")


def pack_delta(delta: Delta) -> bytes:
    """A delta as bytes: two listings, in the same order."""
    before = pack((path, old or _ABSENT) for path, (old, _) in delta.items())
    after = pack((path, new or _ABSENT) for path, (_, new) in delta.items())
    return _COUNT.pack(len(before)) + before + after


def unpack_delta(data: bytes) -> Delta:
    """What `pack_delta` was given. Raises Damaged."""
    if not data:
        return {}
    (size,) = _COUNT.unpack_from(data)
    start = _COUNT.size
    before = dict(unpack(data[start : start + size]))
    after = dict(unpack(data[start + size :]))
    if before.keys() != after.keys():
        raise Damaged("a step in the checkpoint store is damaged")

    def present(entry: Entry) -> Entry | None:
        return None if entry == _ABSENT else entry

    return {path: (present(before[path]), present(after[path])) for path in before}
