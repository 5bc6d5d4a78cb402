"""Which changes of a session a person has looked at and accepted: they are not shown again.

Kept per session beside the log, as what stood there at that moment: whoever changes the file
afterwards, it is to be looked at again. Must not change the workspace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from glmcode.checkpoints.entries import Entry
from glmcode.checkpoints.plan import Item
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.store import set_meta


def accepted(kept: Checkpoints, items: Iterable[Item]) -> set[str]:
    """The paths among a plan's items that stand as they were accepted. Raises StoreError."""
    with kept.lock:
        known = _known(kept)
    return {item.path for item in items if known.get(item.path) == _state(item.now)}


def accept(kept: Checkpoints, items: Iterable[Item]) -> None:
    """Accept what stands there now. Raises StoreError."""
    with kept.lock, kept.store.transaction() as base:
        known = _known(kept) | {item.path: _state(item.now) for item in items}
        set_meta(base, _key(kept), json.dumps(known).encode("utf-8", "surrogatepass"))


def _known(kept: Checkpoints) -> dict[str, str]:
    stored = kept.store.meta(_key(kept)).decode("utf-8", "surrogatepass")
    found: dict[str, str] = json.loads(stored or "{}")
    return found


def _key(kept: Checkpoints) -> str:
    return f"accepted {kept.session}"


def _state(entry: Entry | None) -> str:
    return "" if entry is None else f"{entry.kind} {entry.mode:o} {entry.id.hex()}"
