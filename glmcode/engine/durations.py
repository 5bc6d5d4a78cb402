"""How long requests take, learned by class, so that those who wait can be told how long.

Must not promise anything before something was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from glmcode.engine.ticket import Ticket

SHARE = 0.3
"""Of the last one in what is foretold."""
LEAST_S, MOST_S = 0.01, 86_400.0
"""What takes less was refused, what takes more is no measure."""


@dataclass(slots=True)
class Durations:
    """Seconds by class; "" for all of them."""

    _known: dict[str, float] = field(default_factory=dict)

    def learn(self, kind: str, took: float) -> None:
        """A request of a class was answered to its end. took: seconds."""
        if not LEAST_S <= took < MOST_S:
            return
        # What background work takes tells nothing of those who have something to say.
        for name in (kind,) if kind == "background" else (kind, ""):
            known = self._known.get(name)
            self._known[name] = took if known is None else known + SHARE * (took - known)

    def after(self, one: Ticket, left: float | None, now: float) -> float | None:
        """Seconds until the engine is free of one more, `left` without it; None: unknown."""
        if one.breaking:  # gone in a moment
            return left
        took = self._known.get(one.lane.kind, self._known.get(""))
        if took is None or left is None:
            return None
        since = max(0.0, now - one.started) if one.state == "running" else 0.0
        # One that takes longer than usual goes on for as long again as it is late.
        return left + max(took - since, 0.3 * since if one.state == "running" else 0.0)
