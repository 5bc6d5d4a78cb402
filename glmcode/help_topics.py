"""What `glmcode help` prints beside the help of commands: a page of docs/ that ships along.

Must not import anything heavy.
"""

from __future__ import annotations

from glmcode.base.data import data_folder


def stream_json(*, schema: bool) -> str:
    """The page about stream-json with where its schema lies, or the schema. Raises DataMissing."""
    folder = data_folder("docs")
    path = folder / "stream-json.schema.json"
    if schema:
        return path.read_text(encoding="utf-8")
    page = (folder / "stream-json.md").read_text(encoding="utf-8")
    return f"{page}\nThe schema on this machine: {path}\n"
