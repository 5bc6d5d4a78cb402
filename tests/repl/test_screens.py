"""Pictures of whole sessions, in two terminals that were not written here, in two sizes."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pictures import check, picture
from tests.repl.pty_driver import glmcode
from tests.repl.tmux_driver import in_tmux

SIZES = [(80, 24), (40, 10)]
TERMINALS = [
    pytest.param(
        "pyte",
        marks=pytest.mark.skipif(not importlib.util.find_spec("pyte"), reason="pyte is not here"),
    ),
    pytest.param(
        "tmux", marks=pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not here")
    ),
]
everywhere = pytest.mark.parametrize("terminal", TERMINALS)
sizes = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")

PROSE = """\
# What I found

The function `add` **subtracts**, and the test that would have shown it was never run because \
its name does not begin as the runner wants it.

```python
def add(a, b):
    return a - b
```

- a first point
- a second point that is long enough to be wrapped where the screen is narrow, as it should be

| file | lines |
|---|--:|
| calc.py | 2 |

The last paragraph is still being written and"""
CALC = "def add(a, b):\n    return a - b\n\n\ndef sub(a, b):\n    return a - b\n"
EDIT = {"file_path": "calc.py", "old_string": "def add(a, b):\n    return a - b",
        "new_string": "def add(a, b):\n    return a + b"}  # fmt: skip
WIDE = "日本語の文章です。Ünïcödé é 🙂🚀 end. " * 4 + "\n\n- 漢字 and 한국어\n- 🙂🙂🙂\n"


@contextlib.contextmanager
def opened(
    terminal: str, folder: Path, script: list[Reply], size: tuple[int, int], *more: str
) -> Iterator[Any]:
    """A session that is ready, in one of the terminals."""
    with FakeEngine(script) as engine:
        words = ("--base-url", engine.base_url, "--protocol", "chat", "-m", "glm-4.6-reap", *more)
        if terminal == "tmux":
            with in_tmux(folder, *words, size=size) as session:
                session.wait_for_visible("ready")
                yield session
        else:
            from tests.repl.pyte_screen import PyteScreen

            with glmcode(folder, *words, size=size, emulator=PyteScreen) as session:
                session.wait_for_visible("ready")
                yield session


def settled(session: Any, folder: Path, *, whole: bool = True) -> str:
    """The picture, as soon as it has stood still for a while."""
    shown, since = "", time.monotonic()
    while time.monotonic() - since < 0.6:
        session.read(0.1)
        now = picture(session.screen.text if whole else session.screen.visible, folder)
        if now != shown:
            shown, since = now, time.monotonic()
    return shown


def name(scene: str, size: tuple[int, int]) -> str:
    return f"{scene}-{size[0]}x{size[1]}"


def halfway(text: str, **fields: Any) -> Reply:
    """A reply that streams to its end, and then nothing more comes."""
    chunks = -(-len(text) // 16) + -(-len(fields.get("reasoning", "")) // 16) + 1
    return Reply(text=text + " and more" * 40, chunk=16, hang_after_events=chunks, **fields)


@everywhere
@sizes
def test_a_session_starts(tmp_path: Path, terminal: str, size: tuple[int, int]) -> None:
    with opened(terminal, tmp_path, [], size) as session:
        check(name("start", size), settled(session, tmp_path))


@everywhere
@sizes
def test_an_answer_streams(tmp_path: Path, terminal: str, size: tuple[int, int]) -> None:
    script = [halfway(PROSE, reasoning="The user wants to know what is wrong here.")]
    with opened(terminal, tmp_path, script, size) as session:
        session.type("what is wrong?\r")
        session.wait_for("still being")
        check(name("stream", size), settled(session, tmp_path))


@everywhere
@sizes
def test_an_edit_is_asked_about_with_its_diff(
    tmp_path: Path, terminal: str, size: tuple[int, int]
) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "calc.py").write_text(CALC)
    read = Reply(calls=[{"name": "Read", "arguments": {"file_path": "calc.py"}}])
    edit = Reply(text="I repair it.", calls=[{"name": "Edit", "arguments": EDIT}])
    with opened(terminal, tmp_path, [read, edit], size) as session:
        session.type("repair add\r")
        session.wait_for_visible("Allow it?")
        check(name("diff", size), settled(session, tmp_path))


@everywhere
@sizes
def test_a_long_diff_is_folded_and_a_key_shows_the_rest(
    tmp_path: Path, terminal: str, size: tuple[int, int]
) -> None:
    (tmp_path / "workspace").mkdir()
    lines = [f"line {number}" for number in range(1, 140)]
    lines[3], lines[130] = (
        "\tname = 'こんにちは'  # 漢字 and words that need more room than there is",
        "x" * 900,
    )
    (tmp_path / "workspace" / "a.py").write_text("\n".join(lines) + "\n")
    changed = [*lines[:10], "new", *(f"added {n}" for n in range(100)), *lines[11:]]
    changed[3] = changed[3].replace("こんにちは", "さようなら")
    changed[-9] += "y"
    write = {"file_path": "a.py", "content": "\n".join(changed) + "\n"}
    read = Reply(calls=[{"name": "Read", "arguments": {"file_path": "a.py"}}])
    script = [read, Reply(calls=[{"name": "Write", "arguments": write}])]
    with opened(terminal, tmp_path, script, size) as session:
        session.type("go\r")
        session.wait_for_visible("Allow it?")
        check(name("folded", size), settled(session, tmp_path))
        session.type("\x0f")
        session.wait_for("added 60")
        session.wait_gone("Ctrl-O all of it")
        assert "added 99" in settled(session, tmp_path)


@everywhere
@sizes
def test_what_the_session_changed_is_listed_and_put_back(
    tmp_path: Path, terminal: str, size: tuple[int, int]
) -> None:
    command = {"command": "seq 3 > 'a file.txt'; mkdir sub; echo x > sub/with-a-long-name.txt"}
    script = [Reply(calls=[{"name": "Bash", "arguments": command}]), Reply(text="Done.")]
    with opened(terminal, tmp_path, script, size, "-y") as session:
        session.type("go\r")
        session.wait_for("Done.")
        session.wait_for_visible("ready")
        session.type("/diff accept a file\r")
        session.wait_for("1 left to look at")
        session.type("/diff\r")
        session.wait_for("/diff revert FILE")
        session.wait_for_visible("ready")
        session.type("/diff revert long\r")
        session.wait_for_visible("4 no")
        check(name("changes", size), settled(session, tmp_path))


@everywhere
@sizes
def test_a_command_is_approved_and_its_result_shown(
    tmp_path: Path, terminal: str, size: tuple[int, int]
) -> None:
    command = {"command": "touch made; seq 12; false"}
    script = [Reply(calls=[{"name": "Bash", "arguments": command}]), Reply(text="It **failed**.")]
    with opened(terminal, tmp_path, script, size) as session:
        session.type("run it\r")
        session.wait_for_visible("Allow it?")
        check(name("approval", size), settled(session, tmp_path, whole=False))
        session.type("1")
        session.wait_for("It failed.")
        session.wait_for_visible("ready")
        check(name("approved", size), settled(session, tmp_path))


@everywhere
@sizes
def test_an_answer_is_interrupted(tmp_path: Path, terminal: str, size: tuple[int, int]) -> None:
    with opened(terminal, tmp_path, [halfway(PROSE)], size) as session:
        session.type("what is wrong?\r")
        session.wait_for("still being")
        session.type("a draft")
        session.type("\x1b")
        session.wait_for("interrupted")
        session.wait_for_visible("ready")
        check(name("interrupt", size), settled(session, tmp_path))


@everywhere
@sizes
def test_messages_are_queued(tmp_path: Path, terminal: str, size: tuple[int, int]) -> None:
    with opened(terminal, tmp_path, [halfway("A few words, and")], size) as session:
        session.type("go\r")
        session.wait_for_visible("A few words")
        for message in ("the first message", "the second one, which is much longer than that"):
            session.type(f"{message}\r")
            session.wait_for_visible(f"queued: {message[:10]}")
        session.type("be brief\x13")
        session.wait_for_visible("steering: be brief")
        session.type("a draft")
        check(name("queue", size), settled(session, tmp_path))


@everywhere
def test_the_terminal_is_resized_while_an_answer_streams(tmp_path: Path, terminal: str) -> None:
    lines = "".join(f"Line {number}.\n\n" for number in range(14))
    words = "".join(f"word{number} and some more " for number in range(300))
    reply = Reply(text=lines + words + "\n\nThe end.", chunk=24, gap=0.02)
    with opened(terminal, tmp_path, [reply], (80, 24)) as session:
        session.type("go\r")
        session.wait_for("Line 13.")
        session.wait_for_visible("word20")
        for columns, rows in ((60, 24), (100, 30), (72, 30), (80, 30)):
            session.resize(columns, rows)
            session.read(0.4)
        session.wait_for("The end.")
        session.wait_for_visible("ready")
        shown = settled(session, tmp_path)
        if terminal == "pyte":
            check("resize", shown)
        flat = " ".join(shown.split())
        assert " ".join(lines.split()) in flat, "what was printed is whole"
        assert f"{' '.join(words.split())} The end." in flat
        assert len(flat) - len(" ".join((lines + words).split())) < LEFT_BEHIND


@everywhere
@sizes
def test_five_thousand_lines_are_pasted_and_sent(
    tmp_path: Path, terminal: str, size: tuple[int, int]
) -> None:
    pasted = "".join(f"pasted line {number}\n" for number in range(5_000))
    with opened(terminal, tmp_path, [Reply(text="Thank you.")], size) as session:
        session.type("see: ")
        if terminal == "tmux":
            session.paste(pasted)
        else:
            session.type(f"\x1b[200~{pasted}\x1b[201~")
        session.wait_for_visible("[pasted 5,000 lines")
        session.wait_gone("unfolds")
        check(name("paste", size), settled(session, tmp_path))
        session.type("\r")
        session.wait_for("Thank you.")
        session.wait_for_visible("ready")
        check(name("pasted", size), settled(session, tmp_path))


@everywhere
@sizes
def test_wide_characters_are_typed_and_shown(
    tmp_path: Path, terminal: str, size: tuple[int, int]
) -> None:
    with opened(terminal, tmp_path, [Reply(text=WIDE)], size) as session:
        session.type("こんにちは 🙂 and more words that need more room than there is 漢字漢字")
        session.wait_for_visible("漢字漢字")
        check(name("typed", size), settled(session, tmp_path))
        session.type("\r")
        session.wait_for("한국어")
        session.wait_for_visible("ready")
        check(name("wide", size), settled(session, tmp_path))


@everywhere
def test_what_was_printed_stays_as_it_was_over_a_whole_session(
    tmp_path: Path, terminal: str
) -> None:
    script = [
        Reply(text=PROSE + "\n\n" + PROSE, chunk=7, gap=0.005, reasoning="Well. " * 40),
        Reply(calls=[{"name": "Bash", "arguments": {"command": "seq 40"}}]),
        Reply(text="Done."),
        Reply(text=WIDE, chunk=3, gap=0.01),
    ]
    with opened(terminal, tmp_path, script, (80, 24), "-y") as session:
        seen: list[str] = []
        asks: tuple[tuple[str, Callable[[str], bool]], ...] = (
            ("tell me\r", lambda text: text.count("still being written and") >= 2),
            ("count\r", lambda text: "Done." in text),
            ("/status\r", lambda text: "journal" in text),
            ("wide\r", lambda text: "🙂🙂🙂" in text),
        )
        for typed, there in asks:
            session.type(typed)
            while not there(session.screen.text) or "ready" not in session.screen.visible:
                session.read(0.05)
                seen.append(session.screen.text)
        session.type("\x04")
        session.wait_exit()
        end = session.screen.text.split("\n")
        for shown in seen:
            lines = shown.split("\n")
            kept = sum(1 for a, b in zip(lines, end, strict=False) if a == b)
            first = next(
                (i for i, (a, b) in enumerate(zip(lines, end, strict=False)) if a != b), kept
            )
            assert len(lines) - first <= LIVE_ROWS, (
                f"{lines[first : first + 3]} became {end[first : first + 3]}"
            )


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not here")
def test_in_tmux_nothing_erased_stays_in_the_history(tmp_path: Path) -> None:
    script = [Reply(text="One paragraph.\n\nAnd a second one.", chunk=4, gap=0.05)]
    with opened("tmux", tmp_path, script, (80, 24)) as session:
        session.type("go\r")
        session.wait_for("And a second one.")
        session.wait_for_visible("ready")
        shown = session.screen.text
    assert "starting" not in shown and "connecting" not in shown
    assert shown.count("❯") == 1 and shown.count("One paragraph.") == 1


LEFT_BEHIND = 1_000
"""Characters: greeting, prompt and status, and what tmux may keep of live rows it wrapped before
it told the program that it is narrower."""
LIVE_ROWS = 6 + 3
"""The tail, the input, the status line, and one of a question or a queued message."""
