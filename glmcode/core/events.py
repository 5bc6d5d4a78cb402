"""Events: everything a front end may learn about a turn, as frozen values.

Two kinds. Facts (Appended, ApprovalAsked, ApprovalAnswered, Compacted, Notice,
TurnFinished) must arrive; progress (the rest) may be dropped when a front end is slow. All
are JSON by construction. Events describe; they must not carry behaviour or open resources.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from glmcode.core.messages import Message, Usage
from glmcode.core.tool import Preview

TurnReason: TypeAlias = Literal[
    "done",
    "max_turns",
    "allowance",
    "cancelled",
    "length",
    "rejected_calls",
    "empty_answer",
    "repetition",
    "context_full",
    "error",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """A turn begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """The model is asked; number counts from 1 within the turn."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A streamed piece of the reply; provisional until its message is appended.

    kind "call": text grows the call `call_index`, whose tool name is in `name` (it may be
    "" until known); `argument` is the key that the text belongs to, "" for none. tokens: how
    many were generated up to its end since the last piece, 0: unknown; for meters alone.
    """

    kind: Literal["reasoning", "text", "call"]
    text: str
    call_index: int = 0
    name: str = ""
    argument: str = ""
    tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltasDiscarded:
    """What streamed since the step began is void: the request is sent again."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """A message is part of the transcript (and already in the journal)."""

    message: Message
    for_user: Preview | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A permitted action is being committed."""

    call_id: str
    name: str
    preview: Preview


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """Live output of a running command."""

    call_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPart:
    """A simple command, or a redirection, of a command that is asked about.

    allowed: whether it may run as things are, by `rule` ("": it needs none). Else rule is the
    narrowest that would allow it; "" where none can, for the reason in `why`.
    """

    text: str
    rule: str = ""
    allowed: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked:
    """A person is asked about an action.

    rules: the narrowest that together would let it run unasked; none where no rule can, for the
    reason in `why`. parts: what a command consists of. others: what else of the same message
    will be asked about after it, as it looks now; what looks different then is asked again.
    question: what is asked where it is not whether the action may be done: a yes or a no answers
    it, and no rule does; "". editable: whether a person may change the action before a yes.
    """

    call_id: str
    name: str
    subject: str
    preview: Preview
    parts: tuple[AskedPart, ...] = ()
    rules: tuple[str, ...] = ()
    why: str = ""
    others: tuple[ApprovalAsked, ...] = ()
    question: str = ""
    editable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAnswered:
    """The answer, whoever gave it: a person, a rule, or nobody ("denied, nobody there")."""

    call_id: str
    name: str
    allowed: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProgress:
    """The engine on its way: a phase, percent (None: unknown) and seconds left (None: unknown)."""

    phase: str
    percent: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """No token yet, or none for a while; seconds since the request or the last token.

    percent: of the prompt that is computed, eta_s: seconds until all of it is; None: unknown.
    estimated: they come from what prompts took so far, and not from the engine.
    """

    seconds: float
    prompt_tokens: int
    percent: float | None = None
    eta_s: float | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The request waits for others at the engine. position 1: next; seconds since it came.

    eta_s: seconds left, None: unknown. ahead: who is before it, the one at the engine first, as
    (class, label, seconds, whether it is at the engine). broken_off: an answer had begun and
    goes on from where it stands.
    """

    position: int
    seconds: float
    eta_s: float | None = None
    ahead: tuple[tuple[str, str, float, bool], ...] = ()
    broken_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """The engine computes what the next prompt will begin with, while nobody waits for it.

    tokens: of that beginning; 0: it is over, done or not.
    """

    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """A request failed and is sent again after `wait_s` seconds."""

    why: str
    attempt: int
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacting:
    """A summary is asked for, because the window is nearly full or a person wants it."""

    tokens: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """The transcript has a new segment. before and after are tokens of a prompt.

    why: "automatic", "asked" or "full" (the hard limit). summary: "" when none could be made
    and the segment is mechanical. usage: what asking for the summary cost.
    """

    before: int
    after: int
    why: Literal["automatic", "asked", "full"]
    summary: str
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something a person should know; never sent to the model."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A reply was received; usage is that of this reply alone."""

    number: int
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFinished:
    """One request to the model was answered, or broke off (whole: False; its cost is unknown).

    cached_tokens None: the server does not say. prefix: tokens at the head of its prompt that
    an earlier request of this conversation held; held: those that the engine has after it,
    kept answer included. segment counts compactions. engine names one start of an engine of
    ours ("": unknown), served the requests it was given, tries those that we sent since the
    last of these events, block the tokens of its cache's blocks (0: unknown). The last four
    are the ledger's: what should have been cached, what was computed again (an estimate of
    its seconds, None: unknown), and why.
    """

    kind: Literal["step", "go_on", "compaction", "question", "warm"]
    prompt_tokens: int
    cached_tokens: int | None
    output_tokens: int
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    prefix: int = 0
    held: int = 0
    segment: int = 0
    engine: str = ""
    served: int = 0
    tries: int = 1
    block: int = 0
    whole: bool = True
    expected: int = 0
    again: int = 0
    again_s: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished:
    """The end of a turn. text is the last assistant text; detail explains an error.

    retryable: the same turn may work later (engine busy, loading, unreachable or died).
    log: raw lines that back the detail, for the person.
    """

    reason: TurnReason
    steps: int
    text: str = ""
    detail: str = ""
    retryable: bool = False
    log: str = ""


Fact: TypeAlias = Appended | ApprovalAsked | ApprovalAnswered | Compacted | Notice | TurnFinished
Progress: TypeAlias = (
    TurnStarted
    | StepStarted
    | Delta
    | DeltasDiscarded
    | CallStarted
    | Compacting
    | ToolOutput
    | EngineProgress
    | Waiting
    | Queued
    | Warming
    | Retrying
    | RequestFinished
    | StepFinished
)
Event: TypeAlias = Fact | Progress
