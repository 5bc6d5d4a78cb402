"""Judges a command part by part: which rule allows each, which files it reads and writes.

A command runs unasked only if every part may: because it looks (tables.py), because it edits files
that may be edited, or because a rule covers it, and because every file it names may be read or
written. The first thing that is missing is the reason that a person reads. Must not raise.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from glmcode.permissions.denials import Denials
from glmcode.permissions.forms import (
    allowable_forms,
    changed_names,
    is_write,
    pieces_of,
)
from glmcode.permissions.matching import covers
from glmcode.permissions.parts import Analysis, Found, Part, Way
from glmcode.permissions.paths import (
    Spot,
    is_quiet,
    spot,
)
from glmcode.permissions.policy import Judgement, Policy
from glmcode.permissions.programs import Deed
from glmcode.permissions.rules import Rule
from glmcode.permissions.variables import harmful_name
from glmcode.permissions.words import Listing, Word, literal

_COPIES = frozenset(("cp", "mv", "rsync"))
"""Commands with which links come to stand elsewhere, where others then write through them."""


class Verdicts(Denials):
    """One command under one policy."""

    def __init__(
        self,
        policy: Policy,
        command: str,
        folders: tuple[Path, ...],
        home: str,
        found: Analysis | None = None,
    ) -> None:
        super().__init__(policy, command, folders, home, found)
        self._named: set[int] = set()
        self._firm = False
        linking = [part for part in self.found.parts if part.name == "ln"]
        copies = [
            d for p, d in zip(self.found.parts, self._deeds, strict=True) if p.name in _COPIES
        ]
        sources = [word for deed in copies for word in deed.reads] if len(self._deeds) > 1 else []
        self._links = bool(linking) or any(
            self._files.link_out(one)
            for word in sources
            for one in self._spots(word, folders) or ()
        )
        self._alone = linking[0] if len(linking) == 1 else None

    def under(self, policy: Policy) -> Verdicts:
        """The same command under another policy."""
        return Verdicts(policy, self.command, self._folders, self.home, self.found)

    # what allows

    def judge(self) -> Judgement:
        """Whether every part may run, every file may be touched."""
        for rule in self.policy.allow:
            exact = rule.tool == "Bash" and rule.pattern == self.command.strip()
            if rule.tool == "Bash" and (exact or not rule.pattern):
                if why := self._protected():
                    self._firm = True
                    return self._ask(why)
                why = f"the rule {rule.text} allows it"
                return Judgement(decision="allow", why=why, rule=rule)
        if self.found.doubts:
            return self._ask(f"it holds {self.found.doubts[0]}, which is always asked about")
        used: Rule | None = None
        for part, deed in zip(self.found.parts, self._deeds, strict=True):
            if part.shadow:
                continue
            why, by = self._part(part, deed)
            if why:
                return self._ask(why)
            used = used or by
        for touch in self.found.touches:
            if why := self._file(touch.way, touch.word, touch.folders, strict=True):
                return self._ask(f"`{touch.text}`: {why}")
        why = f"the rule {used.text} allows it" if used else "it only looks at the workspace"
        return Judgement(decision="allow", why=why, rule=used)

    def each(self) -> list[Found]:
        """Everything that must be allowed, in order: the parts, and the files of redirections."""
        found: list[Found] = []
        for part, deed in zip(self.found.parts, self._deeds, strict=True):
            if part.shadow:
                continue
            why, rule = self._part(part, deed)
            if part.wraps and part.inner and not part.hazard:
                continue
            files = self._unwritable(part, deed) if why else []
            found += [Found(part.text, (), path, why, None) for path in files]
            if not files:
                changed = [literal(f"{n}={v.text}") for n, v in part.assigns if v.known]
                found.append(Found(part.text, (*changed, *part.words), "", why, rule))
        for touch in self.found.touches:
            why = self._file(touch.way, touch.word, touch.folders, strict=True)
            for path in [one.named for one in self._spots(touch.word, touch.folders) or ()] or [""]:
                if not is_quiet(path):
                    found.append(Found(touch.text, (), path, why, None, touch.way))
        return found

    def _unwritable(self, part: Part, deed: Deed) -> list[str]:
        """The files that keep a command from running which otherwise only looks."""
        if deed.kind != "look" or self._needs_rule(part, deed, [], ""):
            return []
        return [
            one.named
            for word in deed.writes
            if self._file("write", word, part.folders, strict=True)
            for one in self._spots(word, part.folders) or ()
        ]

    def _ask(self, why: str) -> Judgement:
        if self.policy.mode == "dontAsk":
            why = f"{why}, and nobody is to be asked"
        return Judgement(decision="ask", why=why, firm=self._firm)

    def _protected(self) -> str:
        """A protected file that the command names; "" for none."""
        for part, deed in zip(self.found.parts, self._deeds, strict=True):
            ways: tuple[tuple[Way, list[Word]], ...] = (
                ("read", deed.reads),
                ("write", deed.writes),
            )
            for way, words in ways:
                for word in words:
                    for one in self._spots(word, part.folders) or ():
                        if why := self._files.protected(way, one, below=deed.below):
                            return f"{word.raw or word.text}: {why}"
        for touch in self.found.touches:
            for one in self._spots(touch.word, touch.folders) or ():
                if why := self._files.protected(touch.way, one):
                    return f"`{touch.text}`: {why}"
        return ""

    def _part(self, part: Part, deed: Deed) -> tuple[str, Rule | None]:
        """Why a part may not run ("": it may), and the rule that lets it."""
        shown = f"`{part.text[:80]}{'...' if len(part.text) > 80 else ''}`"
        if not part.words:
            bad = [name for name, _ in part.assigns if not name or harmful_name(name)]
            return (f"{shown} changes what later commands do", None) if bad else ("", None)
        if not part.words[0].known:
            return f"in {shown} it isn't known which program runs", None
        if part.name == "git" and (strange := self._strange_repository(part, deed)):
            return f"{shown} runs in {strange}, whose configuration git would follow", None
        changed = changed_names(part)
        rule, named = self._rule(part, deed, changed)
        if rule is None and id(part.words[0]) in self._named:
            named = self._named
        elif rule is not None:
            self._named |= named
        elif part.wraps and not (part.hazard or part.opaque or changed):
            return "", None
        elif why := self._needs_rule(part, deed, changed, shown):
            return why, None
        if part.opaque:
            return f"what {shown} runs isn't known", None
        return self._all_files(part, deed, rule is not None, named, shown), rule

    def _needs_rule(self, part: Part, deed: Deed, changed: list[str], shown: str) -> str:
        if changed:
            return f"{shown} changes {changed[0]}, which needs a rule of its own"
        if part.hazard:
            return f"{shown} needs a rule of its own ({part.hazard})"
        hazards = [reason for word, reason in deed.hazards if not is_write(word, deed)]
        if hazards:
            return f"{shown} needs a rule of its own ({hazards[0]})"
        if own := self._own_program(part.name):
            return f"{shown} would run {own}, a program of this workspace"
        if deed.kind == "look" or (deed.kind == "write" and deed.editing and not self._links):
            return ""
        return f"no rule allows {shown}" + (f" ({deed.why})" if deed.why else "")

    def _own_program(self, name: str) -> str:
        """What stands under a harmless program's name where an agent may write; "" for nothing."""
        places = [] if "/" in name else [f"{folder}/{name}" for folder in self.policy.searched]
        return next(filter(os.path.lexists, places), "")

    def _strange_repository(self, part: Part, deed: Deed) -> str:
        """A folder that git would take for a repository without `.git`, which is protected.

        Whoever may write files can make one, with a configuration that runs programs.
        """
        folders = [str(folder) for folder in part.folders]
        for word in deed.reads:
            folders += [one.real for one in self._spots(word, part.folders) or ()]
        for folder in folders:
            while self._files.within("read", spot(folder)) and len(folder) > 1:
                if all(os.path.lexists(f"{folder}/{name}") for name in ("HEAD", "objects", "refs")):
                    return folder
                folder = os.path.dirname(folder)  # noqa: PTH120 (text, as everywhere here)
        made = [word for one in self._deeds for word in one.writes]
        made += [touch.word for touch in self.found.touches if touch.way == "write"]
        heads = [word for word in made if word.text.rstrip("/").endswith("HEAD")]
        return "a repository that is made here" if heads else ""

    def _rule(self, part: Part, deed: Deed, changed: list[str]) -> tuple[Rule | None, set[int]]:
        """A rule that covers a part, and the ids of the words that it names."""
        for rule in self.policy.allow:
            if rule.tool != "Bash" or not rule.pattern:
                continue
            for words in allowable_forms(part, changed):
                loose = covers(rule.pattern, words)
                if loose is None:
                    continue
                named = {id(word) for index, word in enumerate(words) if index not in loose}
                if changed and not all(id(w) in named for w in words[: len(changed)]):
                    continue
                if all(id(word) in named for word, _ in deed.hazards if not is_write(word, deed)):
                    return rule, named
        return None, set()

    def _all_files(self, part: Part, deed: Deed, by_rule: bool, named: set[int], shown: str) -> str:
        """Why a file that a part names may not be touched; "" when all may."""
        for word in deed.reads:
            if id(word) in named and word.known:
                continue
            if why := self._file("read", word, part.folders) or self._followed(word, part, deed):
                return f"{shown} {why}"
        by_nature = deed.kind == "write" and all(id(word) in named for word, _ in deed.hazards)
        strict = not (by_rule and by_nature)
        for word in deed.writes:
            if id(word) in named and word.known and not self._is_protected(word, part, deed):
                continue
            linked = part is not self._alone or strict
            if why := self._file(
                "write", word, part.folders, strict=strict, below=deed.below, linked=linked
            ):
                return f"{shown} {why}"
        for word in deed.maybe:
            if id(word) in named:
                continue
            for piece in pieces_of(word) if not re.search(r"\s", word.text) else [word]:
                if not re.match(r"/|(?:[^/]+/)*\.\.(?:/|$)|~", piece.text):
                    continue
                for one in self._spots(piece, part.folders) or ():
                    above = piece is word and re.match(r"\.\./", word.text)
                    there = above or Path(one.named).exists()
                    there = there or (piece is word and deed.kind == "look")
                    if there and not is_quiet(one.named) and not self._readable(one):
                        return f"{shown} names {one.named}, outside the workspace"
        return ""

    def _is_protected(self, word: Word, part: Part, deed: Deed) -> bool:
        spots = self._spots(word, part.folders) or []
        return any(self._files.protected("write", one, below=deed.below) for one in spots)

    def _readable(self, one: Spot) -> bool:
        return self._files.within("read", one) or bool(self._files.allowed("read", "", one))

    def _file(
        self,
        way: Way,
        word: Word,
        folders: tuple[Path, ...],
        *,
        strict: bool = False,
        below: bool = False,
        linked: bool = True,
    ) -> str:
        """Why a file may not be touched. strict: a write must be allowed as an edit is.

        linked: it may lie behind a link that the command makes.
        """
        if word.known and word.text == "-":
            return ""
        spots = self._spots(word, folders)
        if spots is None:
            if way == "read" and word.listed and folders and not self._files.closes(word.listed):
                return self._led_out(word.listed, folders)
            verb = "reads" if way == "read" else "writes"
            return f"{verb} a file that isn't known before it runs ({word.raw or word.text})"
        for one in spots:
            if is_quiet(one.named):
                continue
            if why := self._files.protected(way, one, below=below):
                self._firm = True
                return f"touches {one.named}: {why}"
            if self._files.allowed(way, "", one):
                continue
            within = self._files.within(way, one)
            if way == "read" and not within:
                return f"reads {one.named}, outside the workspace"
            if way == "write" and not within:
                return f"writes {one.named}, outside the workspace"
            if way == "write" and (
                (self._links and linked) or (strict and self.policy.mode != "acceptEdits")
            ):
                return f"writes {one.named}, which no rule allows"
        return ""

    def _followed(self, word: Word, part: Part, deed: Deed) -> str:
        """Where a command that follows links would leave the workspace."""
        for one in (deed.follows and self._spots(word, part.folders)) or ():
            if out := self._files.link_out(one):
                return f"follows links, and {out} leads out of the workspace"
        return ""

    def _led_out(self, listing: Listing, folders: tuple[Path, ...]) -> str:
        """Where a list of files leaves the workspace: by a link, or by a name that is cut."""
        for folder in folders:
            if out := self._files.listed_out(str(folder), listing):
                return f"reads files among which {out} leads out of the workspace"
        return ""
