"""What decides (a Policy) and what was decided (a Judgement). Values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from glmcode.base.settings import Mode
from glmcode.permissions.rules import Rule

Decision: TypeAlias = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that decides: the mode, the rules, and the folders an agent may work in.

    folders: real paths, the workspace first. readable: folders that may be read besides.
    protected: folders of glmcode and its engine, which are asked about whatever the rules allow.
    searched: folders of PATH in which an agent may write: what stands there under the name of a
    harmless program is not that program.
    """

    mode: Mode = "default"
    allow: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    folders: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    searched: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The decision, why, and the rule that made it (None: the mode did).

    firm: it is about something protected, which no sandbox makes unasked.
    looks: nothing but reads would happen; plan mode allows no action without it.
    """

    decision: Decision
    why: str
    rule: Rule | None = None
    looks: bool = False
    firm: bool = False
