"""Reads tools/*.toml: the specs, in the one order in which every prompt carries them.

The order is constant for a version of glmcode, whatever mode or allow-list is active:
permissions deny, they do not hide. Must not import tool code.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from typing import Any

from glmcode.base.data import data_folder
from glmcode.core.tool import Effect, ToolSpec

ORDER = (
    "Read",
    "Write",
    "Edit",
    "Bash",
    "BashOutput",
    "KillShell",
    "Grep",
    "Glob",
    "TodoWrite",
)


@lru_cache(maxsize=1)
def load_specs() -> tuple[ToolSpec, ...]:
    """All specs in ORDER. Raises OSError or KeyError for a damaged installation."""
    folder = data_folder("tools")
    return tuple(_spec(tomllib.loads((folder / f"{name}.toml").read_text())) for name in ORDER)


def _spec(table: dict[str, Any]) -> ToolSpec:
    properties: dict[str, Any] = {}
    for parameter in table["parameters"]:
        schema: dict[str, Any] = {"type": parameter["type"]}
        for key in ("enum", "items", "description"):
            if key in parameter:
                schema[key] = parameter[key]
        properties[parameter["name"]] = schema
    return ToolSpec(
        name=table["name"],
        description=table["description"],
        effect=Effect(table["effect"]),
        parameters={
            "type": "object",
            "properties": properties,
            "required": [p["name"] for p in table["parameters"] if p.get("required")],
        },
    )
