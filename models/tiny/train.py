"""Trains models/tiny from nothing: tokenizer, weights, export, measured rates into the card.

`python models/tiny/train.py --out models/tiny` takes under two hours on two cores. The recipe:
random names, Muon for the matrices, short heads first and full heads later, one head shared by
a batch, full loss on what the model writes and a fifth of it on what it reads, and a learning
rate that falls to zero over the last half. Progress is counted in tokens, or in minutes where
the machine is too slow for the tokens, so the fall to zero always happens.
"""

from __future__ import annotations

import argparse
import queue
import random
import sys
import time
from dataclasses import dataclass, fields
from multiprocessing.queues import Queue, SimpleQueue
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as functional
from torch import Tensor, multiprocessing, nn

from models.tiny import card, data, evaluate, export, head, vocabulary
from models.tiny.model import Shape, TinyGLM
from models.tiny.vocabulary import Codec
from models.tiny.words import Words

READ_WEIGHT = 0.2
WORKERS = 2
Row = tuple[list[int], list[bool]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how: `tokens` in all, at most `minutes`; rates for Muon and AdamW."""

    tokens: float = 16e6
    minutes: float = 58.0
    batch: int = 8000
    muon: float = 0.02
    adam: float = 0.003
    warm: int = 30
    hold: float = 0.45
    short_until: float = 0.35
    full_share: float = 0.35
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker did."""

    worker: int
    tokens: int
    loss: float
    written: float


@dataclass(frozen=True, slots=True)
class Batch:
    """A head of one row, and rows of conversations with a weight for each token."""

    head: Tensor
    ids: Tensor
    weights: Tensor


class Source:
    """Draws batches. `rng` decides everything."""

    def __init__(self, codec: Codec, rng: random.Random) -> None:
        self.codec = codec
        self.rng = rng
        self.words = Words(rng, codec.fragments())
        self._waiting: list[list[Row]] = []

    def batch(self, tokens: int, full: bool) -> Batch:
        """About `tokens` of conversations of like length, behind a full head or a piece of one."""
        ids, _ = self.codec.encode(head.varied_head(self.rng, self.words))
        length = len(ids) if full else self.rng.randint(8, 64)
        if full and self.rng.random() < 0.35:
            length = self.rng.randint(64, len(ids))
        if length < len(ids):
            start = self.rng.randint(0, len(ids) - length)
            ids = ids[start : start + length]
        if not self._waiting:
            self._refill(tokens)
        return padded(ids, self._waiting.pop())

    def _refill(self, tokens: int) -> None:
        """Draw conversations, group them by length, and shuffle the groups."""
        made = [self.codec.encode(data.conversation(self.rng, self.words)) for _ in range(96)]
        group: list[Row] = []
        for row in sorted(made, key=lambda row: len(row[0])):
            if group and (len(group) + 1) * len(row[0]) > tokens:
                self._waiting.append(group)
                group = []
            group.append(row)
        self._waiting.append(group)
        self.rng.shuffle(self._waiting)


def padded(head_ids: list[int], rows: list[Row]) -> Batch:
    """Rows of one length; padding weighs nothing."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for number, (row, answers) in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        weights[number, : len(row)] = torch.tensor([1.0 if a else READ_WEIGHT for a in answers])
    return Batch(torch.tensor(head_ids)[None], ids, weights)


def build_tokenizer(out: Path, size: int, conversations: int = 4000) -> Codec:
    """Train the tokenizer on generated text and write it to `out`."""
    rng = random.Random(7)
    words = Words(rng, [], made_up=0.3)

    def texts() -> list[str]:
        pieces = []
        for number in range(conversations):
            pieces += data.conversation(rng, words)
            if number % 40 == 0:
                pieces += head.varied_head(rng, words)
        return [piece.text for piece in pieces if not piece.control]

    vocabulary.save(vocabulary.train(texts(), size), out)
    return Codec(out)


def optimizers(model: TinyGLM, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for embedding, norms and router."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.dim() == 2 and "embed" not in name and ".gate.weight" not in name
        (matrices if plain else others).append(parameter)
    return [
        torch.optim.Muon(
            matrices,
            lr=plan.muon,
            weight_decay=0.01,
            momentum=0.95,
            adjust_lr_fn="original",
        ),
        torch.optim.AdamW(others, lr=plan.adam, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def losses(model: TinyGLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss to follow, and the mean loss on what the model writes."""
    with torch.autocast("cpu", torch.bfloat16):
        _, past = model(batch.head)
        hidden, _ = model(batch.ids[:, :-1], past)
        counted = batch.weights[:, 1:] > 0
        scores = model.logits(hidden[counted]).float()
        balance = model.balance()
    each = functional.cross_entropy(scores, batch.ids[:, 1:][counted], reduction="none")
    weights = batch.weights[:, 1:][counted]
    loss = (each * weights).sum() / weights.sum() + 0.01 * balance
    return loss, each.detach()[weights == 1.0].mean()


@torch.no_grad()
def solved(model: TinyGLM, batch: Batch) -> int:
    """How many rows have every written token right."""
    model.eval()
    _, past = model(batch.head)
    hidden, _ = model(batch.ids[:, :-1], past)
    right = model.logits(hidden).argmax(-1) == batch.ids[:, 1:]
    model.train()
    return int((right | (batch.weights[:, 1:] != 1.0)).all(1).sum())


def rate(model: TinyGLM, batches: list[Batch]) -> float:
    """The share of rows solved."""
    return sum(solved(model, b) for b in batches) / sum(b.ids.shape[0] for b in batches)


class Gradients:
    """Two processes that compute gradients, each on weights at most one step old.

    One thread each beats two threads on one batch when other work shares the cores: nobody
    waits for the slower half. `weights` and `gradients` are flat and shared; torn reads of
    `weights` mix two neighbouring steps, which does no harm.
    """

    def __init__(self, model: TinyGLM, plan: Plan, out: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._model = model
        self._weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        self._weights.share_memory_()  # type: ignore[no-untyped-call]
        self._slots = [torch.zeros_like(self._weights) for _ in range(WORKERS)]
        for slot in self._slots:
            slot.share_memory_()  # type: ignore[no-untyped-call]
        self._orders = [context.SimpleQueue() for _ in range(WORKERS)]
        self._done = context.Queue()
        self._workers = [
            context.Process(
                target=compute,
                args=(i, plan, out, self._weights, self._slots[i], self._orders[i], self._done),
                daemon=True,
            )
            for i in range(WORKERS)
        ]
        for worker in self._workers:
            worker.start()

    def begin(self, number: int, full_share: float) -> None:
        """Let a worker take the newest weights and draw a batch."""
        with torch.no_grad():
            torch.cat([p.reshape(-1) for p in self._model.parameters()], out=self._weights)
        self._orders[number].put(full_share)

    def take(self) -> Report:
        """Wait for a gradient and put it into the model. Raises RuntimeError for a dead worker."""
        while True:
            try:
                report: Report = self._done.get(timeout=60)
                break
            except queue.Empty:
                if not all(worker.is_alive() for worker in self._workers):
                    raise RuntimeError("a training process died") from None
        start = 0
        for parameter in self._model.parameters():
            size = parameter.numel()
            part = self._slots[report.worker][start : start + size]
            parameter.grad = part.view_as(parameter).clone()
            start += size
        return report

    def end(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.terminate()


def compute(
    number: int,
    plan: Plan,
    out: Path,
    weights: Tensor,
    slot: Tensor,
    orders: SimpleQueue[float],
    done: Queue[Report],
) -> None:
    """The life of a worker: an order, a batch, a gradient, a report."""
    torch.set_num_threads(1)
    model = TinyGLM(Shape())
    source = Source(Codec(out), random.Random(f"{plan.seed} {number}"))
    while True:
        share = orders.get()
        torch.nn.utils.vector_to_parameters(weights.clone(), model.parameters())
        batch = source.batch(plan.batch, source.rng.random() < share)
        model.zero_grad(set_to_none=False)
        loss, written = losses(model, batch)
        torch.autograd.backward(loss)
        torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None], out=slot)
        tokens = batch.ids.numel() + batch.head.numel()
        done.put(Report(number, tokens, loss.item(), written.item()))


def factor(plan: Plan, step: int, progress: float) -> float:
    """What the learning rates are multiplied by."""
    fall = 1.0 if progress < plan.hold else max(0.01, (1 - progress) / (1 - plan.hold))
    return min(1.0, (step + 1) / plan.warm) * fall


def fit(model: TinyGLM, plan: Plan, out: Path) -> None:
    """Train by the plan, saving the weights to runs/last.pt now and then and at the end."""
    keep = out / "runs" / "last.pt"
    tools = optimizers(model, plan)
    rates = [[group["lr"] for group in tool.param_groups] for tool in tools]
    probe = Source(Codec(out), random.Random(99))
    gradients = Gradients(model, plan, out)
    begun, step, tokens, progress = time.monotonic(), 0, 0, 0.0
    for number in range(WORKERS):
        gradients.begin(number, 0.0)
    while progress < 1:
        report = gradients.take()
        for tool, bases in zip(tools, rates, strict=True):
            for group, base in zip(tool.param_groups, bases, strict=True):
                group["lr"] = base * factor(plan, step, progress)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for tool in tools:
            tool.step()
        step += 1
        tokens += report.tokens
        spent = time.monotonic() - begun
        progress = max(tokens / plan.tokens, spent / 60 / plan.minutes)
        gradients.begin(report.worker, plan.full_share if progress > plan.short_until else 0.0)
        if step % 20 == 0:
            print(
                f"step {step} min {spent / 60:.1f} progress {progress:.3f} "
                f"tokens {tokens / 1e6:.2f}M {tokens / spent:.0f}/s "
                f"loss {report.loss:.3f} written {report.written:.4f}",
                flush=True,
            )
        if step % 400 == 0:
            torch.save(model.state_dict(), keep)
            short, full = (
                rate(model, [probe.batch(4000, whole) for _ in range(8)]) for whole in (False, True)
            )
            print(f"   solved: short head {short:.3f}, full head {full:.3f}", flush=True)
    gradients.end()
    torch.save(model.state_dict(), keep)


def finish(model: TinyGLM, codec: Codec, out: Path, tasks: int) -> None:
    """Export the model, measure it on unseen tasks, and write the rates into the card."""
    size = export.export(model, codec, out)
    print(f"model.safetensors: {size:,} bytes", flush=True)
    model = export.load(out)
    rates = evaluate.measure(model, codec, evaluate.KINDS, tasks)
    varied = evaluate.measure(model, codec, evaluate.KINDS, tasks, varied=True)
    card.write(out, rates, varied, tasks)


def main() -> None:
    """The command line."""
    plan = Plan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--start", type=Path, help="go on from these weights and --out's tokenizer")
    parser.add_argument("--tasks", type=int, default=100, help="unseen tasks a kind to measure")
    for field in fields(plan):
        name = f"--{field.name.replace('_', '-')}"
        default = getattr(plan, field.name)
        parser.add_argument(name, type=type(default), default=default)
    options = parser.parse_args()
    plan = Plan(**{field.name: getattr(options, field.name) for field in fields(plan)})
    torch.set_num_threads(1)
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    model = TinyGLM(Shape())
    if options.start:
        model.load_state_dict(torch.load(options.start))
        codec = Codec(options.out)
    else:
        codec = build_tokenizer(options.out, model.shape.vocab)
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    fit(model, plan, options.out)
    torch.set_num_threads(2)
    finish(model, codec, options.out, options.tasks)


if __name__ == "__main__":
    main()
