"""A second process that asks for the states of files: Python runs on one core, the kernel on all.

It is told shares of the workspace (asking.py) and, at each look, answers them from the last to the
first until it is told to rest. Nothing here ever waits: what does not fit into its pipe is kept and
goes out later, answers are taken as they come, and one that died or was never there costs only the
time that it would have saved. It ends when its input does. Must not be needed.
"""

from __future__ import annotations

import marshal
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from glmcode.checkpoints.asking import Asker, Share

_ROOT = Path(__file__).resolve().parents[2]
_MAIN = "import sys; sys.path += sys.argv[2:]; from glmcode.checkpoints.helper import main; main()"
_SIZE = struct.Struct("<I")
_HEAD = struct.Struct("<III")
"""Of an answer: the look, the share, how many numbers (4 bytes each) follow."""
_CHUNK = 1 << 16
_ENDING_S = 1.0
MAX_KEPT = 1 << 26
"""Bytes kept for a helper that does not read before it is given up."""


class Helper:
    """One process. No method raises or waits, but for flush and close."""

    def __init__(self, workspace: str) -> None:
        self._look = 0
        self._out = bytearray()
        self._heard = bytearray()
        self._process: subprocess.Popen[bytes] | None = None
        if not sys.executable:
            return
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MAIN, workspace, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError):
            return
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    def tell(self, number: int, share: Share) -> bool:
        """From now on the share of this number is this one; whether it could be said."""
        expected = [part.tobytes() for part in (share.inodes, share.seconds, share.fractions)]
        return self._send(("tell", number, list(share.paths), list(share.names), expected))

    def ask(self) -> None:
        """A look begins: what is answered from now on counts."""
        self._look = (self._look + 1) & 0xFFFFFFFF
        self._send(("look", self._look))

    def rest(self) -> None:
        """The look has ended."""
        self._send(("rest",))

    def answers(self) -> Iterator[tuple[int, set[int]]]:
        """Shares that were answered meanwhile, with the positions of the folders that differ."""
        self._push()
        self._read()
        at = 0
        while len(self._heard) - at >= _HEAD.size:
            look, number, count = _HEAD.unpack_from(self._heard, at)
            if len(self._heard) - at < _HEAD.size + 4 * count:
                break
            positions = struct.unpack_from(f"<{count}I", self._heard, at + _HEAD.size)
            at += _HEAD.size + 4 * count
            if look == self._look:
                yield number, set(positions)
        del self._heard[:at]

    def flush(self, patience_s: float) -> None:
        """Wait a while until it took what it was told."""
        deadline = time.monotonic() + patience_s
        while self._out and self._process is not None and time.monotonic() < deadline:
            assert self._process.stdin is not None
            select.select([], [self._process.stdin], [], 0.05)
            self._push()

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
            with suppress(subprocess.TimeoutExpired):  # it may hang in a file system that is gone
                process.wait(_ENDING_S)
        self._out.clear()
        self._heard.clear()

    def _send(self, message: tuple[Any, ...]) -> bool:
        if self._process is None:
            return False
        data = marshal.dumps(message)
        self._out += _SIZE.pack(len(data)) + data
        self._push()
        if len(self._out) > MAX_KEPT:
            self.close()
        return self._process is not None

    def _push(self) -> None:
        """Write as much as goes."""
        while self._out and self._process is not None:
            assert self._process.stdin is not None
            try:
                written = os.write(self._process.stdin.fileno(), self._out[:_CHUNK])
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            del self._out[:written]

    def _read(self) -> None:
        while self._process is not None:
            assert self._process.stdout is not None
            try:
                data = os.read(self._process.stdout.fileno(), _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self._heard += data


# The other side


class _Beside:
    """What runs in the process."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._known: dict[int, Share] = {}
        self._asker = Asker()
        self._input = bytearray()

    def run(self) -> None:
        """Do what is said until nobody says anything any more."""
        while (message := self._next()) is not None:
            if message[0] == "tell":
                _, number, paths, names, expected = message
                self._known[number] = Share.of(paths, names, expected)
            elif message[0] == "look":
                self._answer(message[1])

    def _answer(self, look: int) -> None:
        try:
            root = os.open(self._workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            for number in sorted(self._known, reverse=True):
                if self._input or select.select([0], [], [], 0)[0]:
                    return
                found = sorted(self._asker.differing(root, self._known[number]))
                answer = _HEAD.pack(look, number, len(found)) + struct.pack(
                    f"<{len(found)}I", *found
                )
                while answer:
                    answer = answer[os.write(1, answer) :]
        finally:
            os.close(root)

    def _next(self) -> tuple[Any, ...] | None:
        data = self._exactly(_SIZE.size)
        message = data and self._exactly(_SIZE.unpack(data)[0])
        return tuple(marshal.loads(message)) if message else None

    def _exactly(self, size: int) -> bytes:
        """b"" at the end."""
        while len(self._input) < size:
            data = os.read(0, _CHUNK)
            if not data:
                return b""
            self._input += data
        taken = bytes(self._input[:size])
        del self._input[:size]
        return taken


def main() -> None:
    """The process's own: the workspace is its first argument."""
    with suppress(OSError):
        _Beside(sys.argv[1]).run()
