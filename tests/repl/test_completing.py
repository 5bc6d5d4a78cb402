from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

from prompt_toolkit.buffer import Buffer

from glmcode.repl.completing import Menu, commands
from glmcode.repl.offers import Facts
from glmcode.repl.paths import OLD_S, Paths, best, listed
from glmcode.repl.slash_table import COMMANDS
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_turns import reach, ready, sent


def make(workspace: Path, *names: str) -> None:
    for name in names:
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}\n")


def draft(session: PtySession) -> str:
    return next(line for line in session.screen.visible.split("\n") if line.startswith("❯"))


def test_commands_are_offered_as_they_are_typed_and_tab_takes_the_first(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/sta")
        session.wait_for_visible("engine, model, session, tokens")
        session.type("\t")
        session.wait_gone("engine, model, session, tokens")
        assert draft(session) == "❯ /status"
        session.type("\r")
        session.wait_for("prompt + ")
        assert engine.steps == []
        assert session.screen.foreign == []


def test_enter_on_a_chosen_command_inserts_it_and_the_next_one_sends(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/")
        session.wait_for_visible("what there is")
        session.type("\x1b[B")
        session.wait_for_visible("> /help")
        session.type("\r")
        session.wait_gone("what there is")
        assert draft(session) == "❯ /help"
        session.type("\r")
        session.wait_for("the next mode: default")


def test_esc_closes_the_list_and_leaves_what_was_typed(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/he")
        session.wait_for_visible("what there is")
        session.type("\x1b")
        session.wait_gone("what there is")
        assert draft(session) == "❯ /he"
        session.type("l")
        session.wait_for_visible("what there is")


def test_a_path_is_found_by_letters_of_it_and_read_with_the_message(tmp_path: Path) -> None:
    make(tmp_path / "workspace", "src/deep/engine_room.py", "src/other.py", "with space.txt")
    with FakeEngine([Reply(text="Seen.")]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("see @engrm")
        session.wait_for_visible("@src/deep/engine_room.py")
        session.type("\t")
        session.wait_until(lambda: draft(session).endswith("room.py"), "the path")
        session.type("and @wisp")
        session.wait_for_visible('@"with space.txt"')
        session.type("\t\r")
        session.wait_for("Seen.")
        assert 'see @src/deep/engine_room.py and @\\"with space.txt\\"' in sent(engine, 0)
        assert "content of src/deep/engine_room.py" in sent(engine, 0)
        assert "content of with space.txt" in sent(engine, 0)


def test_the_arrows_choose_among_paths_and_a_folder_goes_on(tmp_path: Path) -> None:
    make(tmp_path / "workspace", "lib/one.py", "lib/two.py")
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("@")
        session.wait_for_visible("@lib/")
        session.type("\t")
        session.wait_for_visible("@lib/two.py")
        session.type("two")
        session.wait_gone("@lib/one.py")
        session.type("\x1b[A")
        session.wait_for_visible("> @lib/two.py")
        session.type("\r")
        session.wait_until(lambda: draft(session) == "❯ @lib/two.py", "the path")
        assert engine.steps == []


def test_what_comes_from_the_history_opens_no_list_so_that_up_goes_on(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/mode\r/cache\r")
        session.wait_for("Shift-Tab")
        session.type("\x1b[A")
        session.wait_for_visible("❯ /cache")
        session.type("\x1b[A")
        session.wait_for_visible("❯ /mode")


def test_ignored_files_and_names_that_act_on_a_terminal_are_not_offered(tmp_path: Path) -> None:
    make(tmp_path, "kept.py", "built/out.py", ".github/ci.yml", "evil\x1b[2Jname", "two\nlines")
    make(tmp_path, ".git/config", "turn\u202ename")
    (tmp_path / ".gitignore").write_text("built/\n")
    assert listed(str(tmp_path)) == [".github/", ".github/ci.yml", ".gitignore", "kept.py"]


def test_the_better_a_name_fits_the_earlier_it_stands() -> None:
    paths = ["a/model/x.py", "tests/test_model.py", "m/o/d/el.txt", "src/model.py", "zz/remodel.c"]
    assert best("model", paths, 9) == [
        "src/model.py",
        "zz/remodel.c",
        "tests/test_model.py",
        "a/model/x.py",
        "m/o/d/el.txt",
    ]
    assert best("Model", paths, 9) == [], "a capital letter means itself"
    assert best("mdl.p", paths, 1) == ["src/model.py"]
    assert best("", ["b/c.py", "b/", "a.py"], 9) == ["a.py", "b/"]


def test_fifty_thousand_paths_are_searched_in_time_and_a_newer_question_ends_it() -> None:
    paths = [f"package{n % 97}/module{n % 1009}/some_long_file_name_{n}.py" for n in range(50_000)]
    began = time.process_time()
    assert best("fn49999", paths, 8) == ["package44/module558/some_long_file_name_49999.py"]
    assert best("e", paths, 8)
    assert time.process_time() - began < 1.5
    asked = iter([False, False, True])
    assert best("e", paths, 8, lambda: next(asked)) == []


def test_the_list_is_made_once_and_anew_when_it_is_old(tmp_path: Path) -> None:
    now = 0.0
    make(tmp_path, "one.py")
    paths = Paths(tmp_path, lambda: now)
    assert paths.find("py", 9) == ["one.py"]
    make(tmp_path, "two.py")
    assert paths.find("py", 9) == ["one.py"]
    now = OLD_S + 1
    paths.find("py", 9)
    end = time.monotonic() + 30
    while paths.find("py", 9) != ["one.py", "two.py"]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_commands_do_stands_in_a_column_where_there_is_room_for_one() -> None:
    asyncio.run(_columns())


async def _columns() -> None:
    buffer = Buffer()
    found = asyncio.Event()
    menu = Menu(buffer, Path(), found.set, Facts())
    buffer.insert_text("/")
    await found.wait()

    def lines(columns: int) -> list[str]:
        return "".join(str(part[1]) for part in menu.shown(columns, 8)).split("\n")

    starts = {line.index(COMMANDS[line.split()[0]].about) for line in lines(200)}
    assert len(starts) == 1
    assert lines(50)[0] == f"  /help  {COMMANDS['/help'].about}"


def test_commands_come_from_the_table_those_that_begin_so_first() -> None:
    found = [item.text.strip() for item in commands("re")]
    assert found[:2] == ["/redo", "/rewind"]
    assert "/permissions" not in found[:2]
    assert [item.text for item in commands("zzz")] == []
    assert "/quit" not in [item.text.strip() for item in commands("")]


def test_files_of_a_repository_that_are_not_tracked_yet_are_offered_too(tmp_path: Path) -> None:
    make(tmp_path, "tracked.py", "fresh.py", "log.tmp")
    (tmp_path / ".gitignore").write_text("*.tmp\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "tracked.py"], cwd=tmp_path, check=True)
    assert listed(str(tmp_path)) == [".gitignore", "fresh.py", "tracked.py"]


def test_a_query_that_almost_fits_in_many_ways_takes_no_longer() -> None:
    paths = ["a" * 80 + f"/{'ab' * 40}{n}.py" for n in range(200)]
    began = time.process_time()
    assert best("a" * 30 + "z", paths, 8) == []
    assert best("ab" * 20 + "z", paths, 8) == []
    assert time.process_time() - began < 1.0


def test_letter_by_letter_the_same_is_found_as_at_once(tmp_path: Path) -> None:
    make(tmp_path, "src/Model.py", "src/remodel.py", "lib/model/x.py", "m.o-d^e]l", "docs/m.md")
    typed = Paths(tmp_path)
    for query in (
        "",
        "m",
        "mo",
        "mod",
        "mo",
        "mod",
        "mode",
        "model",
        "model.",
        "M",
        "Mo",
        "m.",
        "^]",
    ):
        assert typed.find(query, 8) == Paths(tmp_path).find(query, 8), query
    assert typed.find("^]", 8) == ["m.o-d^e]l"]
    assert typed.find("Mo", 8) == ["src/Model.py"]
    assert typed.find("mo", 8)[0] == "lib/model/"
