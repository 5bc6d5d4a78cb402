"""An undo in words: the list of files first, then what changes in them. For terminal and command.

Every path is named, whether its content can be shown or not; what speaks against it stands with
it. Must not apply anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from glmcode.base.textfile import binary_kind
from glmcode.checkpoints.apply import Applied
from glmcode.checkpoints.entries import Entry
from glmcode.checkpoints.log import Unit, without_folders
from glmcode.checkpoints.plan import Item
from glmcode.checkpoints.store import NotKept
from glmcode.checkpoints.undo import Plan, Undo, shown
from glmcode.tools.diff import diff_texts

SHOWN_FILES = 200
"""Files whose changes are shown; the list names all."""
_HEAD = 8_192


def title(plan: Plan) -> str:
    """What is taken back, in a line."""
    if plan.kind == "redo":
        return f"the undo of {_labels(plan.units)}"
    count = len(plan.units)
    which = "the last turn" if count == 1 else f"{count} turns"
    return f"{which}: {_labels(plan.units)}"


def described(undo: Undo, plan: Plan) -> str:
    """All of a plan: the list, then the changes as unified diffs."""
    if not plan.items:
        return "nothing to do: the files already are as they were"
    lines = [_line(item) for item in plan.items]
    for item in plan.items[:SHOWN_FILES]:
        body = change(undo, item)
        if body:
            lines += ["", f"{shown(item.path)}:", body]
    if len(plan.items) > SHOWN_FILES:
        lines += ["", f"[the changes of {len(plan.items) - SHOWN_FILES} more are not shown]"]
    return "\n".join(lines)


def changes(undo: Undo, plan: Plan) -> list[tuple[str, str, str]]:
    """What the plan's turns did: path, what became of it, and the unified diff from then to now."""
    told = []
    for item in plan.items:
        made = item.target is None
        what = "new" if made else "removed" if item.now is None else "changed"
        mode = _mode(item.target, item.now)
        since = f" [{item.why}]" if item.why else ""
        told.append((shown(item.path), f"{what}{mode}{since}", change(undo, item, back=False)))
    return told


def outcome(plan: Plan, applied: Applied) -> str:
    """How it went."""
    done = without_folders(applied.done)
    verb = "put back again" if plan.kind == "redo" else "put back"
    text = f"{verb}: {len(done)} file{'' if len(done) == 1 else 's'}"
    for path, why in applied.failed:
        text += f"\nnot {shown(path)}: {why}"
    if applied.hindered:
        text += f"\nthe same {plan.kind} once more does what is missing"
    return text


def listed(units: Sequence[tuple[Unit, Sequence[str]]]) -> str:
    """The turns that changed something, the last first."""
    lines: list[str] = []
    for unit, files in reversed(units):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(unit.at))
        named = ", ".join(shown(path) for path in files[:5])
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        undone = " (undone)" if unit.undone else ""
        lines.append(f"{unit.id:>5}  {when}  {unit.label or '-'}{undone}")
        lines.append(f"       {named}{more}")
    return "\n".join(lines)


def _labels(units: Sequence[Unit]) -> str:
    labels = [f'"{unit.label[:60]}"' for unit in units if unit.label]
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _line(item: Item) -> str:
    path, now, target = shown(item.path), item.now, item.target
    ends = "/" if "d" in (now.kind if now else "", target.kind if target else "") else ""
    if target is None:
        what = "remove  "
    elif now is None:
        what = "put back"
    else:
        what = "change  "
    detail = _mode(now, target)
    against = f"   [{item.why}]" if item.why else ""
    return f"  {what} {path}{ends}{detail}{against}"


def _mode(now: Entry | None, target: Entry | None) -> str:
    if now is None or target is None or "l" in (now.kind, target.kind) or now.mode == target.mode:
        return ""
    return f" (mode {now.mode:04o} to {target.mode:04o})"


def change(undo: Undo, item: Item, *, back: bool = True) -> str:
    """The diff of a file, or a word about what can't be shown. back: from now to what was."""
    now, target = item.now, item.target
    if now is not None and target is not None and now.id == target.id:
        return ""
    if {entry.kind for entry in (now, target) if entry is not None} <= {"d"}:
        return ""
    try:
        before = None if now is not None and now.kind == "x" else undo.standing(item)
        after = _bytes(undo, target)
    except NotKept as error:
        return f"[its content {error}]"
    if not back:
        before, after = after, before
    if before is None or after is None:
        return "[not kept]" if target is not None and target.kind == "x" else ""
    if binary_kind(before[:_HEAD]) or binary_kind(after[:_HEAD]):
        return f"[binary: {len(before):,} bytes become {len(after):,}]"
    return diff_texts(_text(before), _text(after)).body


def back(undo: Undo, item: Item) -> str:
    """What putting a file back does to it: its mode, then the diff."""
    parts = (_mode(item.now, item.target).strip(), change(undo, item))
    return "\n".join(part for part in parts if part)


def _bytes(undo: Undo, entry: Entry | None) -> bytes | None:
    if entry is not None and entry.kind == "x":
        return None
    return undo.content(entry)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
