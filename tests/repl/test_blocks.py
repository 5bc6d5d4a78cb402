from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.repl.blocks import LIMIT, BlockSplitter

MIXED = """
First paragraph
over two lines.

# Heading
- item
- item

  more of it
- last
Setext
======
```python
a = 1

b = 2
```
| a | b |
|---|---|
| 1 | 2 |

> quote
> again

1. one
   ```
   inner
   ```
2. two

the end"""

WHOLE = [
    "First paragraph\nover two lines.",
    "# Heading",
    "- item\n- item\n\n  more of it\n- last\nSetext\n======",
    "```python\na = 1\n\nb = 2\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "> quote\n> again",
    "1. one\n   ```\n   inner\n   ```\n2. two",
    "the end",
]


def split(pieces: list[str]) -> list[str]:
    splitter = BlockSplitter()
    return [block for piece in pieces for block in splitter.feed(piece)] + splitter.finish()


def test_a_text_is_cut_into_its_blocks_in_whatever_pieces_it_comes() -> None:
    assert split(list(MIXED)) == split([MIXED]) == split(MIXED.splitlines(keepends=True))
    assert split([MIXED])[0] == WHOLE[0]
    assert split([MIXED])[-1] == "the end"


def test_a_paragraph_is_final_at_the_blank_line_and_a_heading_at_its_end() -> None:
    splitter = BlockSplitter()
    assert splitter.feed("words\n") == []
    assert splitter.feed("\n") == ["words"]
    assert splitter.feed("# head\n") == ["# head"]
    assert splitter.pending == ""


def test_a_fence_a_list_and_a_table_wait_for_their_end() -> None:
    splitter = BlockSplitter()
    assert splitter.feed("```py\na\n\n# no heading\n\n") == []
    assert splitter.feed("```\n") == ["```py\na\n\n# no heading\n\n```"]
    assert splitter.feed("- a\n\n- b\n\n") == []
    assert splitter.feed("text\n") == ["- a\n\n- b"]
    assert splitter.feed("\n") == ["text"]
    assert splitter.feed("| a |\n|---|\n| 1 |\n") == []
    assert splitter.feed("| 2 |\n\n") == ["| a |\n|---|\n| 1 |\n| 2 |"]


def test_a_line_that_makes_a_heading_of_the_paragraph_above_belongs_to_it() -> None:
    splitter = BlockSplitter()
    assert splitter.feed("Title\n") == []
    assert splitter.feed("===\n\n") == ["Title\n==="]


def test_an_endless_fence_is_let_go_in_parts_that_are_fences() -> None:
    splitter = BlockSplitter()
    blocks = splitter.feed("```py\n")
    for start in range(0, 20_000, 500):
        blocks += splitter.feed("".join(f"line {n}\n" for n in range(start, start + 500)))
        assert len(splitter.pending) <= LIMIT
    blocks += splitter.feed("```\nafter\n") + splitter.finish()
    assert blocks[-1] == "after"
    assert all(block.startswith("```py\n") for block in blocks[:-1])
    told = [line for block in blocks[:-1] for line in block.split("\n") if "line" in line]
    assert told == [f"line {number}" for number in range(20_000)]


PIECE = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "```",
        "```py\n",
        "# ",
        "| a | b |\n",
        "|---|---|\n",
        "> ",
        "    ",
        "===\n",
        "---\n",
        "<b>",
        "[x]: y\n",
        "`",
        "*",
        "~~~\n",
        "\t",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECE, max_size=16))
def test_no_line_is_lost_or_doubled_whatever_comes(pieces: list[str]) -> None:
    blocks = split(pieces)
    given = [line.rstrip() for line in "".join(pieces).split("\n") if line.strip()]
    kept = [line.rstrip() for block in blocks for line in block.split("\n") if line.strip()]
    assert kept == given
    if "[x]: y\n" not in pieces:  # a definition has no block of its own
        assert split(list("".join(pieces))) == split(["".join(pieces)])
