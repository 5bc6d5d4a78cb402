"""The command line as a caller meets it: real processes, exit codes, bytes on each stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.cli import COMMANDS
from glmcode.cli_options import UsageError, build_parser, parse_arguments
from glmcode.help_text import HELP

HEAVY = (
    "vllm",
    "torch",
    "openai",
    "rich",
    "git",
    "prompt_toolkit",
    "httpx",
    "asyncio",
    "tokenizers",
)


def run(
    *arguments: str,
    tmp_path: Path,
    stdin: int | None = subprocess.DEVNULL,
    data: str | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GLMCODE_HOME": str(tmp_path / "home"), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "glmcode", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=timeout,
        **({"input": data} if data is not None else {"stdin": stdin}),
    )


def banned(tmp_path: Path, *names: str) -> dict[str, str]:
    folder = tmp_path / "banned"
    folder.mkdir()
    lines = "\n".join(f"sys.modules[{name!r}] = None" for name in names)
    (folder / "sitecustomize.py").write_text(f"import sys\n{lines}\n")
    return {"PYTHONPATH": str(folder)}


def test_every_option_of_the_parser_stands_in_the_help() -> None:
    hidden = {"--dangerously-skip-permissions", "--allowedTools", "--disallowedTools", "--cwd"}
    for action in build_parser()._actions:
        for option in action.option_strings:
            assert option in HELP or option in hidden, option


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_version_and_help_need_nothing_heavy(tmp_path: Path, flag: str) -> None:
    done = run(flag, tmp_path=tmp_path, env=banned(tmp_path, *HEAVY, "argparse", "typing"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("glmcode")


def test_the_plan_of_an_engine_needs_no_engine(tmp_path: Path) -> None:
    env = banned(tmp_path, "vllm", "torch", "openai", "rich", "git")
    done = run("engine", "plan", "--profile", "reap-268b-8x3090", tmp_path=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "--kv-cache-dtype" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-p"], "no prompt"),
        (["-p", "  "], "no prompt"),
        (["-p", "one", "two"], "one prompt"),
        (["-p", "x", "--no-such-flag"], "--no-such-flag"),
        (["-p", "x", "--max-turns", "0"], "at least 1"),
        (["-p", "x", "--max-turns", "many"], "not a whole number"),
        (["-p", "x", "--time-limit", "-3"], "not a time"),
        (["-p", "x", "--time-limit", "nan"], "not a time"),
        (["-p", "x", "--permission-mode", "yes"], "unknown permission mode"),
        (["-p", "x", "--allowed-tools", "Bash("], "'Bash('"),
        (["-p", "x", "--disallowed-tools", "Raed"], "did you mean Read"),
        (["-p", "x", "--base-url", "localhost:8000"], "http://"),
        (["-p", "x", "--base-url", "http://"], "is not a server's"),
        (["-p", "x", "--base-url", "http://127.0.0.1:99999/v1"], "Port out of range"),
        (["-p", "x", "--base-url", "http://me:key@127.0.0.1/v1"], "--api-key-env"),
        (["-p", "x", "-C", ""], "empty name"),
        (["-p", "x", "--add-dir", ""], "empty name"),
        (["-p", "x", "--profile", "a", "--base-url", "http://x"], "exclude each other"),
        (["-p", "x", "--set", "nonsense"], "KEY=VALUE"),
        (["-p", "x", "--set", "tools.reslt_chars=1"], "did you mean"),
        (["-p", "x", "-C", "no/such/folder"], "no such folder"),
        (["-p", "x", "-o", "no/such/folder/file"], "not a file"),
        (["-p", "x", "-y", "--permission-mode", "plan"], "different things"),
        (["-p", "x", "--profile", "tinny"], "tiny"),
        (["-p", "x", "--base-url", "http://x", "--api-key-env", "NO_SUCH_VARIABLE"], "not set"),
        (["-p", "x", "--output-format", "xml"], "xml"),
        (["-p", "x", "--input-format", "stream-json"], "--output-format stream-json"),
        (["-p", "x", "--disallowed-tools", ""], "nothing to deny"),
        (["batch"], "FILE"),
        (["hello"], "no terminal"),
    ],
)
def test_a_wrong_call_is_a_usage_error_with_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = run(*arguments, tmp_path=tmp_path)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_an_engine_or_a_server_three_lines_say_what_to_do(tmp_path: Path) -> None:
    done = run("-p", "hello", "--output-format", "json", tmp_path=tmp_path)
    assert done.returncode == 75
    assert "glmcode demo" in done.stderr and "--base-url" in done.stderr
    result = json.loads(done.stdout)
    assert (result["type"], result["is_error"]) == ("result", True)


def test_an_open_but_silent_stdin_is_ignored_after_a_second(tmp_path: Path) -> None:
    read, write = os.pipe()
    try:
        done = run("-p", "hello", tmp_path=tmp_path, stdin=read, timeout=30)
    finally:
        os.close(read)
        os.close(write)
    assert "open but silent" in done.stderr
    assert done.returncode == 75


def test_a_prompt_after_two_dashes_may_look_like_anything(tmp_path: Path) -> None:
    done = run("-p", "--", "--help", tmp_path=tmp_path)
    assert done.returncode == 75, done.stdout


def test_a_deleted_working_directory_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r});"
        "os.execv(sys.executable, [sys.executable, '-m', 'glmcode', '-p', 'x'])"
    )
    env = {**os.environ, "GLMCODE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert "working directory is gone" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        *(("debug", "parse"), ("demo",), ("engine", "plan"), ("engine", "status"), ("map", "a")),
        *(("sessions", "list"), ("sessions", "show", "a"), ("undo", "1"), ("clean",)),
    ],
)
def test_an_argument_that_is_not_known_acts_on_no_terminal(words: tuple[str, ...]) -> None:
    evil = "x\x1b]52;c;ZXZpbA==\x07\u202e"
    argv = [sys.executable, "-m", "glmcode", *words, evil, f"--{evil}"]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL)
    assert done.returncode == 2, done.stderr
    assert "x␛]52;c;ZXZpbA==␇<U+202E>" in done.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + done.stderr)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_tells_its_own_help_in_both_ways(command: str) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-m", "glmcode", *words], capture_output=True, text=True, timeout=60
        )
        for words in ((command, "--help"), ("help", command))
    ]
    assert [one.returncode for one in told] == [0, 0]
    assert told[0].stdout == told[1].stdout and f"glmcode {command}" in told[0].stdout
    assert told[0].stdout.startswith("usage: ")


def test_help_of_a_command_s_command_is_told_and_of_what_there_is_not_is_refused() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-m", "glmcode", *words], capture_output=True, text=True, timeout=60
        )
        for words in (("help", "config", "set"), ("config", "set", "--help"), ("help", "kyes"))
    ]
    assert [one.returncode for one in told] == [0, 0, 2]
    assert told[0].stdout == told[1].stdout and "usage: glmcode config set" in told[0].stdout
    assert "nothing is called 'kyes'" in told[2].stderr and not told[2].stdout


def test_a_system_prompt_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.md"
    file.write_bytes("\ufeffBe brief: é.\n\n".encode())
    told = parse_arguments(["-p", "x", "--append-system-prompt-file", str(file)])
    assert (told.append_system_prompt, told.system_prompt) == ("Be brief: é.", None)
    told = parse_arguments(["-p", "x", f"--system-prompt-file={file}"])
    assert told.system_prompt == "Be brief: é."


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (None, [], "words.md"),
        (b" \n", [], "is empty"),
        (b"\xff\xfe", [], "no text in UTF-8"),
        (b"a", ["--append-system-prompt", "b"], "exclude each other"),
        (b"a" * ((1 << 20) + 1), [], "cannot be read"),
    ],
)
def test_a_system_prompt_file_that_cannot_be_used_is_said(
    tmp_path: Path, content: bytes | None, words: list[str], said: str
) -> None:
    file = tmp_path / "words.md"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        parse_arguments(["-p", "x", "--append-system-prompt-file", str(file), *words])
