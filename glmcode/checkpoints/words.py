"""What a person is told when a checkpoint is not whole: why, and what follows from it.

Plain text with places to fill. Must not decide when it is said.
"""

from __future__ import annotations

from glmcode.checkpoints.scan import MAX_FILES

PARTLY = (
    "the checkpoint is not whole: a part of the workspace could not be read within {limit:g} s. "
    "What was not read yet, undo can't bring back if it changes now; later checkpoints go on"
)
TOO_SLOW = (
    "no checkpoint of the whole workspace: looking at it takes more than {limit:g} s. Undo covers "
    "only the files that Edit and Write change"
)
MANY = (
    f"the checkpoint is not whole: there are more than {MAX_FILES:,} files here, and the rest is "
    "left out. What a command changes there, undo can't take back"
)
UNKNOWN = (
    "glmcode was killed during a command, and looking at the workspace takes too long: what that "
    "command changed, undo can't take back"
)
TOO_WIDE = (
    "no checkpoint of the whole workspace: {folder} is no project folder. Undo covers only the "
    "files that Edit and Write change; start glmcode in the project's own folder for more"
)
