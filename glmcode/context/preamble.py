"""The preamble: tool specs, then one system message, from what never changes to what changes most.

System prompt (with what the person appended), instructions, repository map. Two sessions in one
repository on one commit share every byte, so nothing here may depend on date, process, order of
a folder's entries or hash seed. It is built once per session and never changed: news is appended
to the conversation. Must not read files.
"""

from __future__ import annotations

from collections.abc import Sequence

from glmcode.core.tool import ToolSpec
from glmcode.core.transcript import Preamble


def make_preamble(
    specs: Sequence[ToolSpec], system: str, *, instructions: str = "", repository_map: str = ""
) -> Preamble:
    """The head of every prompt of a session; parts that are empty leave no trace."""
    parts = [part for part in (system, instructions, repository_map) if part]
    return Preamble(specs=tuple(specs), system="\n\n".join(parts))


def system_parts(system: str, instructions: str, repository_map: str) -> tuple[str, str, str]:
    """A system message taken apart again: system prompt, instructions, repository map.

    The others are the headings that the two parts begin with; a part that is not there is "".
    """
    at_map = system.rfind(f"\n\n{repository_map}")
    before = system if at_map < 0 else system[:at_map]
    at = before.find(f"\n\n{instructions}")
    first = before if at < 0 else before[:at]
    return first, before[len(first) :], system[len(before) :]
