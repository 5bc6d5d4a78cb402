"""The key of a door, and what is kept of an open door so that the next supervisor opens it again.

In memory a key is its SHA-256; on the disk only a salted scrypt of that, in a file that nobody but
the owner may read: enough to know a key again that somebody shows, too slow to guess one from.
A door is remembered from when it is opened until a person closes it or stops the engine, whatever
kills the supervisor in between. Must not listen or judge requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SHORTEST_KEY = 16
_SLOW = "scrypt"
_COST = 1 << 14
_MEMORY = 1 << 26


class WeakKey(Exception):
    """A key that cannot be used; one sentence."""


class DoorKey:
    """The key that is asked for; false where none is. Known by its digest, or, after a crash and
    until somebody has shown it, by what was kept of that."""

    def __init__(self, digest: bytes = b"", kept: tuple[bytes, bytes] | None = None) -> None:
        self._digest = digest
        self._kept = kept
        self._alone = asyncio.Lock()

    @staticmethod
    def of(key: str) -> DoorKey:
        """Raises WeakKey."""
        if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable():
            raise WeakKey(
                f"the key is too weak: {SHORTEST_KEY} printable ASCII characters at least, one line"
            )
        return DoorKey(_digest(key))

    @staticmethod
    def read(text: str) -> DoorKey:
        """From what `told` or `keep` gave, "" for no key. Raises ValueError."""
        if not text.startswith(_SLOW):
            return DoorKey(bytes.fromhex(text))
        _, salt, slow = text.split("$")
        return DoorKey(kept=(bytes.fromhex(salt), bytes.fromhex(slow)))

    def __bool__(self) -> bool:
        return bool(self._digest) or self._kept is not None

    def told(self) -> str:
        """For another supervisor that takes over, by a private socket only."""
        return self._digest.hex() if self._digest or self._kept is None else _text(*self._kept)

    async def keep(self) -> str:
        """For the disk."""
        if self._kept is None and self._digest:
            salt = secrets.token_bytes(16)
            self._kept = (salt, await asyncio.to_thread(_slowly, self._digest, salt))
        return "" if self._kept is None else _text(*self._kept)

    async def fits(self, said: str, asks: Callable[[], bool] = lambda: True) -> bool:
        """Whether it is the key; tells nothing by the time that it takes.

        Until the first one fits each try costs 50 ms, one after the other. asks: whether somebody
        is still there who wants to know.
        """
        digest = _digest(said)
        if not self._digest and self._kept is not None:
            salt, slow = self._kept
            async with self._alone:
                if not self._digest and asks():
                    found = await asyncio.to_thread(_slowly, digest, salt)
                    if hmac.compare_digest(found, slow):
                        self._digest = digest
                if not self._digest:
                    return False
        return hmac.compare_digest(digest, self._digest)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _slowly(digest: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(digest, salt=salt, n=_COST, r=8, p=1, maxmem=_MEMORY, dklen=32)


def _text(salt: bytes, slow: bytes) -> str:
    return f"{_SLOW}${salt.hex()}${slow.hex()}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where a door was open, HOST:PORT, and its key."""

    address: str
    key: DoorKey = field(default_factory=DoorKey)


def remember(path: Path, address: str, key: str) -> None:
    """key: of `DoorKey.keep`. Raises OSError."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps({"address": address, "key": key}).encode() + b"\n")
    finally:
        os.close(descriptor)
    draft.replace(path)


def recall(path: Path) -> Remembered | None:
    """None where no door was open. What cannot be read opens nothing: ValueError, OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        value = json.loads(text)
        return Remembered(str(value["address"]), DoorKey.read(value["key"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is not what a door left") from error


def forget(path: Path) -> None:
    """The door is not to be opened again."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
