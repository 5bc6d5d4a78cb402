"""Fetches one file of a model so that it goes on where it was, in this run and in the next.

huggingface_hub gives each of its downloads a name of its own and begins anew after any failure:
with weights in pieces of 5 GB that is up to 20 GB for nothing, each time. So the content is
fetched here, with its own function, into `<etag>.incomplete`, which one process at a time holds;
what it is linked from is then left to huggingface_hub, which finds it there. Plain HTTP is used
where the hub has something faster (Xet), because only that can be gone on with. Must not judge
what came: the caller checks size and hash.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

MOST = 50_000_000_000
"""Bytes of a file that the hub gives by plain HTTP."""


def fetch_file(model: str, commit: str, name: str, size: int, blobs: Path, *, large: bool) -> None:
    """Fetch `name` into the hub's cache. size: bytes, -1: unknown; blobs: the folder of the
    contents in the cache; large: it is kept where large files are, so its content has a name
    that can be relied on. Raises what huggingface_hub raises, OSError."""
    from huggingface_hub import hf_hub_download

    if large and 0 < size <= MOST:
        _fetch_content(model, commit, name, size, blobs)
    hf_hub_download(model, name, revision=commit)


def _fetch_content(model: str, commit: str, name: str, size: int, blobs: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    url = hf_hub_url(model, name, revision=commit)
    etag = get_hf_file_metadata(url).etag
    if not etag or not etag.isalnum():
        return  # a mirror that names contents otherwise
    whole = blobs / etag
    part = blobs / f"{etag}.incomplete"
    blobs.mkdir(parents=True, exist_ok=True)
    while not whole.exists():
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another pull may be at it
            if not _is_still(part, file.fileno()):
                continue
            had = os.fstat(file.fileno()).st_size
            if had > size:
                file.truncate(0)
                had = 0
            http_get(url, file, resume_size=had, headers=build_hf_headers(), expected_size=size)
            file.flush()
            part.replace(whole)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the open file has that name yet: who held it before may have completed it."""
    mine = os.fstat(descriptor)
    try:
        there = path.stat()
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
