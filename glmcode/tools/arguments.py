"""Arguments as the spec wants them, where a model meant the right value and spelled it loosely.

Many models send null for what they leave out, and numbers, booleans or lists as strings. Each
has one meaning only, so it is taken; all else stays as it came, for the check to name. Must not
touch an argument that is a text: what a model writes into a file is never read as anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from glmcode.core.tool import ToolSpec

_LONGEST = {"integer": 40, "number": 40, "boolean": 8, "array": 1_000_000}
"""Characters of a string that may be another type; none of a type that is not here."""


def fitted(spec: ToolSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, optional ones that are null left out, each value in the spec's type."""
    properties, required = spec.parameters["properties"], spec.parameters["required"]
    return {
        name: _value(properties[name].get("type"), value) if name in properties else value
        for name, value in arguments.items()
        if value is not None or name in required or name not in properties
    }


def _value(kind: Any, value: Any) -> Any:
    meant = value
    if isinstance(value, str) and len(value) <= _LONGEST.get(kind, -1):
        try:
            meant = json.loads(value.lower() if kind == "boolean" else value)
        except (ValueError, RecursionError):
            return value
    match kind, meant:
        case "integer", float() if meant.is_integer():
            return int(meant)
        case ("boolean", bool()) | ("array", list()):
            return meant
        case ("integer", int()) | ("number", int() | float()) if not isinstance(meant, bool):
            return meant
    return value
