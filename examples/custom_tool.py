"""A tool of your own: the model may look things up where only your program can.

    python examples/custom_tool.py "Which of our services still uses port 8080?"

The tool is a spec and a function. The spec says "read": it changes nothing, so it runs unasked;
a tool that does something leaves that out and is allowed by its name (allowed_tools=["Deploy"]).
"""

from __future__ import annotations

import argparse
import sys

import glmcode

SERVICES = {
    "shop": {"port": 8080, "owner": "sales"},
    "mail": {"port": 2525, "owner": "office"},
    "search": {"port": 9200, "owner": "sales"},
}


def services(owner: str | None = None) -> dict[str, dict[str, object]]:
    """What the model gets: a dict becomes JSON."""
    found = {name: one for name, one in SERVICES.items() if owner in (None, one["owner"])}
    if not found:
        raise ValueError(f"nobody is called {owner!r}: leave owner out to see all services")
    return found


TOOL = glmcode.Tool(
    name="Services",
    description="Lists our services with port and owner. Use it before you name a service.",
    parameters={
        "properties": {"owner": {"type": "string", "description": "only those of this owner"}}
    },
    function=services,
    effect="read",
)
ANSWER = {
    "type": "object",
    "properties": {"services": {"type": "array", "items": {"type": "string"}}},
    "required": ["services"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--base-url")
    given = parser.parse_args()
    options: glmcode.Options = {"tools": [TOOL], "schema": ANSWER, "max_turns": 10}
    if given.base_url:
        options["base_url"] = given.base_url
    try:
        result = glmcode.run(given.prompt, **options)
    except glmcode.GlmcodeError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return error.exit_code
    print(*result.structured_output["services"], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
