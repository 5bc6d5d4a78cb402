"""A scripted refactoring with a check and a retry, through the Python API.

    python examples/refactor_until_green.py "Rename load to read_config" -- python -m pytest -q

The check decides, not the model: what it prints goes back into the same session until it passes or
the tries are used up. Exit code 0: the check passes; 1: it doesn't; others as in `glmcode --help`.
Options of the engine come from glmcode's settings, or --base-url and --model.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys

import glmcode

TAIL = 4_000
"""Characters of what the check printed that the model is told."""


def check(command: list[str]) -> str:
    """What a failing check printed; "" where it passes."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return "" if done.returncode == 0 else f"{done.stdout[-TAIL:]}\n[exit {done.returncode}]"


async def refactor(prompt: str, command: list[str], tries: int, engine: glmcode.Options) -> int:
    options: glmcode.Options = {**engine, "permission_mode": "acceptEdits", "max_turns": 40}
    async with glmcode.Agent(**options) as agent:
        for number in range(1, tries + 1):
            async for event in agent.submit(prompt, time_limit=900):
                for block in event.get("message", {}).get("content", ()):
                    if block["type"] == "tool_use":
                        print(f"  {block['name']} {block['input'].get('file_path', '')}".rstrip())
            assert agent.result is not None
            agent.result.check()
            failed = await asyncio.to_thread(check, command)
            if not failed:
                print(f"green after {number} of {tries} tries: {agent.result.text}")
                return 0
            prompt = f"The check `{' '.join(command)}` fails. Repair it.\n\n{failed}"
    print(f"still red after {tries} tries")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--base-url")
    parser.add_argument("--model")
    parser.add_argument("command", nargs="+", help="the check, after --")
    given = parser.parse_args()
    engine: glmcode.Options = {}
    if given.base_url:
        engine["base_url"] = given.base_url
    if given.model:
        engine["model"] = given.model
    try:
        return asyncio.run(refactor(given.prompt, given.command, given.tries, engine))
    except glmcode.GlmcodeError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
