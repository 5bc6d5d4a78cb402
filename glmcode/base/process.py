"""Running a command: start it, hear its output as it comes, know its end, stop all of it.

Everything runs under the warden (warden.py), so that no process a command started can be lost.
One pipe carries standard output and error in their order; it is read as the event loop comes
round, and the command waits while nobody reads. The end of a command is the exit of its
first process, never the end of the pipe, which any daemon may hold open for ever.
Whoever starts a command owns the Running: keep it until `gone`, or call `stop`. This module
must not know shells, tools or texts for a model.
"""

from __future__ import annotations

import asyncio
import atexit
import marshal
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Stage: TypeAlias = Literal["warden", "fork", "folder", "exec", "start"]

READ_SIZE = 1 << 16
SLACK_S = 10.0
"""How long a keeper may be late with an answer before it is taken for dead."""
_ROOT = str(Path(__file__).resolve().parents[2])
_MAIN = (
    "import sys; sys.path.append(sys.argv[2]); "
    "from glmcode.base.warden import main; main(int(sys.argv[1]))"
)


class ProcessError(Exception):
    """A command could not be started: the stage that failed, and the system's words."""

    def __init__(self, stage: Stage, text: str) -> None:
        super().__init__(text)
        self.stage = stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the first process of a command ended, `seconds` after its start.

    code: 0 to 255; -N when signal N killed it; None when its keeper was killed and nobody
    knows. left: how many processes that it started ran on; left_names: some of them.
    """

    code: int | None
    seconds: float
    timed_out: bool = False
    left: int = 0
    left_names: tuple[str, ...] = ()

    @property
    def left_alone(self) -> bool:
        """Something runs on, and nobody is stopping it."""
        return self.left > 0 and not self.timed_out

    def text(self) -> str:
        """`exit 1`, `killed by SIGSEGV`."""
        if self.code is None:
            return "ended in an unknown way (its supervising process was killed)"
        if self.code >= 0:
            return f"exit {self.code}"
        try:
            return f"killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"killed by signal {-self.code}"


class Running:
    """A started command. `exit` is None while its first process runs."""

    def __init__(self, talk: socket.socket, output: int, hear: Callable[[bytes], None]) -> None:
        self.pid = self.keeper = 0
        self.exit: Exit | None = None
        self.survivors: tuple[str, ...] = ()
        self.keyless: list[str] = []
        """Programs that were stopped because they waited for keys that nobody can press."""
        self.ended: Callable[[], None] = lambda: None
        """Called once, when nothing of the command is left and its output is complete."""
        self._talk = talk
        self._output: int | None = output
        self._hear_output = hear
        self._failure: tuple[Stage, int] | None = None
        self._received = b""
        self._changed = asyncio.Event()
        self._gone = self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._watchdog: asyncio.TimerHandle | None = None
        talk.setblocking(False)
        os.set_blocking(output, False)
        self._loop.add_reader(talk.fileno(), self._on_message)
        self._loop.add_reader(output, self._on_output)

    @property
    def gone(self) -> bool:
        """Nothing of the command is left (or what is left, `survivors`, cannot be killed)."""
        return self._gone

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._loop.time() - self._started_at

    async def exited(self) -> Exit:
        """Wait for the exit of the first process; what it had printed has then been heard.

        Returns when the whole tree is gone, or else, unless it is being stopped, a quarter of
        a second after the exit; then `left` is not 0. May be cancelled: that stops nothing.
        """
        await self._until(lambda: self._gone or bool(self.exit and self.exit.left_alone))
        self._drain()
        return self.exit or Exit(code=None, seconds=self.seconds)

    async def stop(self) -> None:
        """SIGTERM to the whole tree, a short grace, SIGKILL; returns when it is gone.

        Cancelled meanwhile, it kills without grace, still waits, and then raises.
        """
        cancelled: asyncio.CancelledError | None = None
        self._stopping = True
        self._order(b"T")
        self._watch(SLACK_S)
        while not self._gone:
            try:
                await self._until(lambda: self._gone)
            except asyncio.CancelledError as error:
                cancelled = error
                self._order(b"K")
        if cancelled is not None:
            raise cancelled

    def abandon(self) -> None:
        """Stop without waiting: the keeper kills what runs once its socket is closed."""
        self._finish()

    async def _start(self, request: bytes, limit: float | None) -> None:
        """Send the request and wait until the command runs. Raises ProcessError."""
        self._watch(SLACK_S)
        with suppress(OSError):
            await self._loop.sock_sendall(self._talk, request)
        await self._until(lambda: bool(self.pid or self._failure or self._gone))
        if self._failure is not None or not self.keeper:
            stage, number = self._failure or ("warden", 0)
            self._finish()
            raise ProcessError(stage, os.strerror(number) if number else "no answer")
        if self._watchdog is not None:
            self._watchdog.cancel()
        if limit is not None:
            self._watch(limit + SLACK_S)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._changed.clear()
            await self._changed.wait()

    def _watch(self, wait_s: float) -> None:
        """Take the keeper for dead when it has not ended in `wait_s` (somebody stopped it)."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if not self._gone:
            self._watchdog = self._loop.call_later(wait_s, self._give_up)

    def _give_up(self) -> None:
        if self.keeper:
            with suppress(OSError):
                os.kill(self.keeper, signal.SIGKILL)
        self._lost()

    def _order(self, order: bytes) -> None:
        if not self._gone:
            with suppress(OSError):
                self._talk.send(order)

    def _on_message(self) -> None:
        try:
            data = self._talk.recv(1 << 14)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._received += data
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if len(self._received) < end:
                break
            message = marshal.loads(self._received[4:end])
            self._received = self._received[end:]
            self._take(message)

    def _take(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("keeper", pid):
                self.keeper = pid
            case ("started", pid):
                self.pid = pid
                self._started_at = self._loop.time()
            case ("failed", stage, number):
                self._failure = (stage, number)
            case ("exit", code, seconds, timed_out, (left, names)):
                self.exit = Exit(
                    code=code, seconds=seconds, timed_out=timed_out, left=left, left_names=names
                )
                if self._watchdog is not None and not (timed_out or self._stopping):
                    self._watchdog.cancel()
            case ("waits", name):
                self.keyless.append(name)
            case ("gone", (_, names)):
                self.survivors = names
                self._drain()
                self._finish()
        self._changed.set()

    def _lost(self) -> None:
        """The keeper is gone without a word: the warden kills what it left behind."""
        if self._gone:
            return
        if self.exit is None and self.keeper:
            self.exit = Exit(code=None, seconds=self.seconds)
        self._drain()
        self._finish()

    def _on_output(self) -> bool:
        """Hear one piece; False when there is none now."""
        if self._output is None:
            return False
        try:
            data = os.read(self._output, READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._hear_output(data)
        else:
            self._close_output()
        return bool(data)

    def _drain(self) -> None:
        """Hear what lies in the pipe; bounded, for somebody may go on writing."""
        for _ in range(32):
            if not self._on_output():
                return

    def _close_output(self) -> None:
        if self._output is not None:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None

    def _finish(self) -> None:
        if self._gone:
            return
        self._gone = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._loop.remove_reader(self._talk.fileno())
        self._talk.close()
        self._close_output()
        self._changed.set()
        self.ended()


async def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Callable[[bytes], None],
    limit: float | None = None,
    script: bytes | None = None,
    helper: str = "",
) -> Running:
    """Start argv (argv[0] absolute) in `cwd` with exactly this environment.

    output hears what is printed, in pieces, from the event loop; it must not raise. After
    `limit` seconds the whole tree is killed, also when the event loop is busy. `script` can be
    read by the command as /dev/fd/64. Processes named `helper` are not told as left, because
    they end with what they are there for. Raises ProcessError; ValueError for a NUL in a string.
    """
    request = marshal.dumps(
        {
            "argv": [os.fsencode(word) for word in argv],
            "cwd": os.fsencode(cwd),
            "env": {os.fsencode(k): os.fsencode(v) for k, v in environment.items()},
            "limit": limit,
            "script": script,
            "helper": helper,
        }
    )
    try:
        talk, output_end = _warden.new_keeper(environment)
    except OSError as error:
        raise ProcessError("warden", error.strerror or str(error)) from error
    running = Running(talk, output_end, output)
    try:
        await running._start(len(request).to_bytes(4, "big") + request, limit)
    except asyncio.CancelledError:
        running.abandon()
        raise
    return running


class _Warden:
    """The one warden of this process, started when first needed and again if it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def new_keeper(self, environment: Mapping[str, str]) -> tuple[socket.socket, int]:
        """The socket to a new keeper and the reading end of its output. Raises OSError."""
        talk, theirs = socket.socketpair()
        with theirs:
            try:
                output, output_end = os.pipe()
            except OSError:
                talk.close()
                raise
            try:
                with self._lock:
                    self._send_order(environment, [theirs.fileno(), output_end])
            except OSError:
                talk.close()
                os.close(output)
                raise
            finally:
                os.close(output_end)
        return talk, output

    def _send_order(self, environment: Mapping[str, str], fds: list[int]) -> None:
        if self._control is not None and self._process is not None and self._process.poll() is None:
            try:
                socket.send_fds(self._control, [b"+"], fds)
                return
            except OSError:
                pass
        self._start(environment)
        assert self._control is not None
        socket.send_fds(self._control, [b"+"], fds)

    def _start(self, environment: Mapping[str, str]) -> None:
        self.close()
        mine, theirs = socket.socketpair()
        names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _MAIN, str(theirs.fileno()), _ROOT],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={name: environment[name] for name in names if name in environment},
                    cwd="/",
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError:
                mine.close()
                raise
        self._control = mine
        atexit.register(self.close)

    def close(self) -> None:
        """Let the warden end; commands that still run end when their sockets close."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.2)
            self._process = None


_warden = _Warden()
