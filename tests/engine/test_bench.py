from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.engine.bench import MARGIN, Bench, BenchError, Depth, Report, Sample, as_markdown
from glmcode.engine.endpoint import Endpoint, address_of
from glmcode.engine.http import HttpTransport
from glmcode.glm.tokenizer import GlmTokenizer
from tests.conftest import ROOT, TinyEngine
from tests.fake_engine import FakeEngine, Reply

TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"


def bench(engine: FakeEngine, window: int, depths: tuple[int, ...], runs: int = 2) -> Report:
    async def main() -> Report:
        transport = HttpTransport(address_of(Endpoint(base_url=engine.base_url)), {})
        tokenizer = GlmTokenizer.load(TOKENIZER)
        try:
            return await Bench(transport, "glm", tokenizer, window, lambda line: None).run(
                depths, runs
            )
        finally:
            await transport.close()

    return asyncio.run(main())


def test_every_depth_is_asked_cold_then_warm_then_with_another_session_in_between() -> None:
    with FakeEngine([Reply(text="a b c d", times=50)], tokenizer=TOKENIZER) as engine:
        report = bench(engine, 16_384, (100, 300), runs=2)
    prompts = [seen.json["token_ids"] for seen in engine.requests]
    counts = [seen.json["sampling_params"]["max_tokens"] for seen in engine.requests]
    assert [len(p) for p in prompts] == [64, *[100] * 4, *[300] * 4, 100, 100, 132, 300, 300, 332]
    assert counts[1:5] == [1, 64, 1, 64]
    assert prompts[1] == prompts[2] and prompts[3] == prompts[4] and prompts[1] != prompts[3]
    assert prompts[11][:100] == prompts[9] and prompts[10] != prompts[9]
    assert all(seen.json["sampling_params"]["ignore_eos"] for seen in engine.requests)
    assert [one.depth_tokens for one in report.depths] == [100, 300]
    assert all(one.first_token_cold_s > 0 for one in report.depths)
    assert "| 300 |" in as_markdown(report, {"profile": "x"})


def test_what_the_window_does_not_hold_is_said_and_left_out() -> None:
    with FakeEngine([Reply(text="a b", times=50)], tokenizer=TOKENIZER) as engine:
        report = bench(engine, 1_000, (200, 5_000), runs=1)
        assert [one.depth_tokens for one in report.depths] == [200]
        assert report.skipped == ("5,000 tokens: the window is 1,000",)
        with pytest.raises(BenchError, match="too small"):
            bench(engine, MARGIN, (200,))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=404, body='{"detail": "Not Found"}', framing="length"), "answered 404"),
        (Reply(status=500, html=True), "answered 500"),
        (Reply(text="a b c", cut_after_bytes=40), "broke off"),
    ],
)
def test_an_engine_that_cannot_be_measured_says_why(reply: Reply, said: str) -> None:
    with (
        FakeEngine([reply], tokenizer=TOKENIZER) as engine,
        pytest.raises(BenchError, match=said),
    ):
        bench(engine, 16_384, (100,))


@pytest.mark.parametrize("words", [("--depths", "x"), ("--depths", "0"), ("--runs", "0")])
def test_a_wrong_option_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "glmcode", "engine", "bench", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.engine
@pytest.mark.xdist_group("engine")
def test_a_real_engine_is_measured_and_its_cache_is_seen(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "glmcode", "engine", "bench", "--profile", "tiny"]
    done = subprocess.run(
        [*command, "--depths", "600,2000", "--runs", "1", "--json", "-o", str(tmp_path)],
        env={**os.environ, "GLMCODE_HOME": str(tiny_engine.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads((tmp_path / "bench.json").read_text())
    assert "| 2,000 |" in (tmp_path / "bench.md").read_text()
    assert figures["profile"] == "tiny" and figures["load_s"] > 0
    small, large = figures["depths"]
    assert large["first_token_cold_s"] > large["first_token_warm_s"]
    assert small["warm_cached_tokens"] >= 512 and large["decode_tokens_per_s"] > 1
    assert figures["switches"][0]["kept"] is True, "the tiny engine has room for both"


def test_what_comes_at_once_has_no_speed_and_waiting_is_not_taken_for_reading() -> None:
    async def main() -> tuple[Sample, float]:
        body = 'data: {"choices": [{"token_ids": [7]}]}\n\n' * 64 + "data: [DONE]\n\n"
        head = f"x-glmcode-engine: e served=1 block=16 queued=100.5\r\ncontent-length: {len(body)}"

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}".encode())

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = HttpTransport(address_of(Endpoint(base_url=f"http://127.0.0.1:{port}")), {})
        asked = Bench(transport, "glm", GlmTokenizer.load(TOKENIZER), 16_384, lambda line: None)
        sample = await asked.ask([1, 2, 3], 64)
        await transport.close()
        server.close()
        return sample, asked._waited

    sample, waited = asyncio.run(main())
    assert (sample.tokens, sample.later) == (64, 0)
    assert sample.queue_s == waited == 100.5 and sample.first_s == 0.0
    report = Report(
        depths=(
            Depth(
                depth_tokens=8,
                first_token_cold_s=1.0,
                first_token_warm_s=0.1,
                prefill_tokens_per_s=8.0,
                decode_tokens_per_s=0.0,
                warm_cached_tokens=None,
            ),
        ),
        switches=(),
        waited_s=waited,
    )
    table = as_markdown(report, {})
    assert "not measured" in table and "100.5 s were waited" in table


def test_the_engine_s_own_clock_tells_how_fast_it_writes() -> None:
    metrics = {"generation_time_ms": 2_000.0, "queue_time_ms": 500.0, "mean_itl_ms": None}
    events = [{"choices": [{"token_ids": [7, 8]}]}] * 32
    events.append({"choices": [{"token_ids": [], "finish_reason": "length"}], "metrics": metrics})
    with FakeEngine([Reply(events=events, times=50)], tokenizer=TOKENIZER) as engine:
        report = bench(engine, 16_384, (100,), runs=1)
    assert report.depths[0].decode_tokens_per_s == 31.5  # 63 tokens after the first, in 2 s
    assert report.waited_s == 0.5 * len(engine.requests)


@pytest.mark.parametrize("odd", [None, "1", -1, float("nan"), 1e300, True, [1]])
def test_metrics_that_cannot_be_count_as_not_told(odd: object) -> None:
    events = [{"choices": [{"token_ids": [7]}], "metrics": {"generation_time_ms": odd}}] * 4
    with FakeEngine([Reply(events=events, times=50)], tokenizer=TOKENIZER) as engine:
        report = bench(engine, 16_384, (100,), runs=1)
    assert 0 <= report.depths[0].decode_tokens_per_s < 1e7
    json.dumps(report.to_json(), allow_nan=False)


def test_a_profile_that_is_a_server_elsewhere_is_not_measured_and_never_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "config" / "profiles").mkdir(parents=True)
    (tmp_path / "config" / "profiles" / "far.toml").write_text('base_url = "http://h/v1"\n')
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "engine", "bench", "--profile", "far"],
        env={**os.environ, "GLMCODE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "somebody else runs (http://h/v1)" in done.stderr
    assert not (tmp_path / "state").exists()
