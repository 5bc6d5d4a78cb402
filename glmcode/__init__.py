"""glmcode: a terminal coding agent that owns its engine, and its Python API.

The API lies in api.py and is imported when one of its names is first asked for, so that
`glmcode --version` costs nothing; this module must never import anything by itself.
"""

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Allow",
    "Answer",
    "ApprovalRequest",
    "Approve",
    "BudgetError",
    "Deny",
    "Event",
    "GlmcodeError",
    "InterruptedTurn",
    "Options",
    "Result",
    "Tool",
    "UnavailableError",
    "UsageError",
    "__version__",
    "run",
    "run_async",
]

TYPE_CHECKING = False  # importing typing for this would cost milliseconds
if TYPE_CHECKING:
    from glmcode.api import Agent, run, run_async
    from glmcode.api_values import (
        Allow,
        Answer,
        ApprovalRequest,
        Approve,
        BudgetError,
        Deny,
        Event,
        GlmcodeError,
        InterruptedTurn,
        Options,
        Result,
        Tool,
        UnavailableError,
        UsageError,
    )


def __getattr__(name: str) -> object:
    """The names of the API, imported when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'glmcode' has no attribute {name!r}")
    from importlib import import_module

    module = "api" if name in ("Agent", "run", "run_async") else "api_values"
    return getattr(import_module(f"glmcode.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
