"""What this run says of itself to a server at an address: only to a glmcode's own door.

How urgent a run is, its name and its folder mean something to a supervisor (lane.py), and are
nobody else's business. A supervisor is known by the header that it adds to every answer (mark.py);
until one has come nothing is said. Must not ask anything by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from glmcode.engine.lane import RESUMES
from glmcode.engine.mark import HEADER


class Introduction:
    """headers: what is said. known: whether a supervisor answers there."""

    def __init__(self, headers: Mapping[str, str], *, known: bool) -> None:
        self.known = known
        self._headers = dict(headers)

    @property
    def pending(self) -> bool:
        """There is something to say, and nobody known to say it to."""
        return bool(self._headers) and not self.known

    def no_ids(self) -> None:
        """No ids are spoken: an answer that was broken off could not be gone on with."""
        self._headers.pop(RESUMES, None)

    def met(self, answer: Mapping[str, str]) -> None:
        """An answer has come, with these headers."""
        self.known = self.known or bool(answer.get(HEADER))

    def says(self, more: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of a request; more: those of it alone, which only a supervisor reads too."""
        return {**self._headers, **more} if self.known else {}
