"""Ranking: which files and definitions of a repository the others lean on.

A random reader goes from a file to a name that it uses, and from the name to one of the files
that define it; where readers spend their time is what matters (PageRank on the graph file ->
name -> file, so that a name used by R files and defined by D costs R + D edges, not R x D).
With a focus the reader begins, again and again, at what was mentioned. Pure and deterministic:
the same tags give the same numbers in every process, since all sums run in sorted order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from glmcode.context.tags import Definition, FileTags

DAMPING = 0.85
ROUNDS = 25
ENOUGH = 1e-4
"""The change of all ranks together below which the iteration ends."""
COMMON = 40
"""A name that more files define says nothing about which one is meant: it is left out."""
_FOCUS_WEIGHT = 50.0
_INSIDE_FOCUS = 5.0
_INSIDE_SHOWN = 40
_TESTS_COUNT = 0.25
_UNUSED = 1e-6
_TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|testing|spec|specs|__tests__|testdata|fixtures|benchmarks?|examples?)/"
    r"|(?:^|/)(?:test_|conftest)[^/]*$|[._-](?:test|tests|spec)\.[a-z]+$|Tests?\.[a-z]+$"
)
EVERYDAY = frozenset(
    """
    add all any append apply assert bind bool bytes call call_count cast clear clone close
    collect compare concat contains convert copy count create data date decode delete dict
    done each emit empty encode end endswith entries equals error eval exec execute exists
    exit expect extend fail field file filter find first float fmt forEach format from func
    get getattr has hash id index info init insert int isinstance items iter iterator join
    key keys last len length list load log main make map match max min name new next not now
    of ok on open or order parse path pop print println process push put puts query raise
    range read ready reduce remove repeat replace request require reset resolve result
    reverse round run save search send set setattr setUp setdefault setup shift show size
    skip sleep slice some sort sorted split start startswith state status stop str strip sub
    sum super tearDown test text then throw time title toString trim true tuple type undo
    union unique unwrap update upper use value values vars vec wait warn with wrap write zip
    """.split()  # noqa: SIM905 (a list of them is two hundred lines)
)
"""Names that every library has: a use of one hardly ever means this repository's."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A file, what it defines, and the score of each definition (same order)."""

    path: str
    definitions: tuple[Definition, ...]
    scores: tuple[float, ...]
    rank: float
    mentioned: float = 0.0


_Name: TypeAlias = tuple[str, str]
"""A family of languages and a name in it."""


@dataclass(slots=True)
class _Graph:
    """Edges by numbers: uses[file] = (name, weight)..., definers[name] = files."""

    definers: list[list[int]] = field(default_factory=list)
    uses: list[list[tuple[int, float]]] = field(default_factory=list)
    number: dict[_Name, int] = field(default_factory=dict)


def ranked(tags: Mapping[str, FileTags], focus: Sequence[str] = ()) -> list[Ranked]:
    """Files with their definitions' scores, the most important file first.

    tags: path -> its tags. focus: names, words, or paths as people write them; files that
    define one of the names, or that are meant by a path, come first.
    """
    paths = sorted(tags)
    wanted = _Focus.of(focus, paths)
    graph = _graph([tags[path] for path in paths], wanted.names)
    mentioned = _mentions(paths, tags, wanted)
    ranks, flows = _page_rank(graph, mentioned)
    made: list[Ranked] = []
    for at, path in enumerate(paths):
        part = _TESTS_COUNT if _TEST_PATH.search(path) and not mentioned[at] else 1.0
        definitions = tags[path].definitions
        scores = []
        for definition, boost in zip(definitions, _boosts(definitions, wanted), strict=True):
            number = graph.number.get((tags[path].family, definition.name))
            flow = 0.0 if number is None else flows[number] / len(graph.definers[number])
            scores.append(boost + part * (flow + _UNUSED * ranks[at] * _worth(definition)))
        made.append(Ranked(path, definitions, tuple(scores), part * ranks[at], mentioned[at]))
    made.sort(key=lambda file: (-file.mentioned, -file.rank, file.path))
    return made


@dataclass(frozen=True, slots=True)
class _Focus:
    """What was mentioned: exact names, and paths as they were written."""

    names: frozenset[str]
    paths: tuple[str, ...]

    @staticmethod
    def of(focus: Sequence[str], paths: Sequence[str]) -> _Focus:
        names: set[str] = set()
        written: list[str] = []
        for word in focus:
            word = word.strip().strip("`'\"(),;").rstrip(".:?!").removeprefix("./")
            if word:
                written.append(word)
                names.add(word)
                names.update(_WORD.findall(word.rpartition("/")[2]) if "/" not in word else ())
        return _Focus(frozenset(names), tuple(sorted(set(written))))

    def meant(self, path: str) -> float:
        """How surely a path was mentioned: whole, by its end, by a folder, by the file's name."""
        best = 0.0
        name = path.rpartition("/")[2]
        for written in self.paths:
            if path == written:
                best = max(best, 4.0)
            elif path.endswith(f"/{written}"):
                best = max(best, 2.0)
            elif path.startswith(f"{written.rstrip('/')}/"):
                best = max(best, 0.5)
            elif name.partition(".")[0] == written:
                best = max(best, 0.25)
        return best


def _mentions(paths: Sequence[str], tags: Mapping[str, FileTags], wanted: _Focus) -> list[float]:
    """For each file how strongly it was mentioned; all 0 without a focus."""
    if not wanted.paths:
        return [0.0] * len(paths)
    definers: dict[str, set[int]] = {}
    for at, path in enumerate(paths):
        for definition in tags[path].definitions:
            if definition.name in wanted.names:
                definers.setdefault(definition.name, set()).add(at)
    mentioned = [wanted.meant(path) for path in paths]
    for name in sorted(definers):
        for at in definers[name]:
            mentioned[at] += 1.0 / len(definers[name])
    # A file that defines the name as a thing of its own outweighs one that has a method of it.
    for at, path in enumerate(paths):
        for definition in tags[path].definitions:
            if definition.name in wanted.names and definition.depth == 0:
                mentioned[at] += 0.5 if definition.kind == "class" else 0.1
    return mentioned


def _worth(definition: Definition) -> float:
    """How much a definition that nobody uses tells, against a public class of the same file."""
    worth = 1.0 / (1 + definition.depth)
    if definition.name.startswith("_"):
        worth *= 0.1
    return worth * 0.3 if definition.kind == "constant" else worth


def _boosts(definitions: Sequence[Definition], wanted: _Focus) -> list[float]:
    """What a focus adds to each definition: to those it names, and to what stands in them."""
    boosts: list[float] = []
    inside, shown = -1, 0
    for definition in definitions:
        if definition.name and definition.name in wanted.names:
            boosts.append(_FOCUS_WEIGHT)
            inside, shown = definition.depth, 0
            continue
        if inside >= 0 and definition.depth <= inside:
            inside = -1
        wants = inside >= 0 and shown < _INSIDE_SHOWN and not definition.name.startswith("_")
        shown += wants
        boosts.append(_INSIDE_FOCUS if wants else 0.0)
    return boosts


def _graph(files: Sequence[FileTags], focus: frozenset[str]) -> _Graph:
    definers: dict[_Name, list[int]] = {}
    for at, tags in enumerate(files):
        for name in sorted({d.name for d in tags.definitions if d.name}):
            definers.setdefault((tags.family, name), []).append(at)
    graph = _Graph()
    for key in sorted(definers):
        telling = len(definers[key]) <= COMMON and key[1] not in EVERYDAY
        if telling or key[1] in focus:
            graph.number[key] = len(graph.definers)
            graph.definers.append(definers[key])
    for at, tags in enumerate(files):
        uses = []
        for name, count in tags.references:
            number = graph.number.get((tags.family, name))
            if number is None or at in graph.definers[number]:
                continue
            uses.append((number, _weight(name, count) * (10.0 if name in focus else 1.0)))
        total = sum(weight for _, weight in uses)
        graph.uses.append([(number, weight / total) for number, weight in uses])
    return graph


def _weight(name: str, count: int) -> float:
    """How much a use counts: many uses little more than one, telling names more than short."""
    weight = math.sqrt(min(count, 100))
    if name.startswith("_"):
        weight *= 0.2
    elif len(name) >= 8 or "_" in name or (name[0].isupper() and len(name) > 3):
        weight *= 3.0
    return weight


def _page_rank(graph: _Graph, mentioned: Sequence[float]) -> tuple[list[float], list[float]]:
    """The rank of each file (their sum is 1), and what flows through each name."""
    count = len(graph.uses)
    flows = [0.0] * len(graph.definers)
    if not count:
        return [], flows
    total = sum(mentioned)
    start = [one / total for one in mentioned] if total else [1.0 / count] * count
    ranks = list(start)
    for _ in range(ROUNDS):
        flows = [0.0] * len(graph.definers)
        resting = 0.0
        for at, uses in enumerate(graph.uses):
            rank = ranks[at]
            if not uses:
                resting += rank
                continue
            for number, share in uses:
                flows[number] += rank * share
        scale = 1.0 - DAMPING + DAMPING * resting
        after = [scale * s for s in start]
        for number, flow in enumerate(flows):
            if flow:
                each = DAMPING * flow / len(graph.definers[number])
                for at in graph.definers[number]:
                    after[at] += each
        moved = sum(abs(a - b) for a, b in zip(after, ranks, strict=True))
        ranks = after
        if moved < ENOUGH:
            break
    return ranks, flows
