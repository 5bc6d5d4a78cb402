from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.core.tool import Effect, ToolError
from glmcode.tools import background
from glmcode.tools.context import Call
from tests.commands import Session, alive, appear, dies, marker, session

ROOT = Path(__file__).resolve().parents[2]


async def until(mine: Session, task_id: str, word: str) -> str:
    """Look until the word was printed; everything that was seen."""
    seen = ""
    end = time.monotonic() + 30
    while word not in seen and time.monotonic() < end:
        seen += await mine.look(task_id)
        await asyncio.sleep(0.02)
    return seen


async def ended(mine: Session, task_id: str) -> str:
    """Wait for its end; the last look."""
    end = time.monotonic() + 30
    shell = mine.ctx.shells[task_id]
    while shell.ended_after is None and time.monotonic() < end:  # noqa: ASYNC110 (no event)
        await asyncio.sleep(0.02)
    return await mine.look(task_id)


def test_it_returns_at_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        begun = time.monotonic()
        result = await mine.bash("echo up; sleep 99", run_in_background=True)
        assert time.monotonic() - begun < 5
        path = re.fullmatch(
            r"started in the background as task_id bash_1: BashOutput reads what it prints, "
            r"KillShell stops it; its output is saved in (/\S+)",
            result.for_model,
        )
        assert path is not None and not result.is_error
        await until(mine, "bash_1", "up")
        assert Path(path[1]).read_text() == "up\n"
        await mine.close()

    asyncio.run(main())


def test_a_look_gives_what_is_new_and_the_state(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        go = mine.ctx.workspace / "go"
        await mine.text(
            "echo one; until [ -e go ]; do sleep 0.01; done; printf two; exit 3",
            run_in_background=True,
        )
        first = await until(mine, "bash_1", "one")
        assert re.fullmatch(r"(\[running for .*\])*one\n\[running for \d+\.\d s\]", first)
        assert re.fullmatch(r"\[running for \d+\.\d s\]", await mine.look("bash_1"))
        go.touch()
        assert re.fullmatch(r"two\n\[exit 3 in \d+\.\d s\]", await ended(mine, "bash_1"))
        assert re.fullmatch(r"\[exit 3 in \d+\.\d s\]", await mine.look("bash_1"))

    asyncio.run(main())


def test_an_unfinished_line_is_seen_and_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        await mine.text(
            "printf 'name: '; until [ -e go ]; do sleep 0.01; done; echo given",
            run_in_background=True,
        )
        assert "name: \n[running" in await until(mine, "bash_1", "name")
        (mine.ctx.workspace / "go").touch()
        assert (await ended(mine, "bash_1")).startswith("given\n[exit 0")

    asyncio.run(main())


def test_a_look_beside_a_kill_waits_for_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        await mine.text("trap '' TERM; echo up; while :; do sleep 1; done", run_in_background=True)
        await until(mine, "bash_1", "up")
        killed, seen = await asyncio.gather(mine.kill("bash_1"), mine.look("bash_1"))
        assert re.fullmatch(r"\[stopped after \d+\.\d s\]", killed)
        assert seen == killed
        await mine.close()

    asyncio.run(main())


def test_killing_stops_the_whole_tree_and_gives_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        mine, mark = session(tmp_path), marker()
        command = f"setsid sleep {mark} & (setsid sleep {mark} &); echo up; sleep {mark}"
        await mine.text(command, run_in_background=True)
        await appear(mark, 3)
        assert re.fullmatch(r"up\n\[stopped after \d+\.\d s\]", await mine.kill("bash_1"))
        assert not alive(mark)
        assert re.fullmatch(r"\[stopped after \d+\.\d s\]", await mine.look("bash_1"))
        assert (await mine.kill("bash_1")).startswith("[it had already ended]\n[stopped after")

    asyncio.run(main())


@pytest.mark.parametrize("task_id", ["bash_9", "", "1", "bash_1 "])
def test_an_unknown_id_is_answered_with_the_known_ones(task_id: str, tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        with pytest.raises(ToolError, match="none was started"):
            await mine.look(task_id)
        await mine.text("true", run_in_background=True)
        await ended(mine, "bash_1")
        await mine.text("sleep 99", run_in_background=True)
        for answer in (mine.look, mine.kill):
            with pytest.raises(ToolError) as caught:
                await answer(task_id)
            assert str(caught.value) == (
                f"there is no background command {task_id!r}; "
                "there are: bash_1 (ended), bash_2 (running)"
            )
        await mine.close()

    asyncio.run(main())


def test_looking_and_killing_do_nothing_until_committed(tmp_path: Path) -> None:
    async def main() -> None:
        mine, mark = session(tmp_path), marker()
        await mine.text(f"echo up; sleep {mark}", run_in_background=True)
        call = Call("c", mine.live.append)
        look = await background.prepare_output(mine.ctx, call, task_id="bash_1")
        kill = await background.prepare_kill(mine.ctx, call, task_id="bash_1")
        assert look.effect is kill.effect is Effect.READ
        assert look.subject == kill.subject == "bash_1"
        assert mark in kill.preview.body
        await appear(mark)
        await kill.commit()
        assert (await look.commit()).for_model.startswith("[stopped after")

    asyncio.run(main())


def test_nothing_is_shown_live_and_nothing_waits_for_a_look(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path, limit=2000)
        await mine.text("seq 1 300000; echo the end", run_in_background=True)
        text = await ended(mine, "bash_1")
        assert mine.live == [] and len(text) <= 2000
        assert text.startswith("1\n2\n") and "\n300000\nthe end\n[exit 0 in " in text
        path = re.search(r"the whole output is in (\S+); Read it", text)
        assert path is not None
        assert Path(path[1]).read_text().count("\n") == 300_001

    asyncio.run(main())


def test_a_flood_does_not_grow_memory_and_can_be_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path, limit=2000)
        await mine.text("yes 0123456789", run_in_background=True)
        await asyncio.sleep(1)
        stream = mine.ctx.shells["bash_1"].stream
        assert len(await mine.look("bash_1")) <= 2000
        await asyncio.sleep(0.5)
        kept = sum(map(len, stream.kept._tail)) + sum(map(len, stream.kept._head))
        assert kept < 200_000 and len(stream._unseen) < 3_000_000
        assert (await mine.kill("bash_1")).splitlines()[-1].startswith("[stopped after")

    asyncio.run(main())


def test_its_folder_does_not_become_the_shells(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        await mine.text("mkdir sub; cd sub")
        await mine.text("pwd; cd ..", run_in_background=True)
        assert (await ended(mine, "bash_1")).startswith(f"{mine.ctx.workspace}/sub\n")
        assert (await mine.text("pwd")).startswith(f"{mine.ctx.workspace}/sub\n")

    asyncio.run(main())


def test_a_timeout_holds_in_the_background_when_one_is_given(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        text = await mine.text("sleep 99", run_in_background=True, timeout=0.3)
        assert text.startswith("[it is stopped after 0.3 s at the latest]\nstarted")
        assert await ended(mine, "bash_1") == "[timed out after 0.3 s; killed]"

    asyncio.run(main())


def test_what_a_background_command_leaves_running_is_still_part_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        mine, mark = session(tmp_path), marker()
        await mine.text(f"sleep {mark} & echo started", run_in_background=True)
        await until(mine, "bash_1", "1 process that it started still runs")
        text = await mine.look("bash_1")
        assert re.fullmatch(
            rf"\[exit 0 in \d\.\d s; 1 process that it started still runs \(sleep {mark}\)\]", text
        )
        assert re.fullmatch(r"\[stopped after \d+\.\d s\]", await mine.kill("bash_1"))
        assert not alive(mark)

    asyncio.run(main())


def test_too_many_at_a_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MOST_RUNNING", 2)

    async def main() -> None:
        mine = session(tmp_path)
        for _ in range(2):
            await mine.text("sleep 99", run_in_background=True)
        with pytest.raises(ToolError, match=r"2 commands already run .* \(bash_1, bash_2\)"):
            await mine.text("true", run_in_background=True)
        await mine.kill("bash_1")
        assert "bash_3" in await mine.text("true", run_in_background=True)
        await mine.close()

    asyncio.run(main())


def test_closing_stops_them_all_together(tmp_path: Path) -> None:
    async def main() -> list[str]:
        mine = session(tmp_path)
        marks = [marker() for _ in range(5)]
        for mark in marks:
            await mine.text(
                f"trap '' TERM; setsid sleep {mark} & echo; sleep 99", run_in_background=True
            )
        begun = time.monotonic()
        await mine.close()
        assert time.monotonic() - begun < 8
        assert all(shell.ended_after is not None for shell in mine.ctx.shells.values())
        await mine.close()
        return marks

    assert not any(alive(mark) for mark in asyncio.run(main()))


def test_closing_nothing_is_no_fault(tmp_path: Path) -> None:
    asyncio.run(session(tmp_path).close())


def test_a_cancelled_close_still_kills(tmp_path: Path) -> None:
    async def main() -> str:
        mine, mark = session(tmp_path), marker()
        await mine.text(
            f"trap '' TERM; echo up; while :; do sleep 0.01; done; : {mark}",
            run_in_background=True,
        )
        await until(mine, "bash_1", "up")
        closing = asyncio.create_task(mine.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        return mark

    assert dies(asyncio.run(main()))


FORGETFUL = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.commands import session

async def main():
    mine = session(Path(sys.argv[1]))
    await mine.text(f"setsid sleep {sys.argv[2]} & sleep {sys.argv[2]}", run_in_background=True)
    await mine.text(f"nohup setsid sleep {sys.argv[2]} >/dev/null 2>&1 &")
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["killed", "ends"])
def test_they_end_with_glmcode_even_when_nobody_closes_them(how: str, tmp_path: Path) -> None:
    mark = marker()
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(tmp_path), mark, how], cwd=ROOT, check=False
    )
    assert done.returncode == (-9 if how == "killed" else 0)
    assert dies(mark)
