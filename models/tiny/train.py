"""Trains models/tiny from nothing: tokenizer, weights, export, measured rates into the card.

`python models/tiny/train.py --out models/tiny` takes under two hours on two cores. The recipe:
random names, Muon for the matrices, short heads first and full heads later, one head shared by
a batch, full loss on what the model writes and a fifth of it on what it reads, and a learning
rate that falls to zero over the last half. Progress is counted in tokens, or in minutes where
the machine is too slow for the tokens, so the fall to zero always happens.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import asdict, dataclass, fields
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as functional
from torch import Tensor, multiprocessing, nn

from models.tiny import card, data, evaluate, export, head, vocabulary
from models.tiny.accelerator import OnDevice, Report
from models.tiny.batches import Batch, Source
from models.tiny.model import Shape, TinyGLM
from models.tiny.vocabulary import Codec
from models.tiny.words import Words

WORKERS = 2
Line: TypeAlias = "connection.Connection[Any, Any]"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how: `tokens` in all, at most `minutes`; rates for Muon and AdamW.

    makers: processes that make batches for an accelerator.

    Shares of the whole: single short tasks alone until `easy_until`, short heads alone until
    `short_until` and `full_share` of full heads after it, full learning rate until `hold`.
    """

    tokens: float = 18e6
    minutes: float = 100.0
    batch: int = 8000
    muon: float = 0.02
    adam: float = 0.003
    warm: int = 30
    hold: float = 0.5
    easy_until: float = 0.06
    short_until: float = 0.4
    full_share: float = 0.4
    seed: int = 0
    makers: int = 2


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
    with torch.autocast(batch.ids.device.type, torch.bfloat16):
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
    device = next(model.parameters()).device
    batch = Batch(*(t.to(device) for t in (batch.head, batch.ids, batch.weights)))
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
        self._lines: list[Line] = []
        for number, slot in enumerate(self._slots):
            ours, theirs = context.Pipe()
            context.Process(
                target=compute, args=(number, plan, out, self._weights, slot, theirs), daemon=True
            ).start()
            theirs.close()
            self._lines.append(ours)

    def begin(self, number: int, full_share: float, easy: bool) -> None:
        """Let a worker take the newest weights and draw a batch."""
        with torch.no_grad():
            torch.cat([p.reshape(-1) for p in self._model.parameters()], out=self._weights)
        self._lines[number].send((full_share, easy))

    def take(self) -> Report:
        """Wait for a gradient and put it into the model. Raises EOFError for a dead worker."""
        ready = connection.wait(self._lines)[0]
        report: Report = next(line for line in self._lines if line is ready).recv()
        start = 0
        for parameter in self._model.parameters():
            size = parameter.numel()
            part = self._slots[report.worker][start : start + size]
            parameter.grad = part.view_as(parameter).clone()
            start += size
        return report

    def end(self) -> None:
        """Let the workers end."""
        for line in self._lines:
            line.close()


def compute(number: int, plan: Plan, out: Path, weights: Tensor, slot: Tensor, line: Line) -> None:
    """The life of a worker: an order, a batch, a gradient, a report; ends with its parent."""
    torch.set_num_threads(1)
    model = TinyGLM(Shape())
    source = Source(Codec(out), random.Random(f"{plan.seed} {number} {time.time_ns()}"))
    while True:
        try:
            share, easy = line.recv()
        except EOFError:
            return
        torch.nn.utils.vector_to_parameters(weights.clone(), model.parameters())
        batch = source.batch(plan.batch, source.rng.random() < share, easy)
        model.zero_grad(set_to_none=False)
        loss, written = losses(model, batch)
        torch.autograd.backward(loss)
        torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None], out=slot)
        tokens = batch.ids.numel() + batch.head.numel()
        try:
            line.send(Report(number, tokens, loss.item(), written.item()))
        except BrokenPipeError:
            return


def factor(plan: Plan, step: int, progress: float) -> float:
    """What the learning rates are multiplied by."""
    fall = 1.0 if progress < plan.hold else max(0.01, (1 - progress) / (1 - plan.hold))
    return min(1.0, (step + 1) / plan.warm) * fall


@dataclass(slots=True)
class Progress:
    """How far training is; saved with the weights, so that it can go on after a crash."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def share(self, plan: Plan) -> float:
        """From 0 to 1: what is done of the plan, in tokens or in minutes."""
        return max(self.tokens / plan.tokens, self.seconds / 60 / plan.minutes)


def store(path: Path, model: TinyGLM, tools: list[torch.optim.Optimizer], done: Progress) -> None:
    """Write everything that `restore` needs, all of it or nothing."""
    state = {
        "model": model.state_dict(),
        "tools": [tool.state_dict() for tool in tools],
        "done": asdict(done),
    }
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)


def restore(path: Path, model: TinyGLM, tools: list[torch.optim.Optimizer]) -> Progress:
    """Go on where `store` was."""
    state = torch.load(path)
    model.load_state_dict(state["model"])
    for tool, kept in zip(tools, state["tools"], strict=True):
        tool.load_state_dict(kept)
    return Progress(**state["done"])


def fit(model: TinyGLM, plan: Plan, out: Path, resume: bool) -> None:
    """Train by the plan, saving to runs/state.pt now and then and at the end."""
    keep = out / "runs" / "state.pt"
    tools = optimizers(model, plan)
    rates = [[group["lr"] for group in tool.param_groups] for tool in tools]
    device = next(model.parameters()).device
    done = restore(keep, model, tools) if resume else Progress()
    probe = Source(Codec(out), random.Random(99))
    gradients: Gradients | OnDevice = (
        Gradients(model, plan, out)
        if device.type == "cpu"
        else OnDevice(model, out, plan.batch, plan.makers, plan.seed, losses)
    )
    begun = time.monotonic() - done.seconds
    for number in range(WORKERS):
        gradients.begin(number, 0.0, done.step == 0)
    while (progress := done.share(plan)) < 1:
        report = gradients.take()
        for tool, bases in zip(tools, rates, strict=True):
            for group, base in zip(tool.param_groups, bases, strict=True):
                group["lr"] = base * factor(plan, done.step, progress)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for tool in tools:
            tool.step()
        done.step += 1
        done.tokens += report.tokens
        done.seconds = time.monotonic() - begun
        share = plan.full_share if progress > plan.short_until else 0.0
        gradients.begin(report.worker, share, progress < plan.easy_until)
        if done.step % (20 if device.type == "cpu" else 200) == 0:
            tell(done, progress, report)
        if done.step % (50 if device.type == "cpu" else 1000) == 0:
            store(keep, model, tools, done)
        if done.step % (400 if device.type == "cpu" else 2000) == 0:
            probed(model, probe)
    gradients.end()
    store(keep, model, tools, done)


def tell(done: Progress, progress: float, report: Report) -> None:
    """One line on how it goes."""
    print(
        f"step {done.step} min {done.seconds / 60:.1f} progress {progress:.3f} "
        f"tokens {done.tokens / 1e6:.2f}M {done.tokens / done.seconds:.0f}/s "
        f"loss {report.loss:.3f} written {report.written:.4f}",
        flush=True,
    )


def probed(model: TinyGLM, probe: Source) -> None:
    """A short look at how many tasks are solved."""
    short, full = (
        rate(model, [probe.batch(4000, whole) for _ in range(8)]) for whole in (False, True)
    )
    print(f"   solved: short head {short:.3f}, full head {full:.3f}", flush=True)


def finish(model: TinyGLM, codec: Codec, out: Path, tasks: int) -> None:
    """Export the model, measure it on unseen tasks, and write the rates into the card."""
    size = export.export(model.cpu(), codec, out)
    print(f"model.safetensors: {size:,} bytes", flush=True)
    if not tasks:
        return
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
    parser.add_argument("--resume", action="store_true", help="go on from --out's runs/state.pt")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for one GPU")
    parser.add_argument(
        "--tasks", type=int, default=100, help="unseen tasks a kind to measure; 0: none"
    )
    for field in fields(plan):
        name = f"--{field.name.replace('_', '-')}"
        default = getattr(plan, field.name)
        parser.add_argument(name, type=type(default), default=default)
    options = parser.parse_args()
    plan = Plan(**{field.name: getattr(options, field.name) for field in fields(plan)})
    torch.set_num_threads(1)
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    model = TinyGLM(Shape()).to(options.device)
    if options.start:
        model.load_state_dict(torch.load(options.start, map_location=options.device)["model"])
    if options.start or options.resume:
        codec = Codec(options.out)
    else:
        codec = build_tokenizer(options.out, model.shape.vocab)
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    fit(model, plan, options.out, options.resume)
    torch.set_num_threads(2)
    finish(model, codec, options.out, options.tasks)


if __name__ == "__main__":
    main()
