"""The command line. Placeholder dispatch until the front ends land."""

import sys


def main() -> int:
    """Entry point of the `glmcode` script; returns the exit code."""
    from glmcode import __version__

    if sys.argv[1:] in (["--version"], ["-v"]):
        print(f"glmcode {__version__}")
        return 0
    return 2
