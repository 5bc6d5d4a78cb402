from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import pytest

from glmcode.core.tool import Effect, ToolError, ToolRefused
from tests.tools.toolbox import Toolbox, commit


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


def write(box: Toolbox, name: str, content: str) -> str:
    return box.call("Write", file_path=name, content=content)


def names(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*"))


def test_a_new_file_is_created_with_exactly_the_content(box: Toolbox) -> None:
    content = "eins\r\nzwei\n\tdrei\x0c \u2028 ü\n\n"
    assert write(box, "a.txt", content) == "created a.txt: 4 lines"
    assert (box.ws / "a.txt").read_bytes() == content.encode()
    assert names(box.ws) == ["a.txt"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "created a.txt: 0 lines"),
        ("x", "created a.txt: 1 line"),
        ("x\n", "created a.txt: 1 line"),
        ("x\ny", "created a.txt: 2 lines"),
        ("\ufeffx\n", "created a.txt: 1 line"),
    ],
)
def test_lines_are_counted_and_nothing_is_added(box: Toolbox, content: str, said: str) -> None:
    assert write(box, "a.txt", content) == said
    assert (box.ws / "a.txt").read_bytes() == content.encode()


def test_overwriting_says_what_changed(box: Toolbox) -> None:
    box.known("src/a.py", "".join(f"{i}\n" for i in range(10_000)))
    new = "".join("x\ny\n" if i in (5, 9_000) else f"{i}\n" for i in range(10_000) if i != 70)
    assert write(box, "src/a.py", new) == "wrote src/a.py: 10001 lines (+4 -3)"


def test_a_file_that_was_never_read_is_not_overwritten(box: Toolbox) -> None:
    path = box.put("a.txt", "precious\n")
    assert write(box, "a.txt", "gone\n") == (
        "not run: a.txt was not read in this session: Read it first, then try again"
    )
    assert path.read_text() == "precious\n"


def test_a_file_that_changed_since_is_not_overwritten(box: Toolbox) -> None:
    path = box.known("a.txt", "one\n")
    path.write_text("two\n")
    assert write(box, "a.txt", "three\n").startswith("not run: a.txt changed since it was last")
    assert path.read_text() == "two\n"


def test_an_empty_file_has_nothing_to_lose(box: Toolbox) -> None:
    box.put("a.txt")
    assert write(box, "a.txt", "x\n") == "wrote a.txt: 1 line (+1 -0)"


def test_what_was_written_may_be_written_again(box: Toolbox) -> None:
    write(box, "a.txt", "one\n")
    assert write(box, "a.txt", "two\n") == "wrote a.txt: 1 line (+1 -1)"


def test_content_that_is_there_already_changes_nothing(box: Toolbox) -> None:
    path = box.known("a.txt", "one\ntwo\n")
    before = path.stat()
    action = box.prepare("Write", file_path="a.txt", content="one\ntwo\n")
    assert (action.effect, action.changes) == (Effect.READ, ())
    assert commit(action).for_model == "unchanged: a.txt holds exactly this already (2 lines)"
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_parent_folders_are_made_when_it_is_committed_and_not_before(box: Toolbox) -> None:
    action = box.prepare("Write", file_path="a/b/c.txt", content="x\n")
    assert names(box.ws) == []
    assert commit(action).for_model == "created a/b/c.txt: 1 line (made folder a/b)"
    assert names(box.ws) == ["a", "a/b", "a/b/c.txt"]


def test_folders_made_for_nothing_are_removed(box: Toolbox, tmp_path: Path) -> None:
    action = box.prepare("Write", file_path="a/b/c.txt", content="x\n")
    original = os.link

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    os.link = fails
    try:
        with pytest.raises(ToolError, match="no space is left on the device"):
            commit(action)
    finally:
        os.link = original
    assert names(box.ws) == []


def test_a_new_file_obeys_the_umask_and_an_old_one_keeps_its_mode(box: Toolbox) -> None:
    old = os.umask(0o027)
    try:
        write(box, "new.txt", "x\n")
        path = box.known("old.sh", "x\n")
        path.chmod(0o775)
        write(box, "old.sh", "y\n")
    finally:
        os.umask(old)
    assert stat.S_IMODE((box.ws / "new.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE(path.stat().st_mode) == 0o775


def test_a_link_is_written_through_and_stays_a_link(box: Toolbox) -> None:
    path = box.known("real/a.txt", "x\n")
    (box.ws / "link.txt").symlink_to("real/a.txt")
    assert write(box, "link.txt", "y\n") == "wrote link.txt: 1 line (+1 -1)"
    assert (box.ws / "link.txt").is_symlink()
    assert path.read_text() == "y\n"


def test_a_dangling_link_makes_its_target(box: Toolbox) -> None:
    (box.ws / "dir").mkdir()
    (box.ws / "link.txt").symlink_to("dir/new.txt")
    assert write(box, "link.txt", "x\n") == "created link.txt: 1 line"
    assert (box.ws / "link.txt").is_symlink()
    assert (box.ws / "dir/new.txt").read_text() == "x\n"
    (box.ws / "lost.txt").symlink_to("nowhere/new.txt")
    assert "whose folder does not exist" in write(box, "lost.txt", "x\n")
    (box.ws / "loop").symlink_to("loop")
    assert write(box, "loop", "x\n").startswith("error: loop ")


@pytest.mark.parametrize(
    ("before", "content", "after", "note"),
    [
        (b"a\r\nb\r\n", "a\nc\n", b"a\r\nc\r\n", "; its CRLF line ends were kept"),
        (b"a\r\nb\r\n", "a\r\nc\n", b"a\r\nc\n", ""),
        (b"a\r\nb\n", "a\nc\n", b"a\nc\n", ""),
        (b"a\nb\n", "a\r\nc\r\n", b"a\r\nc\r\n", ""),
        (b"one line", "a\nb", b"a\nb", ""),
        (b"\xef\xbb\xbfa\n", "b\n", b"\xef\xbb\xbfb\n", ""),
        (b"\xef\xbb\xbfa\n", "\ufeffb\n", b"\xef\xbb\xbfb\n", ""),
        ("a\n".encode("utf-16"), "é\n", "é\n".encode("utf-16"), "; still UTF-16-LE"),
        (b"caf\xe9\nx\n", "café\ny\n", b"caf\xe9\ny\n", "; still LATIN-1"),
    ],
)
def test_an_existing_file_keeps_its_encoding_mark_and_only_line_end(
    box: Toolbox, before: bytes, content: str, after: bytes, note: str
) -> None:
    path = box.known("a.txt", before)
    answer = write(box, "a.txt", content)
    assert path.read_bytes() == after
    assert answer.startswith("wrote a.txt: ")
    assert answer.endswith(f"){note}")


def test_new_lines_in_a_file_of_unknown_encoding_must_be_ascii(box: Toolbox) -> None:
    path = box.known("a.txt", b"caf\xe9\n")
    assert write(box, "a.txt", "thé\n").startswith("error: a.txt is not UTF-8")
    assert path.read_bytes() == b"caf\xe9\n"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "error: the path is empty"),
        ("new/", "error: new/ names a folder; give the path of a file"),
        ("dir", "error: dir is a directory"),
        ("dir/", "error: dir is a directory"),
        (".", "error: . is a directory"),
        ("file.txt/x", "error: file.txt/x cannot be made: file.txt is a file, not a folder"),
        ("file.txt/x/y", "error: file.txt/x/y cannot be made: file.txt is a file"),
        ("/dev/null", "error: /dev/null is a character device"),
        ("/dev/full", "error: /dev/full is a character device"),
        ("pipe", "error: pipe is a FIFO (named pipe)"),
        ("n" * 256, "name that is too long for the file system"),
        ("a\0b", "error: the path holds a NUL character"),
        ("/proc/new.txt", "error: /proc/new.txt "),
    ],
)
def test_what_cannot_be_written_is_said_before_anybody_is_asked(
    box: Toolbox, path: str, said: str
) -> None:
    box.put("file.txt", "x\n")
    (box.ws / "dir").mkdir()
    os.mkfifo(box.ws / "pipe")
    before = names(box.ws)
    answer = write(box, path, "x\n")
    assert said in answer
    assert answer.startswith("error: ")
    assert names(box.ws) == before
    assert (box.ws / "file.txt").read_text() == "x\n"


def test_a_binary_file_is_not_overwritten(box: Toolbox) -> None:
    path = box.put("a.png", b"\x89PNG\r\n\x1a\n\x00")
    assert "a.png is a binary file (PNG image), which can be neither" in write(box, "a.png", "x")
    assert path.read_bytes() == b"\x89PNG\r\n\x1a\n\x00"


def test_a_read_only_file_is_left_alone(box: Toolbox) -> None:
    path = box.known("a.txt", "x\n")
    path.chmod(0o444)
    assert write(box, "a.txt", "y\n") == (
        "error: a.txt is read-only (mode 0444); nothing was changed; ask the user, or change the "
        "mode with a command"
    )
    assert path.read_text() == "x\n"


def test_half_characters_are_refused(box: Toolbox) -> None:
    assert "half a character" in write(box, "a.txt", "x" + chr(0xDC80))
    assert names(box.ws) == []


def test_tags_of_the_model_are_written_as_they_are(box: Toolbox) -> None:
    content = "</arg_value>\n<tool_call>Write\n<|user|> &lt; \\n {{x}}\n"
    write(box, "a.txt", content)
    assert (box.ws / "a.txt").read_text() == content


def test_a_file_that_appears_while_a_person_thinks_is_not_overwritten(box: Toolbox) -> None:
    action = box.prepare("Write", file_path="a.txt", content="x\n")
    box.put("a.txt", "theirs\n")
    with pytest.raises(ToolRefused, match="created by something else meanwhile: Read it again"):
        commit(action)
    assert (box.ws / "a.txt").read_text() == "theirs\n"
    assert names(box.ws) == ["a.txt"]


def test_a_folder_or_link_that_appears_meanwhile_is_not_overwritten(box: Toolbox) -> None:
    action = box.prepare("Write", file_path="a.txt", content="x\n")
    (box.ws / "a.txt").symlink_to("/etc/hostname")
    with pytest.raises(ToolRefused):
        commit(action)
    (box.ws / "a.txt").unlink()
    (box.ws / "a.txt").mkdir()
    with pytest.raises(ToolRefused):
        commit(action)


def test_the_intent_tells_before_and_after(box: Toolbox) -> None:
    action = box.prepare("Write", file_path="a.txt", content="x\n")
    (change,) = action.changes
    assert (change.path, change.before) == (str(box.ws / "a.txt"), None)
    assert change.after == hashlib.sha256(b"x\n").hexdigest()
    assert action.preview.body == "@@ -0,0 +1 @@\n+x"
    assert (action.preview.title, action.subject) == ("Write a.txt", "a.txt")


def test_a_path_outside_the_workspace_is_shown_absolute(box: Toolbox) -> None:
    outside = box.ws.parent / "outside.txt"
    assert write(box, "../outside.txt", "x\n") == f"created {outside}: 1 line"
    assert box.prepare("Write", file_path="../new", content="x").subject == str(
        box.ws.parent / "new"
    )


def test_a_name_in_another_unicode_form_does_not_make_a_second_file(box: Toolbox) -> None:
    box.known("cafe\N{COMBINING ACUTE ACCENT}.txt", "x\n")
    write(box, "caf\N{LATIN SMALL LETTER E WITH ACUTE}.txt", "y\n")
    assert len(names(box.ws)) == 1


def test_a_cancelled_write_has_ended_when_the_cancellation_is_seen(box: Toolbox) -> None:
    async def run() -> None:
        action = await box.action("Write", file_path="a.txt", content="x" * 4_000_000)
        task = asyncio.ensure_future(action.commit())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = names(box.ws)
        await asyncio.sleep(0.2)
        assert names(box.ws) == after

    asyncio.run(run())
    assert names(box.ws) in ([], ["a.txt"])


def test_writes_in_one_folder_do_not_leave_temporary_files(box: Toolbox) -> None:
    for number in range(20):
        write(box, f"{number % 5}.txt", f"{number}\n")
    assert names(box.ws) == [f"{number}.txt" for number in range(5)]
