"""The person's own editor on a draft, or on what is proposed: which one it is, what came back.

The text lies in a private folder of its own for as long as that takes. Must not touch the
terminal: who lends it to the editor takes it back.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ENDS_S = 1.0
"""How long an editor that is ended has to put the terminal in order."""
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
    data, told = await edited_file("draft.md", text.encode("utf-8", "replace"), environment)
    if told:
        return text, f"{told}: the draft is as it was"
    return data.decode("utf-8", "replace").removesuffix("\n"), ""


async def edited_file(name: str, data: bytes, environment: Mapping[str, str]) -> tuple[bytes, str]:
    """The bytes of a file of that name as the editor left them, and what went wrong or ""."""
    words = editor_of(environment)
    if not words:
        return data, "no editor: set VISUAL or EDITOR"
    editor = Path(words[0]).name
    folder = Path(tempfile.mkdtemp(prefix="glmcode-draft-"))
    try:
        path = folder / name
        path.write_bytes(data)
        process = await asyncio.create_subprocess_exec(*words, str(path))
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), ENDS_S)
            raise
        if code != 0:
            return data, f"the editor {editor} ended with {code}"
        if not path.is_file():
            return data, f"the editor {editor} left no file"
        return path.read_bytes(), ""
    except OSError as error:
        why = error.strerror or str(error)
        return data, f"the editor {editor} did not work ({why})"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
