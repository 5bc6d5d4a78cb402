"""The agent's cache ledger: judges each request, writes its line, remembers the workspace's head.

Joins context/ledger.py with the journal, the stored session and a small file per workspace in
the state folder: the ids of the last session's head and who answered it, so that the first
request of the next one can be judged. All of it is work after a request; a launch waits for
none of it. A disk that cannot take a line costs the line, never the turn. Must not show anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path

from glmcode.agent_options import AgentOptions
from glmcode.agent_setup import system_text
from glmcode.base.data import prompt_text
from glmcode.base.paths import private_folder, state_folder
from glmcode.context.ledger import (
    Earlier,
    Head,
    Ledger,
    earlier_head,
    earlier_line,
    head_from_json,
    ledger_json,
)
from glmcode.core.events import RequestFinished
from glmcode.core.transcript import Transcript
from glmcode.engine.client import Client
from glmcode.sessions import Journal, JournalError

HEAD_LIMIT = 4 << 20
"""Bytes of a stored head above which it is not read: none of ours is that large."""


class AgentLedger:
    """One conversation's requests. `ledger` is made when the first of them is answered."""

    def __init__(
        self, options: AgentOptions, client: Client, transcript: Transcript, journal: Journal
    ) -> None:
        self.ledger = Ledger(Earlier())
        self._options = options
        self._policy = options.context.reasoning
        self._client = client
        self._transcript = transcript
        self._journal = journal
        self._begun = self._kept = False

    def take(self, request: RequestFinished) -> RequestFinished:
        """The request as the ledger judges it; its line is in the journal. Never raises."""
        if not self._begun:
            self._begun = True
            self._begin(request)
        if not self._kept and (request.whole or request.kind != "warm"):
            self._kept = True
            _keep(self._path, self._head(request))
        judged = self.ledger.take(request)
        with contextlib.suppress(JournalError):  # the next message meets the same disk and says so
            self._journal.write("ledger", {**ledger_json(judged), "reasoning": self._policy})
        return judged

    def _begin(self, request: RequestFinished) -> None:
        stored = self._options.stored
        if stored is not None:
            line = stored.conversation.ledger
            self.ledger = Ledger(earlier_line(line or {}, self._policy))
        else:
            self.ledger = Ledger(earlier_head(_read(self._path), self._head(request)))
        self.ledger.totals.head = len(self._client.head_ids(self._transcript))

    @property
    def _path(self) -> Path:
        return head_file(self._journal.path.parent.name)

    def _head(self, request: RequestFinished) -> Head:
        preamble = self._transcript.preamble
        tools = json.dumps([spec.function() for spec in preamble.specs], sort_keys=True)
        said = (self._client.model, self._client.tokenizer_id, tools)
        return Head(
            fixed=_digest(*said, system_text(self._options)),
            instructed=_digest(*said, preamble.system.partition(prompt_text("map.md"))[0]),
            whole=_digest(*said, preamble.system),
            ids=self._client.head_ids(self._transcript),
            engine=request.engine,
            served=request.served,
        )


def head_file(workspace: str) -> Path:
    """Where the last head of a workspace is remembered; the name is that of its sessions."""
    return state_folder() / "heads" / f"{workspace}.json"


def _digest(*texts: str) -> str:
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()


def _read(path: Path) -> Head | None:
    try:
        if path.stat().st_size > HEAD_LIMIT:
            return None
        return head_from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def _keep(path: Path, head: Head) -> None:
    """Replace the file at once; a disk that is full only costs the next session a cause."""
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        private_folder(path.parent)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(head.to_json(), separators=(",", ":")).encode())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
