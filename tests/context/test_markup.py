from __future__ import annotations

import time

import pytest

from glmcode.context.markup import prose


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("see @a.md", True),
        ("see `@a.md`", False),
        ("see ``x ` @a.md``", False),
        ("a ` stray tick, @a.md", True),
        ("a `span`, then @a.md", True),
        ("`one` `two @a.md`", False),
        ("a `span\nover two lines @a.md`", False),
        ("a stray ` tick\n\nand @a.md and `", True),
        ("```\n@a.md\n```", False),
        ("```python\n@a.md\n", False),
        ("~~~\n```\n@a.md\n~~~", False),
        ("````\n```\n@a.md\n````", False),
        ("```\nx\n```\n@a.md", True),
        ("- ```\n  @a.md\n  ```", False),
        ("    @a.md", True),
        ("<!-- @a.md -->", False),
        ("<!-- x --> @a.md", True),
        ("```x``` @a.md", True),
    ],
)
def test_only_prose_is_left_and_positions_stay(text: str, left: bool) -> None:
    shown = prose(text)
    assert len(shown) == len(text) and shown.count("\n") == text.count("\n")
    assert ("@a.md" in shown) is left
    if left:
        assert shown.index("@a.md") == text.index("@a.md")


@pytest.mark.parametrize(
    "text", ["`" * 30_000, "` `` " * 10_000, "<!--" * 20_000, "```\n" * 20_000]
)
def test_odd_texts_take_no_time(text: str) -> None:
    started = time.process_time()
    assert len(prose(text)) == len(text)
    assert time.process_time() - started < 2
