"""What a batch came to: the exit code, a text for a person, and summary.json.

Must not run anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from glmcode.batch_cached import cached_of, cached_of_all
from glmcode.batch_progress import told
from glmcode.batch_running import LATER
from glmcode.batch_tasks import Output, Task
from glmcode.exits import Exit

NAMED = 10
"""Failed tasks that are told by name; summary.json holds all."""


def summary(
    tasks: Sequence[Task], records: Mapping[str, Mapping[str, Any]], output: Output
) -> tuple[int, str]:
    """The exit code and the text; writes summary.json. Raises OSError."""
    results = {task.id: records[task.id]["result"] for task in tasks if task.id in records}
    codes = Counter(int(one["exit_code"]) for one in results.values())
    later = sum(codes[code] for code in LATER) + len(tasks) - len(results)
    good = codes[Exit.DONE] + codes[Exit.UNANSWERED]
    failed = len(tasks) - good - later
    code = Exit.ERROR if failed else Exit.UNAVAILABLE if later else Exit.DONE
    counted = {str(one): number for one, number in sorted(codes.items())}
    cached = cached_of_all(results.values())
    output.keep_json(
        "summary.json",
        {
            "v": 1,
            "exit_code": int(code),
            "exit_codes": counted,
            "cached": cached.to_json(),
            "tasks": {name: _row(result) for name, result in results.items()},
        },
    )
    parts = ", ".join(f"exit code {one}: {number}" for one, number in counted.items())
    open_ = f"; {later} could not be tried: --resume does" if later else ""
    lines = [f"{good} of {len(tasks)} tasks done, {failed} failed ({parts}){open_}"]
    bad = [task for task in tasks if _failed(records.get(task.id))]
    lines += [f"  {task.id}: {told(records[task.id])}" for task in bad[:NAMED]]
    lines += [f"  and {len(bad) - NAMED} more"] if len(bad) > NAMED else []
    lines += [str(cached)] if str(cached) else []
    return code, "\n".join([*lines, str(output.folder), ""])


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: result.get(key) for key in ("exit_code", "subtype", "error", "duration_ms")}
    return {**row, "cached": cached_of(result).to_json()}


def _failed(record: Mapping[str, Any] | None) -> bool:
    if record is None:
        return False
    code = record["result"]["exit_code"]
    return code not in (Exit.DONE, Exit.UNANSWERED, *LATER)
