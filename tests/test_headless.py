"""Headless runs as real processes against a scripted server: streams, exit codes, files."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from glmcode.sessions import fold_messages
from tests.fake_engine import FakeEngine, Reply

READ = {"name": "Read", "arguments": {"file_path": "a.py"}}
EDIT = {
    "name": "Edit",
    "arguments": {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"},
}
JOB = [Reply(reasoning="look", calls=[READ]), Reply(calls=[EDIT]), Reply(text="Done: é.")]


class Headless:
    """Runs `glmcode -p` in a folder with one file."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.work = tmp_path / "work"
        self.work.mkdir()
        (self.work / "a.py").write_bytes(b"x = 1\n")
        self.environment = {**os.environ, "GLMCODE_HOME": str(self.home)}

    def command(self, engine: FakeEngine | None, *arguments: str) -> list[str]:
        server = (
            ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"] if engine else []
        )
        return [sys.executable, "-m", "glmcode", "-p", *server, *arguments]

    def run(
        self, engine: FakeEngine | None, *arguments: str, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        given = {"stdin": subprocess.DEVNULL, "env": self.environment, "timeout": 60, **options}
        if "input" in given:
            del given["stdin"]
        given.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            self.command(engine, *arguments),
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.work,
            **given,
        )

    def start(self, engine: FakeEngine, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(engine, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.work,
            env=self.environment,
        )

    def journals(self) -> list[Path]:
        return sorted((self.home / "state" / "sessions").rglob("*.jsonl"))


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    return Headless(tmp_path)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_stream_json_begins_with_init_tells_every_message_and_ends_with_result(
    headless: Headless,
) -> None:
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "-y", "--output-format", "stream-json")
    assert done.returncode == 0, done.stderr
    told = lines(done.stdout)
    assert [line["type"] for line in told] == [
        "system", "assistant", "user", "assistant", "user", "assistant", "result",
    ]  # fmt: skip
    init, first, result = told[0], told[1], told[-1]
    assert init["subtype"] == "init" and init["permissionMode"] == "bypassPermissions"
    assert init["tools"][0] == "Read" and len(init["tools"]) == 9
    kinds = [block["type"] for block in first["message"]["content"]]
    assert kinds == ["thinking", "tool_use"]
    call, answer = first["message"]["content"][1], told[2]["message"]["content"][0]
    assert answer["tool_use_id"] == call["id"] and answer["content"].startswith("1\tx = 1")
    assert result["subtype"] == "success" and result["is_error"] is False
    assert result["result"] == "Done: é." and result["num_turns"] == 3
    assert {"input_tokens", "cache_read_input_tokens", "output_tokens"} == set(result["usage"])
    sums = {"requests", "prompt_tokens", "cached_tokens", "expected_tokens", "again_tokens"}
    sums |= {"again_s", "causes", "preamble"}
    assert {"queue_s", "prefill_s", "decode_s", "cache_hit"} | sums == set(result["engine"])
    assert len({line["session_id"] for line in told}) == 1
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"


def test_json_is_the_result_alone_on_one_line(headless: Headless) -> None:
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "-y", "--output-format", "json")
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["type"] == "result"


def test_text_is_the_last_message_and_one_newline_in_utf8_whatever_the_locale(
    headless: Headless,
) -> None:
    headless.environment |= {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"}
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "-y")
    assert (done.returncode, done.stdout) == (0, "Done: é.\n")


def test_partial_messages_come_only_when_asked_for(headless: Headless) -> None:
    with FakeEngine([Reply(text="one two three", chunk=4)]) as engine:
        done = headless.run(
            engine, "go", "--output-format", "stream-json", "--include-partial-messages"
        )
    events = [line["event"] for line in lines(done.stdout) if line["type"] == "stream_event"]
    assert "".join(event["delta"]["text"] for event in events) == "one two three"


def test_an_action_that_needs_an_answer_is_denied_the_turn_goes_on_and_the_code_is_3(
    headless: Headless,
) -> None:
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "--output-format", "json")
    result = json.loads(done.stdout)
    assert done.returncode == 3
    assert (result["subtype"], result["is_error"]) == ("success", False)
    assert result["permission_denials"][0]["tool_name"] == "Edit"
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"
    assert "--allowed-tools" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "content"),
    [
        (["--permission-mode", "acceptEdits"], 0, b"x = 2\n"),
        (["--permission-mode", "plan"], 0, b"x = 1\n"),
        (["--permission-mode", "dontAsk"], 3, b"x = 1\n"),
        (["--permission-mode", "bypassPermissions"], 0, b"x = 2\n"),
        (["--permission-mode", "default", "--allowed-tools", "Edit(*.py)"], 0, b"x = 2\n"),
        (["-y", "--disallowed-tools", "Edit"], 0, b"x = 1\n"),
        (["--allowed-tools", "Read,Edit(**)"], 0, b"x = 2\n"),
    ],
)
def test_each_mode_and_rule_decides_what_happens_to_the_file(
    headless: Headless, arguments: list[str], code: int, content: bytes
) -> None:
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", *arguments)
    assert done.returncode == code, done.stderr
    assert (headless.work / "a.py").read_bytes() == content


def test_the_step_budget_ends_with_53(headless: Headless) -> None:
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "-y", "--max-turns", "2", "--output-format", "json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["subtype"]) == (53, "error_max_turns")
    assert result["is_error"] is True and result["num_turns"] == 2


def test_the_time_budget_ends_with_53_wherever_the_run_is(headless: Headless) -> None:
    with FakeEngine([Reply(text="late", delay=60)]) as engine:
        started = time.monotonic()
        done = headless.run(engine, "go", "--time-limit", "2", "--output-format", "json")
        took = time.monotonic() - started
    assert (done.returncode, json.loads(done.stdout)["subtype"]) == (53, "error_time_limit")
    assert took < 10


def test_the_time_budget_kills_a_running_command(headless: Headless) -> None:
    bash = {"name": "Bash", "arguments": {"command": "echo begun; sleep 555"}}
    with FakeEngine([Reply(calls=[bash])]) as engine:
        done = headless.run(
            engine, "go", "-y", "--time-limit", "10", "--output-format", "stream-json"
        )
    assert done.returncode == 53
    told = lines(done.stdout)
    assert "begun" in told[-2]["message"]["content"][0]["content"]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 555" not in listed


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_keeps_what_was_said_and_the_result_is_still_the_last_line(
    headless: Headless, number: signal.Signals, code: int
) -> None:
    reply = Reply(text="one two three four", chunk=4, gap=0.01, hang_after_events=4)
    with FakeEngine([reply]) as engine:
        process = headless.start(
            engine, "go", "--output-format", "stream-json", "--include-partial-messages"
        )
        assert process.stdout is not None
        while "stream_event" not in process.stdout.readline():
            pass
        time.sleep(0.3)
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert process.returncode == code, errors
    result = lines(rest)[-1]
    assert (result["type"], result["subtype"]) == ("result", "interrupted")
    assert result["is_error"] is True
    assert "Traceback" not in errors
    kept = fold_messages(headless.journals()[0])[-1]
    assert kept.text.startswith("one")


def test_an_unreachable_server_is_75_with_one_sentence(headless: Headless) -> None:
    with FakeEngine([]) as engine:
        base_url = engine.base_url
    arguments = ["go", "--base-url", base_url, "--protocol", "chat", "-m", "x"]
    done = headless.run(None, *arguments, "--time-limit", "40", "--output-format", "json")
    assert done.returncode == 75, done.stderr
    assert json.loads(done.stdout)["is_error"] is True
    assert "refused" in done.stderr.lower() and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(status=401), 1),
        (Reply(status=404), 1),
        (Reply(status=400), 1),
        (Reply(html=True), 1),
        (Reply(text="half", finish="", no_done=True), 1),
        (Reply(error_line={"message": "boom", "code": 500}, text="some text here"), 1),
        (Reply(calls=[EDIT], cut_after_events=2, times=9), 75),
    ],
)
def test_a_server_that_fails_never_ends_in_success_or_a_traceback(
    headless: Headless, reply: Reply, code: int
) -> None:
    with FakeEngine([reply] * 9) as engine:
        done = headless.run(engine, "go", "-y", "--output-format", "json")
    assert done.returncode != 0
    assert done.returncode in (code, 75), done.stderr
    assert json.loads(done.stdout)["is_error"] is True
    assert "Traceback" not in done.stderr + done.stdout
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"


def test_a_closed_stdout_is_said_on_stderr_and_nothing_is_lost(headless: Headless) -> None:
    with FakeEngine([*JOB[:2], Reply(text="slow", delay=1.0)]) as engine:
        process = headless.start(engine, "go", "-y", "--output-format", "stream-json")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=20)
    assert process.returncode == 1
    assert "standard output" in errors and "Traceback" not in errors
    assert len(fold_messages(headless.journals()[0])) >= 2


def test_a_full_disk_under_stdout_is_an_error(headless: Headless) -> None:
    with FakeEngine([Reply(text="hello")]) as engine, Path("/dev/full").open("w") as full:
        done = headless.run(engine, "go", stdout=full)
    assert done.returncode == 1
    assert "stdout" in done.stderr and "Traceback" not in done.stderr


def test_a_journal_that_cannot_be_made_is_an_error_before_anything_runs(
    headless: Headless,
) -> None:
    headless.home.mkdir()
    (headless.home / "state").write_text("a file where a folder should be")
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "-y", "--output-format", "json")
        assert engine.steps == []
    assert done.returncode == 1
    assert "journal" in json.loads(done.stdout)["error"]


def test_piped_input_follows_the_prompt_and_a_dash_reads_the_prompt(headless: Headless) -> None:
    with FakeEngine([Reply(text="a"), Reply(text="b"), Reply(text="c")]) as engine:
        headless.run(engine, "explain", input="the log\n")
        headless.run(engine, "-", input="from stdin\n")
        headless.run(engine, input="from stdin alone\n")
        prompts = [step.json["messages"][-1]["content"] for step in engine.steps]
    assert [prompt.split("\n\n", 1)[1] for prompt in prompts] == [
        "explain\n\nthe log",
        "from stdin",
        "from stdin alone",
    ]


def test_the_last_message_is_also_written_to_a_file(headless: Headless) -> None:
    with FakeEngine([Reply(text="hello é")]) as engine:
        done = headless.run(engine, "go", "-o", "out.txt")
    assert done.stdout == "hello é\n"
    assert (headless.work / "out.txt").read_text(encoding="utf-8") == "hello é\n"


def test_the_key_reaches_the_server_and_never_a_command(headless: Headless) -> None:
    headless.environment["MY_KEY"] = "s3cr3t"
    bash = {
        "name": "Bash",
        "arguments": {"command": "env; cat /proc/$PPID/environ | tr '\\0' '\\n'"},
    }
    with FakeEngine([Reply(calls=[bash]), Reply(text="ok")]) as engine:
        done = headless.run(
            engine, "go", "-y", "--api-key-env", "MY_KEY", "--output-format", "stream-json"
        )
        assert engine.steps[0].headers["authorization"] == "Bearer s3cr3t"
    assert done.returncode == 0
    assert "s3cr3t" not in done.stdout + done.stderr
    assert all("s3cr3t" not in path.read_text() for path in headless.journals())


def test_without_a_key_no_authorization_is_sent(headless: Headless) -> None:
    headless.environment["OPENAI_API_KEY"] = "not for this server"
    with FakeEngine([Reply(text="ok")]) as engine:
        headless.run(engine, "go")
        assert "not for this server" not in str(engine.steps[0].headers)


def test_messages_only_grow_over_a_turn_and_the_tools_never_change(headless: Headless) -> None:
    with FakeEngine(JOB) as engine:
        headless.run(engine, "go", "-y")
        assert [step.grows for step in engine.steps] == [None, True, True]
        bodies = [step.json for step in engine.steps]
    assert all(body["tools"] == bodies[0]["tools"] for body in bodies)
    assert len(json.dumps(bodies[0])) < 10_000


def test_the_first_request_is_the_first_thing_the_server_hears(headless: Headless) -> None:
    with FakeEngine([Reply(text="ok")]) as engine:
        headless.run(engine, "go")
        assert [request.path for request in engine.requests] == ["/v1/chat/completions"]


def test_no_file_of_the_caller_is_left_open_or_changed_by_a_plain_answer(
    headless: Headless,
) -> None:
    with FakeEngine([Reply(text="ok")]) as engine:
        headless.run(engine, "go")
    assert sorted(path.name for path in headless.work.iterdir()) == ["a.py"]


FORMATS = ["stream-json", "json", "text"]


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize(
    "wrong",
    [
        ["-p"],
        ["-p", "go", "--nope"],
        ["-p", "go", "--max-turns", "0"],
        ["-p", "go", "--allowed-tools", "Bash("],
        ["-p", "go", "-o", "x" * 300],
        ["-p", "go", "-o", "~nobody-of-that-name/x"],
        ["-p", "go", "-C", "/does/not/exist"],
    ],
    ids=lambda words: words[-2][:15] if len(words) > 2 else "no prompt",
)
def test_a_usage_error_is_told_as_a_result_too(
    headless: Headless, wrong: list[str], output: str
) -> None:
    command = [sys.executable, "-m", "glmcode", *wrong, "--output-format", output]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        cwd=headless.work,
        env=headless.environment,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("glmcode: ") and "Traceback" not in done.stderr
    told = lines(done.stdout)
    kinds = {"stream-json": ["system", "result"], "json": ["result"], "text": []}[output]
    assert [line["type"] for line in told] == kinds
    if told:
        assert told[-1]["is_error"] and told[-1]["subtype"] == "error_during_execution"
        assert told[-1]["result"] in done.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_while_standard_input_is_read_ends_in_a_result(
    headless: Headless, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "glmcode", "-p", "-", "--output-format", "stream-json"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=headless.work,
        env=headless.environment,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("a prompt that goes on")
        process.stdin.flush()
        while not _waits_for_input(process.pid):
            time.sleep(0.02)
        process.send_signal(number)
        told = lines(process.stdout.read())
        assert process.wait(30) == code
    assert told[-1]["type"] == "result" and told[-1]["subtype"] == "interrupted"


def _waits_for_input(pid: int) -> bool:
    loaded = Path(f"/proc/{pid}/wchan").read_text()
    return "select" in loaded or "poll" in loaded


def test_the_time_limit_counts_while_standard_input_drips(headless: Headless) -> None:
    drip = "for i in $(seq 100); do echo x; sleep 0.2; done | "
    command = f"{sys.executable} -m glmcode -p --time-limit 3 --output-format stream-json"
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", drip + command],
        capture_output=True,
        encoding="utf-8",
        cwd=headless.work,
        env=headless.environment,
    )
    assert time.monotonic() - began < 60
    assert done.returncode == 53
    assert lines(done.stdout)[-1]["subtype"] == "error_time_limit"


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "<&- >&-"])
def test_no_file_of_ours_takes_the_place_of_a_closed_stdout(
    headless: Headless, closed: str
) -> None:
    with FakeEngine(JOB) as engine:
        words = headless.command(engine, "go", "-y", "--output-format", "stream-json")
        done = subprocess.run(
            ["bash", "-c", f'exec "$@" {closed}', "bash", *words],
            cwd=headless.work,
            env=headless.environment,
            timeout=60,
        )
        bodies = [step.json["messages"] for step in engine.steps]
    assert done.returncode == 1
    assert all(body[0]["role"] == "system" for body in bodies)
    for journal in headless.journals():
        assert '"type": "system"' not in journal.read_text()


def test_a_closed_stderr_swallows_what_was_meant_for_it_and_nothing_else(
    headless: Headless,
) -> None:
    with FakeEngine(JOB) as engine:
        words = headless.command(engine, "go", "-y", "--output-format", "stream-json")
        done = subprocess.run(
            ["bash", "-c", 'exec "$@" <&- 2>&-', "bash", *words],
            stdout=subprocess.PIPE,
            cwd=headless.work,
            env=headless.environment,
            timeout=60,
        )
    assert done.returncode == 0
    assert lines(done.stdout.decode())[-1]["subtype"] == "success"
    assert "Edit:" not in headless.journals()[0].read_text()


def test_no_character_of_an_answer_breaks_its_line(headless: Headless) -> None:
    text = "a\u2028b\u2029c\x85d\x0be"
    with FakeEngine([Reply(text=text)]) as engine:
        done = headless.run(engine, "go", "--output-format", "json")
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["result"] == text


def test_a_stopped_run_does_not_wait_for_a_reader_that_takes_nothing(headless: Headless) -> None:
    with FakeEngine([Reply(text="z" * 400_000, chunk=8_000)]) as engine:
        process = headless.start(engine, "go", "--output-format", "stream-json")
        deadline = time.monotonic() + 60
        while not engine.steps or engine.steps[0].answered is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_a_pipe_that_nobody_reads_is_no_file_for_the_last_message(headless: Headless) -> None:
    os.mkfifo(headless.work / "fifo")
    with FakeEngine(JOB) as engine:
        done = headless.run(engine, "go", "-y", "-o", "fifo")
    assert done.returncode == 1
    assert "fifo cannot be written" in done.stderr


def test_a_hangup_that_the_caller_ignores_is_ignored(headless: Headless) -> None:
    with FakeEngine([Reply(text="slow " * 8, gap=0.2)]) as engine:
        words = headless.command(engine, "go", "--output-format", "json")
        process = subprocess.Popen(
            ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=headless.work,
            env=headless.environment,
        )
        while not engine.steps:
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        told, _ = process.communicate(timeout=60)
    assert json.loads(told)["subtype"] == "success"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_breaks_off_nothing(headless: Headless, number: signal.Signals) -> None:
    command = "trap '' TERM INT HUP; touch begun; sleep 47.12; sleep 47.13"
    call = {"name": "Bash", "arguments": {"command": command}}
    with FakeEngine([Reply(calls=[call]), Reply(text="ok")]) as engine:
        process = headless.start(engine, "go", "-y", "--output-format", "stream-json")
        while not (headless.work / "begun").exists():
            time.sleep(0.01)
        for _ in range(3):
            process.send_signal(number)
            time.sleep(0.02)
        told, _ = process.communicate(timeout=60)
    assert [line["type"] for line in lines(told)] == ["system", "assistant", "user", "result"]
    kinds = [type(message).__name__ for message in fold_messages(headless.journals()[0])]
    assert kinds == ["UserMessage", "AssistantMessage", "ToolMessage"]
    deadline = time.monotonic() + 5
    while b"47.12" in subprocess.run(["ps", "ax"], stdout=subprocess.PIPE).stdout:
        assert time.monotonic() < deadline, "a command outlived the run"
        time.sleep(0.05)


def test_a_mention_in_the_prompt_is_read_and_told_on_stderr_and_one_in_the_pipe_is_not(
    headless: Headless,
) -> None:
    (headless.work / "b.py").write_bytes(b"y = 2\n")
    with FakeEngine([Reply(text="ok")]) as engine:
        done = headless.run(engine, "explain @a.py", input="piped @b.py\n")
        (request,) = engine.steps
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert done.stderr.splitlines().count("@a.py: read, 1 line") == 1
    text = request.json["messages"][-1]["content"]
    assert text.endswith(
        "\n\nexplain @a.py\n\npiped @b.py\n\n"
        "[@a.py, as mentioned above]\n1\tx = 1\n[lines 1-1 of 1]"
    )


def test_instructions_are_in_the_request_unless_they_are_left_out(headless: Headless) -> None:
    (headless.work / "AGENTS.md").write_bytes(b"use tabs\n")
    systems = []
    for flags in ((), ("--no-instructions",), ("--set", "context.instructions=false")):
        with FakeEngine([Reply(text="ok")]) as engine:
            assert headless.run(engine, "go", *flags).returncode == 0
            systems.append(engine.steps[0].json["messages"][0]["content"])
    assert "use tabs" in systems[0]
    assert systems[1] == systems[2] and "use tabs" not in systems[1]


def test_too_few_open_files_are_said_as_what_they_are(headless: Headless) -> None:
    with FakeEngine(JOB) as engine:
        done = headless.run(
            engine,
            "go",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),
        )
    assert done.returncode == 1
    assert "ulimit -n" in done.stderr and "Traceback" not in done.stderr
    assert "a fault in glmcode" not in done.stderr


def test_a_workspace_that_a_command_moved_away_is_said_in_words(headless: Headless) -> None:
    move = {"name": "Bash", "arguments": {"command": "mv ../work ../gone"}}
    then = {"name": "Bash", "arguments": {"command": "touch new"}}
    with FakeEngine([Reply(calls=[move]), Reply(calls=[then]), Reply(text="End.")]) as engine:
        done = headless.run(engine, "go", "-y")
    assert done.returncode == 1
    assert "the workspace can't be looked at" in done.stderr
    assert "[Errno" not in done.stderr and "No such file or directory" in done.stderr


def test_a_profile_may_be_a_server_that_somebody_else_runs(headless: Headless) -> None:
    look = {"name": "Bash", "arguments": {"command": "echo the word is [$THERE_WORD]"}}
    with FakeEngine([Reply(calls=[look]), Reply(text="from there")]) as engine:
        folder = headless.home / "config" / "profiles"
        folder.mkdir(parents=True)
        text = f'base_url = "{engine.base_url}"\nprotocol = "chat"\napi_key_env = "THERE_WORD"\n'
        (folder / "there.toml").write_text(text)
        command = [sys.executable, "-m", "glmcode", "-p", "hi", "-y", "--profile", "there"]
        environment = {**headless.environment, "THERE_WORD": "secret-1"}
        done = subprocess.run(
            command, cwd=headless.work, env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, "from there\n"), done.stderr
        asked = json.dumps([seen.body for seen in engine.steps], default=str)
        assert "the word is []" in asked and "secret-1" not in asked
        keyless = subprocess.run(
            command, cwd=headless.work, env=headless.environment, capture_output=True, text=True
        )
        assert keyless.returncode == 2 and "THERE_WORD" in keyless.stderr
    assert not (headless.home / "state" / "run").exists()
