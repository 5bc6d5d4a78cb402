"""Which rule denies a command or asks about it: by a part, by a file, by text that is not clear.

What denies is matched on every part in every form that names the same program, and on every file
that a part may touch. Where it isn't known what runs, or what runs is code in another language,
the text itself is searched. Must not raise, and must not allow anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from glmcode.permissions.commands import analyse
from glmcode.permissions.forms import (
    denied_forms,
    pieces_of,
    plain_name,
    quoted_paths,
    text_pieces,
    written_out,
)
from glmcode.permissions.hidden import (
    PRINTS,
    alters,
    file_names,
    names_it,
    packs,
    unclear_texts,
)
from glmcode.permissions.matching import denies
from glmcode.permissions.outputs import found_by
from glmcode.permissions.parts import Analysis, Part, Way
from glmcode.permissions.paths import Files, Spot, globs_to_option, is_quiet, spot, spots_of
from glmcode.permissions.policy import Policy
from glmcode.permissions.programs import Deed, deed_of
from glmcode.permissions.rules import Rule
from glmcode.permissions.words import Word, literal


class Denials:
    """One command under one policy, seen by rules that deny or ask."""

    def __init__(
        self,
        policy: Policy,
        command: str,
        folders: tuple[Path, ...],
        home: str,
        found: Analysis | None = None,
    ) -> None:
        self.policy = policy
        self.command = command
        self.home = home
        self._folders = folders
        self._files = Files(policy, home)
        self._places: dict[object, list[Spot] | None] = {}
        self.found = found if found is not None else analyse(command, folders, home)
        self._deeds = [self._deed(part) for part in self.found.parts]
        self._looking = all(
            (deed.kind == "look" or part.wraps) and not part.assigns
            for part, deed in zip(self.found.parts, self._deeds, strict=True)
        )
        self.through = ""  # the file that makes a search through a folder denied

    def _spots(self, word: Word, folders: tuple[Path, ...]) -> list[Spot] | None:
        """The files that a word may name, looked up once."""
        key = (word.text, word.raw, word.known, word.glob, folders)
        if key not in self._places:
            self._places[key] = spots_of(word, folders, self.home)
        return self._places[key]

    def _deed(self, part: Part) -> Deed:
        if not part.words or not part.words[0].known:
            return Deed()
        words = written_out(plain_name(part.words), part.folders, self.home)
        return deed_of(words, lambda word: globs_to_option(word, part.folders))

    def named(self, rules: Iterable[Rule]) -> tuple[Rule, str] | None:
        """The first rule that names a part or a file of the command, and that part's text."""
        commands = [rule for rule in rules if rule.tool == "Bash" and rule.pattern]
        files = [rule for rule in rules if rule.tool in ("Read", "Edit")]
        for part, deed in zip(self.found.parts, self._deeds, strict=True):
            texts = unclear_texts(part, deed, self.command)
            for rule in commands:
                if any(denies(rule.pattern, words) for words in denied_forms(part)):
                    return rule, part.text
                if any(names_it(rule.pattern, text) for text in texts):
                    return rule, part.text
            if files and not part.shadow and (hit := self._touched(part, deed, files)):
                return hit, part.text
        for touch in self.found.touches:
            if files and (hit := self._word(touch.way, touch.word, touch.folders, files)):
                return hit, touch.text
        if self.found.doubts:
            return self._in_text(commands, files)
        for rule in commands:
            if rule.pattern == self.command.strip():
                return rule, self.command
        return None

    def _hit(self, rules: Sequence[Rule], way: Way, one: Spot) -> Rule | None:
        return None if is_quiet(one.named) else self._files.hit(rules, way, "", one)

    def _word(
        self, way: Way, word: Word, folders: tuple[Path, ...], rules: Sequence[Rule]
    ) -> Rule | None:
        """The rule that names a file which a word may be; where that isn't known, by its text."""
        if word.listed:
            spots = [spot(str(folder)) for folder in folders or self._folders]
            tracked = word.listed.tracked and self._looking
            return self._below(way, spots, rules, word.listed.names, tracked=tracked)
        spots = self._spots(word, folders) or []
        for one in spots:
            if hit := self._hit(rules, way, one):
                return hit
        if spots or word.known:
            return None
        if word.glob:
            head = word.prefix.rpartition("/")[0] or "."
            return self._below(way, self._spots(literal(head), folders) or [], rules)
        for name in file_names(self.command, word):
            for one in self._spots(literal(name), (*folders, *self._folders)) or ():
                if hit := self._hit(rules, way, one):
                    return hit
        return None

    def _below(
        self,
        way: Way,
        spots: Sequence[Spot],
        rules: Sequence[Rule],
        names: Sequence[str] = ("*",),
        *,
        hidden: bool = True,
        tracked: bool = False,
    ) -> Rule | None:
        """The rule that names a file below one of the folders (tracked: that git tracks)."""
        for one in spots:
            for rule in rules:
                files = Files(replace(self.policy, deny=(rule,)), self.home)
                only = tracked and way == "read"
                if found := files.denied_below(way, one, names, hidden=hidden, tracked=only):
                    self.through = found
                    return rule
        return None

    def _touched(self, part: Part, deed: Deed, rules: Sequence[Rule]) -> Rule | None:
        own = part.words[1:]
        if deed.kind == "other" and not deed.maybe:
            deed.maybe = list(own)
        altered = [piece for word in own for piece in pieces_of(word)] if alters(part) else []
        altered += [b for a, b in pairwise(own) if part.name == "find" and a.text in PRINTS]
        given = [piece for _, value in part.assigns for piece in pieces_of(value) if value.known]
        ways: tuple[tuple[Way, list[Word]], ...] = (
            ("read", deed.reads),
            ("write", deed.writes),
            ("read", [piece for word in deed.maybe for piece in pieces_of(word)]),
            ("read", given),
            ("write", altered),
            ("read", quoted_paths(part, deed.hazards)),
            ("write", quoted_paths(part, deed.hazards)),
        )
        for way, words in ways:
            for word in words:
                if hit := self._word(way, word, part.folders, rules):
                    return hit
        if part.name == "find" and any(word.text == "-delete" for word in part.words):
            spots = [one for word in deed.reads for one in self._spots(word, part.folders) or ()]
            return self._below("write", spots, rules, found_by([w.text for w in part.words]).names)
        if deed.below or packs(part):
            for way, words in ways[: 3 if packs(part) else 2]:
                for word in words:
                    spots = self._spots(word, part.folders) or []
                    tracked = deed.tracked and self._looking and not deed.hazards
                    if hit := self._below(
                        way, spots, rules, deed.only, hidden=deed.hidden, tracked=tracked
                    ):
                        return hit
        return None

    def _in_text(self, commands: Sequence[Rule], files: Sequence[Rule]) -> tuple[Rule, str] | None:
        """Where the syntax is not understood, rules that deny are tried on every piece of text."""
        for rule in commands:
            if names_it(rule.pattern, self.command):
                return rule, self.command.strip()
        for piece, words in text_pieces(self.command):
            for rule in commands:
                if words and denies(rule.pattern, words):
                    return rule, piece.strip()
            for word in words if files else ():
                text = word.text.lstrip("<>&0123456789")
                for one in (text and self._spots(literal(text), self._folders)) or ():
                    hit = self._hit(files, "read", one) or self._hit(files, "write", one)
                    if hit:
                        return hit, piece.strip()
        return None
