"""The tags of many files: from the cache where their content is known, else from the workers.

Every file is read and hashed each time: what is on the disk decides, not a time of change. The
contents are in memory for one batch only. Must not choose the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock

from glmcode.base.paths import cache_folder
from glmcode.context.languages import Language, fingerprint, language_of
from glmcode.context.sources import read_source
from glmcode.context.tag_cache import TagCache
from glmcode.context.tag_pool import Source, TagPool
from glmcode.context.tags import FileTags, from_bytes

FORMAT = b"1"
"""Raised whenever tags.py reads the same file differently."""
_FILES = 64
_BYTES = 512 << 10
_LOOKED_UP = 400
_LOOKED_UP_BYTES = 16 << 20


def cache_file() -> Path:
    """Where tags are kept."""
    return cache_folder() / "map" / "tags.sqlite"


def tags_of_files(
    top: str, paths: Sequence[str], stopped: Callable[[], bool] = lambda: False
) -> dict[str, FileTags]:
    """path -> tags of those files (relative to top) that are source; {} when stopped."""
    cache = TagCache(cache_file())
    try:
        return _Tagging(top, cache, stopped).run(paths)
    finally:
        cache.close()


class _Tagging:
    """One run: what was looked up, what is being parsed, what is known."""

    def __init__(self, top: str, cache: TagCache, stopped: Callable[[], bool]) -> None:
        self._top = top
        self._cache = cache
        self._stopped = stopped
        self._known: dict[bytes, FileTags] = {}
        self._made: list[tuple[bytes, bytes]] = []
        self._asked: set[bytes] = set()
        self._lock = Lock()

    def run(self, paths: Sequence[str]) -> dict[str, FileTags]:
        keys: dict[str, bytes] = {}
        with TagPool(self._parsed) as pool:
            pending: dict[bytes, Source] = {}
            size = 0
            for path in paths:
                if self._stopped():
                    return {}
                source = self._source(path)
                if source is None:
                    continue
                keys[path] = source.key
                pending.setdefault(source.key, source)
                size += len(source.data)
                if len(pending) >= _LOOKED_UP or size > _LOOKED_UP_BYTES:
                    self._look_up(pending, pool)
                    pending, size = {}, 0
            self._look_up(pending, pool)
        self._keep()
        return {path: self._known[key] for path, key in keys.items() if key in self._known}

    def _source(self, path: str) -> Source | None:
        data = read_source(f"{self._top}/{path}")
        if data is None:
            return None
        language = language_of(path.rpartition("/")[2], data)
        if language is None:
            return None
        key = hashlib.blake2b(data, digest_size=16, key=_reader(language)).digest()
        return Source(key, language.name, data)

    def _look_up(self, pending: dict[bytes, Source], pool: TagPool) -> None:
        """Take from the cache what it has, and have the rest parsed."""
        unknown = [key for key in pending if key not in self._asked]
        self._asked.update(unknown)
        found = self._cache.get(unknown)
        for key, value in found.items():
            self._known[key] = from_bytes(value)
        batch: list[Source] = []
        size = 0
        for key in unknown:
            if key in found:
                continue
            batch.append(pending[key])
            size += len(pending[key].data)
            if len(batch) >= _FILES or size > _BYTES:
                pool.add(batch)
                batch, size = [], 0
        if batch:
            pool.add(batch)
        self._keep()

    def _parsed(self, key: bytes, encoded: bytes) -> None:
        with self._lock:
            self._known[key] = from_bytes(encoded)
            self._made.append((key, encoded))

    def _keep(self) -> None:
        with self._lock:
            made, self._made = self._made, []
        if made:
            self._cache.put(made)


@lru_cache(maxsize=32)
def _reader(language: Language) -> bytes:
    """What reads a file of a language, as the key of a hash."""
    return hashlib.blake2b(FORMAT + fingerprint(language), digest_size=32).digest()
