"""Which profile is meant when none is named, and what a person is told where there is none.

Apart from the rest of the engine so that the prompt of a session can stand before anything
heavy is imported. Must not import anything of glmcode.
"""

from __future__ import annotations

from pathlib import Path

GPU_PROFILE = "reap-268b-8x3090"
NO_ENGINE = """no engine: this machine has no NVIDIA GPU, and no server is configured.
  connect to a server:    glmcode --base-url http://HOST:PORT/v1 -m MODEL
  see a demonstration:    glmcode demo        (a tiny model on the CPU; no assistant)
  run the engine here:    glmcode --profile NAME, after what the README says under
                          "Use it with the real model\""""


def machine_profile() -> str | None:
    """The profile that is meant when none is named: the big one where NVIDIA GPUs are."""
    return GPU_PROFILE if Path("/proc/driver/nvidia/gpus").is_dir() else None
