from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from glmcode.base.ripgrep import installed_program
from glmcode.core.tool import Effect
from glmcode.tools import search
from tests.tools.toolbox import Toolbox


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


ENGINES = ["wheel", *(["rg"] if shutil.which("rg") else [])]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, box: Toolbox) -> Toolbox:
    folder = Path(shutil.which("rg") or "/nowhere/rg").parent if request.param == "rg" else ""
    box.ctx.environment = {**box.ctx.environment, "PATH": str(folder)}
    return box


def grep(box: Toolbox, pattern: str, **arguments: object) -> str:
    return box.call("Grep", pattern=pattern, **arguments)


def test_lines_come_with_path_and_number_sorted_by_path(engine: Toolbox) -> None:
    engine.put("b.py", "x\nhit two\n")
    engine.put("a/z.py", "hit one\n")
    engine.put("a.py", "hit three\nhit four\n")
    assert grep(engine, "hit") == (
        "a.py:1:hit three\na.py:2:hit four\na/z.py:1:hit one\nb.py:2:hit two"
    )


def test_files_and_counts(engine: Toolbox) -> None:
    engine.put("b.py", "hit hit\nhit\n")
    engine.put("a.py", "hit\n")
    assert grep(engine, "hit", output_mode="files_with_matches") == "a.py\nb.py"
    assert grep(engine, "hit", output_mode="count") == (
        "a.py:1\nb.py:2\n[3 matching lines in 2 files]"
    )
    assert grep(engine, "hit", output_mode="count", path="b.py") == "b.py:2"


def test_context_lines_have_dashes_and_groups_are_separated(engine: Toolbox) -> None:
    engine.put("a.py", "1\n2\nhit\n4\n5\n6\n7\nhit\nhit\n")
    engine.put("b.py", "hit\n")
    assert grep(engine, "hit", context=1) == (
        "a.py-2-2\na.py:3:hit\na.py-4-4\n--\na.py-7-7\na.py:8:hit\na.py:9:hit\n--\nb.py:1:hit"
    )
    assert "--" not in grep(engine, "hit", context=0)


def test_no_match_is_an_answer(engine: Toolbox) -> None:
    engine.put("a.py", "x\n")
    assert grep(engine, "hit") == "no matches for 'hit' in ."
    assert grep(engine, "hit", glob="*.rs") == (
        "no matches for 'hit' in . (files matching '*.rs'); there is no such file to search"
    )
    engine.put(".gitignore", "b.py\n")
    engine.put("b.py", "hit\n")
    assert grep(engine, "hit") == "no matches for 'hit' in .; ignored files were left out"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("foo(", "unclosed group"),
        ("foo)", "unopened group"),
        ("[a", "unclosed character class"),
        ("a{2,1}", "invalid repetition count range"),
        ("*a", "repetition operator missing expression"),
        ("foo(?=bar)", "look-around, including look-ahead and look-behind, is not supported"),
        (r"(a)\1", "backreferences are not supported"),
        (r"\p{Nonsense}", "Unicode property not found"),
    ],
)
def test_a_pattern_that_is_none_is_answered_with_its_error(
    engine: Toolbox, pattern: str, said: str
) -> None:
    engine.put("a.py", "foo(\n")
    answer = grep(engine, pattern)
    assert answer.startswith("error: the pattern is not a regular expression: ")
    assert said in answer
    assert "put a backslash before each" in answer or "use grep -P" in answer


@pytest.mark.parametrize(
    ("pattern", "content", "found"),
    [
        ("-n", "a -n b", "a -n b"),
        ("--help", "x --help", "x --help"),
        ("ünï", "ünï", "ünï"),
        (r"\p{Greek}+", "αβγ", "αβγ"),
        (r"foo\(", "foo(1)", "foo(1)"),
        ("a|b", "b", "b"),
        (r"\bcat\b", "the cat", "the cat"),
        ("(?i)HIT", "a hit", "a hit"),
        ("'\"`$x", "'\"`$x", None),
        (r"'\"`\$x", "'\"`$x", "'\"`$x"),
        ("^$", "", None),
        ("#include <a.h>", "#include <a.h>", "#include <a.h>"),
        ("x y", "x y", "x y"),
        ("a:b:1", "a:b:1", "a:b:1"),
        ("[^\n]+end", "the end", "the end"),
    ],
)
def test_patterns_mean_what_ripgrep_says(
    engine: Toolbox, pattern: str, content: str, found: str | None
) -> None:
    engine.put("a.py", f"{content}\n")
    answer = grep(engine, pattern)
    if found is None and content:
        assert answer.startswith("no matches")
    elif found is None:
        assert answer == "a.py:1:"
    else:
        assert answer == f"a.py:1:{found}"


def test_case_is_ignored_only_when_asked(engine: Toolbox) -> None:
    engine.put("a.py", "HIT\n")
    assert grep(engine, "hit").startswith("no matches")
    assert grep(engine, "hit", ignore_case=True) == "a.py:1:HIT"
    assert grep(engine, "(h)it|x", ignore_case=True) == "a.py:1:HIT"


@pytest.mark.parametrize("pattern", ["one\ntwo", r"one\ntwo", r"one\s+two", "(?s)one.two"])
def test_a_pattern_may_cross_line_ends_when_it_says_so(engine: Toolbox, pattern: str) -> None:
    engine.put("a.py", "zero\none\ntwo\n")
    engine.put("b.py", "one\r\ntwo\r\n")
    answer = grep(engine, pattern)
    if "\n" in pattern or r"\n" in pattern:
        assert answer == "a.py:2:one\na.py:3:two\nb.py:1:one\nb.py:2:two"
    else:
        assert answer.startswith("no matches")


def test_crlf_and_encodings_agree_with_what_read_shows(engine: Toolbox) -> None:
    engine.put("crlf.txt", b"x\r\nhit;\r\n")
    engine.put("latin.txt", b"caf\xe9 hit;\n")
    engine.put("u16.txt", "é\r\nhit;\r\n".encode("utf-16"))
    engine.put("u16be.txt", b"\xfe\xff" + "hit;\n".encode("utf-16-be"))
    engine.put("bom.txt", b"\xef\xbb\xbfhit;\n")
    engine.put("mac.txt", b"x\ry\rhit;\rz\r")
    assert grep(engine, "^hit;$") == (
        "bom.txt:1:hit;\ncrlf.txt:2:hit;\nmac.txt:3:hit;\nu16.txt:2:hit;\nu16be.txt:1:hit;"
    )
    assert grep(engine, "é hit") == "latin.txt:1:café hit;"
    for name in ("latin.txt", "mac.txt", "u16.txt"):
        number = grep(engine, "hit", path=name).split(":")[1]
        assert f"{number}\t" in engine.call("Read", file_path=name)


def test_binary_files_are_left_out_and_named_when_asked_for(engine: Toolbox) -> None:
    engine.put("a.bin", b"hit\x00hit\n")
    engine.put("a.png", b"\x89PNG\r\n\x1a\nhit\n")
    assert grep(engine, "hit") == "no matches for 'hit' in ."
    assert grep(engine, "hit", path="a.bin") == "a.bin is a binary file; only text is searched"


def test_ignored_files_are_left_out_and_hidden_ones_are_not(engine: Toolbox) -> None:
    engine.put(".gitignore", "node_modules/\n*.log\n")
    engine.put("node_modules/m.js", "hit\n")
    engine.put("a.log", "hit\n")
    engine.put(".github/ci.yml", "hit\n")
    engine.put(".git/config", "hit\n")
    engine.put("src/b.log", "hit\n")
    assert grep(engine, "hit") == ".github/ci.yml:1:hit"
    assert grep(engine, "hit", path="node_modules") == "node_modules/m.js:1:hit"
    assert grep(engine, "hit", path="a.log") == "a.log:1:hit"
    assert grep(engine, "hit", path="src").startswith("no matches")


@pytest.mark.parametrize(
    ("glob", "files"),
    [
        ("*.py", ["a.py", "src/b.py", "src/deep/d.py"]),
        ("*.{py,pyi}", ["a.py", "src/b.py", "src/c.pyi", "src/deep/d.py"]),
        ("src/**/*.py", ["src/b.py", "src/deep/d.py"]),
        ("src/*.py", ["src/b.py"]),
        ("!*.py", ["src/c.pyi", "t.txt"]),
        ("*.pyi,*.txt", ["src/c.pyi", "t.txt"]),
        ("src", ["src/b.py", "src/c.pyi", "src/deep/d.py"]),
        ("src/", ["src/b.py", "src/c.pyi", "src/deep/d.py"]),
        ("**/deep/*", ["src/deep/d.py"]),
        ("t.txt", ["t.txt"]),
    ],
)
def test_a_glob_chooses_files(engine: Toolbox, glob: str, files: list[str]) -> None:
    for name in ("a.py", "src/b.py", "src/c.pyi", "src/deep/d.py", "t.txt"):
        engine.put(name, "hit\n")
    answer = grep(engine, "hit", glob=glob, output_mode="files_with_matches")
    assert answer.split("\n") == files


def test_a_glob_is_read_from_the_folder_searched_and_from_the_workspace(box: Toolbox) -> None:
    box.put("src/deep/d.py", "hit\n")
    for glob in ("deep/*.py", "src/deep/*.py"):
        assert grep(box, "hit", path="src", glob=glob) == "src/deep/d.py:1:hit"


def test_results_are_bounded_and_say_how_many_there_are(box: Toolbox) -> None:
    for number in range(30):
        box.put(f"f{number:02}.txt", "hit\n" * 20)
    lines = grep(box, "hit").split("\n")
    assert len(lines) == 251
    assert lines[-1] == (
        "[250 of 600 matching lines; narrow the pattern, give path or glob, or raise head_limit]"
    )
    lines = grep(box, "hit", head_limit=3).split("\n")
    assert lines[:3] == ["f00.txt:1:hit", "f00.txt:2:hit", "f00.txt:3:hit"]
    assert lines[3].startswith("[3 of 600 matching lines;")
    lines = grep(box, "hit", head_limit=2, output_mode="files_with_matches").split("\n")
    assert lines[:2] == ["f00.txt", "f01.txt"]
    assert lines[2].startswith("[2 of 30 files;")
    counted = grep(box, "hit", head_limit=2, output_mode="count")
    assert counted.startswith("f00.txt:20\nf01.txt:20\n[2 of 30 files;")
    assert counted.endswith("; 600 matching lines in 30 files]")
    assert len(grep(box, "hit", head_limit=0).split("\n")) == 251


def test_long_lines_are_cut(engine: Toolbox) -> None:
    engine.put("a.js", "x" * 100 + "hit" + "y" * 10_000 + "\n")
    answer = grep(engine, "hit")
    assert answer == f"a.js:1:{'x' * 100}hit{'y' * 397}[... 9603 more characters]"


def test_a_result_beyond_the_limit_is_spilled_whole(box: Toolbox) -> None:
    box.limit = 1_000
    box.put("a.txt", "".join(f"hit {n} {'x' * 50}\n" for n in range(100)))
    answer = grep(box, "hit")
    assert len(answer) <= 1_000
    (spill,) = box.ctx.spill_folder.glob("grep-*.txt")
    assert str(spill) in answer
    assert spill.read_text().count("\n") == 99


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pattern": ""}, "error: the pattern is empty"),
        ({"pattern": "x", "context": -1}, "error: context is -1; it must be 0 or more lines"),
        ({"pattern": "x", "head_limit": -5}, "error: head_limit is -5;"),
        ({"pattern": "x" + chr(0xD800)}, "error: the pattern holds half a character"),
        ({"pattern": "x\0"}, "error: the pattern holds a NUL character"),
        ({"pattern": "x", "path": "srv"}, "error: srv does not exist; did you mean src?"),
        ({"pattern": "x", "output_mode": "lines"}, "error: output_mode: 'lines' is not one of"),
        ({"pattern": "x", "path": "pipe"}, "error: pipe is no regular file (but a FIFO, a socket"),
    ],
)
def test_arguments_that_make_no_sense_are_errors(
    box: Toolbox, arguments: dict[str, object], said: str
) -> None:
    box.put("src/a.py", "x\n")
    os.mkfifo(box.ws / "pipe")
    assert box.call("Grep", **arguments).startswith(said)


def test_odd_names_and_special_files_do_not_break_a_search(engine: Toolbox) -> None:
    engine.put("with space.txt", "hit\n")
    engine.put("new\nline.txt", "hit\n")
    engine.put("z\r", "hit\n")
    engine.put("-e", "hit\n")
    engine.put("ünï.txt", "hit\n")
    engine.put("7:8:9", "hit\n")
    bad = os.fsencode(engine.ws) + b"/bad\xff.txt"
    fd = os.open(bad, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"hit\n")
    os.close(fd)
    os.mkfifo(engine.ws / "pipe")
    (engine.ws / "loop").symlink_to(".")
    (engine.ws / "copy").symlink_to("-e")
    assert grep(engine, "hit").split("\n") == [
        "-e:1:hit",
        "7:8:9:1:hit",
        "bad\\xff.txt:1:hit",
        '"new\\nline.txt":1:hit',
        "with space.txt:1:hit",
        '"z\\r":1:hit',
        "ünï.txt:1:hit",
    ]
    assert list(engine.ctx.spill_folder.iterdir()) == []


def test_a_file_or_folder_outside_is_shown_absolute(box: Toolbox) -> None:
    outside = box.ws.parent / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("hit\n")
    assert grep(box, "hit", path=str(outside)) == f"{outside}/a.txt:1:hit"
    assert grep(box, "hit", path="../outside/a.txt") == f"{outside}/a.txt:1:hit"
    assert grep(box, "hit") == "no matches for 'hit' in .; there is no file to search"
    box.put("sub/b.txt", "hit\n")
    assert grep(box, "hit", path=str(box.ws / "sub")) == "sub/b.txt:1:hit"
    assert grep(box, "hit", path="") == "sub/b.txt:1:hit"


def test_a_large_file_of_another_encoding_is_searched_too(engine: Toolbox) -> None:
    engine.put("big.txt", b"caf\xe9 line\n" * 900_000 + b"needle \xe9\n")
    engine.put("big8.txt", "é line\r\n".encode() * 1_000_000 + b"needle\r\n")
    assert grep(engine, "needle") == "big.txt:900001:needle é\nbig8.txt:1000001:needle"


def test_a_stray_nul_far_inside_does_not_hide_a_file(engine: Toolbox) -> None:
    engine.put("a.log", b"line\n" * 20_000 + b"\x00\nhit\n")
    assert grep(engine, "hit") == "a.log:20002:hit"


def test_patterns_that_make_others_hang_end_at_once(engine: Toolbox) -> None:
    engine.put("a.txt", "a" * 50_000 + "\n")
    began = time.monotonic()
    assert grep(engine, "(a+)+$b").startswith("no matches")
    assert grep(engine, "(a|aa)+c").startswith("no matches")
    assert time.monotonic() - began < 20


def test_a_search_that_takes_too_long_is_killed_and_says_what_it_found(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SECONDS", 0.0)
    for number in range(50):
        box.put(f"{number}.txt", "hit\n")
    answer = grep(box, "hit")
    assert "stopped before its end" in answer


def test_a_hanging_search_is_killed_with_all_its_processes(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    fake = tmp_path / "bin" / "rg"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\necho $$ >> {pids}\ncase "$*" in */dev/null) exit 1;; esac\nsleep 1000\n'
    )
    fake.chmod(0o755)
    box.ctx.environment = {**box.ctx.environment, "PATH": f"{fake.parent}:/usr/bin:/bin"}
    monkeypatch.setattr(search, "SECONDS", 2.0)
    monkeypatch.setattr(search, "GRACE_S", 1.0)
    box.put("a.txt", "hit\n")
    began = time.monotonic()
    assert "stopped before its end" in grep(box, "hit")
    assert time.monotonic() - began < 15
    for pid in pids.read_text().split():
        assert not _runs(int(pid))


def test_a_cancelled_search_leaves_no_process(box: Toolbox, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    fake = tmp_path / "bin" / "rg"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho $$ >> {pids}\nsleep 1000\n")
    fake.chmod(0o755)
    box.ctx.environment = {**box.ctx.environment, "PATH": f"{fake.parent}:/usr/bin:/bin"}
    box.put("a.txt", "hit\n")

    async def run() -> None:
        task = asyncio.ensure_future(box.answer("Grep", pattern="hit"))
        await asyncio.to_thread(_wait_for_text, pids)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    for pid in pids.read_text().split():
        assert not _runs(int(pid))


def _wait_for_text(path: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (path.exists() and path.read_text()):
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("body", ["exit 3", "echo nonsense; exit 0", "kill -9 $$", "exit 2"])
def test_a_broken_rg_on_the_path_is_not_trusted(box: Toolbox, tmp_path: Path, body: str) -> None:
    fake = tmp_path / "bin" / "rg"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{body}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    box.ctx.environment = {**box.ctx.environment, "PATH": str(fake.parent)}
    box.put("a.txt", "hit\n")
    assert grep(box, "hit") == "a.txt:1:hit"


def test_without_the_wheel_the_rg_that_was_installed_with_the_interpreter_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "bin" / "rg"
    there.parent.mkdir()
    there.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert installed_program() is None
    there.chmod(0o755)
    assert installed_program() == str(there)
    monkeypatch.undo()
    wheel = importlib.util.find_spec("python_ripgrep") is not None
    assert (installed_program() is None) == wheel


def test_an_rg_in_the_checkout_is_never_run(box: Toolbox, tmp_path: Path) -> None:
    fake = box.put("rg", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    fake.chmod(0o755)
    box.ctx.environment = {**box.ctx.environment, "PATH": ".:bin:"}
    box.put("a.txt", "hit\n")
    grep(box, "hit")
    assert not (tmp_path / "ran").exists()


def test_a_search_changes_nothing_and_marks_nothing_as_read(box: Toolbox) -> None:
    box.put("a.txt", "hit\n")
    grep(box, "hit")
    assert box.ctx.seen == {}
    action = box.prepare("Grep", pattern="hit")
    assert (action.effect, action.subject, action.paths) == (Effect.READ, ".", (str(box.ws),))
    assert box.call("Edit", file_path="a.txt", old_string="hit", new_string="x").startswith("not")


def test_many_searches_at_once(box: Toolbox) -> None:
    for number in range(20):
        box.put(f"{number}.txt", f"hit {number}\n")

    async def run() -> list[str]:
        calls = [box.answer("Grep", pattern=f"hit {n}$") for n in range(8)]
        return list(await asyncio.gather(*calls))

    assert asyncio.run(run()) == [f"{n}.txt:1:hit {n}" for n in range(8)]


def test_a_workspace_without_a_home_or_a_spill_folder_can_be_searched(box: Toolbox) -> None:
    box.ctx.environment = {}
    box.ctx.spill_folder = Path("/proc/nowhere")
    box.put("a.txt", b"caf\xe9 hit\n")
    assert grep(box, "hit") == "a.txt:1:café hit"
