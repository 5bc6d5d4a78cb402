"""Who asks for the engine and how urgently: a value, and its form as headers of a request.

Our front ends say it on every request; other programs at the same socket say nothing and
count as scripted, one lane for each process, so that many connections of one program are
still one that waits. Nothing here is a right: all who reach the socket are the same person.
Pure. Must not order, wait or send anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import quote, unquote

from glmcode.base.duration import left

QueueClass: TypeAlias = Literal["interactive", "scripted", "hook", "background"]
CLASSES: tuple[QueueClass, ...] = get_args(QueueClass)
"""From the most urgent to the least."""

PARENT = "GLMCODE_PARENT"
"""The variable that tells a glmcode which runs it is nested in, the outermost first."""

CLASS, RUN, PARENTS = "x-glmcode-class", "x-glmcode-run", "x-glmcode-parents"
LABEL, WAIT, RESUMES = "x-glmcode-label", "x-glmcode-wait", "x-glmcode-resumes"
TOKENS, QUEUED, TURNS = "x-glmcode-tokens", "x-glmcode-queue", "x-glmcode-turns"
TURN_OVER = "/glmcode/turn-over"
"""Where a run that says TURNS tells that its turn is over: it goes on only when a person does."""
LONGEST = 200
DEEPEST = 16
_WORDS: Mapping[str, str] = {
    "interactive": "session",
    "scripted": "scripted run",
    "hook": "git hook",
    "background": "background work",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One that asks: a run of glmcode, or a foreign process.

    run names it ("" only before it is known); parents: the runs that it is nested in, the
    outermost first. label: for those who wait behind it. wait_s: the longest wait in the queue,
    0: none, None: without end. resumes: an answer that was broken off for somebody more urgent
    is asked for again from where it stood. turns: it says when its turn is over, so that its next
    step can be waited for until then. ours: it reads what it is told while it waits. within:
    the run whose command asks, from inside its sandbox ("": none); never said by a header.
    """

    kind: QueueClass = "scripted"
    run: str = ""
    parents: tuple[str, ...] = ()
    label: str = ""
    wait_s: float | None = None
    resumes: bool = False
    turns: bool = False
    ours: bool = False
    within: str = ""

    def headers(self) -> dict[str, str]:
        """For every request of this run."""
        named = {
            CLASS: self.kind,
            RUN: self.run,
            PARENTS: ",".join(self.parents),
            LABEL: _quoted(self.label),
            WAIT: "" if self.wait_s is None else f"{self.wait_s:g}",
            RESUMES: "ids" if self.resumes else "",
            TURNS: "told" if self.turns else "",
        }
        return {name: value for name, value in named.items() if value}

    def chain(self) -> str:
        """The value of GLMCODE_PARENT for what this run starts."""
        return ",".join([*self.parents, self.run][-DEEPEST:])


def beside(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of work that a run has done ahead of its need: it waits for nobody, gives way to
    all, and counts as a run of its own, so that the run's place among its equals stays. Each time
    as another: one that has begun would wait for its next step."""
    label = unquote(headers.get(LABEL, "")) or _WORDS["background"]
    return {
        CLASS: "background",
        RUN: f"{headers.get(RUN, '')}-ahead-{os.urandom(4).hex()}",
        PARENTS: "",
        LABEL: _quoted(f"warming for the {label}"),
        WAIT: "0",
        RESUMES: "",
        TURNS: "",
    }


def new_lane(
    kind: QueueClass,
    folder: Path,
    environment: Mapping[str, str],
    *,
    wait_s: float | None = None,
) -> Lane:
    """The lane of a run that begins now, in a folder."""
    return Lane(
        kind=kind,
        run=os.urandom(8).hex(),
        parents=_names(environment.get(PARENT, "")),
        label=f"{_WORDS[kind]} in {_short(folder, environment.get('HOME', ''))}",
        wait_s=wait_s,
        ours=True,
    )


def read_lane(headers: Mapping[str, str], stranger: Lane) -> Lane:
    """The lane of a request; stranger: what it is when it says nothing about itself.

    What cannot be read counts as not said: an odd header must not cost an answer.
    """
    run = headers.get(RUN, "")
    kind = headers.get(CLASS, "")
    return Lane(
        kind=next((known for known in CLASSES if known == kind), stranger.kind),
        run=run[:LONGEST] or stranger.run,
        parents=_names(headers.get(PARENTS, "")),
        label=_line(unquote(headers.get(LABEL, "")) or stranger.label),
        wait_s=_seconds(headers.get(WAIT, "")),
        resumes=headers.get(RESUMES, "") == "ids",
        turns=headers.get(TURNS, "") == "told",
        ours=bool(run),
    )


def inside(given: Lane, parent: Lane, run: str, parents: Sequence[str]) -> Lane:
    """The lane of what a run's sandboxed command asks, whatever it says about itself.

    It is nested in that run and in nobody else's, never more urgent, and is shown as what it is.
    run, parents: names for it, and for what it is nested in below that run, that no other has.
    """
    return Lane(
        kind=max(given.kind, parent.kind, key=CLASSES.index),
        run=run,
        parents=(*parent.parents, parent.run, *parents)[-DEEPEST:],
        label=f"command of the {parent.label}"[:LONGEST],
        wait_s=given.wait_s,
        resumes=given.resumes,
        ours=given.ours,
        within=parent.run,
    )


def read_tokens(headers: Mapping[str, str]) -> int:
    """The tokens of the prompt, as the front end says; 0: not said."""
    text = headers.get(TOKENS, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """One that is before another in the queue. seconds: since it came, or runs."""

    kind: str
    label: str
    seconds: float
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one that waits is told. position 1 is next, 0: it is its turn now; eta_s: seconds left,
    None: unknown. kept_out: its context would push out that of a turn which goes on; for a status,
    not for the header."""

    position: int
    ahead: tuple[Ahead, ...]
    eta_s: float | None
    seconds: float
    kept_out: bool = False

    def nameless(self) -> Place:
        """The same without saying where those ahead work: for what a sandboxed command is told."""
        ahead = (replace(one, label=_WORDS.get(one.kind, "run")) for one in self.ahead)
        return replace(self, ahead=tuple(ahead))

    def line(self) -> bytes:
        """The header's line, with its end: ASCII, whatever a label holds."""
        value = {
            "position": self.position,
            "eta_s": self.eta_s,
            "seconds": round(self.seconds, 1),
            "ahead": [[a.kind, a.label, round(a.seconds, 1), a.running] for a in self.ahead],
        }
        return f"{QUEUED}: {json.dumps(value, separators=(',', ':'))}\r\n".encode()

    def words(self) -> str:
        """For a person: "2nd in the queue, after a scripted run in ~/proj (for 40 s), ..."."""
        first = self.ahead[0] if self.ahead else None
        after = f", after the {first.label} (for {first.seconds:.0f} s)" if first else ""
        others = max(len(self.ahead), self.position) - 1  # not all of them are named
        more = f" and {others} more" if first and others else ""
        return f"{ordinal(self.position)} in the queue{after}{more}{left(self.eta_s)}"


def read_place(value: str | None) -> Place | None:
    """Read the header; None where it is absent or odd."""
    try:
        said: Any = json.loads(value or "")
        return Place(
            position=int(said["position"]),
            ahead=tuple(
                Ahead(kind=str(k), label=str(label), seconds=_since(s), running=bool(r))
                for k, label, s, r in said["ahead"]
            ),
            eta_s=None if said["eta_s"] is None else _since(said["eta_s"]),
            seconds=_since(said["seconds"]),
        )
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..."""
    teen = 10 <= number % 100 < 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _quoted(label: str) -> str:
    return quote(label, safe=" /~:().,+-_")


def _line(label: str) -> str:
    """One line: others read it in theirs, and a folder may have any name."""
    return "".join(c if c.isprintable() else "\ufffd" for c in label[:LONGEST])


def _names(text: str) -> tuple[str, ...]:
    names: Sequence[str] = [part.strip()[:LONGEST] for part in text.split(",")]
    return tuple(name for name in names if name.isascii() and name.isprintable() and name)[
        -DEEPEST:
    ]


def _since(value: Any) -> float:
    """Seconds that have passed or are left. Raises ValueError for what is no such number."""
    seconds = float(value)
    if not 0 <= seconds < 1e9:
        raise ValueError(f"{value!r} are no seconds")
    return seconds


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def _short(folder: Path, home: str) -> str:
    text = str(folder).encode("utf-8", "replace").decode()
    if home and (text == home or text.startswith(home.rstrip("/") + "/")):
        text = "~" + text[len(home.rstrip("/")) :]
    return text if len(text) <= 80 else "…" + text[-79:]
