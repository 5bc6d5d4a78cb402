from __future__ import annotations

import asyncio
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.base import process
from glmcode.core.tool import Effect, Preview, ToolError
from glmcode.tools import bash, load_tools
from glmcode.tools.context import Call
from tests.commands import Session, alive, dies, marker, session

ROOT = Path(__file__).resolve().parents[2]


def told(tmp_path: Path, command: str, **arguments: object) -> str:
    """The result text, the seconds made constant."""
    text = asyncio.run(session(tmp_path).text(command, **arguments))
    return re.sub(r"in \d+\.\d s\]", "in 0.0 s]", text)


FORMATS = [
    ("echo hi", "hi\n[exit 0 in 0.0 s]"),
    ("printf hi", "hi\n[exit 0 in 0.0 s]"),
    ("true", "[exit 0 in 0.0 s]"),
    ("false", "[exit 1 in 0.0 s]"),
    ("exit 256", "[exit 0 in 0.0 s]"),
    ("exit -1", "[exit 255 in 0.0 s]"),
    ("echo out; echo err >&2; echo out", "out\nerr\nout\n[exit 0 in 0.0 s]"),
    ("printf '\\n\\nx\\n\\n'", "\n\nx\n\n[exit 0 in 0.0 s]"),
    ("kill -9 $$", "[killed by SIGKILL in 0.0 s]"),
    ("kill -9 0", "[killed by SIGKILL in 0.0 s]"),
    ("echo a; kill -SEGV $$", "a\n[killed by SIGSEGV in 0.0 s]"),
    ("kill -TERM $$; sleep 5", "[killed by SIGTERM in 0.0 s]"),
    ("kill -INT $$; echo after", "[killed by SIGINT in 0.0 s]"),
    ("exec echo replaced", "replaced\n[exit 0 in 0.0 s]"),
    ("trap 'echo bye' EXIT; exit 4", "bye\n[exit 4 in 0.0 s]"),
    ("cat", "[exit 0 in 0.0 s]"),
    ("read x; echo \"[$x]\"", "[]\n[exit 0 in 0.0 s]"),
    ("read x </dev/tty", "bash: line 1: /dev/tty: No such device or address\n[exit 1 in 0.0 s]"),
    ("# only a comment", "[exit 0 in 0.0 s]"),
    ("printf '10%%\\r50%%\\r100%%\\n'", "100%\n[exit 0 in 0.0 s]"),
    ("printf '\\033[1;31mred\\033[0m \\033]0;title\\007\\n'", "red \n[exit 0 in 0.0 s]"),
    ("printf 'a\\0b\\n'", "a\u2400b\n[exit 0 in 0.0 s]"),
    ("printf '\\377\\376 \\303('", "\ufffd\ufffd \ufffd(\n[exit 0 in 0.0 s]"),
    ("printf '\\342\\202'; sleep 0.05; printf '\\254\\n'", "€\n[exit 0 in 0.0 s]"),
    ("printf 'dos\\r\\nlines\\r\\n'", "dos\nlines\n[exit 0 in 0.0 s]"),
    ("echo '[exit 0 in 0.0 s]'; false", "[exit 0 in 0.0 s]\n[exit 1 in 0.0 s]"),
    ("exec >&- 2>&-; echo lost; sleep 0.05; exit 2", "[exit 2 in 0.1 s]"),
    ("echo to stderr >/dev/stderr; echo to stdout >/dev/stdout",
     "to stderr\nto stdout\n[exit 0 in 0.0 s]"),
    ("echo a | { sleep 0.05; cat; }; true | false; echo ${PIPESTATUS[*]}",
     "a\n0 1\n[exit 0 in 0.1 s]"),
    ("ulimit -c", "0\n[exit 0 in 0.0 s]"),
    ("echo out > >(sed s/^/tee:/)", "tee:out\n[exit 0 in 0.0 s]"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "text"), FORMATS)
def test_a_result_is_what_was_printed_and_then_how_it_ended(
    command: str, text: str, tmp_path: Path
) -> None:
    found = told(tmp_path, command).replace("in 0.1 s]", "in 0.0 s]")
    assert found == text.replace("in 0.1 s]", "in 0.0 s]")


def test_an_exit_code_other_than_0_is_an_error_and_the_person_sees_it(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        good, bad = await mine.bash("echo hi"), await mine.bash("echo no; exit 3")
        assert (good.is_error, bad.is_error) == (False, True)
        assert bad.for_user is not None and bad.for_user.title.startswith("exit 3 in ")
        assert bad.for_user.body == bad.for_model

    asyncio.run(main())


def test_nothing_runs_before_the_action_is_committed(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        call = Call("call_1", mine.live.append)
        action = await bash.prepare(mine.ctx, call, command="touch made")
        assert (action.effect, action.subject) == (Effect.EXECUTE, "touch made")
        assert action.preview == Preview(kind="command", title="touch made")
        assert action.paths == (str(mine.ctx.workspace),)
        assert list(mine.ctx.workspace.iterdir()) == [] and not mine.ctx.spill_folder.exists()
        await action.commit()
        assert (mine.ctx.workspace / "made").exists()

    asyncio.run(main())


def test_output_is_shown_while_the_command_runs(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        task = asyncio.create_task(mine.text("printf 'first '; sleep 1; echo second"))
        end = time.monotonic() + 10
        while not mine.live and time.monotonic() < end:  # noqa: ASYNC110 (shown, not told)
            await asyncio.sleep(0.01)
        assert mine.live == ["first "] and not task.done()
        await task
        assert mine.shown == "first second\n"

    asyncio.run(main())


def test_a_flood_is_shown_in_drops(tmp_path: Path) -> None:
    mine = session(tmp_path)
    asyncio.run(mine.bash("seq 1 1000000; echo last"))
    assert len(mine.shown) < 500_000 and "[…]" in mine.shown
    assert mine.shown.endswith("\n999999\n1000000\nlast\n")


FOLDERS = [
    ("cd sub", "sub"),
    ("cd sub; exit 3", "sub"),
    ("set -e; cd sub; false", "sub"),
    ("cd sub && cd ..", "."),
    ("(cd sub)", "."),
    ("mkdir -p 'a b/$x' && cd 'a b/$x'", "a b/$x"),
    ("cd sub\nif", "sub"),
    ("cd sub; kill -9 $$", "."),
    ("cd sub; exec true", "."),
    ("ln -s sub link; cd link", "sub"),
]


@pytest.mark.parametrize(("command", "folder"), FOLDERS)
def test_the_folder_persists_between_calls(command: str, folder: str, tmp_path: Path) -> None:
    async def main() -> str:
        mine = session(tmp_path)
        (mine.ctx.workspace / "sub").mkdir()
        assert "workspace" not in await mine.text(command)
        return await mine.text("pwd")

    assert asyncio.run(main()).splitlines()[0] == os.path.normpath(tmp_path / "work" / folder)


def test_the_environment_does_not_persist(tmp_path: Path) -> None:
    async def main() -> str:
        mine = session(tmp_path)
        await mine.bash("export A=1; f() { :; }; alias x=y; set -e; umask 077; ulimit -n 10")
        return await mine.text("echo [$A]; type f x; echo $-; umask; ulimit -n")

    assert re.sub(r"\d{3,}\n\[", "N\n[", asyncio.run(main())).startswith(
        "[]\nbash: line 1: type: f: not found\nbash: line 1: type: x: not found\nhBc\n0"
    )


@pytest.mark.parametrize("command", ["cd /", "ln -s / out; cd out", "cd ..", "cd ../work2"])
def test_a_folder_outside_the_workspace_is_left_with_a_notice(command: str, tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        (tmp_path / "work2").mkdir()
        work = mine.ctx.workspace
        text = await mine.text(command)
        assert re.search(r"^\[the shell's folder /\S* is outside the workspace: ", text)
        assert f": back in {work}]\n[exit 0 in " in text
        assert (await mine.text("pwd")).startswith(f"{work}\n")

    asyncio.run(main())


def test_an_added_folder_is_not_outside(tmp_path: Path) -> None:
    async def main() -> str:
        mine = session(tmp_path)
        (tmp_path / "more" / "sub").mkdir(parents=True)
        mine.ctx.extra_folders = (tmp_path / "more",)
        assert (await mine.text("cd ../more/sub")).startswith("[exit 0")
        return await mine.text("pwd")

    assert asyncio.run(main()).startswith(f"{tmp_path / 'more' / 'sub'}\n")


def test_a_folder_that_is_deleted_is_left_with_a_notice(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        work = mine.ctx.workspace
        await mine.text("mkdir sub && cd sub")
        text = await mine.text("rm -r ../sub")
        assert f"[the shell's folder {work}/sub is gone or cannot be entered: back in" in text
        await mine.text("mkdir sub && cd sub")
        (work / "sub").rmdir()
        text = await mine.text("pwd")
        assert text.startswith(f"{work}\n[{work}/sub is gone or cannot be entered: started in")

    asyncio.run(main())


def test_a_folder_that_was_entered_and_deleted_by_one_command_is_told_of(tmp_path: Path) -> None:
    async def main() -> None:
        mine = session(tmp_path)
        work = mine.ctx.workspace
        text = await mine.text("mkdir sub; cd sub; rmdir ../sub")
        assert f"[the shell's folder was removed: back in {work}]" in text
        assert (await mine.text("pwd")).startswith(f"{work}\n[exit 0")

    asyncio.run(main())


def test_a_lost_workspace_is_an_error_in_words(tmp_path: Path) -> None:
    mine = session(tmp_path)
    mine.ctx.workspace.rmdir()
    with pytest.raises(ToolError, match="is gone or cannot be entered: nothing can run"):
        asyncio.run(mine.text("pwd"))


@pytest.mark.parametrize(
    ("command", "word"),
    [("", "empty"), (" \n\t", "empty"), ("a\0b", "NUL"), ("\ud800", "surrogate")],
)
def test_what_is_no_command_is_refused_before_anything_runs(
    command: str, word: str, tmp_path: Path
) -> None:
    mine = session(tmp_path)
    with pytest.raises(ToolError, match=word):
        asyncio.run(bash.prepare(mine.ctx, Call("c", print), command=command))


@pytest.mark.parametrize("timeout", [0, -1, -0.5, float("nan"), float("-inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout: float, tmp_path: Path) -> None:
    mine = session(tmp_path)
    with pytest.raises(ToolError, match="give seconds above 0"):
        asyncio.run(mine.text("true", timeout=timeout))


def test_a_timeout_of_400_digits_is_shortened_like_any_other(tmp_path: Path) -> None:
    assert "is more than the 600 s allowed: 600 used" in told(tmp_path, "true", timeout=10**400)


@pytest.mark.parametrize("timeout", [601, 120_000, float("inf"), 10**30])
def test_a_timeout_that_is_too_long_is_shortened_and_said(timeout: float, tmp_path: Path) -> None:
    text = told(tmp_path, "echo a", timeout=timeout)
    assert text == (
        f"a\n[timeout {timeout:g} s is more than the 600 s allowed: 600 used]\n[exit 0 in 0.0 s]"
    )


def test_a_timeout_keeps_what_was_printed_and_kills_everything(tmp_path: Path) -> None:
    mark = marker()
    command = f"echo before; printf part; setsid sleep {mark} & sleep {mark}"
    assert told(tmp_path, command, timeout=0.5) == (
        "before\npart\n"
        "[a longer timeout (at most 600) or run_in_background gives it more time]\n"
        "[timed out after 0.5 s; killed]"
    )
    assert not alive(mark)


def test_python_output_is_not_lost_in_a_buffer_when_time_is_up(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'import time; print(1); time.sleep(99)'"
    assert told(tmp_path, command, timeout=2).startswith("1\n[a longer")


def test_an_endless_flood_is_ended_by_its_timeout(tmp_path: Path) -> None:
    text = told(tmp_path, "yes", timeout=1)
    assert text.endswith("\ny\n[a longer timeout (at most 600) or run_in_background gives it more "
                         "time]\n[timed out after 1 s; killed]")  # fmt: skip
    assert len(text) <= 30_000


def test_a_cancellation_keeps_what_was_printed_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> tuple[Session, str]:
        mine, mark = session(tmp_path), marker()
        command = f"cd /; echo one; printf two; setsid sleep {mark} & sleep {mark}"
        task = asyncio.create_task(mine.bash(command, call_id="call_7"))
        end = time.monotonic() + 10
        while "two" not in mine.shown and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return mine, mark

    mine, mark = asyncio.run(main())
    assert mine.ctx.interrupted == {"call_7": "one\ntwo"}
    assert mine.shown == "one\ntwo"
    assert mine.ctx.cwd is None
    assert not alive(mark)


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_a_cancellation_at_any_moment_leaves_nothing(turns: int, tmp_path: Path) -> None:
    async def main() -> str:
        mine, mark = session(tmp_path), marker()
        task = asyncio.create_task(mine.bash(f"sleep {mark}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert mine.ctx.interrupted == {}
        return mark

    assert dies(asyncio.run(main()))


def test_what_runs_on_becomes_a_background_command(tmp_path: Path) -> None:
    async def main() -> None:
        mine, mark = session(tmp_path), marker()
        begun = time.monotonic()
        command = f"echo up; (sleep 1; echo ready; exec sleep {mark}) & disown"
        text = await mine.text(command)
        assert time.monotonic() - begun < 5
        assert re.fullmatch(
            r"up\n\[\d processes that it started still run \(.*\), now as background command "
            r"bash_1: BashOutput reads it, KillShell stops it; it ends with this session\]\n"
            r"\[exit 0 in \d\.\d s\]",
            text,
        )
        await asyncio.sleep(2)
        text = await mine.look("bash_1")
        assert text.startswith("ready\n[exit 0 in ") and "still run" in text
        assert alive(mark)
        assert (await mine.text("echo next")).startswith("next\n[exit 0")
        await mine.close()
        assert not alive(mark)

    asyncio.run(main())


@pytest.mark.parametrize(
    "command",
    [
        "sleep {} &",
        "setsid sleep {} &",
        "nohup sleep {} &",
        "env -i setsid sleep {} >/dev/null 2>&1 &",
    ],
)
def test_no_daemon_is_waited_for_and_none_survives_the_session(
    command: str, tmp_path: Path
) -> None:
    async def main() -> str:
        mine, mark = session(tmp_path), marker()
        begun = time.monotonic()
        text = await mine.text(command.replace("{}", mark))
        assert time.monotonic() - begun < 5
        assert f"1 process that it started still runs (sleep {mark})" in text
        await mine.close()
        return mark

    assert not alive(asyncio.run(main()))


def test_a_long_output_is_cut_in_the_middle_and_saved_whole(tmp_path: Path) -> None:
    text = asyncio.run(session(tmp_path, limit=1000).text("seq 1 100000; exit 1"))
    assert len(text) <= 1000
    assert text.startswith("1\n2\n3\n") and re.search(r"\n99999\n100000\n\[exit 1 in .* s\]$", text)
    path = re.search(r"the whole output is in (\S+); Read it with offset and limit\]", text)
    assert path is not None
    assert Path(path[1]).read_text() == "".join(f"{n}\n" for n in range(1, 100_001))
    assert Path(path[1]).parent == tmp_path / "spill"


@pytest.mark.parametrize("limit", [0, 10, 60, 200, 333])
def test_no_result_is_longer_than_allowed(limit: int, tmp_path: Path) -> None:
    text = asyncio.run(session(tmp_path, limit=limit).text("seq 1 1000"))
    end = text.splitlines()[-1]
    assert end.startswith("[exit 0 in ") and len(text) <= max(limit, len(end))


def test_a_short_output_leaves_no_file(tmp_path: Path) -> None:
    asyncio.run(session(tmp_path).text("echo a; exit 1"))
    assert list((tmp_path / "spill").iterdir()) == []


def test_an_output_that_cannot_be_saved_is_said_and_its_ends_are_kept(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("in the way")
    text = asyncio.run(session(tmp_path, limit=1000).text("seq 1 100000"))
    assert text.startswith("1\n2\n") and "\n100000\n[exit 0" in text
    assert "the rest could not be saved (" in text


GIGABYTE = """
import asyncio, resource, sys
from pathlib import Path
from tests.commands import session

async def main():
    mine = session(Path(sys.argv[1]))
    await mine.text("seq 1 100000")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = await mine.text("yes glmcode | head -c 1000000000; echo; echo the end", timeout=300)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown // 1024, len(text), sum(map(len, mine.live)))
    print(text[-400:])

asyncio.run(main())
"""


def test_a_gigabyte_of_output_keeps_memory_flat_and_its_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GIGABYTE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    grown, length, shown = map(int, done.stdout.splitlines()[0].split())
    assert grown < 32 and length <= 30_000 and shown < 60_000_000
    assert "\nglmcode\n\nthe end\n[exit 0 in " in done.stdout
    largest = max(path.stat().st_size for path in (tmp_path / "spill").iterdir())
    assert largest == 64 * 1024 * 1024


def test_binary_garbage_is_harmless(tmp_path: Path) -> None:
    text = told(tmp_path, "head -c 3000000 /dev/urandom; printf '\\033]52;c;eHh4\\007\\033[2J'")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert len(text) <= 30_000
    (spill,) = (tmp_path / "spill").glob("bash-*.txt")
    assert b"\0" not in spill.read_bytes()


def test_a_command_of_a_megabyte_runs(tmp_path: Path) -> None:
    command = (
        "cat <<'X' | wc -c\n"
        + "é" * 500_000
        + "\nX\necho $# ${#BASH_EXECUTION_STRING}; ls -l /proc/$$/fd"
    )
    text = told(tmp_path, command)
    assert text.startswith("1000001\n0 ")
    assert "memfd" not in text and text.endswith("[exit 0 in 0.0 s]")


def test_a_long_command_persists_its_folder_too(tmp_path: Path) -> None:
    async def main() -> str:
        mine = session(tmp_path)
        await mine.text("mkdir sub; cd sub; exit 0 #" + "x" * 200_000)
        return await mine.text("pwd")

    assert asyncio.run(main()).startswith(f"{tmp_path / 'work' / 'sub'}\n")


def test_only_the_given_environment_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_TEST_API_KEY", "hidden")
    text = asyncio.run(session(tmp_path, MINE="seen").text("env"))
    assert "hidden" not in text and "MINE=seen\n" in text
    warden = process._warden._process
    assert warden is not None
    assert b"hidden" not in Path(f"/proc/{warden.pid}/environ").read_bytes()


def test_without_bash_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bash, "find_bash", lambda environment: None)
    with pytest.raises(ToolError, match="bash is not installed here"):
        asyncio.run(session(tmp_path).text("true"))


def test_a_bash_that_cannot_run_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "bash").write_text("not a program")
    (tmp_path / "bash").chmod(0o755)
    mine = session(tmp_path)
    mine.ctx.environment = {"PATH": str(tmp_path)}
    with pytest.raises(ToolError, match=r"not started: bash cannot be run \(Exec format error\)"):
        asyncio.run(mine.text("true"))


def test_a_killed_supervisor_is_told_and_the_next_command_runs(tmp_path: Path) -> None:
    async def main() -> None:
        mine, mark = session(tmp_path), marker()
        text = await mine.text(f"echo a; setsid sleep {mark} & kill -9 $PPID; sleep 99")
        assert "[ended in an unknown way (its supervising process was killed) in " in text
        assert (await mine.text("echo b")).startswith("b\n[exit 0")
        assert dies(mark)

    asyncio.run(main())


def test_an_editor_without_a_terminal_is_stopped_and_said(tmp_path: Path) -> None:
    editor = "bash -c 'printf vim >/proc/$$/comm; sleep 99; true' <&1; echo after"
    text = told(tmp_path, editor, timeout=60)
    assert "\nafter\n[bash -c printf vim" in "\n" + text
    assert "waited for keys that nobody can press and was stopped: change files with Edit" in text
    assert text.endswith("[exit 0 in 0.0 s]") or "[exit 0 in " in text


GIT = (
    "git init -q . && git config user.name a && git config user.email a@b.c && echo 1 > f && "
    "git add f && git commit -qm one && "
)
GIT_CASES = [
    ("git config core.pager 'sleep 99'; git -c pager.log=true log --format=%s", "one\n[exit 0"),
    ("echo 2 > f; git commit -a", "Aborting commit due to empty commit message.\n[exit 1"),
    ("git commit --amend --allow-empty >/dev/null; git log --format=%s", "one\n[exit 0"),
    ("git config core.editor vim; echo 2 > f; git commit -a",
     "Aborting commit due to empty commit message.\n[exit 1"),
    ("git commit -q --allow-empty -m two; git rebase -i HEAD~1 2>&1 | head -1",
     "glmcode: no editor here, set GIT_SEQUENCE_EDITOR\n[exit 0"),
    ("git checkout -qb x; echo 2 > f; git commit -qam two; git checkout -q -; echo 3 > f; "
     "git commit -qam three; git rebase x >/dev/null 2>&1; echo 4 > f; git add f; "
     "git rebase --continue >/dev/null 2>&1; git log --format=%s", "three\ntwo\none\n[exit 0"),
    ("git checkout -qb x; git commit -q --allow-empty -m two; git checkout -q -; "
     "git commit -q --allow-empty -m three; git merge -q --edit x; git log --format=%s -1",
     "Merge branch 'x'\n[exit 0"),
    ("git tag -a v1", "fatal: no tag message?\n[exit 128"),
    ("GIT_EDITOR='echo mine >' git commit -q --allow-empty; git log -1 --format=%s", "mine\n"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "text"), GIT_CASES)
def test_git_never_waits_for_a_person(command: str, text: str, tmp_path: Path) -> None:
    mine = session(tmp_path, HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1")
    found = asyncio.run(mine.text(GIT + command, timeout=60))
    assert text in found


@pytest.fixture
def locked() -> Iterator[str]:
    class Locked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/x.git"
        server.shutdown()


def test_git_does_not_ask_for_a_password(locked: str, tmp_path: Path) -> None:
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\nsleep 99\n")
    ask.chmod(0o755)
    mine = session(tmp_path, HOME=str(tmp_path), SSH_ASKPASS=str(ask), GIT_ASKPASS=str(ask))
    command = f"git -c core.askPass={ask} -c credential.helper= ls-remote {locked}"
    text = asyncio.run(mine.text(command, timeout=60))
    assert "terminal prompts disabled" in text and "[exit 128" in text


def test_the_tool_is_reached_through_its_spec(tmp_path: Path) -> None:
    mine = session(tmp_path)
    tool = load_tools(mine.ctx)["Bash"]
    good = {"command": "echo a", "timeout": 5, "run_in_background": False}
    assert tool.check(good) is None
    assert "timeout" in (tool.check({"command": "a", "timeout": "soon"}) or "")
    assert "cwd" in (tool.check({"command": "a", "cwd": "/"}) or "")

    async def main() -> str:
        action = await tool.prepare("call_1", good, mine.live.append)
        return (await action.commit()).for_model

    assert asyncio.run(main()).startswith("a\n[exit 0 in ")


def test_two_sessions_do_not_share_a_folder(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "b").mkdir()
        one, two = session(tmp_path), session(tmp_path / "b")
        await asyncio.gather(one.text("mkdir x; cd x"), two.text("mkdir y; cd y"))
        texts = await asyncio.gather(one.text("pwd"), two.text("pwd"))
        assert [Path(text.splitlines()[0]).name for text in texts] == ["x", "y"]

    asyncio.run(main())


def test_a_removed_spill_folder_does_no_harm(tmp_path: Path) -> None:
    async def main() -> str:
        mine = session(tmp_path)
        await mine.text("echo a")
        return await mine.text(f"rm -rf {tmp_path}/spill; cd /; cd -; seq 1 20000")

    text = asyncio.run(main())
    assert "19999\n20000\n[exit 0" in text
    shutil.rmtree(tmp_path / "spill")
