"""What an undo would do, before it does anything: file by file, and what speaks against it.

The steps of the chosen turns are joined to one change a path. A file is restored only if what
stands there is exactly what the turns left; otherwise somebody changed it since, and it is named.
Must not write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from glmcode.checkpoints.entries import Entry, same
from glmcode.checkpoints.log import StepChange

SINCE = "changed since, by you or another program"
BETWEEN = "changed by you or another program in the middle of it"
TORN = "glmcode ended during `{torn}`, so its changes can't be told from later ones"
NOT_KEPT = "what stood there was not kept ({why})"
NO_WAY_BACK = "what stands there now can't be kept ({why}): it would be lost"
HOLDS_MORE = "a folder stands there that holds other files"
BLOCKED = "{folder} is no folder any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One path: what stands there, what shall. why: what speaks against it, or "".

    impossible: it can't be done even by force.
    """

    path: str
    now: Entry | None
    target: Entry | None
    why: str = ""
    impossible: bool = False


@dataclass(slots=True)
class _Chain:
    """What became of one path over the steps: from the first state to the last."""

    first: Entry | None
    last: Entry | None
    broken: bool = False
    torn: str = ""


def items_of(
    steps: Sequence[StepChange],
    look: Callable[[str], Entry | None],
    has: Callable[[bytes], bool],
    root: str,
) -> list[Item]:
    """What taking back these steps (oldest first) comes to, by path.

    look: what stands at a path now. has: whether a content is kept. root: the workspace.
    """
    chains: dict[str, _Chain] = {}
    for step in steps:
        for path, (old, new) in step.delta.items():
            chain = chains.get(path)
            if chain is None:
                chains[path] = _Chain(old, new, torn=step.torn)
                continue
            chain.broken = chain.broken or not same(chain.last, old)
            chain.last = new
            chain.torn = chain.torn or step.torn
    items: list[Item] = []
    for path, chain in sorted(chains.items()):
        if same(chain.first, chain.last):
            continue
        now = look(path)
        if not same(now, chain.first):
            items.append(_item(path, now, chain, has))
    targets = {item.path: item.target for item in items}
    return [_placed(item, targets, root) for item in items]


def _item(path: str, now: Entry | None, chain: _Chain, has: Callable[[bytes], bool]) -> Item:
    target = chain.first
    why, impossible = "", False
    if target is not None and (target.kind == "x" or (target.kind == "f" and not has(target.id))):
        why = NOT_KEPT.format(why=target.why or "it was pruned")
        impossible = True
    elif not same(now, chain.last):
        why = SINCE
    elif chain.broken:
        why = BETWEEN
    elif chain.torn:
        why = TORN.format(torn=chain.torn)
    elif now is not None and now.kind == "x":
        why = NO_WAY_BACK.format(why=now.why)
    return Item(path=path, now=now, target=target, why=why, impossible=impossible)


def _placed(item: Item, targets: Mapping[str, Entry | None], root: str) -> Item:
    """The item, with what stands in its way: above it, or inside it."""
    if item.why and item.impossible:
        return item
    if item.target is not None:
        blocked = _blocked(item.path, targets, root)
        if blocked:
            why = BLOCKED.format(folder=blocked)
            return Item(path=item.path, now=item.now, target=item.target, why=why, impossible=True)
        is_folder = item.now is not None and item.now.kind == "d"
        if is_folder and item.target.kind != "d" and _holds_more(item.path, targets, root):
            return Item(
                path=item.path, now=item.now, target=item.target, why=HOLDS_MORE, impossible=True
            )
    return item


def _blocked(path: str, targets: Mapping[str, Entry | None], root: str) -> str:
    """A folder above a path that has become something else and will stay so, or ""."""
    if path.startswith("/"):
        return ""
    parts = path.split("/")
    for end in range(1, len(parts)):
        above = "/".join(parts[:end])
        planned = targets.get(above)
        if planned is not None and planned.kind == "d":
            continue
        try:
            mode = os.lstat(f"{root}/{above}").st_mode
        except OSError:
            continue
        if not stat.S_ISDIR(mode):
            return above
    return ""


def _holds_more(path: str, targets: Mapping[str, Entry | None], root: str) -> bool:
    """Whether a folder holds something that does not go away with it."""
    stack = [path]
    while stack:
        folder = stack.pop()
        try:
            names = os.listdir(f"{root}/{folder}")  # noqa: PTH208 (text, for odd bytes)
        except OSError:
            return True
        for name in names:
            inside = f"{folder}/{name}"
            if inside not in targets or targets[inside] is not None:
                return True
            if stat.S_ISDIR(os.lstat(f"{root}/{inside}").st_mode):
                stack.append(inside)
    return False
