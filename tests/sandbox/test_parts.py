from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from glmcode.sandbox import (
    Backend,
    Sandbox,
    choose_backend,
    find_backend,
    not_covered,
    withheld,
)
from glmcode.sandbox.bubblewrap import bubblewrap_argv
from glmcode.sandbox.explain import explain
from glmcode.sandbox.folder import planned_folder, private_folder
from glmcode.sandbox.gitfolders import git_folders
from glmcode.sandbox.guard import Guard
from glmcode.sandbox.policy import SandboxPolicy, layout
from glmcode.sandbox.seatbelt import seatbelt_argv, seatbelt_profile
from glmcode.sandbox.unreadable import unreadable

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "sandbox.md"
KINDS = (
    Backend(mechanism="none"),
    Backend(mechanism="bubblewrap"),
    Backend(mechanism="seatbelt"),
    *(Backend(mechanism="landlock", abi=abi) for abi in range(1, 8)),
    *(Backend(mechanism="landlock", abi=abi, namespaces="user") for abi in range(1, 8)),
)


def policy(workspace: Path, **fields: object) -> SandboxPolicy:
    temporary = workspace.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    given: dict[str, object] = {
        "mode": "workspace-write",
        "workspace": workspace,
        "temporary": temporary,
    }
    return SandboxPolicy(**(given | fields))  # type: ignore[arg-type]


# What works here, and what it leaves open


def test_what_works_here_is_one_of_those_that_are_tried_and_a_failure_says_why() -> None:
    found = find_backend()
    assert found.mechanism in ("bubblewrap", "landlock", "seatbelt", "none")
    assert bool(found.why) == (found.mechanism == "none")
    assert find_backend() is found
    assert choose_backend("nonsense").mechanism == "none"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_sentence_of_what_is_not_covered_stands_in_the_docs(kind: Backend) -> None:
    docs = " ".join(DOCS.read_text().split())
    for sentence in not_covered(kind, root=True):
        assert sentence in docs, sentence


def test_an_older_landlock_covers_less_and_no_sandbox_nothing() -> None:
    counts = [len(not_covered(Backend(mechanism="landlock", abi=abi))) for abi in (1, 3, 5, 6)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert not_covered(Backend(mechanism="none")) == ("anything: there is no sandbox here",)
    assert len(not_covered(Backend(mechanism="bubblewrap"), root=True)) > len(
        not_covered(Backend(mechanism="bubblewrap"))
    )


# Variables


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        *("DB_PASSWORD", "PGPASSWORD", "GOOGLE_APPLICATION_CREDENTIALS", "my_secret", "TOKEN"),
        *("NPM_AUTH_TOKEN", "SSH_PASSPHRASE", "GH_PAT", "SERVICE_KEY_JSON", "AWS_SESSION_TOKEN"),
    ],
)
def test_what_looks_like_a_secret_is_withheld(name: str) -> None:
    assert withheld({name: "x", "PATH": "/bin"}) == {name}


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "PWD", "OLDPWD", "KEYBOARD", "TOKENIZERS_PARALLELISM", "GLMCODE_HOME"),
        *("GIT_ASKPASS", "MONKEY", "SSH_AUTH_SOCK", "COMPASS", "KEYMAP_NAME", "XAUTHORITY"),
    ],
)
def test_what_does_not_look_like_a_secret_is_handed_over(name: str) -> None:
    assert not withheld({name: "x"})


def test_a_setting_lists_exceptions_but_never_the_keys_of_glmcode_itself() -> None:
    environment = {"NPM_TOKEN": "a", "HF_TOKEN": "b", "MY_KEY": "c", "VLLM_API_KEY": "d"}
    assert withheld(environment, ["NPM_TOKEN"]) == {"HF_TOKEN", "MY_KEY", "VLLM_API_KEY"}
    assert withheld(environment, ["*"], own=["MY_KEY"]) == {"MY_KEY", "VLLM_API_KEY"}
    assert withheld({"PLAIN": "x"}, own=["PLAIN"]) == {"PLAIN"}


# What a failure says


def why(output: str, command: str = "make", **given: object) -> str:
    fields: dict[str, object] = {
        "mechanism": "bubblewrap",
        "read_only": False,
        "network": False,
        "withheld": (),
    }
    return explain(output, command, **(fields | given))  # type: ignore[arg-type]


def test_the_words_of_a_refusal_are_known() -> None:
    assert "writing outside" in why("touch: /etc/x: Read-only file system")
    assert "all writing" in why("OSError: [Errno 30] x", read_only=True)
    assert "network access" in why("curl: (6) Could not resolve host: example.org")
    assert "network access" not in why("Could not resolve host: example.org", network=True)
    assert "writing" in why("x: Permission denied", mechanism="landlock")
    assert why("x: Permission denied") == ""
    assert why("AssertionError: 1 != 2") == why("Read-only file system", mechanism="none") == ""
    assert "so many processes" in why("bash: fork: retry: Resource temporarily unavailable")


def test_a_withheld_variable_counts_only_by_its_whole_name() -> None:
    assert "A_TOKEN is kept" in why("", "echo $A_TOKEN", withheld=("A_TOKEN",))
    assert "A_TOKEN is kept" in why("KeyError: 'A_TOKEN'", withheld=("A_TOKEN",))
    assert why("MY_A_TOKEN", "echo A_TOKENS", withheld=("A_TOKEN",)) == ""


# Rules that forbid to read


def test_the_plain_part_of_a_pattern_is_what_exists(tmp_path: Path) -> None:
    for name in (".env", "a.pem", "b.pem", "deep/c.pem"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*patterns: str) -> list[str]:
        return [str(p.relative_to(tmp_path)) for p in unreadable(patterns, (tmp_path,))]

    assert found("./.env", ".env", "**/.env") == [".env"]
    assert found("*.pem") == ["a.pem", "b.pem"]
    assert found("deep/**", "deep/*") == found(f"/{tmp_path}/deep") == ["deep"]
    assert found("/deep") == ["deep"]
    assert found("", "**", "*", ".", "a**b", "missing", "~nobody-here/x", "\0") == []


# git's folders


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_no_repository_is_none_and_a_folder_that_only_looks_like_one_too(tmp_path: Path) -> None:
    assert git_folders(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert git_folders(tmp_path) is None


def test_a_repository_is_found_from_below_with_what_git_obeys(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = git_folders(tmp_path / "a" / "b")
    assert found is not None and found.writable == (tmp_path / ".git",)
    assert {path.name for path in found.guarded} == {
        *("hooks", "config", "config.worktree", "commondir")
    }


@pytest.mark.parametrize("text", ["gitdir: ../victim/.git", "gitdir: /", "nonsense", "", "\0"])
def test_a_git_file_that_nothing_points_back_to_opens_nothing(tmp_path: Path, text: str) -> None:
    victim, work = tmp_path / "victim", tmp_path / "work"
    victim.mkdir()
    work.mkdir()
    git(victim, "init", "-q")
    (work / ".git").write_text(text)
    found = git_folders(work)
    assert found is not None and found.writable == ()
    assert found.pointers == (work / ".git",)


def test_a_linked_git_folder_opens_nothing(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "real")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".git").symlink_to(tmp_path / "real" / ".git")
    found = git_folders(tmp_path / "work")
    assert found is not None and found.writable == ()


# What the policy means on the disk, and as words


def test_what_is_there_is_protected_and_what_is_not_is_watched(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    (work / ".glmcode").mkdir()
    laid = layout(policy(work, caches=(tmp_path / "missing",)), {})
    assert laid.writable == (tmp_path / "temporary", work, work / ".git")
    assert set(laid.protected) == {
        *(work / ".git" / name for name in ("hooks", "config")),
        work / ".glmcode",
    }
    assert set(laid.absent) == {work / ".git" / name for name in ("config.worktree", "commondir")}
    only = layout(policy(work, mode="read-only"), {})
    assert only.writable == (tmp_path / "temporary",) and only.protected == ()


def test_deeper_places_are_mounted_after_those_above_them(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    given = policy(work, hidden=(tmp_path / "hidden", work / "inner"))
    for hidden in given.hidden:
        hidden.mkdir()
    words = bubblewrap_argv(
        "/usr/bin/bwrap", ["/bin/bash", "-c", "x"], given, layout(given, {}), work, nested=True
    )
    order = [words.index(str(path)) for path in (work, work / ".git", work / ".git" / "hooks")]
    assert order == sorted(order)
    assert words[words.index(str(work / ".git" / "hooks")) - 1] == "--ro-bind"
    assert words[words.index(str(work / "inner")) - 1] == "--tmpfs"
    assert "--unshare-net" in words and "--die-with-parent" not in words
    assert words[-3:] == ["/bin/bash", "-c", "x"]
    open_words = bubblewrap_argv(
        "/usr/bin/bwrap",
        ["/bin/bash"],
        policy(work, network=True),
        layout(given, {}),
        work,
        nested=False,
    )
    assert not {"--unshare-net", "--disable-userns"} & set(open_words)


def test_the_profile_of_seatbelt_denies_in_the_order_of_depth(tmp_path: Path) -> None:
    work = tmp_path / 'w "quoted\\'
    work.mkdir()
    git(work, "init", "-q")
    hidden = tmp_path / "state"
    hidden.mkdir()
    given = policy(work, hidden=(hidden,))
    text = seatbelt_profile(given, layout(given, {}))
    lines = text.splitlines()
    name = str(work).replace("\\", "\\\\").replace('"', '\\"')
    assert lines[:3] == ["(version 1)", "(allow default)", "(deny file-write*)"]
    places = [
        lines.index(f'(allow file-read* file-write* (subpath "{name}"))'),
        lines.index(f'(deny file-write* (subpath "{name}/.git/hooks"))'),
        lines.index(f'(deny file-write-unlink (literal "{name}/.git"))'),
    ]
    assert places == sorted(places)
    assert f'(deny file-write* (subpath "{name}/.glmcode"))' in lines
    assert f'(deny file-read* file-write* (subpath "{hidden}"))' in lines
    assert f'(deny network* (remote unix-socket (subpath "{hidden}")))' in lines
    assert "(deny network*)" in lines and "(deny signal (target others))" in lines
    assert text.count("(") == text.count(")")
    assert "(deny network*)" not in seatbelt_profile(policy(work, network=True), layout(given, {}))
    words = seatbelt_argv(["/bin/bash", "-c", "x"], given, layout(given, {}))
    assert words[:2] == ["/usr/bin/sandbox-exec", "-p"] and words[-3:] == ["/bin/bash", "-c", "x"]


# The second line: what was changed is put back


def test_what_changed_is_put_back_and_kept_aside(tmp_path: Path) -> None:
    hooks, config, link = tmp_path / "hooks", tmp_path / "config", tmp_path / "link"
    aside = tmp_path / "aside"
    aside.mkdir()
    hooks.mkdir()
    (hooks / "kept").write_bytes(b"\0kept")
    (hooks / "kept").chmod(0o755)
    config.write_text("old")
    link.symlink_to("somewhere")
    watched = (hooks, config, link, tmp_path / "absent")
    guard = Guard(watched)
    assert guard.put_back(aside) == []
    (hooks / "kept").chmod(0o644)
    (hooks / "planted").write_text("x")
    config.unlink()
    config.symlink_to("/etc/passwd")
    link.unlink()
    link.mkdir()
    (tmp_path / "absent").write_text("x")
    assert guard.put_back(aside) == list(watched)
    assert guard.put_back(aside) == []
    assert [path.name for path in hooks.iterdir()] == ["kept"]
    assert (hooks / "kept").read_bytes() == b"\0kept"
    assert (hooks / "kept").stat().st_mode & 0o777 == 0o755
    assert config.read_text() == "old" and not config.is_symlink()
    assert os.readlink(link) == "somewhere"  # noqa: PTH115
    assert not (tmp_path / "absent").exists()
    assert any(path.name == "planted" for path in aside.rglob("*"))


def test_what_this_user_cannot_look_at_is_no_fault() -> None:
    """In a child that is not root: for root nothing is closed."""
    with tempfile.TemporaryDirectory(prefix="glm-closed-") as made:
        base = Path(made)
        base.chmod(0o755)
        (base / "work").mkdir()
        (base / "closed").mkdir(mode=0o700)
        (base / "closed" / "s").touch()
        given = policy(base / "work", hidden=(base / "closed" / "s",))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                else:
                    (base / "closed").chmod(0)
                laid = layout(given, {"PATH": f"{base}/closed/bin"})
                unreadable((f"/{base}/closed/s", f"/{base}/closed/*"), (base / "work",))
                bubblewrap_argv(
                    "bwrap",
                    ["/bin/bash"],
                    given,
                    laid,
                    base / "work",
                    nested=True,
                    sockets=[base / "closed" / "s"],
                )
                code = 0
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        (base / "closed").chmod(0o700)
        assert status == 0


def test_what_a_killed_session_left_behind_is_removed_by_the_next_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Owner:
        pass

    living, killed, young, other = Owner(), *(tmp_path / f"glmcode-tmp-{n}" for n in "ky"), "x"
    kept = private_folder(living, planned_folder())
    with pytest.raises(FileExistsError):
        private_folder(Owner(), kept)
    for folder in (killed, young, tmp_path / other, kept):
        folder.mkdir(exist_ok=True)
        (folder / "file").touch()
        if folder != young:
            os.utime(folder, (1, 1))
    (tmp_path / "glmcode-tmp-link").symlink_to(tmp_path / other)
    last = Owner()
    mine = private_folder(last, planned_folder())
    assert not killed.exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        *(kept.name, young.name, other, "glmcode-tmp-link", mine.name)
    }
    assert (tmp_path / other / "file").exists() and (kept / "file").exists()
    del last
    assert not mine.exists() and kept.exists()


def test_a_run_inside_a_sandbox_says_that_it_holds_where_none_of_its_own_works(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    sandbox = Sandbox(
        "workspace-write",
        tmp_path,
        around=True,
        say=told.append,
        backend=lambda: Backend(mechanism="none", why="no"),
    )
    wrapped = sandbox.wrap(["/bin/bash", "-c", "x"], {"GLMCODE_NESTED": "/dev/glmcode"}, tmp_path)
    assert told == ["commands keep the sandbox of the run around this one, as it is"]
    assert wrapped.environment["GLMCODE_NESTED"] == "/dev/glmcode"


def test_the_way_to_the_engine_comes_last_in_a_seatbelt_profile_after_what_closes_its_folder(
    tmp_path: Path,
) -> None:
    given = policy(tmp_path, hidden=(tmp_path,))
    way = tmp_path / "h1"
    lines = seatbelt_profile(given, layout(given, {}), way).splitlines()
    assert lines[-1] == f'(allow network-outbound (remote unix-socket (literal "{way}")))'
    assert str(way) not in seatbelt_profile(given, layout(given, {}))
