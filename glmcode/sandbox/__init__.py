"""The sandbox of commands: an operating system's boundary around what the model runs.

`Sandbox` is what a session holds; `withheld` says which variables commands don't get;
`find_backend` and `not_covered` tell what works here and what that leaves open. Three
mechanisms: bubblewrap.py and landlock.py (with launcher.py, in the child) on Linux,
seatbelt.py on macOS. Nothing here judges whether a command should run: rules do.
"""

from __future__ import annotations

from glmcode.sandbox.confine import Sandbox, Wrapped
from glmcode.sandbox.coverage import not_covered
from glmcode.sandbox.probe import Backend, choose_backend, find_backend
from glmcode.sandbox.secrets import withheld

__all__ = [
    "Backend",
    "Sandbox",
    "Wrapped",
    "choose_backend",
    "find_backend",
    "not_covered",
    "withheld",
]
