"""Whether an engine that nobody uses is to be stopped: only where a person set it so.

By default an idle engine stays: what it costs is power, what a start costs is minutes. The setting
engine.idle_stop is read again now and then, so that it counts for an engine that runs already.
Must not stop anything.
"""

from __future__ import annotations

from collections.abc import Callable

from glmcode.base.config import ConfigError, load_config

LOOK_S = 30.0


def idle_minutes() -> float:
    """The person's setting; 0: never, also where the settings can't be read."""
    try:
        return load_config(None, {})[0].engine.idle_stop
    except ConfigError:
        return 0.0


class IdleStop:
    """Told again and again what the engine does. minutes: asked now and then."""

    def __init__(self, minutes: Callable[[], float] = idle_minutes) -> None:
        self._ask = minutes
        self._minutes = 0.0
        self._asked = -LOOK_S
        self._since: float | None = None
        self._served = -1

    def due(self, now: float, *, idle: bool, served: int) -> bool:
        """Whether it has been idle for long. idle: it is up, serves nobody, and nobody waits;
        served: requests so far. now: seconds of one clock."""
        if not idle or served != self._served or self._since is None:
            self._since, self._served = (now if idle else None), served
            return False
        if now - self._asked >= LOOK_S:
            self._asked, self._minutes = now, self._ask()
        return self._minutes > 0 and now - self._since >= 60 * self._minutes
