"""glmcode: a terminal coding agent that owns its engine.

Only the version lives here, so that `glmcode --version` costs nothing; this
module must never import anything.
"""

__version__ = "0.1.0"
