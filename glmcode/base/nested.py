"""Whether this process runs inside the sandbox of another run of glmcode, as the environment says.

There the other run's engine is asked through a socket that its sandbox shows, the folders for
settings and sessions are closed, and only the temporary folder can be written. Whoever sets the
variable without being there only shuts itself out. Must not open anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

NESTED = "GLMCODE_NESTED"
"""Set for sandboxed commands: the path of the socket, or CLOSED."""
CLOSED = "-"
"""There is no way to an engine from inside."""


def way_out(environment: Mapping[str, str]) -> str:
    """The value of NESTED; "" where this is no sandbox of another run."""
    return environment.get(NESTED, "")


def settle(environment: MutableMapping[str, str]) -> None:
    """Keep what would go to the person's folders in the temporary one, when in such a sandbox."""
    if way_out(environment):
        environment["GLMCODE_HOME"] = os.path.join(  # noqa: PTH118 (every launch passes here)
            environment.get("TMPDIR") or "/tmp", "glmcode"
        )
