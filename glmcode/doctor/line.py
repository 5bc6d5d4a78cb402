"""One line of the doctor's answer, and what all checks are told. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from glmcode.base.settings import EngineSettings
from glmcode.engine.profile import Profile

State: TypeAlias = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """name: of the matter; text: what was found; todo: what to do, for what is not ok;
    details: more, a sentence each."""

    name: str
    state: State
    text: str
    todo: str = ""
    details: tuple[str, ...] = ()


def ok(name: str, text: str, *details: str) -> Line:
    """It works, or is not needed."""
    return Line(name=name, state="ok", text=text, details=details)


def warning(name: str, text: str, todo: str, *details: str) -> Line:
    """It works less well, or nobody can say."""
    return Line(name=name, state="warning", text=text, todo=todo, details=details)


def fault(name: str, text: str, todo: str, *details: str) -> Line:
    """It does not work."""
    return Line(name=name, state="fault", text=text, todo=todo, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be looked at. settings: [engine]; profile: the engine that is wanted on this
    machine, or None where only a client is; server: the address of a server elsewhere, "" for
    none, and key_env the variable that holds its key; deep: also import vLLM and compute."""

    settings: EngineSettings
    profile: Profile | None = None
    server: str = ""
    key_env: str = ""
    deep: bool = False
