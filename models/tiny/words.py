"""Where training takes its names from: word lists and, mostly, random strings.

With words alone the model learns the lists; with three names in four made up it learns to
copy. No word and no made-up name may be one of the demo's (glmcode/demo_task.py).
"""

from __future__ import annotations

import random

from glmcode import demo_task


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _list(
    """price order basket total volume amount height width length depth speed angle radius
    area score rank level stock batch parcel invoice budget margin discount salary bonus tariff
    fee deposit credit debit interest ledger account branch ticket seat route trip stop
    fare motor signal sensor probe sample filter buffer queue stack token cursor offset index
    page chapter line word letter garden flower river bridge tower window door kitchen recipe
    flour sugar butter oven plate spoon bottle glass cable socket lamp battery charge current
    voltage power energy heat pressure flow valve pump tank pipe vessel harbor anchor sail crew
    cargo planet orbit comet rocket module panel shuttle lander beacon marker ribbon thread
    fabric button pocket sleeve collar leather canvas pencil item file user config cache
    node tree graph edge vector matrix row column table cell record field"""
)
VERBS = _list(
    """add get find make take count sum join split scale shift move pick mix blend merge trim
    round clip fold turn lift drop push pull load store build check test rate grade sort rank
    map pack wrap pay bill charge spend save earn lend draw plot mark note read scan parse
    apply update create remove insert format render handle process"""
)
HELD = frozenset(demo_task.VERBS) | frozenset(demo_task.NOUNS)
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"


class Words:
    """Draws names. `made_up` is the share of words that are random strings."""

    def __init__(self, rng: random.Random, fragments: list[str], made_up: float = 0.72) -> None:
        self.rng = rng
        self.made_up = made_up
        self.tail = ""
        self._fragments = fragments

    def restart(self) -> None:
        """Begin a new task: one in ten gives all its names the same ending."""
        rng = self.rng
        self.tail = ""
        if rng.random() < 0.1:
            letters = "abcdefghijklmnopqrstuvwxyz0123456789"
            self.tail = "_" + "".join(rng.choices(letters, k=rng.randint(3, 8)))

    def noun(self) -> str:
        """One word."""
        return self._word(NOUNS)

    def verb(self) -> str:
        """One word, as functions begin with."""
        return self._word(VERBS)

    def function(self) -> str:
        """A name such as scale_price."""
        rng, kind = self.rng, self.rng.random()
        if kind < 0.65:
            name = f"{self.verb()}_{self.noun()}"
        elif kind < 0.8:
            name = f"{self.noun()}_{self.noun()}"
        elif kind < 0.9:
            name = f"{self.verb()}_{self.noun()}_{self.noun()}"
        else:
            name = self.noun()
        if rng.random() < 0.04:
            name += str(rng.randint(1, 99))
        return name + self.tail

    def module(self) -> str:
        """A module's name without .py."""
        kind = self.rng.random()
        if kind < 0.6:
            name = self.noun()
        elif kind < 0.9:
            name = f"{self.noun()}_{self.noun()}"
        else:
            name = f"{self.noun()}{self.rng.randint(1, 99)}"
        return name + self.tail

    def folder(self) -> str:
        """A folder with its slash, or nothing."""
        fixed = ["", "", "", "src/", "lib/", "app/", "core/", "pkg/"]
        return self.rng.choice([*fixed, f"{self.noun()}/", f"src/{self.noun()}/"])

    def path(self) -> str:
        """An absolute folder."""
        rng = self.rng
        user, name = self.noun(), f"{self.noun()}{rng.choice(['', '-' + self.noun()])}"
        odd = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789_", k=8))
        shapes = [
            f"/tmp/{name}-{odd}", f"/tmp/{odd}", f"/tmp/{name}", f"/tmp/tmp{odd}",
            f"/tmp/tmp{odd}/{name}", f"/tmp/glmcode-{name}-{odd}", f"/home/{user}/{name}",
            f"/home/{user}/src/{name}", f"/srv/{name}", f"/root/{name}", f"/Users/{user}/{name}",
            f"/tmp/pytest-of-{user}/pytest-{rng.randint(0, 99)}/{name}0", f"/var/tmp/{odd}/repo",
        ]  # fmt: skip
        return rng.choice(shapes)

    def _word(self, words: tuple[str, ...]) -> str:
        while True:
            made_up = self.rng.random() < self.made_up
            word = self._invent() if made_up else self.rng.choice(words)
            if word not in HELD:
                return word

    def _invent(self) -> str:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.5 and self._fragments:
            return "".join(rng.choices(self._fragments, k=rng.randint(1, 4)))
        if kind < 0.72:
            pairs = range(rng.randint(1, 4))
            end = rng.choice(["", "", rng.choice(CONSONANTS)])
            return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in pairs) + end
        if kind < 0.8:
            return rng.choice(NOUNS) + rng.choice(NOUNS)
        if kind < 0.95:
            return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 8)))
        tail = "".join(rng.choices("abcdef0123456789", k=rng.randint(2, 6)))
        return rng.choice("abcdefgh") + tail
