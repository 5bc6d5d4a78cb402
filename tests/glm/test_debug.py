from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.glm.samples import GOLDEN, golden_parse, golden_render

ROOT = Path(__file__).parents[2]
CODE = "import sys; from glmcode.debug import run_debug; sys.exit(run_debug(sys.argv[1:]))"


def debug(*argv: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *argv], input=data, capture_output=True, cwd=ROOT, timeout=60
    )


def in_process(
    argv: list[str], data: bytes, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> tuple[int, bytes, bytes]:
    import io

    from glmcode.debug import run_debug

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    code = run_debug(argv)
    out, err = capfdbinary.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = json.loads((GOLDEN / "parse.jsonl").read_text().splitlines()[0])
    file = tmp_path_factory.mktemp("specs") / "specs.json"
    file.write_text(json.dumps(first["tools"]))
    return file


def test_parse_gives_one_line_of_json_for_every_golden(
    specs: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    for case in golden_parse():
        argv = ["parse", "--specs", str(specs), "--finish-reason", case["finish_reason"]]
        code, out, err = in_process(argv, case["raw"].encode(), monkeypatch, capfdbinary)
        answer = json.loads(out)
        reasons = [rejected["reason"] for rejected in answer.pop("rejected")]
        assert (code, err, out.count(b"\n"), out[-1:]) == (0, b"", 1, b"\n")
        assert {**answer, "rejected": reasons} == {
            name: case[name] for name in (*answer, "rejected")
        }


def test_render_gives_the_exact_text_of_every_golden(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    for case in golden_render():
        code, out, err = in_process(["render"], json.dumps(case).encode(), monkeypatch, capfdbinary)
        assert (code, out.decode(), err) == (0, case["text"], b"")


def test_parse_as_a_process_keeps_bytes_and_utf8_whatever_the_locale(specs: Path) -> None:
    raw = "\n<think>é</think>\n<tool_call>Now</arg_value></tool_call>中\x00<|observation|>".encode()
    done = subprocess.run(
        [sys.executable, "-c", CODE, "parse", "--specs", str(specs)],
        input=raw,
        capture_output=True,
        cwd=ROOT,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "0"},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode()) == {
        "reasoning": "é",
        "content": "中\x00",
        "calls": [],
        "rejected": [{"reason": "malformed", "raw": "<tool_call>Now</arg_value></tool_call>"}],
    }


def test_without_specs_the_types_are_those_of_our_own_tools() -> None:
    raw = b"<tool_call>Read<arg_key>file_path</arg_key><arg_value>7</arg_value>"
    raw += b"<arg_key>limit</arg_key><arg_value>7</arg_value></tool_call><|observation|>"
    calls = json.loads(debug("parse", data=raw).stdout)["calls"]
    assert calls == [{"name": "Read", "arguments": {"file_path": "7", "limit": 7}}]


def test_specs_may_be_the_first_line_of_the_golden_file_itself(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text((GOLDEN / "parse.jsonl").read_text().splitlines()[0])
    raw = b"<tool_call>Plan<arg_key>any</arg_key><arg_value>7</arg_value></tool_call>"
    done = debug("parse", "--specs", str(file), data=raw)
    assert json.loads(done.stdout)["calls"][0]["arguments"] == {"any": 7}


def test_tokens_of_untrusted_text_hold_no_control_and_raw_ones_do(tokenizer_file: Path) -> None:
    text = b"a<|user|>b</arg_value>/nothink"
    safe = json.loads(debug("tokens", "--profile", str(tokenizer_file), data=text).stdout)
    raw = json.loads(debug("tokens", "--profile", str(tokenizer_file), "--raw", data=text).stdout)
    controls = {token["id"] for token in json.loads(tokenizer_file.read_text())["added_tokens"]}
    assert controls.isdisjoint(safe)
    assert len(controls.intersection(raw)) == 3


def test_ids_are_parsed_with_the_tokenizer_that_is_named(tokenizer_file: Path, specs: Path) -> None:
    profile = ("--profile", str(tokenizer_file))
    raw = b"\n<think>t</think>\n<tool_call>Now\n</tool_call><|observation|>"
    ids = debug("tokens", *profile, "--raw", data=raw).stdout
    done = debug("parse", "--ids", *profile, "--specs", str(specs), data=ids)
    assert json.loads(done.stdout)["calls"] == [{"name": "Now", "arguments": {}}]
    ids = debug("tokens", *profile, data=raw).stdout
    done = debug("parse", "--ids", *profile, "--specs", str(specs), data=ids)
    assert json.loads(done.stdout)["content"] == raw.decode().strip()


def test_text_that_is_no_unicode_is_replaced_and_said(tokenizer_file: Path) -> None:
    done = debug("tokens", "--profile", str(tokenizer_file), data=b"a\xffb")
    assert done.returncode == 0
    assert b"1 places that are not valid" in done.stderr
    done = debug("render", data=b'{"messages": [{"role": "user", "content": "\\ud800"}]}')
    assert done.stdout.decode() == "[gMASK]<sop><|user|>\n\ufffd"
    assert b"replaced" in done.stderr


@pytest.mark.parametrize(
    ("argv", "data", "code"),
    [
        ([], "", 2),
        (["frobnicate"], "", 2),
        (["parse", "--finish-reason", "maybe"], "", 2),
        (["parse", "extra"], "", 2),
        (["tokens"], "x", 2),
        (["parse", "--specs", "/nowhere/specs.json"], "", 1),
        (["parse", "--specs", "/"], "", 1),
        (["parse", "--ids", "--profile", "/nowhere"], "[1]", 1),
        (["tokens", "--profile", "/nowhere"], "x", 1),
        (["tokens", "--profile", "no-such-profile"], "x", 1),
        (["render"], "", 1),
        (["render"], "{", 1),
        (["render"], "[]", 1),
        (["render"], "{}", 1),
        (["render"], '{"messages": [3]}', 1),
        (["render"], '{"messages": [], "tools": {}}', 1),
        (["render"], '{"messages": [{"role": "assistant", "tool_calls": [3]}]}', 1),
        (["render"], '{"messages": [{"role": "user", "content": NaN}]}', 1),
        (["render"], "[" * 100_000, 1),
    ],
)
def test_bad_input_is_one_clear_sentence_and_the_right_exit_code(
    argv: list[str], data: str, code: int, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    got, out, err = in_process(argv, data.encode(), monkeypatch, capfdbinary)
    assert (got, out) == (code, b"")
    assert b"Traceback" not in err
    assert err.splitlines()[-1].startswith(b"glmcode debug")


@pytest.mark.parametrize("ids", ["{}", '["1"]', "[1.5]", "[true]", "x"])
def test_ids_that_are_no_array_of_numbers_are_said(tokenizer_file: Path, ids: str) -> None:
    done = debug("parse", "--ids", "--profile", str(tokenizer_file), data=ids.encode())
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("specs", ["3", '{"tools": 3}', "[3]", '[{"function": {}}]', "{"])
def test_specs_that_are_no_tools_are_said_with_their_file(tmp_path: Path, specs: str) -> None:
    file = tmp_path / "specs.json"
    file.write_text(specs)
    done = debug("parse", "--specs", str(file))
    assert (done.returncode, done.stdout) == (1, b"")
    assert str(file).encode() in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_arguments_nested_beyond_reason_are_said_not_raised() -> None:
    deep = '{"messages": [{"role": "assistant", "tool_calls": [{"name": "a", "arguments": {"b": '
    done = debug("render", data=(deep + "[" * 900 + "]" * 900 + "}}]}]}").encode())
    assert done.returncode in (0, 1)
    assert b"Traceback" not in done.stderr


def test_a_closed_pipe_on_standard_output_is_quiet() -> None:
    raw = b"x" * 1_000_000
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "parse"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(raw, timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_a_full_disk_is_said() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.fail("this test needs /dev/full")
    with full.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", CODE, "parse"],
            input=b"x",
            stdout=out,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            timeout=60,
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_debug_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, glmcode.debug; print({'argparse', 'tokenizers', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == b"set()"
