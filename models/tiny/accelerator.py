"""Training on one accelerator: processes make batches, the device computes the gradients.

`make tiny` needs none of this; where a GPU is at hand, `--device cuda` sees many times the
tokens in minutes. Has the shape of train.Gradients, so that one loop drives both.
"""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, multiprocessing

from models.tiny.batches import Batch, Source
from models.tiny.model import TinyGLM
from models.tiny.vocabulary import Codec

WAITING = 12
LOOK = 20
Losses = Callable[[TinyGLM, Batch], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a step did; the losses are those of the last step that was looked at."""

    worker: int
    tokens: int
    loss: float
    written: float


class OnDevice:
    """Gradients of one batch after another, straight into the model's parameters."""

    def __init__(
        self, model: TinyGLM, out: Path, batch: int, makers: int, seed: int, losses: Losses
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._model = model
        self._losses = losses
        self._device = next(model.parameters()).device
        self._easy = context.Value("b", 1)
        self._share = context.Value("d", 0.0)
        self._queue: Any = context.Queue(WAITING)
        self._steps = 0
        self._last = (0.0, 0.0)
        order = (out, batch, seed, self._easy, self._share, self._queue)
        for number in range(makers):
            context.Process(target=make, args=(number, *order), daemon=True).start()

    def begin(self, number: int, full_share: float, easy: bool) -> None:
        """What batches are made from now on; those that wait are used up first."""
        self._share.value = full_share
        self._easy.value = easy

    def take(self) -> Report:
        """One forward and backward pass. Raises EOFError when no batch comes."""
        try:
            arrays = self._queue.get(timeout=120)
        except queue.Empty as error:
            raise EOFError("no batch for two minutes") from error
        head, ids, weights = (
            torch.from_numpy(array).to(self._device, non_blocking=True) for array in arrays
        )
        batch = Batch(head.long(), ids.long(), weights.float() / 10)
        self._model.zero_grad(set_to_none=False)
        loss, written = self._losses(self._model, batch)
        torch.autograd.backward(loss)
        if self._steps % LOOK == 0:
            self._last = (loss.item(), written.item())
        self._steps += 1
        return Report(0, batch.ids.numel() + batch.head.numel(), *self._last)

    def end(self) -> None:
        """The makers are daemons: they end with this process."""


def make(number: int, out: Path, batch: int, seed: int, easy: Any, share: Any, line: Any) -> None:
    """The life of a maker: batches as small arrays, until its parent ends."""
    torch.set_num_threads(1)
    source = Source(Codec(out), random.Random(f"{seed} {number} {time.time_ns()}"))
    while True:
        full = source.rng.random() < share.value
        made = source.batch(batch, full, bool(easy.value))
        arrays = (
            made.head.to(torch.int16).numpy(),
            made.ids.to(torch.int16).numpy(),
            (made.weights * 10).to(torch.uint8).numpy(),
        )
        line.put(arrays)
