"""Batches of training conversations: rows of like length behind one shared head."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from models.tiny import data, head
from models.tiny.vocabulary import Codec
from models.tiny.words import Words

READ_WEIGHT = 0.2
Row = tuple[list[int], list[bool]]


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
        self._waiting: dict[bool, list[list[Row]]] = {False: [], True: []}

    def batch(self, tokens: int, full: bool, easy: bool = False) -> Batch:
        """About `tokens` of conversations of like length, behind a full head or a piece of one.

        easy: single short tasks alone. A full head, the dearer kind, gets half of the rows.
        """
        ids, _ = self.codec.encode(head.varied_head(self.rng, self.words))
        length = len(ids) if full else self.rng.randint(8, 64)
        if full and self.rng.random() < 0.35:
            length = self.rng.randint(64, len(ids))
        if length < len(ids):
            start = self.rng.randint(0, len(ids) - length)
            ids = ids[start : start + length]
        waiting = self._waiting[easy]
        if not waiting:
            self._refill(tokens, easy)
        group = waiting.pop()
        if full and len(group) > 1:
            half = len(group) // 2
            waiting.append(group[half:])
            group = group[:half]
        return padded(ids, group)

    def _refill(self, tokens: int, easy: bool) -> None:
        """Draw conversations, group them by length, and shuffle the groups."""
        draw = data.easy_conversation if easy else data.conversation
        made = [self.codec.encode(draw(self.rng, self.words)) for _ in range(max(96, tokens // 80))]
        waiting = self._waiting[easy]
        group: list[Row] = []
        for row in sorted(made, key=lambda row: len(row[0])):
            if group and (len(group) + 1) * len(row[0]) > tokens:
                waiting.append(group)
                group = []
            group.append(row)
        waiting.append(group)
        self.rng.shuffle(waiting)


def padded(head_ids: list[int], rows: list[Row]) -> Batch:
    """Rows of one length; padding weighs nothing."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for number, (row, answers) in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        weights[number, : len(row)] = torch.tensor([1.0 if a else READ_WEIGHT for a in answers])
    return Batch(torch.tensor(head_ids)[None], ids, weights)
