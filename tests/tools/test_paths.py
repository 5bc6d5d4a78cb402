from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.tools.paths import locate, printable
from tests.tools.toolbox import Toolbox


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a.py", "a.py"),
        ("ü ñ.py", "ü ñ.py"),
        ("a\nb", '"a\\nb"'),
        ("bad\udcff", "bad\\xff"),
        ("a\tb\x1b[31m", '"a\\tb\\u001b[31m"'),
    ],
)
def test_a_path_is_shown_on_one_line(path: str, shown: str) -> None:
    assert printable(path) == shown


def test_paths_are_shown_from_the_workspace_also_through_a_link_to_it(box: Toolbox) -> None:
    box.put("src/a.py")
    alias = box.ws.parent / "alias"
    alias.symlink_to(box.ws)
    place = locate(box.ctx, f"{alias}/src/a.py")
    assert (place.shown, place.real) == ("src/a.py", box.ws / "src/a.py")


def test_dots_after_a_link_lead_where_the_system_leads(box: Toolbox) -> None:
    box.put("x.txt", "workspace\n")
    far = box.ws.parent / "far" / "deep"
    far.mkdir(parents=True)
    (far.parent / "x.txt").write_text("far\n")
    (box.ws / "link").symlink_to(far)
    answer = box.call("Read", file_path="link/../x.txt")
    assert answer == "1\tfar\n[lines 1-1 of 1]"
    place = locate(box.ctx, "link/../x.txt")
    assert place.shown == str(far.parent / "x.txt")


@pytest.mark.parametrize("given", ["src\\a.py", "`src/a.py`", "'a.py'", "b/src/a.py", "/src/a.py"])
def test_a_path_written_oddly_is_answered_with_the_right_one(box: Toolbox, given: str) -> None:
    box.put("src/a.py")
    assert box.call("Read", file_path=given).endswith("did you mean src/a.py?")


_NOBODY = """
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2].split(os.pathsep)
from tests.tools.toolbox import Toolbox
import glmcode.tools.read, glmcode.tools.write, glmcode.tools.edit, glmcode.base.in_place
import glmcode.tools.grep, glmcode.tools.glob, jsonschema, difflib, ctypes
os.chdir(sys.argv[1])
box = Toolbox(Path(sys.argv[1]))
box.call("Read", file_path="known.txt")
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)
for tool, arguments in (
    ("Read", {"file_path": "closed/a.txt"}),
    ("Read", {"file_path": "closed"}),
    ("Write", {"file_path": "closed/a.txt", "content": "x"}),
    ("Write", {"file_path": "closed/new/a.txt", "content": "x"}),
    ("Write", {"file_path": "locked/new.txt", "content": "x"}),
    ("Edit", {"file_path": "closed/a.txt", "old_string": "x", "new_string": "y"}),
    ("Read", {"file_path": "secret.txt"}),
):
    print(tool, box.call(tool, **arguments))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        for closed in Path(folder).glob("ws/*ed"):
            closed.chmod(0o755)


def test_what_may_not_be_entered_is_a_clear_error_for_every_tool(open_folder: Path) -> None:
    box = Toolbox(open_folder)
    box.put("closed/a.txt", "x\n")
    box.put("locked/a.txt", "x\n")
    box.put("known.txt", "x\n")
    box.put("secret.txt", "x\n").chmod(0)
    (box.ws / "closed").chmod(0)
    (box.ws / "locked").chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", _NOBODY, str(open_folder), os.pathsep.join(sys.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    denied = "may not be accessed: permission denied"
    assert done.stdout.splitlines() == [
        f"Read error: closed/a.txt {denied}; Read shows only regular files",
        "Read error: closed is a directory, and you may not look into it",
        f"Write error: closed/a.txt {denied}",
        f"Write error: closed/new/a.txt {denied}",
        "Write error: locked/new.txt cannot be made: the folder locked may not be written",
        f"Edit error: closed/a.txt {denied}",
        f"Read error: secret.txt {denied}; Read shows only regular files",
    ]


def test_a_missing_path_is_never_told_to_be_itself(box: Toolbox) -> None:
    (box.ws / "link").symlink_to("gone")
    assert box.call("Read", file_path="link") == (
        f"error: link is a symbolic link to {box.ws / 'gone'}, which does not exist; "
        "use Glob to find the right path"
    )
