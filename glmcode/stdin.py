"""Reads piped standard input without ever hanging on one that stays silent.

With a prompt, an open but silent stdin is waited for 1 s and then ignored, aloud. Input
that has begun is read until it ends or is silent for 1 s. Must not read a terminal.
"""

from __future__ import annotations

import os
import select
import stat
import time

BEGIN_S = 1.0
SILENCE_S = 1.0
LIMIT_BYTES = 64 * 1024 * 1024


class StdinError(Exception):
    """What came on standard input cannot be used."""


class StdinLate(Exception):
    """The time limit was reached before standard input ended."""


def read_stdin(*, begin_s: float = BEGIN_S, deadline: float | None = None) -> tuple[str, list[str]]:
    """The piped text ("" for none) and notices for stderr. Raises StdinError, StdinLate.

    deadline: time.monotonic() at which waiting for more ends, whatever has come.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return "", []
    if stat.S_ISCHR(mode) and os.isatty(0):
        return "", []
    data, notices = _drain(begin_s, deadline)
    text = data.decode("utf-8", "replace")
    if "\ufffd" in text and b"\xef\xbf\xbd" not in data:
        notices.append("standard input is not UTF-8: what could not be read was replaced")
    if "\0" in text:
        notices.append("standard input holds NUL bytes: they were left out")
        text = text.replace("\0", "")
    return text, notices


def _drain(begin_s: float, deadline: float | None) -> tuple[bytes, list[str]]:
    chunks: list[bytes] = []
    size = 0
    wait = begin_s
    while True:
        left = wait if deadline is None else min(wait, deadline - time.monotonic())
        if left <= 0:
            raise StdinLate
        try:
            ready, _, _ = select.select([0], [], [], left)
            if not ready and left < wait:
                raise StdinLate
            if not ready:
                return b"".join(chunks), [_silent(chunks, wait)]
            chunk = os.read(0, 1 << 20)
        except OSError as error:
            raise StdinError(f"standard input cannot be read: {error.strerror}") from error
        if not chunk:
            return b"".join(chunks), []
        chunks.append(chunk)
        size += len(chunk)
        if size > LIMIT_BYTES:
            raise StdinError(f"standard input is larger than {LIMIT_BYTES >> 20} MiB")
        wait = SILENCE_S


def _silent(chunks: list[bytes], waited: float) -> str:
    if chunks:
        return f"standard input did not end: it was read until {waited:g} s of silence"
    return f"standard input is open but silent: ignored after {waited:g} s"
