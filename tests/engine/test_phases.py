from __future__ import annotations

import pytest

from glmcode.engine.explain import explain, last_lines, refused_flags
from glmcode.engine.phases import StartTracker

LINES = [
    "(APIServer pid=1) INFO [api_utils.py:286] non-default args: {'model': 'm'}",
    "(EngineCore pid=2) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config",
    "(Worker pid=3) INFO [gpu_model_runner.py:5040] Starting to load model m...",
    "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03,  1.0s/it]",
    "(Worker pid=3) INFO [gpu_model_runner.py:5150] Model loading took 16.6 GiB",
    "(EngineCore pid=2) INFO [kv_cache_utils.py:2327] GPU KV cache size: 158,000 tokens",
    "Capturing CUDA graphs (decode, FULL): 100%|##########| 1/1",
    "(EngineCore pid=2) INFO [core.py:402] init engine (profile, create kv cache, ...) took 9 s",
]


def test_the_phases_follow_the_log() -> None:
    tracker = StartTracker({}, 0.0)
    tracker.enter("importing vLLM", 0.1)
    seen = []
    for second, line in enumerate(LINES, 1):
        tracker.feed(line, float(second))
        seen.append(tracker.words())
    assert seen == [
        "reading the model's configuration",
        "starting the workers",
        "looking for the weights",
        "loading weights (1/4)",
        "compiling",
        "allocating the KV cache",
        "capturing graphs",
        "opening the API",
    ]


def test_a_worker_that_says_it_late_does_not_turn_the_phase_back() -> None:
    tracker = StartTracker({}, 0.0)
    for line in (*LINES, LINES[2]):
        tracker.feed(line, 1.0)
    assert tracker.phase == "opening the API"


def test_without_an_earlier_start_nothing_is_promised() -> None:
    assert StartTracker({}, 0.0).progress(5.0) == (None, None)


def test_percent_and_time_left_come_from_the_last_start() -> None:
    expected = {"importing vLLM": 10.0, "loading weights": 80.0, "opening the API": 10.0}
    tracker = StartTracker(expected, 0.0)
    tracker.enter("importing vLLM", 0.0)
    assert tracker.progress(5.0) == (5.0, 95.0)
    tracker.feed("Loading safetensors checkpoint shards:   0% Completed | 0/4", 20.0)
    assert tracker.progress(20.0) == (10.0, 90.0)
    tracker.feed(LINES[3], 21.0)
    assert tracker.progress(21.0) == (30.0, 70.0)


def test_a_start_that_takes_longer_than_the_last_never_says_it_is_done() -> None:
    tracker = StartTracker({"importing vLLM": 1.0}, 0.0)
    tracker.enter("importing vLLM", 0.0)
    assert tracker.progress(100.0) == (99.0, None)


def test_a_phase_that_is_late_promises_no_seconds_but_a_count_of_files_does() -> None:
    tracker = StartTracker({"importing vLLM": 10.0, "loading weights": 20.0, "compiling": 5.0}, 0.0)
    tracker.enter("importing vLLM", 0.0)
    assert tracker.progress(11.0) == (pytest.approx(100 * 10 / 35), 25.0)
    assert tracker.progress(40.0)[1] is None
    tracker.feed("Loading safetensors checkpoint shards:  10% Completed | 4/40", 40.0)
    assert tracker.progress(140.0)[1] == pytest.approx(100.0 * 36 / 4 + 5.0)
    tracker.feed("Loading safetensors checkpoint shards: 100% Completed | 40/40", 150.0)
    assert tracker.progress(150.0)[1] is None


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    tracker = StartTracker({"importing vLLM": 10.0}, 100.0)
    tracker.enter("importing vLLM", 100.0)
    assert tracker.progress(40.0) == (0.0, 10.0)


def test_the_durations_of_a_start_add_up() -> None:
    tracker = StartTracker({}, 0.0)
    tracker.enter("importing vLLM", 2.0)
    tracker.feed(LINES[1], 5.0)
    took = tracker.durations(9.0)
    assert took == {"looking for vLLM": 2.0, "importing vLLM": 3.0, "starting the workers": 4.0}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "GPU memory"),
        ("ValueError: No available memory for the cache blocks. Try", "raise gpu_memory"),
        ("ValueError: Free memory on device cuda:0 (2/24 GiB) is less than desired", "not enough"),
        ("ValueError: To serve ... larger than the available KV cache memory", "lower the window"),
        ("RuntimeError: Cannot find any model weights with `/m`", "holds no weights"),
        ("safetensors_rust.SafetensorError: Error while deserializing", "damaged"),
        ("huggingface_hub.errors.HFValidationError: Repo id must be", "was not found"),
        ("ModuleNotFoundError: No module named 'flashinfer'", "FlashInfer is not installed"),
        ("ModuleNotFoundError: No module named 'triton'", "lacks the package triton"),
        (
            "ValueError: Selected backend AttentionBackendEnum.FLASHINFER is not valid for this "
            "configuration. Reason: [ImportError: no flashinfer]",
            "FlashInfer is not installed",
        ),
        (
            "ValueError: Selected backend AttentionBackendEnum.FLASH_ATTN is not valid for this "
            "configuration. Reason: ['kv_cache_dtype not supported']",
            "FLASH_ATTN can't do what the profile asks (Reason: ['kv_cache_dtype not supported'])",
        ),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "RuntimeError: The NVIDIA driver on your system is too old (found 11)",
            "update the drive",
        ),
        ("torch.AcceleratorError: CUDA error: no kernel image is available for", "not built for"),
        ("torch.distributed.DistBackendError: NCCL error in: ../ProcessGroup", "NCCL_P2P_DISABLE"),
        (
            "ValueError: World size (8) is larger than the number of available GPUs (4) in this",
            "wants 8 GPUs and vLLM sees 4",
        ),
    ],
)
def test_known_faults_are_told_in_words_and_are_final(line: str, said: str) -> None:
    failure = explain(["before", line, "RuntimeError: Engine core initialization failed."], 1)
    assert said in failure.reason
    assert failure.final


def test_an_unknown_fault_is_told_by_its_root_cause() -> None:
    lines = [
        "(EngineCore pid=2) ERROR 11-25 13:11:41 [core.py:1510] KeyError: 'layers.3.odd'",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    failure = explain(lines, 1)
    assert failure.reason == "it ended with exit code 1: 'layers.3.odd'"
    assert not failure.final


def test_a_refused_setting_is_quoted_without_its_dump() -> None:
    lines = [
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, Sleep mode is not supported. [type=value_error, input_value=Args(())]",
    ]
    assert explain(lines, 1).reason == "it ended with exit code 1: Sleep mode is not supported."


def test_a_killed_engine_is_told_by_its_signal() -> None:
    assert "killed by signal 9" in explain([], -9).reason
    assert "killed by signal 11" in explain([], -11).reason


def test_a_dead_engine_core_is_told_whatever_the_server_s_exit_code_is() -> None:
    lines = ["vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See"]
    assert explain(lines, 0).reason == "its engine core died"
    cause = "(EngineCore pid=2) ERROR 1 [core.py:9] torch.AcceleratorError: CUDA error: illegal"
    assert explain([cause, *lines], 0).reason == "its engine core died: CUDA error: illegal"


def test_flags_that_the_parser_refuses_are_found() -> None:
    line = "api_server.entry: error: unrecognized arguments: --odd 3 --other=4"
    assert refused_flags(["usage: ...", line]) == ["odd", "other"]
    assert refused_flags(["fine"]) == []


def test_the_last_lines_leave_out_noise_and_are_bounded() -> None:
    lines = ["x" * 5000, "", " - leaked function", "Route: /health, Methods: GET", "the end"]
    assert last_lines(lines) == ("x" * 400, "the end")
    assert len(last_lines([str(n) for n in range(100)])) == 12


@pytest.mark.parametrize(
    "line",
    [
        "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:17595. This is "
        "typically caused by a remote worker crashing. Check the logs of the remote worker before",
        "RuntimeError: [gloo/transport/tcp/pair.cc:538] Read error [10.0.0.2]:17595: Connection "
        "reset by peer. This may be caused by a remote worker hanging or bugs in the application. "
        "Check the logs of the remote worker before reporting an error.",
        "DistBackendError: ncclRemoteError: A call failed possibly due to a network",
    ],
)
def test_a_machine_that_left_is_told_with_what_to_run_there(line: str) -> None:
    reason = explain([line, "EngineCore encountered an issue"], 1).reason
    assert "other machines' commands again" in reason and "engine plan" in reason
