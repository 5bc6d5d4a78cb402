from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.repl.links import Links, links_wanted
from glmcode.repl.paint import Painter
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready

XTERM = {"TERM": "xterm-256color"}
HERE = Links("rig-1", Path("/srv/a project"))


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("src/a.py", "file://rig-1/srv/a%20project/src/a.py"),
        ("/etc/hosts", "file://rig-1/etc/hosts"),
        ("./b/../c;d#e?f", "file://rig-1/srv/a%20project/c%3Bd%23e%3Ff"),
        ("日.txt", "file://rig-1/srv/a%20project/%E6%97%A5.txt"),
        ("raw\udcff", "file://rig-1/srv/a%20project/raw%FF"),
        ("\x1b\\\x07\n\x00\x9c", "file://rig-1/srv/a%20project/%1B%5C%07%0A%00%C2%9C"),
        ("odd\ud800", "file://rig-1/srv/a%20project/odd%3F"),
        ("~/x", ""),
        ("", ""),
        ("x" * 3_000, ""),
    ],
)
def test_a_path_leads_to_its_file_on_this_machine(path: str, address: str) -> None:
    text = HERE.file("shown", path)
    assert text == "shown" and text.address == address


@given(st.text())
def test_no_path_leaves_its_address(path: str) -> None:
    address = HERE.file("x", path).address
    assert re.fullmatch(r"(file://rig-1/[A-Za-z0-9%/._~-]*)?", address)
    if address:
        assert unquote_to_bytes(urlsplit(address).path).startswith(b"/")


@pytest.mark.parametrize(
    ("more", "there"),
    [
        ({}, False),
        ({"VTE_VERSION": "7600"}, True),
        ({"VTE_VERSION": "4205"}, False),
        ({"VTE_VERSION": "new"}, False),
        ({"KONSOLE_VERSION": "220401"}, True),
        ({"TERM_PROGRAM": "iTerm.app"}, True),
        ({"TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"WT_SESSION": "x"}, True),
        ({"WT_SESSION": "x", "NO_COLOR": "1"}, False),
        ({"WT_SESSION": "x", "TERM": "dumb"}, False),
        ({"WT_SESSION": "x", "TERM": "linux"}, False),
        ({"WT_SESSION": "x", "STY": "1"}, False),
        ({"WT_SESSION": "x", "TMUX": "1"}, False),
        ({"TMUX": "1", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.4"}, True),
        ({"TMUX": "1", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "3.3a"}, False),
        ({"TMUX": "1", "TERM_PROGRAM": "tmux", "TERM_PROGRAM_VERSION": "next"}, False),
    ],
)
def test_links_are_made_where_the_terminal_is_known_to_have_them(
    more: Mapping[str, str], there: bool
) -> None:
    assert links_wanted("auto", XTERM | more) is there
    assert not links_wanted("off", XTERM | more)


def test_a_setting_makes_them_anywhere_but_where_letters_would_be_shown() -> None:
    assert links_wanted("on", XTERM) and links_wanted("on", XTERM | {"STY": "1"})
    for more in ({"TERM": "dumb"}, {"TERM": "vt100"}, {"TERM": ""}, {"NO_COLOR": "1"}):
        assert not links_wanted("on", XTERM | more)


@pytest.mark.parametrize("width", [10, 20, 60])
def test_a_link_takes_no_columns_and_a_wrapped_one_leads_there_from_every_row(width: int) -> None:
    bare, linking = Painter(width), Painter(width)
    linking.links = HERE
    path = "src/some/long/path/that/is/wrapped/into/rows.py"
    plain = bare.spans([("tool", "Edit "), ("", bare.file(path, path))], hang=2)
    linked = linking.spans([("tool", "Edit "), ("", linking.file(path, path))], hang=2)
    ends = re.compile(r"\x1b\]8;([^\x1b]*)\x1b\\")
    assert [ends.sub("", line) for line in linked] == plain
    rows = [line for line in linked if any(part in line for part in path.split("/"))]
    assert all("file://rig-1/srv/a%20project/src/" in row for row in rows)
    assert all(ends.findall(row)[-1] == ";" for row in rows), "none goes on into the next row"


def test_without_colours_there_is_no_link() -> None:
    painter = Painter(80, colour=False)
    painter.links = HERE
    assert painter.spans([("", painter.file("a.py", "a.py"))]) == ["a.py"]


def test_the_files_of_calls_and_of_diff_can_be_clicked(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    write = {"file_path": "a b.py", "content": "x = 1\n"}
    script = [Reply(calls=[{"name": "Write", "arguments": write}]), Reply(text="Done.")]
    more = {"VTE_VERSION": "7600"}
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, "-y", *reach(engine), env=more) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("Done.")
        ready(session)
        address = f"file://{socket.gethostname()}{work}/a%20b.py"
        assert session.screen.links == [address, ""]
        session.type("/diff\r")
        session.wait_for("a b.py  new +1 -0")
        assert session.screen.links == [address, ""] * 2
        assert "● Write a b.py" in session.screen.text and session.screen.foreign == []
