"""A little shell: one command as a job of its own, which can be suspended and gone on with.

    python jobs.py REPORT COMMAND...

In REPORT stand `pid N`, then `stopped 0|1` (1: the terminal's modes were as before) each time
that the job stops, and `ended CODE 0|1`. SIGUSR1 goes on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from pathlib import Path


def main() -> int:
    report = Path(sys.argv[1])

    def tell(line: str) -> None:
        with report.open("a") as file:
            file.write(f"{line}\n")

    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    before = termios.tcgetattr(0)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        os.execv(sys.argv[2], sys.argv[2:])
    tell(f"pid {pid}")
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        restored = int(termios.tcgetattr(0) == before)
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            tell(f"ended {code} {restored}")
            return code if code >= 0 else 128 - code
        modes = termios.tcgetattr(0)
        tell(f"stopped {restored}")
        signal.sigwait([signal.SIGUSR1])
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
        os.tcsetpgrp(0, pid)
        os.killpg(pid, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main())
