"""Takes Ctrl-C for a hook alone, so that interrupting a review does not end the commit; ends it
when its time is over.

git and its hook are one group of the terminal, and git dies of a Ctrl-C that its hook survives.
While the hook runs it is a group of its own in the foreground; git gets the terminal back when
it ends. Without a terminal, or in the background, nothing is changed. Must not read the terminal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TooLate(KeyboardInterrupt):
    """The time is over. Interrupts like Ctrl-C: an event loop lets nothing else through."""


@contextmanager
def own_interrupts() -> Iterator[None]:
    """For the time of the block, Ctrl-C reaches this process and not those that called it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    group = os.getpgrp()
    ignored = signal.getsignal(signal.SIGTTOU)
    taken = False
    try:
        if os.tcgetpgrp(terminal) == group and os.getsid(0) != os.getpid():
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else handing it back would stop us
            os.setpgid(0, 0)
            os.tcsetpgrp(terminal, os.getpid())
            taken = True
    except OSError:
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            if taken:
                os.tcsetpgrp(terminal, group)
                os.setpgid(0, group)
        signal.signal(signal.SIGTTOU, ignored)
        os.close(terminal)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raises TooLate in the block when it takes longer, whatever it is doing."""

    def late(number: int, frame: object) -> None:
        raise TooLate

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
