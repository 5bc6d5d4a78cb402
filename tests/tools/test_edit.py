from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.core.tool import Effect, ToolError, ToolRefused
from tests.tools.toolbox import Toolbox, commit


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


def edit(box: Toolbox, old: str, new: str, name: str = "a.py", every: bool = False) -> str:
    more = {"replace_all": True} if every else {}
    return box.call("Edit", file_path=name, old_string=old, new_string=new, **more)


def edited(box: Toolbox, before: bytes, old: str, new: str, every: bool = False) -> bytes:
    path = box.known("a.py", before)
    answer = edit(box, old, new, every=every)
    assert answer.startswith("edited a.py: "), answer
    return path.read_bytes()


def test_one_replacement_says_where_and_how_much(box: Toolbox) -> None:
    box.known("src/a.py", "".join(f"line {i}\n" for i in range(1, 20)))
    answer = edit(box, "line 12\n", "line twelve\nand more\n", "src/a.py")
    assert answer == "edited src/a.py: 1 replacement at line 12 (+2 -1)"


def test_several_replacements_list_their_lines(box: Toolbox) -> None:
    box.known("a.py", "x\n.\n.\n.\nx\n.\n.\n.\nx x\n")
    assert edit(box, "x", "y", every=True) == (
        "edited a.py: 4 replacements at lines 1, 5, 9, 9 (+3 -3)"
    )


def test_lines_are_those_of_the_new_text(box: Toolbox) -> None:
    box.known("a.py", "x\nx\n")
    assert "at lines 1, 3 (+4 -2)" in edit(box, "x", "y\nz", every=True)


def test_a_long_list_of_lines_is_cut(box: Toolbox) -> None:
    box.known("a.py", "x\n" * 500)
    assert "500 replacements at lines 1, 2, 3," in edit(box, "x", "y", every=True)
    assert edit(box, "y", "z").startswith("error: old_string stands 500 times in a.py, at lines 1,")
    assert " 20 and 480 more; add lines around it" in edit(box, "y", "z")


def test_a_text_that_is_not_unique_is_refused_with_its_lines(box: Toolbox) -> None:
    path = box.known("a.py", "a\nb\na\n")
    assert edit(box, "a", "c") == (
        "error: old_string stands 2 times in a.py, at lines 1, 3; add lines around it until it "
        "is unique, or set replace_all to replace every one"
    )
    assert path.read_text() == "a\nb\na\n"


def test_places_that_overlap_are_not_one_place(box: Toolbox) -> None:
    box.known("a.py", "\n\n\n")
    assert "stands 2 times" in edit(box, "\n\n", "\n")
    assert edited(box, b"aaaa", "aa", "b", every=True) == b"bb"


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "b\n", "b1\nb2\n", b"a\r\nb1\r\nb2\r\nc\r\n"),
        (b"a\r\nb\r\nc", "a\nb", "a\nx\nb", b"a\r\nx\r\nb\r\nc"),
        (b"a\r\nb\nc\r\nd\n", "b", "b1\nb2", b"a\r\nb1\nb2\nc\r\nd\n"),
        (b"a\r\nb\nc\r\nd\n", "c\nd", "c\nD\ne", b"a\r\nb\nc\r\nD\ne\n"),
        (b"a\r\nb\nc\r\n", "a\nb\nc\n", "A\nB\nC\nD\n", b"A\r\nB\nC\nD\r\n"),
        (b"a\rb\rc\r", "b", "b\nx", b"a\rb\rx\rc\r"),
        (b"one line", "one", "1\n2", b"1\n2 line"),
        (b"a\r\nlast", "last", "last\nmore", b"a\r\nlast\r\nmore"),
        (b"a\n", "a\n", "a", b"a"),
        (b"a", "a", "a\n", b"a\n"),
        (b"a\r\nb\r\n", "a\r\nb", "a\r\nB", b"a\r\nB\r\n"),
        (b"a\nb\n", "a\r\nb", "a\r\nB", b"a\nB\n"),
        (b"\r\n\r\nx\r\n", "\nx", "\ny", b"\r\n\r\ny\r\n"),
        (b"x = 1\r\n", "x = 1", "", b"\r\n"),
        (b"keep\r\ngo\r\nkeep\r\n", "go\n", "", b"keep\r\nkeep\r\n"),
        (b"a\x0cb\x85\n", "a\x0cb", "c", b"c\x85\n"),
    ],
)
def test_line_ends_follow_the_place_and_all_else_keeps_its_bytes(
    box: Toolbox, before: bytes, old: str, new: str, after: bytes
) -> None:
    assert edited(box, before, old, new) == after


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"\xef\xbb\xbfa = 1\n", "a = 1", "é = 2", "\ufeffé = 2\n".encode()),
        (
            b"\xff\xfe" + "é\r\nb\r\n".encode("utf-16-le"),
            "b",
            "数\nc",
            b"\xff\xfe" + "é\r\n数\r\nc\r\n".encode("utf-16-le"),
        ),
        (
            b"\xfe\xff" + "é\nb\n".encode("utf-16-be"),
            "b",
            "c",
            b"\xfe\xff" + "é\nc\n".encode("utf-16-be"),
        ),
        (b"\xe9t\xe9 = 1\n\x93q\x94", "= 1", "= 2", b"\xe9t\xe9 = 2\n\x93q\x94"),
        ("日本\n".encode("shift-jis") + b"x\n", "x", "y", "日本\n".encode("shift-jis") + b"y\n"),
        ("e\N{COMBINING ACUTE ACCENT} 1".encode(), "1", "2", b"e\xcc\x81 2"),
        ("😀 a".encode(), "a", "b", "😀 b".encode()),
    ],
)
def test_encodings_and_marks_are_kept(
    box: Toolbox, before: bytes, old: str, new: str, after: bytes
) -> None:
    assert edited(box, before, old, new) == after


def test_in_a_file_of_unknown_encoding_only_ascii_can_be_put(box: Toolbox) -> None:
    path = box.known("a.py", b"caf\xe9 = 1\n")
    answer = edit(box, "= 1", "= 'ü'")
    assert answer.startswith("error: a.py is not UTF-8 and nothing says what it is, so only ASCII")
    assert path.read_bytes() == b"caf\xe9 = 1\n"
    assert edit(box, "café = 1", "café = 2") == "edited a.py: 1 replacement at line 1 (+1 -1)"
    assert path.read_bytes() == b"caf\xe9 = 2\n"


@pytest.mark.parametrize(
    "new", [r"\1 \g<0> \\ \n", "$1 $& $$ $`", "%s {0} {x}", "(?P<a>.)*[", "&amp; </arg_value>"]
)
def test_nothing_in_the_texts_is_a_pattern(box: Toolbox, new: str) -> None:
    assert edited(box, b"f(a.b*)[0] $1\n", "f(a.b*)[0] $1", new) == f"{new}\n".encode()


def test_arguments_that_change_nothing_are_errors(box: Toolbox) -> None:
    box.known("a.py", "a\nb\n")
    assert edit(box, "a", "a").startswith("error: old_string and new_string are the same")
    assert edit(box, "a\nb", "a\r\nb").startswith("error: old_string and new_string differ only in")
    assert "old_string is empty" in edit(box, "", "x")
    box.known("empty.py", "")
    assert "it is empty: use Write" in edit(box, "", "x", "empty.py")
    assert edit(box, "", "x", "new.py") == "error: new.py does not exist; make it with Write"
    assert "half a character" in edit(box, "a", chr(0xD83D))


def test_a_file_that_was_not_read_or_changed_since_is_refused_with_the_reason(
    box: Toolbox,
) -> None:
    path = box.put("a.py", "a\n")
    assert edit(box, "a", "b") == (
        "not run: a.py was not read in this session: Read it first, then try again"
    )
    box.call("Read", file_path="a.py")
    before = path.stat()
    path.write_text("A\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert edit(box, "A", "b").startswith("not run: a.py changed since it was last read")
    path.write_text("a\n")
    assert edit(box, "a", "b").startswith("edited")
    path.unlink()
    assert edit(box, "b", "c").startswith("error: a.py does not exist")
    path.mkdir()
    assert edit(box, "b", "c").startswith("error: a.py is a directory")


def test_touching_a_file_without_changing_it_does_not_matter(box: Toolbox) -> None:
    path = box.known("a.py", "a\n")
    os.utime(path, (1, 1))
    assert edit(box, "a", "b").startswith("edited")


def test_own_edits_and_writes_count_as_read(box: Toolbox) -> None:
    box.call("Write", file_path="a.py", content="one\ntwo\n")
    assert edit(box, "one", "1").startswith("edited")
    assert edit(box, "two", "2").startswith("edited")
    assert (box.ws / "a.py").read_text() == "1\n2\n"


def test_a_partial_read_is_enough(box: Toolbox) -> None:
    box.put("a.py", "a\nb\nc\n")
    box.call("Read", file_path="a.py", offset=2, limit=1)
    assert edit(box, "c", "d").startswith("edited")


def test_a_binary_file_is_not_edited(box: Toolbox) -> None:
    path = box.put("a.bin", b"a\x00b")
    assert edit(box, "a", "c", "a.bin").startswith("error: a.bin is a binary file (data)")
    box.ctx.seen[str(path)] = hashlib.sha256(b"a\x00b").hexdigest()
    assert edit(box, "a", "c", "a.bin").startswith("error: a.bin is a binary file (data)")


def test_a_missing_file_and_special_ones_are_errors(box: Toolbox) -> None:
    box.put("src/utils.py")
    os.mkfifo(box.ws / "pipe")
    assert "did you mean src/utils.py?" in edit(box, "a", "b", "src/util.py")
    assert "is a FIFO" in edit(box, "a", "b", "pipe")
    assert "is a character device" in edit(box, "a", "b", "/dev/null")


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (
            b"def f():\n\tif x:\n\t\treturn 1\n",
            "if x:\n    return 1",
            "if x:\n    if y:\n        return 2\n    return 1",
            b"def f():\n\tif x:\n\t\tif y:\n\t\t\treturn 2\n\t\treturn 1\n",
        ),
        (
            b"class A:\r\n    def f(self):\r\n        a = 1  \r\n        return a\r\n",
            "def f(self):\n    a = 1\n    return a",
            "def f(self):\n    a = 1\n    a += 1\n    return a",
            b"class A:\r\n    def f(self):\r\n        a = 1  \r\n        a += 1\r\n"
            b"        return a\r\n",
        ),
        (
            b"if a:\n  x()\n  y()\n",
            "    x()\n    y()\n",
            "    x()\n    if b:\n        y()\n",
            b"if a:\n  x()\n  if b:\n    y()\n",
        ),
        (
            b"  if a:\n    b()\n",
            "        if a:\n            b()",
            "        b()",
            b"  b()\n",
        ),
        (b"a = 1   \nb = 2\n", "a = 1\nb = 2", "a = 3\nb = 2", b"a = 3\nb = 2\n"),
        (b"x\n\ty\nz", "  y\n  z\n", "  w\n  z\n", b"x\n\tw\nz"),
        (b"a\n\t\tb\nc\n", "b\n  c\n", "", b"a\n"),
        (b"\tfoo(\n\t\ta)\n", "    foo(\n        a)", "    bar(\n        a,\n        b)", b""),
    ],
)
def test_indentation_and_trailing_space_are_ignored_when_the_exact_text_is_nowhere(
    box: Toolbox, before: bytes, old: str, new: str, after: bytes
) -> None:
    path = box.known("a.py", before)
    answer = edit(box, old, new)
    assert answer.endswith("; indentation and trailing space were ignored in finding it"), answer
    assert path.read_bytes() == (after or b"\tbar(\n\t\ta,\n\t\tb)\n")


def test_the_loose_search_never_chooses_and_never_replaces_all(box: Toolbox) -> None:
    path = box.known("a.py", "if a:\n\tx()\n\ty()\nif b:\n\t\tx()\n\t\ty()\n")
    assert "stands 2 times in a.py, at lines 2, 5" in edit(box, "  x()\n  y()", "  z()")
    path.write_text("\tx()\n\ty()\n")
    box.call("Read", file_path="a.py")
    assert edit(box, "  x()\n  y()", "  z()", every=True).startswith("error: old_string was not")
    assert path.read_text() == "\tx()\n\ty()\n"


def test_the_loose_search_does_not_match_part_of_a_line_or_blank_lines(box: Toolbox) -> None:
    box.known("a.py", "call(a, b)\n\n\n")
    assert edit(box, "  call(a,", "  call(c,").startswith("error: ")
    assert edit(box, "   \n \n", "x").startswith("error: ")


def test_a_miss_shows_the_closest_real_lines_with_their_numbers(box: Toolbox) -> None:
    box.known(
        "a.py", "import os\n\ndef total(items):\n    return sum(items)\n\ndef other():\n    pass\n"
    )
    assert edit(box, "def total(item):\n    return sum(item)", "x") == (
        "error: old_string was not found in a.py. Copy it exactly, without the numbers. "
        "The closest lines are:\n3\tdef total(items):\n4\t    return sum(items)"
    )


def test_a_miss_without_anything_alike_says_so(box: Toolbox) -> None:
    box.known("a.py", "1\n2\n3\n")
    assert edit(box, "while True: frobnicate()", "x") == (
        "error: old_string was not found in a.py. Nothing there resembles it: Read the file "
        "again and copy the text."
    )


@pytest.mark.parametrize(
    ("content", "old", "advice"),
    [
        ("a = 1\nb = 2\n", "1\ta = 1\n2\tb = 2", "old_string carries Read's line numbers"),
        ("a = 1\nb = 2\n", "a = 1\\nb = 2", "Write real line breaks, tabs and quotes, not"),
        ("s = 'a\\nb'\n", "s = 'a\nb'", "The file has \\n or \\t there as two characters"),
        ("s = “hello”\n", 's = "hello"', "Quotes, dashes, spaces or accents differ"),
        ("a\N{NO-BREAK SPACE}b\n", "a b", "Quotes, dashes, spaces or accents differ"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}", "accents"),
        ("if a < b && c:\n", "if a &lt; b &amp;&amp; c:", "Write <, > and & themselves"),
        ("x &lt; y\n", "x < y", "The file has &lt;, &gt; or &amp; there"),
        ("Hello World\n", "hello world", "Upper and lower case differ"),
        ("f(a,\n  b)\n", "f(a, b)", "The words stand there, but line breaks or spaces differ"),
        ("a\nb\nc\nd\n", "a\n# ... existing code ...\nd", "Write every line out"),
    ],
)
def test_the_mistakes_models_make_are_recognised(
    box: Toolbox, content: str, old: str, advice: str
) -> None:
    path = box.known("a.py", content)
    answer = edit(box, old, "something new")
    assert answer.startswith("error: old_string was not found in a.py. ")
    assert advice in answer
    assert path.read_text() == content


def test_an_edit_that_was_made_before_is_recognised(box: Toolbox) -> None:
    box.known("a.py", "first\nvalue = compute(2)\n")
    answer = edit(box, "value = compute(1)", "value = compute(2)")
    assert "new_string stands at line 2 already: was this edit made before?" in answer


def test_a_miss_in_one_long_line_shows_the_place_where_it_departs(box: Toolbox) -> None:
    box.known("a.js", "x" * 5_000 + "function go(a){return a+1}" + "y" * 5_000)
    answer = edit(box, "function go(a){return a+2}", "z", "a.js")
    assert "function go(a){return a+1}" in answer
    assert len(answer) < 600


@pytest.mark.parametrize(
    ("content", "old"),
    [
        ("    value = compute(item)\n" * 60_000, "    value = compute(items, 1)\n" * 200),
        ("a" * 2_000_000, "a" * 1_000 + "b"),
        ("".join(f"key_{i} = {i}\n" for i in range(100_000)), "key_x = nothing\nkey_y = 3"),
        ("ab" * 1_000_000, "ba" * 2_000 + "c"),
        ("{\n" * 500_000, "{\n" * 1_000 + "}"),
    ],
)
def test_a_miss_in_a_large_or_hostile_file_takes_a_moment(
    box: Toolbox, content: str, old: str
) -> None:
    box.known("a.py", content)
    began = time.monotonic()
    assert edit(box, old, "x").startswith("error: old_string was not found")
    assert time.monotonic() - began < 10


def test_a_hundred_thousand_replacements_take_a_moment(box: Toolbox) -> None:
    path = box.known("a.json", "[" + "1, " * 100_000 + "1]")
    began = time.monotonic()
    assert edit(box, ", ", ",\n", "a.json", every=True).startswith("edited a.json: 100000")
    assert time.monotonic() - began < 10
    assert path.read_text() == "[" + "1,\n" * 100_000 + "1]"


def test_the_action_shows_the_real_diff_and_the_intent(box: Toolbox) -> None:
    path = box.known("src/a.py", "one\r\ntwo\r\nthree")
    action = box.prepare("Edit", file_path="src/a.py", old_string="two", new_string="2\n3")
    assert action.effect is Effect.WRITE
    assert (action.subject, action.paths) == ("src/a.py", (str(path),))
    assert (action.preview.kind, action.preview.title) == ("diff", "Edit src/a.py")
    assert action.preview.body == (
        "@@ -1,3 +1,4 @@\n one\n-two\n+2\n+3\n three\n\\ No newline at end of file"
    )
    (change,) = action.changes
    assert change.path == str(path)
    assert change.before == hashlib.sha256(b"one\r\ntwo\r\nthree").hexdigest()
    assert change.after == hashlib.sha256(b"one\r\n2\r\n3\r\nthree").hexdigest()
    assert path.read_bytes() == b"one\r\ntwo\r\nthree"
    result = commit(action)
    assert result.for_user == action.preview
    assert box.ctx.seen[str(path)] == change.after


def test_a_commit_does_not_overwrite_what_changed_while_a_person_thought(box: Toolbox) -> None:
    path = box.known("a.py", "a\n")
    action = box.prepare("Edit", file_path="a.py", old_string="a", new_string="b")
    path.write_text("mine\n")
    with pytest.raises(ToolRefused, match=r"a\.py changed meanwhile: Read it again"):
        commit(action)
    assert path.read_text() == "mine\n"
    path.unlink()
    with pytest.raises(ToolRefused, match="was deleted meanwhile"):
        commit(action)
    assert not path.exists()
    assert list(box.ws.iterdir()) == []


def test_a_commit_does_not_follow_a_link_that_was_turned_round(box: Toolbox) -> None:
    box.known("first.py", "a\n")
    box.put("second.py", "a\n")
    link = box.ws / "link.py"
    link.symlink_to("first.py")
    action = box.prepare("Edit", file_path="link.py", old_string="a", new_string="b")
    link.unlink()
    link.symlink_to("second.py")
    with pytest.raises(ToolRefused, match="leads to another file now"):
        commit(action)
    assert (box.ws / "second.py").read_text() == "a\n"


def test_a_commit_refuses_a_file_that_became_read_only_or_a_link(box: Toolbox) -> None:
    path = box.known("a.py", "a\n")
    action = box.prepare("Edit", file_path="a.py", old_string="a", new_string="b")
    path.chmod(0o444)
    with pytest.raises(ToolError, match=r"is read-only \(mode 0444\)"):
        commit(action)
    assert path.read_text() == "a\n"
    assert edit(box, "a", "b").startswith("error: a.py is read-only (mode 0444)")


def test_mode_owner_attributes_and_links_are_kept(box: Toolbox) -> None:
    path = box.known("run.sh", "echo 1\n")
    path.chmod(0o4751)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
        path.chmod(0o4751)
    os.setxattr(path, "user.note", b"kept")
    (box.ws / "link").symlink_to("run.sh")
    before = path.stat()
    assert edit(box, "1", "2", "link") == "edited link: 1 replacement at line 1 (+1 -1)"
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.getxattr(path, "user.note") == b"kept"
    assert (box.ws / "link").is_symlink()
    assert path.read_text() == "echo 2\n"
    assert {one.name for one in box.ws.iterdir()} == {"link", "run.sh"}


def test_a_hard_link_stays_one(box: Toolbox) -> None:
    path = box.known("a.py", "a\n")
    os.link(path, box.ws / "b.py")
    inode = path.stat().st_ino
    assert edit(box, "a", "changed").startswith("edited")
    assert (box.ws / "b.py").read_text() == "changed\n"
    assert path.stat().st_ino == inode
    assert edit(box, "changed", "x").startswith("edited")
    assert (box.ws / "b.py").read_text() == "x\n"
    assert list((box.ctx.spill_folder / "backups").iterdir()) == []


def test_a_file_too_large_to_edit_is_said_so(box: Toolbox) -> None:
    path = box.put("a.log", b"line\n")
    os.truncate(path, 40_000_000)
    assert "a.log is too large (40,000,000 bytes" in edit(box, "line", "x", "a.log")


@given(
    pieces=st.lists(st.sampled_from(["a", "b", "é", "\n", "\r\n", "\r", "  ", "\t"]), max_size=25),
    at=st.integers(0, 25),
    size=st.integers(1, 6),
    new=st.text(alphabet="abx\n \\$", max_size=8),
)
@settings(max_examples=250, deadline=None)
def test_bytes_outside_the_span_never_change(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], at: int, size: int, new: str
) -> None:
    box = Toolbox(tmp_path_factory.mktemp("edit"))
    head, span, tail = pieces[:at], pieces[at : at + size], pieces[at + size :]
    before = "".join(pieces).encode()
    path = box.known("a.py", before)
    old = "".join(span).replace("\r\n", "\n").replace("\r", "\n")
    answer = edit(box, old, new)
    after = path.read_bytes()
    if answer.startswith("edited") and "ignored" not in answer:
        assert after.startswith("".join(head).encode().rstrip(b"\r"))
        assert after.endswith("".join(tail).encode().lstrip(b"\n"))
        plain = after.decode().replace("\r\n", "\n").replace("\r", "\n")
        whole = "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")
        assert plain == whole.replace(old, new, 1)
    elif not answer.startswith("edited"):
        assert after == before


def test_the_preview_is_a_patch_that_git_applies(box: Toolbox, tmp_path: Path) -> None:
    text = "".join(f"line {i}\n" for i in range(60)) + "end"
    box.known("a.py", text)
    action = box.prepare(
        "Edit", file_path="a.py", old_string="line 5", new_string="LINE\n5", replace_all=True
    )
    patch = tmp_path / "p.diff"
    patch.write_text(f"--- a/a.py\n+++ b/a.py\n{action.preview.body}\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.py").write_text(text)
    subprocess.run(["git", "apply", str(patch)], cwd=other, check=True)
    commit(action)
    assert (other / "a.py").read_text() == (box.ws / "a.py").read_text()


def test_a_blank_line_that_is_not_at_the_end_does_not_cost_the_final_newline(
    box: Toolbox,
) -> None:
    path = box.known("a.txt", "a\nb\n")
    answer = box.call("Edit", file_path="a.txt", old_string="b\n\n", new_string="c\n")
    assert answer.startswith("edited a.txt: 1 replacement at line 2 (+1 -1); indentation")
    assert path.read_bytes() == b"a\nc\n"


def test_a_byte_order_mark_written_by_the_model_is_not_put_in_twice(box: Toolbox) -> None:
    path = box.known("a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n")
    answer = box.call("Edit", file_path="a.txt", old_string="\ufeffone\n", new_string="\ufeffONE\n")
    assert answer == "edited a.txt: 1 replacement at line 1 (+1 -1)"
    box.call("Edit", file_path="a.txt", old_string="two", new_string="\ufeffTWO")
    assert path.read_bytes() == b"\xef\xbb\xbfONE\r\nTWO\r\n"
