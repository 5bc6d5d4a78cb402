"""Measures the tiny model on tasks it never saw: whole tasks right, by kind, with the real head.

A task counts only if every token of every answer is right. *demo* takes the tasks of
`glmcode demo` (held-out words and faults) and really runs their tests for the tool output,
*nonce* the same with a random word in every name; the other kinds take the generator with the
demo's words. Through torch by default; with --url or
--socket through a running vLLM, token ids in and out. `--shuffle` mixes the weights up: the
rates must fall to nothing, or the measure is worth nothing.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx
import torch

from glmcode import demo_task
from models.tiny import data, head, longer, outputs
from models.tiny.conversation import Conversation, Piece
from models.tiny.export import load
from models.tiny.model import KeysValues, TinyGLM
from models.tiny.vocabulary import Codec
from models.tiny.words import Words

KINDS = ("demo", "nonce", "fix", "set", "where", "write", "run", "chain", "summary")
STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>", "<|assistant|>", "<|system|>")
FIRST_SEED = 100_000
Answer = Callable[[list[int], int], list[int]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A whole conversation as ids, the length of its head, and the spans to be written."""

    kind: str
    seed: int
    head: int
    ids: list[int]
    spans: list[tuple[int, int]]


class DemoWords(Words):
    """The demo's own words, and the demo's words alone."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, [], made_up=0.0)

    def noun(self) -> str:
        return self.rng.choice(demo_task.NOUNS)

    def verb(self) -> str:
        return self.rng.choice(demo_task.VERBS)


def trial(kind: str, seed: int, codec: Codec, varied: bool) -> Trial:
    """The trial of a seed behind the real head, or a varied one."""
    rng = random.Random(f"{kind} {seed}")
    words = DemoWords(rng)
    pieces = head.varied_head(rng, words) if varied else head.real_head()
    length = len(codec.encode(pieces)[0])
    if kind in ("demo", "nonce"):
        nonce = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5))
        task = demo_task.make_task(seed, nonce=nonce if kind == "nonce" else "")
        pieces = [*pieces, *demo_pieces(task)]
    else:
        talk = Conversation()
        _short(kind)(rng, words, talk)
        pieces = [*pieces, *talk.pieces]
    ids, answers = codec.encode(pieces)
    return Trial(kind, seed, length, ids, spans(answers))


def _short(kind: str) -> Callable[[random.Random, Words, Conversation], object]:
    table: dict[str, Callable[[random.Random, Words, Conversation], object]] = {
        "fix": data.fix,
        "set": data.set_constant,
        "where": data.where,
        "write": data.write,
        "run": data.run,
        "chain": longer.chain,
        "summary": _summed_up,
    }
    return table[kind]


def _summed_up(rng: random.Random, words: Words, talk: Conversation) -> None:
    rng.choice((data.fix, data.set_constant, longer.chain))(rng, words, talk)
    longer.summary(rng, words, talk)


def spans(answers: list[bool]) -> list[tuple[int, int]]:
    """Where the model writes: (first, one past the last) of each answer."""
    out: list[tuple[int, int]] = []
    start = None
    for spot, written in enumerate([*answers, False]):
        if written and start is None:
            start = spot
        if not written and start is not None:
            out.append((start, spot))
            start = None
    return out


def demo_pieces(task: demo_task.DemoTask) -> list[Piece]:
    """The conversation of a demo task, with test output from really running it."""
    command = " ".join(task.test_command)
    broken = task.files[task.fixed_path].split("\n")
    fixed = task.fixed_text.split("\n")
    number = next(i for i, (a, b) in enumerate(zip(broken, fixed, strict=True)) if a != b)
    start = next(i for i in range(number, -1, -1) if broken[i].startswith("def "))
    function = broken[start].removeprefix("def ").split("(")[0]
    path = task.fixed_path
    with tempfile.TemporaryDirectory(prefix="glmcode-demo-") as folder:
        root = Path(folder)
        for name, text in task.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        failed = _run(task, root)
        (root / path).write_text(task.fixed_text)
        passed = _run(task, root)
    steps = data.Repair(
        command=command,
        function=function,
        path=path,
        old=broken[number],
        new=fixed[number],
        failed=f"{failed}\n[exit 1 in 0.2 s]",
        found=f"{path}:{start + 1}:{broken[start]}",
        read=outputs.read(None, broken[:-1]),
        edited=outputs.edited(None, path, number + 1),
        passed=f"{passed}\n[exit 0 in 0.2 s]",
    )
    talk = Conversation()
    place = f"Working directory: {root}\nDate: 2026-11-25\nPlatform: linux"
    talk.user(f"{place}\n\n{task.prompt}")
    data.unfold(random.Random(0), None, talk, steps)
    return talk.pieces


def _run(task: demo_task.DemoTask, root: Path) -> str:
    command = [sys.executable, *task.test_command[1:]]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).rstrip("\n")


class Heads:
    """Remembers the keys and values of the last head: most trials share one."""

    def __init__(self, model: TinyGLM) -> None:
        self.model = model
        self._ids: list[int] = []
        self._past: list[KeysValues] = []

    @torch.no_grad()
    def likeliest(self, chosen: Trial) -> list[int]:
        """The id that the model finds likeliest after each prefix of the trial, from its head."""
        ids = chosen.ids[: chosen.head]
        if ids != self._ids:
            _, self._past = self.model(torch.tensor(ids)[None])
            self._ids = ids
        hidden, _ = self.model(torch.tensor(chosen.ids[chosen.head : -1])[None], self._past)
        after: list[int] = self.model.logits(hidden)[0].argmax(-1).tolist()
        return [-1] * chosen.head + after


def failed_step(chosen: Trial, codec: Codec, answer: Answer | None, heads: Heads) -> int | None:
    """The first answer that is wrong, counted from 1, or None."""
    likeliest = [] if answer else heads.likeliest(chosen)
    stops = {codec.controls[name] for name in STOPS}
    for number, (start, end) in enumerate(chosen.spans, 1):
        wanted = chosen.ids[start:end]
        if answer is None:
            got = likeliest[start - 1 : end - 1]
        else:
            got = answer(chosen.ids[:start], len(wanted) + 8)
            if got and got[-1] not in stops:
                got = [*got, wanted[-1]]
        if got != wanted:
            print(
                f"   {chosen.kind} {chosen.seed} step {number}: wanted "
                f"{codec.decode(wanted)!r} got {codec.decode(got)!r}",
                flush=True,
            )
            return number
    return None


def remote(client: httpx.Client, codec: Codec, name: str) -> Answer:
    """Answers from a running vLLM, greedily."""
    stops = [codec.controls[stop] for stop in STOPS]

    def answer(prompt: list[int], limit: int) -> list[int]:
        body = {
            "model": name,
            "prompt": prompt,
            "max_tokens": limit,
            "temperature": 0,
            "stop_token_ids": stops,
            "return_token_ids": True,
            "skip_special_tokens": False,
        }
        reply = client.post("/v1/completions", json=body, timeout=120)
        reply.raise_for_status()
        ids: list[int] = reply.json()["choices"][0]["token_ids"]
        return ids

    return answer


def shuffle(model: TinyGLM, seed: int = 0) -> None:
    """Mix up the rows of every matrix."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(parameter[torch.randperm(parameter.shape[0])])


def measure(
    model: TinyGLM,
    codec: Codec,
    kinds: Iterable[str],
    tasks: int,
    answer: Answer | None = None,
    varied: bool = False,
) -> dict[str, tuple[int, Counter[int]]]:
    """By kind: how many of `tasks` were solved, and at which answer the others failed."""
    heads = Heads(model.eval())
    rates: dict[str, tuple[int, Counter[int]]] = {}
    for kind in kinds:
        missed: Counter[int] = Counter()
        for seed in range(FIRST_SEED, FIRST_SEED + tasks):
            step = failed_step(trial(kind, seed, codec, varied), codec, answer, heads)
            if step is not None:
                missed[step] += 1
        rates[kind] = (tasks - missed.total(), missed)
        print(f"{kind}: {rates[kind][0]} of {tasks}, misses by answer {dict(missed)}", flush=True)
    return rates


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--varied", action="store_true", help="a varied head for every task")
    parser.add_argument("--shuffle", action="store_true", help="mix up the weights first")
    parser.add_argument("--url", help="base URL of a running vLLM, instead of torch")
    parser.add_argument("--socket", help="Unix socket of a running vLLM, instead of torch")
    parser.add_argument("--name", default="tiny", help="the served model's name")
    options = parser.parse_args()
    model, codec = load(options.model), Codec(options.model)
    if options.shuffle:
        shuffle(model)
    answer = None
    if options.url or options.socket:
        transport = httpx.HTTPTransport(uds=options.socket) if options.socket else None
        client = httpx.Client(base_url=options.url or "http://engine", transport=transport)
        answer = remote(client, codec, options.name)
    measure(model, codec, options.kinds, options.tasks, answer, options.varied)


if __name__ == "__main__":
    main()
