from __future__ import annotations

from pathlib import Path

import pytest

from tests.githooks_kit import Repository
from tests.test_githook_states import many, show

ALL = ["pre-commit", "prepare-commit-msg", "commit-msg", "pre-push"]


def test_ten_thousand_files_are_committed_within_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(Repository(tmp_path), lambda repo: many(repo, 10_000), ALL, monkeypatch)
