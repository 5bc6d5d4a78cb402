"""Which variables commands do not get: what looks like a secret, by its name.

A command that a model wrote needs no token to build and test. glmcode's own keys never pass,
whatever a setting lists. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

_SECRET = re.compile(
    r"(?:^|_)(?:TOKENS?|KEYS?|APIKEY|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PWD|PASS|CREDENTIALS?"
    r"|CREDS?|PAT|AUTH)(?:_(?:ID|BASE64|B64|JSON|VALUE))?$"
)
_KNOWN = frozenset({"AWS_ACCESS_KEY_ID", "DATABASE_URL", "PGPASSWORD", "MYSQL_PWD", "SSHPASS"})
NOT_SECRET = frozenset({"PWD", "OLDPWD", "GIT_ASKPASS", "SSH_ASKPASS"})
ALWAYS = ("VLLM_API_KEY",)
"""Keys of the engine: no setting lets them through."""


def withheld(
    environment: Mapping[str, str], allowed: Collection[str] = (), own: Collection[str] = ()
) -> frozenset[str]:
    """Names that commands do not get.

    allowed: names, or patterns with `*`, that the person lets through. own: variables that
    hold a key of glmcode itself.
    """
    never = {*own, *ALWAYS}
    return frozenset(
        name
        for name in environment
        if name in never
        or (is_secret(name) and not any(fnmatchcase(name, pattern) for pattern in allowed))
    )


def is_secret(name: str) -> bool:
    """Whether a variable of this name is taken for a secret."""
    upper = name.upper()
    return upper not in NOT_SECRET and (upper in _KNOWN or bool(_SECRET.search(upper)))
