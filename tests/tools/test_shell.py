from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from glmcode.tools.shell import LONGEST_ARGUMENT, bash_argv, command_environment, find_bash


def run(command: str, tmp_path: Path, folder: Path = Path("/usr")) -> tuple[str, int, str | None]:
    """What it printed, the exit code, the reported folder."""
    report = tmp_path / "a report's file"
    report.unlink(missing_ok=True)
    argv, script = bash_argv("/bin/bash", command, report)
    assert script is None
    done = subprocess.run(
        argv,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    text = done.stdout.decode()
    return text, done.returncode, report.read_text() if report.exists() else None


FOLDERS = [
    ("true", 0, "/usr"),
    ("cd lib; true", 0, "/usr/lib"),
    ("cd lib", 0, "/usr/lib"),
    ("cd lib; exit 3", 3, "/usr/lib"),
    ("cd lib; false", 1, "/usr/lib"),
    ("set -e; cd lib; false; cd /etc", 1, "/usr/lib"),
    ("set -euo pipefail; cd lib; : $nosuch", 1, "/usr/lib"),
    ("set -C; cd lib", 0, "/usr/lib"),
    ("set -x; cd lib; exit 2", 2, "/usr/lib"),
    ("(cd lib); (cd /etc; exit 9)", 9, "/usr"),
    ("echo $(cd /etc; pwd) >/dev/null", 0, "/usr"),
    ("cd lib | cat", 0, "/usr"),
    ("cd /etc & wait", 0, "/usr"),
    ("f() { cd lib; return 7; }; f", 7, "/usr/lib"),
    ("pushd lib >/dev/null; popd >/dev/null; pushd bin >/dev/null", 0, "/usr/bin"),
    ("cd lib\nif true; then\n", 2, "/usr/lib"),
    ("if", 2, "/usr"),
    ("echo 'open", 2, "/usr"),
    ("cd lib; trap 'true' EXIT; false", 1, "/usr/lib"),
    ("cd lib # comment", 0, "/usr/lib"),
    ("cd lib; echo a \\", 0, "/usr/lib"),
    ("cd lib; cat <<X >/dev/null\ntext", 0, "/usr/lib"),
    ("exec >/dev/null 2>&1; cd lib", 0, "/usr/lib"),
    ("exec 1>&- 2>&-; cd lib", 0, "/usr/lib"),
    ("pwd() { echo mine; }; cd lib", 0, "/usr/lib"),
    ("PWD=/etc; cd lib; PWD=/etc", 0, "/usr/lib"),
    ("shopt -s expand_aliases; alias x='cd lib'\nx", 0, "/usr/lib"),
    ("IFS=/; set -f; cd lib", 0, "/usr/lib"),
    ("eval 'cd lib; exit 5'", 5, "/usr/lib"),
    ("cd nosuch", 1, "/usr"),
    ("cd lib; set -- a b; shift; exit", 0, "/usr/lib"),
    ("exec 64>&1; cd lib", 0, "/usr/lib"),
]


@pytest.mark.parametrize(("command", "code", "folder"), FOLDERS)
def test_the_folder_is_reported_and_the_exit_code_untouched(
    command: str, code: int, folder: str, tmp_path: Path
) -> None:
    _, returned, reported = run(command, tmp_path)
    assert (returned, reported) == (code, str(Path(folder).resolve()) + "\n")


@pytest.mark.parametrize("command", [command for command, _, _ in FOLDERS])
def test_output_and_exit_code_are_those_of_bash_c(command: str, tmp_path: Path) -> None:
    plain = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-c", command],
        cwd="/usr",
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    text, code, _ = run(command, tmp_path)
    same = text.replace("bash: eval: ", "bash: -c: ").replace("++ ", "+ ")
    assert (same, code) == (
        plain.stdout.decode().replace("/bin/bash: ", "bash: "),
        plain.returncode,
    )


@pytest.mark.parametrize(
    "command", ["cd lib; exec true", "cd lib; kill -9 $$", "cd lib; trap true EXIT; exit 0"]
)
def test_what_cannot_be_reported_leaves_the_folder_as_it_was(command: str, tmp_path: Path) -> None:
    assert run(command, tmp_path)[2] is None


def test_a_folder_with_any_name_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "a b'\"$x\nnew é"
    folder.mkdir()
    assert run('cd "$(printf %b "a b\'\\"\\$x\\nnew é")"', tmp_path, tmp_path)[2] == f"{folder}\n"


OUTPUTS = [
    ("echo $# $0 [$1] [$*]", "0 bash [] []\n"),
    ("echo $LINENO\necho $LINENO", "1\n2\n"),
    ("set -x; echo a; exit 0", "++ echo a\na\n++ exit 0\n"),
    ("set -v\necho a", "echo a\na\n"),
    ("-x", "bash: line 1: -x: command not found\n"),
    ("trap 'echo bye' EXIT; exit 4", "bye\n"),
    ("trap 'echo got $?' EXIT; (exit 6)", "got 6\n"),
    ("trap 'echo bye >&2' EXIT", "bye\n"),
    ("cat <<'X'\n$HOME `x` \\\nX", "$HOME `x` \\\n"),
    ("echo 'a\\' \"b\\\\\"", "a\\ b\\\n"),
    ("echo a;;", "bash: eval: line 1: syntax error near unexpected token `;;'\n"
     "bash: eval: line 1: `echo a;;'\n"),
    ("echo 1\n)", "1\nbash: eval: line 2: syntax error near unexpected token `)'\n"
     "bash: eval: line 2: `)'\n"),
    ("echo '!!' !x", "!! !x\n"),
    ("printf '%s\\n' \"a'b\" 'c\"d' e\\ f $'g\\th'", "a'b\nc\"d\ne f\ng\th\n"),
    ("env | grep -c glmcode", "0\n"),
    ("diff <(echo a) <(echo a) && echo same", "same\n"),
    ("[[ a =~ ^a$ ]] && echo ${BASH_VERSINFO:+bash}", "bash\n"),
    ("shopt -q login_shell || echo no login; [[ $- == *i* ]] || echo not interactive",
     "no login\nnot interactive\n"),
    ("read x; echo \"[$x] $?\"", "[] 1\n"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "printed"), OUTPUTS)
def test_a_command_prints_what_bash_c_would(command: str, printed: str, tmp_path: Path) -> None:
    text = run(command, tmp_path)[0]
    assert text.replace("bash: -x:", "bash: line 1: -x:") == printed


def test_a_command_too_long_for_an_argument_goes_another_way(tmp_path: Path) -> None:
    argv, script = bash_argv("/bin/bash", "x" * LONGEST_ARGUMENT, None)
    assert script is None and argv[-1] == "x" * LONGEST_ARGUMENT
    argv, script = bash_argv("/bin/bash", "é" * (LONGEST_ARGUMENT // 2 + 1), None)
    assert script == ("é" * (LONGEST_ARGUMENT // 2 + 1)).encode() and argv[-1] == ""


def test_no_pager_editor_or_prompt_can_wait() -> None:
    given = {
        "PATH": "/bin",
        "PAGER": "less",
        "GH_PAGER": "less",
        "EDITOR": "vim",
        "BASH_ENV": "/x",
        "SHELLOPTS": "xtrace",
        "SSH_ASKPASS": "/x",
        "GPG_TTY": "/dev/pts/1",
        "KEPT": "1",
    }
    environment = command_environment(given)
    assert environment["PATH"] == "/bin" and environment["KEPT"] == "1"
    for name in ("PAGER", "GIT_PAGER", "MANPAGER", "GH_PAGER", "SYSTEMD_PAGER"):
        assert environment[name] == "cat"
    assert environment["EDITOR"] == environment["VISUAL"] == "false"
    assert environment["GIT_EDITOR"] == "true"
    assert environment["GIT_TERMINAL_PROMPT"] == "0" and environment["GIT_ASKPASS"] == ""
    assert environment["TERM"] == "dumb"
    assert not {"BASH_ENV", "SHELLOPTS", "SSH_ASKPASS", "GPG_TTY"} & environment.keys()
    assert given["PAGER"] == "less"


def test_bash_is_the_first_in_the_path_and_else_where_it_usually_is(tmp_path: Path) -> None:
    mine = tmp_path / "bash"
    mine.write_text("#!/bin/sh\n")
    assert find_bash({"PATH": f"relative:{tmp_path}:/bin"}) == "/bin/bash"
    mine.chmod(0o755)
    assert find_bash({"PATH": f"relative:{tmp_path}:/bin"}) == str(mine)
    assert find_bash({}) == "/bin/bash"
