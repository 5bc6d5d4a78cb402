"""The one error of a model.

Apart from model.py, so that who reads options can catch it without importing every event: the
prompt of a session stands before those are needed.
"""

from __future__ import annotations

from typing import Literal


class ModelError(Exception):
    """No reply could be had; the text is one clear sentence that says what to do.

    kind "unavailable": busy, loading, unreachable or died; the same request may work later
    (exit code 75). kind "failed": trying again will not help (exit code 1).
    kind "context_full": the prompt does not fit the window. kind "allowance": what may be
    generated is used up. detail: raw lines for the person.
    """

    def __init__(
        self,
        text: str,
        *,
        kind: Literal["unavailable", "failed", "context_full", "allowance"] = "failed",
        detail: str = "",
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.detail = detail
