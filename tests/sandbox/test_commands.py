from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.tool import ToolError
from glmcode.sandbox import Backend, Sandbox
from glmcode.sandbox.bubblewrap import PRIVATE_TMP, bubblewrap_argv
from glmcode.sandbox.policy import MOST_PROCESSES, SandboxPolicy, layout
from tests.commands import alive, appear, marker
from tests.sandbox.kit import WORKING, Place, backend, git, go, repository, tell

PYTHON = sys.executable


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.fixture(params=WORKING)
def mechanism(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_command_writes_in_the_workspace_and_its_folder_persists(
    place: Place, mechanism: str
) -> None:
    first, second = tell(place, mechanism, "mkdir sub && cd sub && echo x > f", "cat f; pwd")
    assert first.startswith("[exit 0")
    assert second.startswith(f"x\n{place.workspace}/sub\n[exit 0")


def test_a_write_outside_fails_and_the_result_says_why(place: Place, mechanism: str) -> None:
    there = place.home / "file"
    (told,) = tell(place, mechanism, f"echo x > {there}/../{Path.home()}/glm-no; echo x > /glm-no")
    assert "[the sandbox forbids writing outside the workspace" in told
    assert not Path("/glm-no").exists() and not (Path.home() / "glm-no").exists()


def test_read_only_writes_nowhere_but_in_its_temporary_folder(place: Place, mechanism: str) -> None:
    told, kept = tell(
        place,
        mechanism,
        "echo x > f",
        "echo kept > $TMPDIR/t; cat $TMPDIR/t",
        mode="read-only",
    )
    assert "[the sandbox forbids all writing" in told
    assert not (place.workspace / "f").exists()
    assert kept.startswith("kept\n[exit 0")


def test_full_access_is_no_sandbox(place: Place, mechanism: str) -> None:
    (told,) = tell(
        place, mechanism, f"echo x > {place.outside}/new; echo $TMPDIR", mode="danger-full-access"
    )
    assert (place.outside / "new").read_text() == "x\n"
    assert "glmcode-tmp" not in told


def test_the_temporary_folder_is_the_same_for_all_commands_private_and_gone_at_the_end(
    place: Place, mechanism: str
) -> None:
    first, second = tell(
        place, mechanism, "echo x > $TMPDIR/t; stat -c %a $TMPDIR; echo $TMPDIR", "cat $TMPDIR/t"
    )
    mode, folder = first.split("\n")[:2]
    assert mode == "700" and second.startswith("x\n")
    assert not Path(folder).exists()


def test_caches_and_added_folders_of_the_settings_are_writable(
    place: Place, mechanism: str, tmp_path: Path
) -> None:
    cache, added = tmp_path / "cache", tmp_path / "added"
    cache.mkdir()
    added.mkdir()
    (told,) = tell(
        place,
        mechanism,
        f"echo x > {cache}/f && echo x > {added}/f",
        caches=(cache,),
        folders=(added,),
    )
    assert told.startswith("[exit 0")
    assert (cache / "f").read_text() == (added / "f").read_text() == "x\n"


def test_the_network_is_there_when_a_setting_allows_it(place: Place, mechanism: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        script = (
            f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        )
        command = f'{PYTHON} -c "{script}"'
        (refused,) = tell(place, mechanism, command)
        (let,) = tell(place, mechanism, command, network=True)
    assert "[exit 1" in refused
    assert let.startswith("[exit 0")


def test_a_command_reaches_its_own_server_on_the_loopback(place: Place, mechanism: str) -> None:
    script = (
        "import socket, threading\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "threading.Thread(target=lambda: s.accept()[0].send(b'own')).start()\n"
        "print(socket.create_connection(s.getsockname()).recv(9).decode())\n"
    )
    (place.workspace / "own.py").write_text(script)
    (told,) = tell(place, mechanism, f"{PYTHON} own.py")
    if backend(mechanism).mechanism == "landlock" and not backend(mechanism).namespaces:
        assert "[exit 1" in told
    else:
        assert told.startswith("own\n[exit 0")


def test_a_commit_works_while_hooks_and_config_stay(place: Place, mechanism: str) -> None:
    repository(place.workspace)
    told, config = tell(
        place,
        mechanism,
        "echo two > file && git commit -qam second && git checkout -qb branch && git gc -q"
        " && git stash list && git log --oneline | wc -l",
        "git config a.b c",
    )
    assert told.startswith("2\n[exit 0")
    assert git(place.workspace, "log", "--format=%s").split() == ["second", "first"]
    assert "[the sandbox forbids" in config
    assert "[a]" not in (place.workspace / ".git" / "config").read_text()


def test_a_commit_works_in_a_subfolder_of_the_repository(place: Place, mechanism: str) -> None:
    root = repository(place.workspace)
    place.workspace = root / "sub"
    place.workspace.mkdir()
    told, above = tell(
        place, mechanism, "echo x > f && git add f && git commit -qm second", f"echo x > {root}/g"
    )
    assert told.startswith("[exit 0")
    assert not (root / "g").exists() and "[exit 1" in above


def test_a_commit_works_in_a_worktree_and_the_shared_hooks_stay(
    place: Place, mechanism: str
) -> None:
    main = repository(place.outside)
    place.workspace.rmdir()
    git(main, "worktree", "add", "-q", str(place.workspace))
    (told, planted) = tell(
        place,
        mechanism,
        "echo two > file && git commit -qam second",
        f"echo x > {main}/.git/hooks/pre-commit; echo x > {main}/file",
    )
    assert told.startswith("[exit 0")
    assert "second" in git(place.workspace, "log", "--format=%s")
    assert "[exit 1" in planted
    assert not (main / ".git" / "hooks" / "pre-commit").exists()
    assert (main / "file").read_text() == "one\n"


def test_a_commit_works_in_a_submodule(place: Place, mechanism: str) -> None:
    inner, outer = repository(place.outside / "inner"), repository(place.outside / "outer")
    git(outer, "submodule", "add", "-q", str(inner), "sub")
    place.workspace = outer / "sub"
    for name in ("name", "email"):
        git(place.workspace, "config", f"user.{name}", "n@localhost")
    hooks = outer / ".git" / "modules" / "sub" / "hooks"
    told, planted = tell(
        place,
        mechanism,
        "echo two > file && git commit -qam second",
        f"echo x > {hooks}/pre-commit",
    )
    assert told.startswith("[exit 0")
    assert not (hooks / "pre-commit").exists(), planted


def test_a_planted_git_file_makes_no_other_repository_writable(
    place: Place, mechanism: str
) -> None:
    victim = repository(place.outside / "victim")
    (place.workspace / ".git").write_text(f"gitdir: {victim}/.git\n")
    tell(place, mechanism, f"echo x > {victim}/.git/planted; git commit --allow-empty -qm no")
    assert not (victim / ".git" / "planted").exists()
    assert git(victim, "log", "--format=%s").split() == ["first"]


def test_a_new_repository_can_be_made(place: Place, mechanism: str) -> None:
    (told,) = tell(
        place,
        mechanism,
        "git init -q . && git config user.name n && git config user.email n@localhost"
        " && echo x > f && git add f && git commit -qm first && git log --oneline | wc -l",
    )
    assert told.startswith("1\n[exit 0")


def test_compilers_test_suites_and_pipes_work(place: Place, mechanism: str) -> None:
    (place.workspace / "main.c").write_text('#include <stdio.h>\nint main(){puts("built");}\n')
    (place.workspace / "test_it.py").write_text(
        "import multiprocessing, tempfile, unittest\n"
        "class T(unittest.TestCase):\n"
        "    def test(self):\n"
        "        with multiprocessing.Pool(2) as pool, tempfile.TemporaryDirectory() as d:\n"
        "            open(d + '/f', 'w').write('x')\n"
        "            self.assertEqual(pool.map(abs, [-1, 2]), [1, 2])\n"
    )
    built, tested, piped = tell(
        place,
        mechanism,
        "cc -o main main.c && ./main",
        f"{PYTHON} -m unittest -q 2>&1 | tail -1",
        "cat <(echo a) - < /dev/null | tee >(cat > copy) | tr a b; sleep 0.1; echo c > /dev/stderr",
    )
    assert built.startswith("built\n[exit 0")
    assert tested.startswith("OK\n[exit 0")
    assert piped.startswith("b\nc\n[exit 0")
    assert (place.workspace / "copy").read_text() == "a\n"


def test_a_terminal_can_be_made_inside(place: Place, mechanism: str) -> None:
    script = "import pty; pty.spawn(['sh', '-c', 'test -t 1 && echo terminal'])"
    (told,) = tell(place, mechanism, f'{PYTHON} -c "{script}"')
    assert "terminal" in told and "[exit 0" in told


def test_what_is_left_behind_runs_on_is_named_without_the_sandbox_and_can_be_stopped(
    place: Place, mechanism: str
) -> None:
    mark = marker()

    async def run() -> None:
        session = place.session(place.sandbox(mechanism))
        told = await session.text(f"sleep {mark} & disown; echo on")
        assert f"[1 process that it started still runs (sleep {mark})" in told
        assert alive(mark)
        assert "[running" in await session.look("bash_1") or "still runs" in told
        await session.kill("bash_1")
        assert not alive(mark)
        await session.text(f"(setsid sleep {mark} &) ; true")
        await appear(mark)
        await session.close()
        assert not alive(mark)

    go(run())


def test_a_timeout_kills_all_of_it_and_keeps_what_was_printed(place: Place, mechanism: str) -> None:
    mark = marker()

    async def run() -> str:
        session = place.session(place.sandbox(mechanism))
        command = f"echo before; setsid sleep {mark} & trap '' TERM; sleep {mark}"
        return await session.text(command, timeout=1)

    begun = time.monotonic()
    assert go(run()).startswith("before\n[")
    assert time.monotonic() - begun < 10
    assert not alive(mark)


def test_a_background_command_is_confined_too(place: Place, mechanism: str) -> None:
    async def run() -> str:
        session = place.session(place.sandbox(mechanism))
        await session.bash(
            f"echo x > {place.outside}/new; echo told $?; exec sleep 60", run_in_background=True
        )
        for _ in range(200):
            if "told" in (text := await session.look("bash_1")):
                break
            await asyncio.sleep(0.05)
        await session.close()
        return text

    assert "told 1" in go(run())
    assert not (place.outside / "new").exists()


def test_a_command_longer_than_an_argument_runs_confined(place: Place, mechanism: str) -> None:
    (told,) = tell(place, mechanism, f": {'x' * 200_000}; echo long; echo x > {place.outside}/new")
    assert told.startswith("long\n") and not (place.outside / "new").exists()


def test_output_arrives_while_the_command_runs(place: Place, mechanism: str) -> None:
    async def run() -> bool:
        session = place.session(place.sandbox(mechanism))
        running = asyncio.ensure_future(session.bash("echo early; read x < fifo || sleep 3"))
        for _ in range(200):
            await asyncio.sleep(0.02)
            if "early" in session.shown:
                break
        early = not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return early

    assert go(run())


def test_the_number_of_processes_is_limited(place: Place, mechanism: str) -> None:
    (told,) = tell(place, mechanism, "ulimit -u; ulimit -Hu")
    soft, hard = map(int, told.split("\n")[:2])
    assert MOST_PROCESSES <= soft == hard < MOST_PROCESSES + 100_000


@pytest.mark.skipif("bubblewrap" not in WORKING, reason="bubblewrap does not work here")
def test_a_fork_bomb_of_another_user_than_root_ends_at_the_limit() -> None:
    folder = Path(tempfile.mkdtemp(prefix="glm-bomb-"))
    try:
        folder.chmod(0o755)
        for name in ("t", PRIVATE_TMP):
            (folder / name).mkdir()
        policy = SandboxPolicy(
            mode="read-only", workspace=folder, temporary=folder / "t", processes=20
        )
        bomb = "i=0; while [ $i -lt 60 ]; do sleep 9 & i=$((i+1)); echo $i; done"
        found = backend("bubblewrap")
        words = bubblewrap_argv(
            found.program,
            ["/bin/bash", "-c", 'exec sh -c "$1"', "bash", bomb],
            policy,
            layout(policy, {}),
            folder,
            nested=found.nested,
        )
        root: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
        if os.geteuid() == 0:
            for each in (folder, folder / "t", folder / PRIVATE_TMP):
                os.chown(each, 65534, 65534)
        done = subprocess.run(
            ["timeout", "-k", "1", "3", *words],
            **(root if os.geteuid() == 0 else {}),
            capture_output=True,
            text=True,
            cwd="/",
        )
        forked = [int(word) for word in done.stdout.split()]
        assert forked, done.stderr
        assert 5 < max(forked) < 20, done.stderr
        assert "fork" in done.stderr
    finally:
        shutil.rmtree(folder)


def test_as_bad_as_it_gets_a_sandbox_that_cannot_be_set_up_runs_nothing(
    place: Place, tmp_path: Path
) -> None:
    gone = Backend(mechanism="bubblewrap", program=str(tmp_path / "no-bwrap"))

    async def run() -> None:
        sandbox = Sandbox("workspace-write", place.workspace, backend=lambda: gone)
        session = place.session(sandbox)
        with pytest.raises(ToolError):
            await session.text("touch ran")

    go(run())
    assert not (place.workspace / "ran").exists()


def test_where_nothing_works_that_is_said_once_and_commands_run(place: Place) -> None:
    said: list[str] = []
    none = Backend(mechanism="none", why="bubblewrap is not installed; no Landlock")
    sandbox = Sandbox("workspace-write", place.workspace, say=said.append, backend=lambda: none)
    session = place.session(sandbox)
    assert go(session.text("echo one")).startswith("one\n[exit 0")
    assert go(session.text("echo two")).startswith("two\n[exit 0")
    assert len(said) == 1
    assert "no sandbox works here (bubblewrap is not installed; no Landlock)" in said[0]
    assert not sandbox.active and not sandbox.complete


def test_a_success_is_never_commented(place: Place, mechanism: str) -> None:
    (told,) = tell(place, mechanism, "echo Read-only file system; echo Network is unreachable")
    assert re.fullmatch(
        r"Read-only file system\nNetwork is unreachable\n\[exit 0 in \d+\.\d s\]", told
    )


def test_a_withheld_variable_is_named_when_a_command_that_asks_for_it_fails(
    place: Place, mechanism: str
) -> None:
    asked, other = tell(
        place, mechanism, 'test -n "$NPM_TOKEN"', "false", withheld=frozenset({"NPM_TOKEN"})
    )
    assert "[NPM_TOKEN is kept from commands; the user can allow it]" in asked
    assert "NPM_TOKEN" not in other


def test_sockets_of_the_session_are_not_handed_to_a_confined_command(
    place: Place, mechanism: str
) -> None:
    async def run() -> str:
        sandbox = place.sandbox(mechanism)
        session = place.session(sandbox, SSH_AUTH_SOCK="/run/a", XDG_RUNTIME_DIR="/run/user/0")
        return await session.text("echo [$SSH_AUTH_SOCK$XDG_RUNTIME_DIR]")

    assert go(run()).startswith("[]\n")


def test_a_folder_report_that_is_a_pipe_without_end_does_not_hang(
    place: Place, mechanism: str
) -> None:
    replace = "mkfifo $TMPDIR/p; trap 'for f in $TMPDIR/.folder*; do mv $TMPDIR/p $f; done' EXIT"
    begun = time.monotonic()
    (told,) = tell(place, mechanism, f"touch $TMPDIR/.folder-x; {replace}; exit 0")
    assert told.startswith("[exit 0")
    assert time.monotonic() - begun < 10


def test_what_a_rule_forbids_to_read_a_program_cannot_read_either(
    place: Place, mechanism: str
) -> None:
    (place.workspace / ".env").write_text("secret\n")
    (place.workspace / "keys").mkdir()
    (place.workspace / "keys" / "a").write_text("secret\n")
    (place.home / "elsewhere").write_text("secret\n")
    patterns = ("./.env", "keys/**", f"/{place.home}/else*", "absent", "**", "")
    paths = (".env", "keys/a", f"{place.home}/elsewhere")
    told = tell(place, mechanism, *(f"cat {path}; echo on" for path in paths), unread=patterns)
    for path, text in zip(paths, told, strict=True):
        if mechanism != "landlock" or path.startswith("/"):
            assert "secret" not in text, path
        assert "on\n" in text
    (kept,) = tell(place, mechanism, "echo new > .env; cat keys/b", unread=patterns)
    assert mechanism == "landlock" or (place.workspace / ".env").read_text() == "secret\n", kept


def test_a_command_that_looks_into_our_folders_is_told_what_can(
    place: Place, mechanism: str
) -> None:
    (told,) = tell(place, mechanism, f"cat {place.home}/state/key")
    assert "looking into glmcode's own folders (Read and Grep can)" in told
    assert "the key" not in told


@pytest.mark.parametrize("unread", [(), ("./.env", "keys/**")])
def test_what_one_command_plants_does_not_let_the_next_one_out(
    place: Place, mechanism: str, unread: tuple[str, ...]
) -> None:
    """Links where glmcode makes mounts, reads files or restores: each would be followed outside."""
    state = place.home / "state"
    plant = [
        f"cd $TMPDIR; for n in .tmp tmp t closed .closed ../tmp ../closed; do rm -rf $n;"
        f" ln -s {place.outside} $n; done",
        f"ln -sfn {state} .glmcode; git init -q .; rm -rf .git/hooks; ln -s {state} .git/hooks",
        f"ln -sfn {state}/run keys; ln -sfn {state}/key .env",
    ]
    use = [
        "echo x > /tmp/planted; ls /tmp",
        f"cat {state}/key .glmcode/key .git/hooks/key .env",
        f"echo x > {place.outside}/planted; echo x > .git/hooks/planted",
    ]
    told = tell(place, mechanism, *plant, *use, unread=unread)
    assert not any("the key" in text for text in told), told
    assert [path.name for path in place.outside.iterdir()] == ["file"]
    assert sorted(path.name for path in state.iterdir() if path.name != "spill") == ["key", "run"]


def test_a_forged_worktree_opens_no_other_repository(place: Place, mechanism: str) -> None:
    victim = repository(place.outside / "victim")
    forge = (
        f"mkdir x; echo {place.workspace}/.git > x/gitdir; echo {victim}/.git > x/commondir;"
        " echo ref: refs/heads/main > x/HEAD; echo gitdir: x > .git"
    )
    tell(place, mechanism, forge, f"echo x > {victim}/.git/planted; touch {victim}/.git/HEAD.lock")
    assert not (victim / ".git" / "planted").exists()
    assert not (victim / ".git" / "HEAD.lock").exists()


def test_putting_back_is_not_led_outside_by_a_link(place: Place, mechanism: str) -> None:
    repository(place.workspace)
    (place.outside / "config").write_text("theirs\n")
    (place.outside / "hooks").mkdir()
    before = sorted(path.name for path in place.outside.rglob("*"))
    (told,) = tell(place, mechanism, f"mv .git old && ln -s {place.outside} .git; true")
    assert (place.outside / "config").read_text() == "theirs\n"
    assert sorted(path.name for path in place.outside.rglob("*")) == before
    if mechanism == "landlock":
        assert f"[the sandbox forbids changing {place.workspace}/.git" in told
        assert not (place.workspace / ".git").is_symlink()


def test_a_workspace_in_shared_memory_is_a_workspace(mechanism: str) -> None:
    with tempfile.TemporaryDirectory(prefix="glm-", dir="/dev/shm") as made:
        place = Place(Path(made))
        (told,) = tell(place, mechanism, "pwd; echo x > f; cat f")
        assert told.startswith(f"{place.workspace}\nx\n"), told
        assert (place.workspace / "f").read_text() == "x\n"
