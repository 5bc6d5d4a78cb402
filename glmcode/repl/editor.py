"""The person's own editor on a draft: which one it is, and what came back.

The draft lies in a private folder of its own for as long as that takes. Must not touch the
terminal: who lends it to the editor takes it back.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

USUAL = ("nano", "vim", "vi")


def editor_of(environment: Mapping[str, str]) -> list[str]:
    """$VISUAL, else $EDITOR, else a usual one, as words; none where there is none."""
    for name in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(environment.get(name, ""))
        except ValueError:
            continue
        if words:
            return words
    return next(([name] for name in USUAL if shutil.which(name)), [])


async def edited(text: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The text as the editor left it, and what went wrong or "": then it is as it was."""
    words = editor_of(environment)
    if not words:
        return text, "no editor: set VISUAL or EDITOR"
    name = Path(words[0]).name
    folder = Path(tempfile.mkdtemp(prefix="glmcode-draft-"))
    try:
        path = folder / "draft.md"
        path.write_text(text, encoding="utf-8", errors="replace", newline="")
        process = await asyncio.create_subprocess_exec(*words, str(path))
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            raise
        if code != 0:
            return text, f"the editor {name} ended with {code}: the draft is as it was"
        back = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        why = error.strerror or str(error)
        return text, f"the editor {name} did not work ({why}): the draft is as it was"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return back.removesuffix("\n"), ""
