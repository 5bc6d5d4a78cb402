from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.toolbox import Toolbox, commit


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


def read(box: Toolbox, name: str, **arguments: object) -> str:
    return box.call("Read", file_path=name, **arguments)


def test_lines_are_numbered_and_the_last_line_says_what_was_shown(box: Toolbox) -> None:
    box.put("a.txt", "one\n\n  three\n")
    assert read(box, "a.txt") == "1\tone\n2\t\n3\t  three\n[lines 1-3 of 3]"


def test_a_missing_final_newline_does_not_change_the_count(box: Toolbox) -> None:
    box.put("a.txt", "one\ntwo")
    assert read(box, "a.txt") == "1\tone\n2\ttwo\n[lines 1-2 of 2]"


def test_an_empty_file_is_said_to_be_empty(box: Toolbox) -> None:
    box.put("a.txt", "")
    assert read(box, "a.txt") == "[the file is empty]"
    assert read(box, "a.txt", offset=5) == "[the file is empty]"


def test_a_long_file_is_cut_at_two_thousand_lines(box: Toolbox) -> None:
    box.limit = 200_000
    box.put("a.txt", "".join(f"{i}\n" for i in range(1, 8124)))
    lines = read(box, "a.txt").split("\n")
    assert lines[1999] == "2000\t2000"
    assert lines[2000:] == ["[lines 1-2000 of 8123; continue with offset=2001]"]


def test_the_user_is_told_how_many_lines_the_model_was_shown(box: Toolbox) -> None:
    box.put("a.txt", "line of text\n" * 5_000)
    box.limit = 4_000
    result = commit(box.prepare("Read", file_path="a.txt"))
    shown = len(result.for_model.splitlines()) - 1
    assert shown < 1_000
    assert result.for_user is not None and result.for_user.body == f"{shown} lines"


def test_offset_and_limit_choose_lines_exactly(box: Toolbox) -> None:
    box.put("a.txt", "".join(f"L{i}\n" for i in range(1, 13)))
    assert read(box, "a.txt", offset=5, limit=2) == (
        "5\tL5\n6\tL6\n[lines 5-6 of 12; continue with offset=7]"
    )
    assert read(box, "a.txt", offset=11, limit=50) == "11\tL11\n12\tL12\n[lines 11-12 of 12]"
    assert read(box, "a.txt", limit=12).endswith("[lines 1-12 of 12]")


def test_offset_zero_means_the_first_line(box: Toolbox) -> None:
    box.put("a.txt", "x\ny\n")
    assert read(box, "a.txt", offset=0, limit=1).startswith("1\tx\n[lines 1-1 of 2;")


def test_an_offset_beyond_the_end_is_answered_with_the_real_length(box: Toolbox) -> None:
    box.put("a.txt", "x\n" * 12)
    assert read(box, "a.txt", offset=13) == "[nothing at offset 13: the file has 12 lines]"
    assert "has 12 lines" in read(box, "a.txt", offset=10**12)
    assert str(box.ws / "a.txt") not in box.ctx.seen


def test_a_negative_offset_and_a_limit_of_nothing_are_errors_with_advice(box: Toolbox) -> None:
    box.put("a.txt", "x\n")
    assert read(box, "a.txt", offset=-3).startswith("error: offset is -3; lines are numbered from")
    assert read(box, "a.txt", limit=0) == (
        "error: limit is 0; it must be at least 1, or leave it out"
    )
    assert read(box, "a.txt", limit=-1).startswith("error: limit is -1;")


def test_whole_numbers_written_as_floats_are_accepted(box: Toolbox) -> None:
    box.put("a.txt", "x\ny\nz\n")
    assert read(box, "a.txt", offset=2.0, limit=1.0).startswith("2\ty\n[lines 2-2 of 3;")


def test_pages_under_a_small_limit_cover_every_line_once(box: Toolbox) -> None:
    box.limit = 900
    text = "".join(f"line {i} {'x' * (i % 90)}\n" for i in range(1, 300))
    box.put("a.txt", text)
    got: list[str] = []
    offset = 1
    while True:
        page = read(box, "a.txt", offset=offset)
        assert len(page) <= box.limit
        *lines, last = page.split("\n")
        got += [line.split("\t", 1)[1] for line in lines]
        more = re.search(r"continue with offset=(\d+)", last)
        if more is None:
            break
        offset = int(more.group(1))
    assert got == text.splitlines()


def test_a_long_line_is_cut_with_a_note_how_to_see_the_rest(box: Toolbox) -> None:
    box.put("my file.js", "a\n" + "x" * 5_000 + "\nb\n")
    lines = read(box, "my file.js").split("\n")
    assert lines[1] == "2\t" + "x" * 2_000 + "[... 3000 more characters]"
    assert lines[2] == "3\tb"
    assert lines[3] == (
        "[lines 1-3 of 3; long lines were cut: see line 2 with Bash: "
        "sed -n '2p' 'my file.js' | cut -c2001-]"
    )


def test_one_giant_line_stays_within_the_limit(box: Toolbox) -> None:
    box.limit = 1_000
    box.put("a.min.js", "y" * 3_000_000)
    page = read(box, "a.min.js")
    assert len(page) <= 1_000
    assert "[lines 1-1 of 1;" in page


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "PNG image"),
        (b"%PDF-1.7\nsome text without a nul", "PDF document"),
        (b"PK\x03\x04" + b"\x00" * 10, "zip archive"),
        (b"\x7fELF\x02\x01\x01", "ELF program or library"),
        (b"SQLite format 3\x00" + b"\x10\x00", "SQLite database"),
        (b"text and then\x00a nul", "data"),
        (bytes(range(128, 256)) + bytes(range(1, 8)) * 20, "data"),
        (b"\xff\xfea\x00\x00\xd8b\x00", "text in damaged UTF-16-LE"),
    ],
)
def test_binary_files_are_named_and_not_shown(box: Toolbox, content: bytes, kind: str) -> None:
    box.put("thing", content)
    answer = read(box, "thing")
    assert answer.startswith(f"error: thing is a binary file ({kind}")
    assert f"{len(content):,} bytes" in answer
    assert box.ctx.seen == {}


@pytest.mark.parametrize(
    ("content", "first", "note"),
    [
        (b"\xef\xbb\xbfh\xc3\xa9\n", "1\thé", ""),
        ("hé\nz\n".encode("utf-16"), "1\thé", "; UTF-16-LE"),
        (b"\xfe\xff" + "hé\n".encode("utf-16-be"), "1\thé", "; UTF-16-BE"),
        (b"h\xe9\n", "1\thé", "; not UTF-8: shown as latin-1"),
        ("数\n".encode(), "1\t数", ""),
        (b"col\x01umn\x01s\n", "1\tcol\x01umn\x01s", ""),
    ],
)
def test_the_encoding_is_found_and_no_mark_is_shown(
    box: Toolbox, content: bytes, first: str, note: str
) -> None:
    box.put("a.txt", content)
    lines = read(box, "a.txt").split("\n")
    assert lines[0] == first
    assert lines[-1].endswith(f"{note}]")


def test_only_newline_crlf_and_lone_cr_end_a_line(box: Toolbox) -> None:
    odd = "a\x0bb\x0cc\x85d\u2028e\u2029f\x1cg"
    box.put("a.txt", f"one\r\ntwo\rthree\n{odd}\r\n")
    assert read(box, "a.txt") == f"1\tone\n2\ttwo\n3\tthree\n4\t{odd}\n[lines 1-4 of 4]"


def test_a_directory_is_an_error_that_lists_some_of_it(box: Toolbox) -> None:
    box.put("src/a.py")
    box.put("src/sub/b.py")
    assert read(box, "src") == (
        "error: src is a directory; it holds a.py, sub/. List its files with Glob "
        "(pattern '**', path 'src')"
    )
    assert read(box, ".").startswith("error: . is a directory; it holds src/.")


def test_special_files_are_refused_at_once(box: Toolbox) -> None:
    os.mkfifo(box.ws / "pipe")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(box.ws)
    server.bind("sock")
    os.chdir(here)
    began = time.monotonic()
    assert "pipe is a FIFO (named pipe); Read shows only regular files" in read(box, "pipe")
    assert "sock is a socket" in read(box, "sock")
    assert "/dev/null is a character device" in read(box, "/dev/null")
    assert "is a character device" in read(box, "/dev/zero")
    assert read(box, "/dev/tty").startswith("error: ")
    assert time.monotonic() - began < 5
    server.close()


def test_a_missing_file_is_answered_with_the_names_that_were_meant(box: Toolbox) -> None:
    box.put("src/utils.py")
    box.put("lib/deep/Config.toml")
    assert read(box, "src/utlis.py") == (
        "error: src/utlis.py does not exist; did you mean src/utils.py?"
    )
    assert read(box, "src/UTILS.py").endswith("did you mean src/utils.py?")
    assert read(box, "config.toml").endswith("did you mean lib/deep/Config.toml?")
    assert read(box, "nowhere/utils.py") == (
        "error: nowhere/utils.py does not exist, nor does its folder; did you mean src/utils.py?"
    )
    assert read(box, "src/utils.py/x").startswith(
        "error: src/utils.py/x cannot exist: src/utils.py is a file, not a folder"
    )
    assert read(box, "zzzzz").endswith("use Glob to find the right path")


def test_a_file_in_the_shells_folder_is_suggested(box: Toolbox) -> None:
    box.put("pkg/mod.py")
    box.ctx.cwd = box.ws / "pkg"
    assert read(box, "mod.py") == "error: mod.py does not exist; did you mean pkg/mod.py?"


def test_links_are_followed_and_circles_and_dead_ends_are_said(box: Toolbox) -> None:
    box.put("real.txt", "x\n")
    (box.ws / "link").symlink_to("real.txt")
    (box.ws / "dead").symlink_to("gone.txt")
    (box.ws / "loop").symlink_to("loop")
    assert read(box, "link") == "1\tx\n[lines 1-1 of 1]"
    assert str(box.ws / "real.txt") in box.ctx.seen
    assert "dead is a symbolic link to" in read(box, "dead")
    assert "symbolic links lead round in a circle" in read(box, "loop")


@pytest.mark.parametrize(
    "name", ["with space.txt", "new\nline.txt", "ünï.txt", "数.txt", "-rf", "a'b\"c", "[a]*?.py"]
)
def test_odd_names_are_read(box: Toolbox, name: str) -> None:
    box.put(name, "x\n")
    assert read(box, name) == "1\tx\n[lines 1-1 of 1]"


def test_a_name_in_another_unicode_form_finds_its_file(box: Toolbox) -> None:
    box.put("cafe\N{COMBINING ACUTE ACCENT}.txt", "x\n")
    name = "caf\N{LATIN SMALL LETTER E WITH ACUTE}.txt"
    assert read(box, name) == "1\tx\n[lines 1-1 of 1]"


def test_home_and_odd_spellings_of_a_path_lead_to_the_file(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = box.ws.parent / "home"
    home.mkdir()
    (home / "n.txt").write_text("home\n")
    monkeypatch.setenv("HOME", str(home))
    box.put("src/a.py", "x\n")
    assert read(box, "~/n.txt").startswith("1\thome")
    assert read(box, "./src/../src//a.py").startswith("1\tx")
    assert read(box, str(box.ws / "src" / "a.py")).startswith("1\tx")
    box.put("~draft", "tilde\n")
    assert read(box, "~draft").startswith("1\ttilde")
    assert box.prepare("Read", file_path="./src/../src//a.py").subject == "src/a.py"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "error: the path is empty"),
        ("  ", "error: the path is empty"),
        ("a\0b", "error: the path holds a NUL character"),
        ("a" + chr(0xD800), "error: the path holds half a character"),
        ("x" * 300, "name that is too long"),
        ("a/" * 3_000 + "b", "name that is too long"),
    ],
)
def test_a_path_that_can_name_nothing_is_an_error(box: Toolbox, path: str, said: str) -> None:
    answer = read(box, path)
    assert answer.startswith("error: ")
    assert said in answer
    assert len(answer) < 1_000


def test_the_content_is_remembered_also_after_a_partial_read(box: Toolbox) -> None:
    path = box.put("a.txt", "x\ny\nz\n")
    read(box, "a.txt", offset=2, limit=1)
    assert box.ctx.seen == {str(path): hashlib.sha256(b"x\ny\nz\n").hexdigest()}


def test_files_of_the_system_without_a_size_are_read(box: Toolbox) -> None:
    assert re.match(r"1\tName:\t", read(box, "/proc/self/status"))


def test_a_large_text_file_is_read_in_pieces_and_a_huge_sparse_one_refused_at_once(
    box: Toolbox,
) -> None:
    line = b"0123456789" * 10 + b"\r\n"
    box.put("big.log", line * 400_000)
    page = read(box, "big.log", offset=399_999)
    assert page.startswith(f"399999\t{'0123456789' * 10}\n400000\t")
    assert "[lines 399999-400000 of 400000; 40,800,000 bytes, too large" in page
    assert "offset 400001: the file has 400000 lines" in read(box, "big.log", offset=400_001)
    sparse = box.put("sparse")
    os.truncate(sparse, 1 << 40)
    began = time.monotonic()
    assert "is a binary file" in read(box, "sparse")
    assert time.monotonic() - began < 5


def test_the_end_of_a_giant_is_not_counted(box: Toolbox) -> None:
    path = box.put("giant.txt", b"first\nsecond\n" + b"x" * 70_000)
    os.truncate(path, 1 << 31)
    page = read(box, "giant.txt", limit=2)
    assert page.startswith("1\tfirst\n2\tsecond\n[lines 1-2; continue with offset=3;")


def test_a_stray_nul_far_inside_a_text_is_shown_as_a_symbol(box: Toolbox) -> None:
    box.put("a.log", b"x" * 99 + b"\n" + b"line\n" * 20_000 + b"a\x00b\n")
    assert "20002\ta\N{SYMBOL FOR NULL}b\n" in read(box, "a.log", offset=20_002)


def test_a_file_that_may_not_be_read_is_said_so(box: Toolbox) -> None:
    path = box.put("secret", "x\n")
    path.chmod(0)
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from glmcode.base.files import FileFault, load\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0:\n    os.setegid(65534); os.seteuid(65534)\n"
        "try:\n    load(Path('secret'))\n"
        "except FileFault as error:\n    print(error)\n"
    )
    box.ws.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(box.ws)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "may not be accessed: permission denied\n"


def test_the_action_names_the_real_path_for_permission(box: Toolbox) -> None:
    box.put("real.txt", "x\n")
    (box.ws / "link").symlink_to("real.txt")
    action = box.prepare("Read", file_path="link")
    assert (action.subject, action.paths) == ("link", (str(box.ws / "real.txt"),))


@given(text=st.text(alphabet="ab\n\r\x0b\x0c\x85\u2028é", max_size=60))
@settings(max_examples=120, deadline=None)
def test_what_is_shown_is_every_line_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    box = Toolbox(tmp_path_factory.mktemp("read"))
    box.put("a.txt", text)
    lines = re.split(r"\r\n|\n|\r", text)
    if lines[-1] == "":
        lines.pop()
    shown = [f"{n}\t{line}" for n, line in enumerate(lines, 1)]
    last = f"[lines 1-{len(lines)} of {len(lines)}]"
    assert read(box, "a.txt") == ("\n".join([*shown, last]) if lines else "[the file is empty]")
