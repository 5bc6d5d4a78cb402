"""Instances in the shape of SWE-bench to predictions, with `glmcode batch` in between.

    python examples/swebench/predict.py sample/instances.jsonl -o predictions.jsonl \\
        --profile reap-268b-8x3090 --max-turns 100 --time-limit 1800

An instance has instance_id, repo (a folder, from the file's own or from --repos; "owner/name" may
also be the folder owner__name), base_commit and problem_statement; a prediction instance_id,
model_name_or_path and model_patch. Each instance is worked on in a git worktree of its own. The
same command again goes on where it was. Everything it does not know is an option of the batch.
Exit codes are those of `glmcode batch`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROMPT = """\
Solve the issue below in this repository. Look for the cause, change the code, and make sure that \
it works, with a test where there are tests. Do not change existing tests to make them pass. \
Nobody can be asked: decide yourself, and end with one sentence about what you changed.

<issue>
{problem_statement}
</issue>"""
ALLOWED = ("--permission-mode", "-y", "--yolo", "--sandbox", "--allowed-tools")
DEFAULT = ("--permission-mode=bypassPermissions", "--sandbox=workspace-write")
"""Everything may be done, but commands stay in the sandbox."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            yield json.loads(line)


def repository(name: str, folder: Path) -> str:
    """The folder that an instance's `repo` means."""
    choices = [folder / name, folder / name.replace("/", "__")]
    return str(next((one for one in choices if one.is_dir()), choices[0]).resolve())


def task(instance: dict[str, Any], repos: Path) -> dict[str, Any]:
    return {
        "id": instance["instance_id"],
        "prompt": PROMPT.format(problem_statement=instance["problem_statement"]),
        "repo": repository(instance["repo"], repos),
        "base": instance["base_commit"],
    }


def predictions(ids: list[str], folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Of those that have a patch, be it an empty one; what was not tried has none."""
    for one in ids:
        record = folder / "results" / f"{one}.json"
        patch = folder / "patches" / f"{one}.patch"
        if record.is_file() and patch.is_file():
            model = json.loads(record.read_text(encoding="utf-8"))["result"].get("model")
            yield {
                "instance_id": one,
                "model_name_or_path": name or model or "glmcode",
                # What is not UTF-8 becomes escapes that evaluate.py turns back.
                "model_patch": patch.read_bytes().decode("utf-8", "surrogateescape"),
            }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("instances", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("predictions.jsonl"))
    parser.add_argument("--repos", type=Path, help="where the repositories are")
    parser.add_argument("--model-name", default="", help="else what the engine calls it")
    given, options = parser.parse_known_args()
    try:
        instances = list(read(given.instances))
        tasks = [task(one, given.repos or given.instances.parent) for one in instances]
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"{given.instances} cannot be used: {error!r}", file=sys.stderr)
        return 2
    work = given.output.with_suffix(".work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    (work / "tasks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tasks))
    if not any(word.partition("=")[0] in ALLOWED for word in options):
        options += DEFAULT
    batch = [sys.executable, "-m", "glmcode", "batch", str(work / "tasks.jsonl")]
    code = subprocess.run([*batch, "--worktrees", "--resume", *options]).returncode
    ids = [one["id"] for one in tasks]
    told = list(predictions(ids, work / "tasks.out", given.model_name))
    draft = given.output.with_suffix(".new")
    draft.write_text("".join(json.dumps(one) + "\n" for one in told))
    draft.replace(given.output)
    print(f"{len(told)} predictions of {len(tasks)} instances in {given.output}")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
