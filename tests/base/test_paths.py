from __future__ import annotations

import os
from pathlib import Path

from glmcode.base.paths import private_folder


def test_a_private_folder_and_all_that_is_made_above_it_are_the_owners_whatever_the_umask(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        made = private_folder(tmp_path / "home" / "state" / "sessions")
    finally:
        os.umask(before)
    folders = [made, made.parent, made.parent.parent, tmp_path]
    assert [one.stat().st_mode & 0o777 for one in folders] == [0o700, 0o700, 0o700, 0o755]
    assert private_folder(made) == made
