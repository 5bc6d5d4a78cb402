from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from glmcode.core.tool import Effect
from glmcode.tools import search
from tests.tools.toolbox import Toolbox


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


def glob(box: Toolbox, pattern: str, **arguments: object) -> str:
    return box.call("Glob", pattern=pattern, **arguments)


def test_files_come_one_a_line_sorted_by_path(box: Toolbox) -> None:
    for name in ("b.py", "a/z.py", "a.py", "a/b/c.py", "a.txt", ".github/x.py"):
        box.put(name)
    assert glob(box, "**/*.py") == ".github/x.py\na.py\na/b/c.py\na/z.py\nb.py"
    assert glob(box, "*.py") == ".github/x.py\na.py\na/b/c.py\na/z.py\nb.py"
    assert glob(box, "a/*.py") == "a/z.py"
    assert glob(box, "*.py", path="a") == "a/b/c.py\na/z.py"
    assert glob(box, "*.{txt,md}") == "a.txt"


def test_patterns_may_be_absolute_or_lead_up_or_name_a_folder(box: Toolbox) -> None:
    box.put("src/a.py")
    box.put("src/sub/b.py")
    outside = box.ws.parent / "out"
    outside.mkdir()
    (outside / "o.py").write_text("")
    assert glob(box, f"{box.ws}/src/*.py") == "src/a.py"
    assert glob(box, f"{box.ws}/**/*.py") == "src/a.py\nsrc/sub/b.py"
    assert glob(box, f"{outside}/*.py") == f"{outside}/o.py"
    assert glob(box, "../out/*.py") == f"{outside}/o.py"
    assert glob(box, "../src/*.py", path="src") == "src/a.py"
    assert glob(box, "./src/*.py") == "src/a.py"
    assert glob(box, "src") == "src/a.py\nsrc/sub/b.py"
    assert glob(box, "src/") == "src/a.py\nsrc/sub/b.py"
    assert glob(box, "src/a.py") == "src/a.py"
    assert glob(box, f"{box.ws}/src/a.py") == "src/a.py"


def test_ignored_files_are_left_out_unless_their_folder_is_named(box: Toolbox) -> None:
    box.put(".gitignore", "node_modules/\n*.log\n")
    box.put("node_modules/pkg/index.js")
    box.put("a.log")
    box.put("b.js")
    assert glob(box, "**/*.js") == "b.js"
    assert glob(box, "node_modules/**/*.js") == "node_modules/pkg/index.js"
    assert glob(box, "*.log") == "no files match '*.log' in .; ignored files were left out"


def test_no_match_is_an_answer(box: Toolbox) -> None:
    box.put("a.py")
    assert glob(box, "*.rs") == "no files match '*.rs' in ."
    assert glob(box, "src/**/*.py") == "no files match 'src/**/*.py' in ."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pattern": ""}, "error: the pattern is empty"),
        ({"pattern": "a\0"}, "error: the pattern holds a character that no path can have"),
        ({"pattern": "x" + chr(0xD800)}, "error: the pattern holds a character"),
        ({"pattern": "*", "path": "srv"}, "error: srv does not exist; did you mean src?"),
        ({"pattern": "*", "path": "src/a.py"}, "error: src/a.py is a file; give the folder"),
    ],
)
def test_arguments_that_make_no_sense_are_errors(
    box: Toolbox, arguments: dict[str, object], said: str
) -> None:
    box.put("src/a.py")
    assert box.call("Glob", **arguments).startswith(said)


def test_the_list_is_bounded_and_says_how_many_there_are(box: Toolbox) -> None:
    for number in range(1_100):
        box.put(f"f{number:04}.txt")
    lines = glob(box, "*.txt").split("\n")
    assert lines[0] == "f0000.txt"
    assert lines[999] == "f0999.txt"
    assert lines[1000:] == ["[1000 of 1100 files; narrow the pattern or give path]"]
    box.limit = 800
    assert len(glob(box, "*.txt")) <= 800


def test_odd_names_and_links(box: Toolbox) -> None:
    for name in ("new\nline.txt", "-x.txt", "ünï.txt", "[1].txt", "sp ace.txt"):
        box.put(name)
    os.close(os.open(os.fsencode(box.ws) + b"/bad\xff.txt", os.O_WRONLY | os.O_CREAT))
    os.mkfifo(box.ws / "pipe.txt")
    (box.ws / "link.txt").symlink_to("-x.txt")
    (box.ws / "loop").symlink_to(".")
    assert glob(box, "*.txt").split("\n") == [
        "-x.txt",
        "[1].txt",
        "bad\\xff.txt",
        "link.txt",
        '"new\\nline.txt"',
        "sp ace.txt",
        "ünï.txt",
    ]


def test_a_walk_that_takes_too_long_is_stopped_and_says_so(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.put("a.txt")
    monkeypatch.setattr(search, "SECONDS", 0.0)
    assert "stopped before its end" in glob(box, "*.txt")


def test_the_action_is_a_read_of_the_folder(box: Toolbox) -> None:
    box.put("src/a.py")
    action = box.prepare("Glob", pattern="*.py", path="src")
    assert (action.effect, action.subject) == (Effect.READ, "src")
    assert action.paths == (str(box.ws / "src"),)
    outside = box.prepare("Glob", pattern="/etc/*.conf")
    assert outside.paths == ("/etc",)


def test_brackets_in_a_pattern_may_be_those_of_a_name(box: Toolbox) -> None:
    for name in ("app/[id]/page.tsx", "app/[...all]/page.tsx", "app/i/page.tsx", "app/x/page.tsx"):
        box.put(name, "export\n")
    both = ["app/[id]/page.tsx", "app/i/page.tsx"]
    assert glob(box, "app/[id]/page.tsx").split("\n") == both
    assert glob(box, "app/[...all]/*.tsx") == "app/[...all]/page.tsx"
    found = box.call("Grep", pattern="export", glob="app/[[]id]/*.tsx", output_mode="count")
    assert found == "app/[id]/page.tsx:1"
    found = box.call("Grep", pattern="export", glob="app/[...all]/*", output_mode="count")
    assert found == "app/[...all]/page.tsx:1"


@pytest.mark.parametrize(("pattern", "mark"), [("src/[ab", "["), ("*.{py", "{"), ("[", "[")])
def test_a_bracket_that_is_never_closed_is_an_error_unless_a_name_holds_it(
    box: Toolbox, pattern: str, mark: str
) -> None:
    box.put("a.py")
    assert re.match(
        rf"error: the pattern .* is not valid: \{mark} at character \d+ is never closed",
        glob(box, pattern),
    )
    box.put("odd[name.py")
    assert glob(box, "odd[name.py") == "odd[name.py"
    assert glob(box, r"odd\[name.*") == "odd[name.py"
