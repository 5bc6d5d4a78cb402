from __future__ import annotations

import os
from pathlib import Path

import pytest

from glmcode.context.mentions import ENTRIES, MOST, find_mentions, folder_listing


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "house"))
    folder = (tmp_path / "work").resolve()
    for name in ("a.py", "src/b.py", "with space.txt", "Makefile", "odd:10-12", "x.tar.gz"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n" * 50)
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "notes.md").write_text("n\n")
    return folder


def names(text: str, work: Path) -> list[str]:
    return [mention.shown() for mention in find_mentions(text, work).found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("look at @a.py", ["@a.py"]),
        ("@a.py, then (@src/b.py).", ["@a.py", "@src/b.py"]),
        ("@a.py's head; **@Makefile**", ["@a.py", "@Makefile"]),
        ("is it @a.py? or @x.tar.gz!", ["@a.py", "@x.tar.gz"]),
        ("@a.py,@src/b.py", ["@a.py", "@src/b.py"]),
        ("[@a.py](x) and {@Makefile}", ["@a.py", "@Makefile"]),
        ("@a.py:10-40 and @a.py:7.", ["@a.py:10-40", "@a.py:7"]),
        ("@a.py:40-10, @a.py#L3-L9", ["@a.py:10-40", "@a.py:3-9"]),
        ("@a.py:0", ["@a.py:1"]),
        ('@"with space.txt":2-3 @"with space.txt"', ["@with space.txt:2-3", "@with space.txt"]),
        ("@odd:10-12", ["@odd:10-12"]),
        ("@src @src/ @./", ["@src", "@src/", "@./"]),
        ("@~/notes.md", ["@~/notes.md"]),
        ("@a.py @a.py", ["@a.py"]),
        ("über@a.py ist, @a.py…", ["@a.py"]),
    ],
)
def test_what_resolves_is_a_mention(text: str, found: list[str], work: Path) -> None:
    assert names(text, work) == found


@pytest.mark.parametrize(
    "text",
    [
        "mail me@a.py or a.b@a.py",
        "@property\n@app.route('/')\ndef f(): ...",
        "use @types/node and @scope/package, ask @maria",
        "`@a.py`",
        "```\n@a.py\n```",
        "@@a.py --data=@a.py \\@a.py",
        "@ a.py",
        "@gone.py @src/gone.py:3 @a.py/x",
        "@. @.. @/ @~ ...",
        "@~nobody-of-that-name/x",
        "@" + "x" * 5_000,
        '@"a.py',
        "@\x00a.py",
    ],
)
def test_what_does_not_resolve_or_stands_in_code_is_left_alone(text: str, work: Path) -> None:
    assert names(text, work) == []


def test_a_text_full_of_signs_takes_no_time_and_many_mentions_are_counted(work: Path) -> None:
    assert find_mentions("@a" * 200_000 + " @" * 100_000, work).found == ()
    for number in range(MOST + 3):
        (work / f"f{number}").write_text("")
    found = find_mentions(" ".join(f"@f{number}" for number in range(MOST + 3)), work)
    assert len(found.found) == MOST and found.left_out == 3


def test_a_folder_is_listed_sorted_without_what_is_ignored(work: Path) -> None:
    (work / ".git").mkdir()
    (work / ".gitignore").write_text("*.gz\nbuild/\n")
    (work / "build").mkdir()
    (work / "two\nlines").write_text("")
    (work / "fifo").unlink(missing_ok=True)
    os.mkfifo(work / "fifo")
    assert folder_listing(work, work) == (
        "'two\\nlines'\n.gitignore\nMakefile\na.py\nfifo\nodd:10-12\nsrc/\nwith space.txt\n"
        "[8 entries; 2 ignored left out]"
    )
    for number in range(ENTRIES):
        (work / "src" / f"n{number:03d}").write_text("")
    assert folder_listing(work / "src", work).endswith(
        f"\n[{ENTRIES} of {ENTRIES + 1} entries; use Glob for the others]"
    )
