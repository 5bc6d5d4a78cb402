from __future__ import annotations

import pytest

from glmcode.engine.explain import explain

ERROR = "(EngineCore pid=2) ERROR 11-25 13:11:41 [core.py:1510] "
INFO = "(EngineCore pid=2) INFO 11-25 13:11:41 [core.py:15] "
WARNING = "(Worker_TP3 pid=9) WARNING 11-25 13:11:41 [utils.py:15] "
END = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s)"


@pytest.mark.parametrize(
    "line",
    [
        "OutOfMemoryError: nothing of the kind",
        "CUDA out of memory. Tried to allocate 2 GiB",
        "Free memory on device cuda:0 is less than what would be nice",
        "the prompt is larger than the available KV cache",
        "Cannot find any model weights in the cache, looking at the folder",
        "SafetensorError while it was looked at, tried again",
        "Can't load the configuration of the generation, defaults are taken",
        "torch.compile's cache: [Errno 28] No space left on device",
        "FlashInfer is not installed; skipping its kernels.",
        "FlashInfer backend is not available. Falling back",
        "Selected backend FLASHINFER is not valid for this configuration. Another is taken",
        "No valid attention backend found for the encoder with float32",
        "CUDA driver version is insufficient for graphs",
        "no kernel image is available for fp4, falling back",
        "NCCL error: none so far",
        "World size (8) is larger than the number of available GPUs (4), Ray is used",
        "ModuleNotFoundError: No module named 'tensorflow'",
        "No CUDA GPUs are available in the front end, which is fine",
    ],
)
@pytest.mark.parametrize("level", [INFO, WARNING, "INFO 11-25 13:11:41 [x.py:3] "])
def test_what_vllm_only_remarks_explains_nothing(line: str, level: str) -> None:
    lines = [f"{level}{line}", f"{ERROR}KeyError: 'layers.3.odd'", END]
    failure = explain(lines, 1)
    assert failure.reason == "it ended with exit code 1: 'layers.3.odd'"
    assert not failure.final


@pytest.mark.parametrize(
    "line",
    [
        "host:12:34 [0] NCCL WARN Missing iommu=pt from kernel command line",
        "torch.distributed.DistBackendError: NCCL error in: x.cpp:3, remote process exited",
        "ncclRemoteError: A call failed possibly due to a remote process exiting prematurely.",
        "the user's file says: we ran out of memory last week",
        "Running out of memory is no fault by itself",
        "http://hub/out of memory",
        "the drive is too old-fashioned",
        "larger than the available memory",
        "free memory on the moon: less than requested",
        "No module named in this sentence",
    ],
)
def test_words_that_are_only_like_a_fault_explain_nothing(line: str) -> None:
    failure = explain([line, f"{ERROR}KeyError: 'odd'", END], 1)
    assert failure.reason == "it ended with exit code 1: 'odd'" and not failure.final


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", "of GPU memory"),
        ("torch.AcceleratorError: CUDA error: out of memory", "of GPU memory"),
        ("RuntimeError: Triton Error [CUDA]: out of memory", "of GPU memory"),
        ("host:1:2 [3] NCCL WARN Cuda failure 2 'out of memory'", "of GPU memory"),
        ("RuntimeError: CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY", "of GPU memory"),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: "
            "can't allocate memory: you tried to allocate 68719476736 bytes",
            "the machine's own memory ran out",
        ),
        ("OSError: [Errno 12] Cannot allocate memory", "the machine's own memory ran out"),
        ("RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO", "P2P"),
        ("ncclSystemError: System call (e.g. socket, malloc) failed", "P2P"),
    ],
)
def test_a_fault_is_known_in_each_of_its_forms(line: str, said: str) -> None:
    assert said in explain([line], 1).reason
    assert said in explain([f"{ERROR}{line}", END], 1).reason


def test_no_room_for_the_cache_asks_for_more_of_the_gpus_not_for_less() -> None:
    line = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_util"
    reason = explain([line], 1).reason
    assert "raise gpu_memory" in reason and "lower" not in reason


def test_a_package_that_vllm_got_over_is_not_what_it_lacks() -> None:
    handled = [
        f"{ERROR}ModuleNotFoundError: No module named 'tensorflow'",
        f"{ERROR}",
        f"{ERROR}During handling of the above exception, another exception occurred:",
        f"{ERROR}",
        f"{ERROR}KeyError: 'odd'",
        END,
    ]
    assert explain(handled, 1).reason == "it ended with exit code 1: 'odd'"
    cause = [line.replace("During handling of the above", "The above") for line in handled]
    assert "lacks the package tensorflow" in explain(cause, 1).reason


def test_only_a_want_of_gpu_memory_is_final_for_one_that_was_up() -> None:
    assert explain(["torch.OutOfMemoryError: CUDA out of memory"], 1).memory
    assert not explain(["OSError: [Errno 28] No space left on device"], 1).memory
    assert not explain(["OSError: [Errno 12] Cannot allocate memory"], 1).memory


def test_lines_without_an_end_cost_no_time() -> None:
    import time

    lines = [" ERROR " * 285, "(" * 2000, "Selected backend " + "x" * 1980, "a.b" * 600] * 250
    began = time.monotonic()
    explain(lines, 1)
    assert time.monotonic() - began < 5
