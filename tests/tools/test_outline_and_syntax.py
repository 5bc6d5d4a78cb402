from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.context.parsing import Parsing
from tests.tools.toolbox import Toolbox


@pytest.fixture(scope="module")
def parsing() -> Iterator[Parsing]:
    one = Parsing()
    yield one
    one.close()


@pytest.fixture
def box(tmp_path: Path, parsing: Parsing) -> Toolbox:
    box = Toolbox(tmp_path)
    box.ctx.outline = parsing.outline
    box.ctx.syntax = parsing.new_errors
    return box


def large(classes: int) -> str:
    return "import os\n\nLIMIT = 3\n" + "".join(
        f"\n\nclass Thing{n}:\n    def act(self, other):\n" + f"        # {'-' * 80}\n" * 6
        + "        return other\n"
        for n in range(classes)
    )  # fmt: skip


def test_a_large_file_read_whole_is_its_outline_and_its_beginning(box: Toolbox) -> None:
    text = large(40)
    box.put("things.py", text)
    lines = text.split("\n")[:-1]
    result = box.call("Read", file_path="things.py")
    outline = ["3\tLIMIT = 3"]
    for n in range(40):
        outline += [f"{6 + 11 * n}\tclass Thing{n}", f"{7 + 11 * n}\t  def act(self, other)"]
    shown = 0
    used = 0
    while used + len(f"{shown + 1}\t{lines[shown]}\n") <= 8_000:
        used += len(f"{shown + 1}\t{lines[shown]}\n")
        shown += 1
    assert result == "\n".join(
        [
            "[a large file of 443 lines; its outline:]",
            *outline,
            "[and its beginning:]",
            *(f"{n}\t{line}" for n, line in enumerate(lines[:shown], 1)),
            f"[lines 1-{shown} of 443; continue with offset={shown + 1}; for a definition, set "
            "offset to its line and limit to some lines]",
        ]
    )
    assert lines[6 + 11 * 7 - 1] == "class Thing7:"


def test_a_range_a_small_file_and_an_unknown_language_have_no_outline(box: Toolbox) -> None:
    text = large(40)
    box.put("things.py", text)
    box.put("small.py", large(3))
    box.put("things.txt", text)
    for arguments in (
        {"file_path": "things.py", "offset": 1},
        {"file_path": "things.py", "limit": 2_000},
        {"file_path": "small.py"},
        {"file_path": "things.txt"},
    ):
        assert box.call("Read", **arguments).startswith("1\timport os\n")


def test_an_outline_never_takes_more_than_its_share(box: Toolbox) -> None:
    box.put("things.py", large(900))
    for limit in (30_000, 9_000, 3_000, 1_200):
        box.limit = limit
        result = box.call("Read", file_path="things.py")
        assert len(result) <= limit
        assert result.startswith("[a large file of 9903 lines; its outline:]\n")
        outline = result.partition(":]\n")[2].partition("\n[and its beginning:]")[0]
        assert len(outline) <= min(6_000, limit // 3)
        assert outline.endswith(" more definitions)")


def test_an_outline_names_lines_as_read_numbers_them(box: Toolbox) -> None:
    for ends in ("\r\n", "\r"):
        box.put("things.py", large(40).replace("\n", ends))
        result = box.call("Read", file_path="things.py")
        assert "\n17\tclass Thing1\n" in result
        assert "\n17\tclass Thing1:\n" in result.partition("beginning")[2]


def test_an_edit_says_which_syntax_error_it_made_and_stands(box: Toolbox) -> None:
    path = box.known("a.js", "// ä\nfunction f() { return 1; }\n")
    said = box.call("Edit", file_path="a.js", old_string="1; }", new_string="1;")
    assert said == (
        "edited a.js: 1 replacement at line 2 (+1 -1)\n"
        '[the change stands, but it made a syntax error: line 2, column 25 (missing "}"). '
        "Look there, and correct it with Edit]"
    )
    assert path.read_bytes() == "// ä\nfunction f() { return 1;\n".encode()
    assert box.call("Edit", file_path="a.js", old_string="1;", new_string="1; }") == (
        "edited a.js: 1 replacement at line 2 (+1 -1)"
    )
    box.known("a.py", "x = 1\n")
    said = box.call("Edit", file_path="a.py", old_string="x = 1", new_string='"ää"; x = = 1')
    assert "a syntax error: line 1, column 11. Look" in said


def test_a_written_file_says_which_syntax_errors_it_has(box: Toolbox) -> None:
    said = box.call("Write", file_path="new/a.js", content="let a = ;\nlet b = ;\nlet c = 1;\n")
    assert said.startswith("created new/a.js: 3 lines (made folder new)\n[the change stands, but ")
    assert "it made syntax errors: line 1, column 7; line 2, column 7. Look" in said
    assert box.call("Write", file_path="b.js", content="let a = 1;\n") == "created b.js: 1 line"


def test_of_a_file_that_was_broken_before_only_new_errors_are_told(box: Toolbox) -> None:
    box.known("a.py", "x = = 1\n\n\ndef f():\n    return 1\n")
    clean = box.call("Edit", file_path="a.py", old_string="return 1", new_string="return 2")
    assert clean == "edited a.py: 1 replacement at line 5 (+1 -1)"
    worse = box.call("Edit", file_path="a.py", old_string="return 2", new_string="return 2 3")
    assert "a syntax error: line 5, column" in worse
    assert "line 1" not in worse
    moved = box.call("Edit", file_path="a.py", old_string="x = = 1", new_string="\n\nx = = 1")
    assert moved == "edited a.py: 1 replacement at line 1 (+2 -0)"


def test_many_errors_are_counted_not_listed(box: Toolbox) -> None:
    said = box.call("Write", file_path="a.js", content="let a = ;\n" * 9)
    assert said.count("line ") == 3 and "; 6 more. Look" in said


def test_nothing_is_said_of_what_no_grammar_can_judge(box: Toolbox) -> None:
    broken = "this is ( no program {{{\n"
    for name in ("notes.txt", "data.json", "noext", "macro.c", "one.kt"):
        assert box.call("Write", file_path=name, content=broken) == f"created {name}: 1 line"
    huge = "x = (\n" * 300_000
    assert box.call("Write", file_path="huge.py", content=huge) == "created huge.py: 300000 lines"


def test_in_a_language_of_macros_only_a_file_that_was_readable_is_judged(box: Toolbox) -> None:
    box.known("a.c", "int f(void)\n{\n    return 1;\n}\n")
    said = box.call("Edit", file_path="a.c", old_string="return 1;", new_string="return (1;")
    assert "a syntax error: line 3, column" in said


def test_a_lost_worker_costs_one_answer_at_most(box: Toolbox, parsing: Parsing) -> None:
    import os
    import signal

    parsing.warm()
    assert parsing._worker is not None
    os.kill(parsing._worker._process.pid, signal.SIGKILL)
    said = box.call("Write", file_path="a.py", content="x = (\n")
    assert "it made a syntax error: line 1, column" in said
