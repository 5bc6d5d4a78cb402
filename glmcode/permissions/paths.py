"""Rules for files: what a pattern covers, and what is protected whatever the rules say.

A file is judged by the path that was named and by where its links lead: what allows must cover
both, what denies or protects needs one. Patterns are read as in .gitignore, from the workspace:
`*.pem` anywhere, `./.env` and `src/**` from its root, `//etc/x` absolute, `~/x` in the home.
Looks at the disk to follow links and to expand `*` in words; must not open files.
"""

# Paths are text here, dots and links and all, as rules see them.
# ruff: noqa: PTH112, PTH118, PTH119, PTH121, PTH207

from __future__ import annotations

import glob
import itertools
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from glmcode.base.globs import expand_braces, path_expression
from glmcode.permissions.parts import Way
from glmcode.permissions.policy import Policy
from glmcode.permissions.rules import COVERS, Rule
from glmcode.permissions.trees import link_out, named_below, tracked_below, tracked_links
from glmcode.permissions.words import Listing, Word, as_python_glob

MOST_FILES = 300
_SECRET_NAMES = frozenset(
    [
        ".netrc",
        "_netrc",
        ".git-credentials",
        ".pypirc",
        ".pgpass",
        ".my.cnf",
        ".vault-token",
        ".dockercfg",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
    ]
)
_SECRET_FOLDERS = frozenset((".ssh", ".gnupg", ".aws", ".azure", ".kube", ".password-store"))
_SECRET_ENDS = (
    ".docker/config.json",
    ".config/gh/hosts.yml",
    ".config/gcloud",
    ".cargo/credentials",
)
_OWN_FOLDERS = frozenset((".git", ".glmcode"))
_TOOLING = frozenset((".husky", ".vscode", ".idea", ".claude", ".cursor", ".mcp.json"))
_STARTUP = frozenset(
    [
        ".bashrc",
        ".bash_profile",
        ".bash_login",
        ".bash_logout",
        ".bash_aliases",
        ".profile",
        ".zshrc",
        ".zshenv",
        ".zprofile",
        ".zlogin",
        ".zlogout",
        ".kshrc",
        ".cshrc",
        ".tcshrc",
        ".login",
        ".inputrc",
        *(".xprofile", ".xinitrc", ".xsessionrc"),
        ".pam_environment",
        ".gitconfig",
        ".gitmodules",
        ".npmrc",
        ".yarnrc",
        ".envrc",
        ".direnvrc",
    ]
)
_STARTUP_ENDS = (
    ".config/fish",
    ".config/git",
    ".config/autostart",
    ".config/systemd",
    ".config/environment.d",
    "library/launchagents",
)
_QUIET = re.compile(r"/dev/(?:null|stdin|stdout|stderr|tty|zero|u?random|fd/\d+)")


@dataclass(frozen=True, slots=True)
class Spot:
    """A file: `named` as it was written (absolute, without dots), `real` behind its links."""

    named: str
    real: str


def spot(path: str) -> Spot:
    """The spot of an absolute path."""
    return Spot(os.path.normpath(path), _real(path))


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return os.path.normpath(path)


def kept_in_home(home: Path) -> tuple[Path, ...]:
    """What lies in a home folder and is protected: start-up files and keys; it need not exist."""
    names = sorted((_STARTUP - {".gitmodules"}) | _SECRET_NAMES | _SECRET_FOLDERS)
    ends = (*_STARTUP_ENDS[:-1], *_SECRET_ENDS, "Library/LaunchAgents")
    return tuple(home / name for name in (*names, *ends))


def is_quiet(path: str) -> bool:
    """Whether it is no file at all: /dev/null, a descriptor."""
    return _QUIET.fullmatch(path) is not None


def spots_of(word: Word, folders: Iterable[Path], home: str) -> list[Spot] | None:
    """The files that a word may name; None when that isn't known before it runs."""
    folders = tuple(folders)
    text = as_python_glob(word.text) if word.glob else word.text
    if "\0" in text:
        return None
    if text == "~" and word.known and not word.raw:
        text = home
    absolute = text.startswith("/")
    if (not word.known and not word.glob) or not (folders or absolute):
        return None
    bases = ("/",) if absolute else tuple(str(folder) for folder in folders)
    if word.known:
        return [spot(os.path.join(base, text)) for base in bases]
    if len(re.findall(r"[^/]*[*?\[][^/]*", text)) > 2:
        return None
    found: list[Spot] = []
    for base in bases:
        names = list(
            itertools.islice(glob.iglob(text, root_dir=None if absolute else base), MOST_FILES + 1)
        )
        if len(names) > MOST_FILES:
            return None
        found += [spot(os.path.join(base, name)) for name in names or [text]]
    return found


def globs_to_option(word: Word, folders: Iterable[Path]) -> bool:
    """Whether a word that isn't known may become an option."""
    if not word.glob:
        return True
    found = spots_of(word, folders, "")
    if found is None:
        return True
    return any(os.path.basename(one.named).startswith("-") for one in found)


def inside(path: str, folders: Iterable[Path]) -> bool:
    """Whether a path is one of the folders, or below."""
    return any(_below(path, str(folder)) for folder in folders)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder[-1:] == "/" else f"{folder}/")


class Files:
    """The rules of one policy, asked about files."""

    def __init__(self, policy: Policy, home: str) -> None:
        self.policy = policy
        self.home = home
        self.folds = _folds(str(policy.folders[0])) if policy.folders else False

    def hit(self, rules: Iterable[Rule], way: Way, tool: str, one: Spot) -> Rule | None:
        """The first rule that names the file, by either of its paths: for what denies or asks."""
        for rule in rules:
            if not self._concerns(rule, way, tool):
                continue
            if not rule.pattern or any(
                self._covers(rule.pattern, path, loose=True) for path in (one.named, one.real)
            ):
                return rule
            if self._is_linked(rule.pattern, one.real):
                return rule
        return None

    def allowed(self, way: Way, tool: str, one: Spot) -> Rule | None:
        """A rule that covers the file by both of its paths."""
        for rule in self.policy.allow:
            if not self._concerns(rule, way, tool):
                continue
            if not rule.pattern and self.within(way, one):
                return rule
            if rule.pattern and all(
                self._covers(rule.pattern, path, loose=False) for path in (one.named, one.real)
            ):
                return rule
        return None

    def _is_linked(self, pattern: str, path: str) -> bool:
        """Whether a file is a hard link to the one that a pattern without `*` names."""
        try:
            state = os.stat(path)  # noqa: PTH116 (text, as everywhere here)
            if state.st_nlink < 2 or not stat.S_ISREG(state.st_mode):
                return False
            named = [os.path.join(folder, pattern.lstrip("/")) for folder in self.policy.folders]
            return any(os.path.samestat(state, os.stat(one)) for one in named)  # noqa: PTH116
        except (OSError, ValueError):
            return False

    def within(self, way: Way, one: Spot) -> bool:
        """Whether both paths lie in the workspace (for reads: or where glmcode keeps output)."""
        folders = self.policy.folders
        if way == "read":
            folders = (*folders, *self.policy.readable)
        return all(inside(path, folders) for path in (one.named, one.real))

    def protected(self, way: Way, one: Spot, *, below: bool = False) -> str:
        """Why a file is asked about whatever the rules allow; "" when it isn't.

        below: what lies in it would be changed too.
        """
        for path in (one.named, one.real):
            if way == "read" and inside(path, self.policy.readable):
                continue
            if why := _protected(path, way):
                return why
            if inside(path, self.policy.protected):
                return "it belongs to glmcode itself"
            if below and way == "write":
                ours = [str(folder) for folder in self.policy.protected]
                if any(os.path.lexists(os.path.join(path, name)) for name in _OWN_FOLDERS) or any(
                    inside(folder, (Path(path),)) for folder in ours
                ):
                    return "it holds a protected folder"
        return ""

    def denied_below(
        self,
        way: Way,
        one: Spot,
        names: Sequence[str] = ("*",),
        *,
        hidden: bool = True,
        tracked: bool = False,
    ) -> str:
        """A file below a folder that a rule keeps from being read or written; "" for none.

        names: patterns of those that count; hidden ones and links if hidden; only tracked ones.
        """
        rules = [r for r in self.policy.deny if self._concerns(r, way, "") and r.pattern]
        if not rules or not os.path.isdir(one.real):
            return ""
        every = named_below(one.real, names, hidden=hidden)
        for path in tracked_below(one.real) if tracked else every:
            if not path:
                return f"{one.named} (too many files to look at)"
            if self.hit(rules, way, "", Spot(path, _real(path))):
                return path
        return ""

    def closes(self, listing: Listing) -> bool:
        """Whether rules may keep a file of a list from being read, so that each must be known."""
        if any(rule.tool == "Read" for rule in self.policy.ask):
            return True
        denied = [rule.pattern for rule in self.policy.deny if rule.tool == "Read"]
        if "" in denied or any(one.startswith(("//", "~", "../")) for one in denied):
            return True
        return any(
            self.denied_below("read", one, listing.names, tracked=listing.tracked)
            for one in (spot(str(folder)) for folder in self.policy.folders)
        )

    def link_out(self, one: Spot) -> str:
        """A link below a folder that leads out of the workspace, or to keys; "" for none."""
        return link_out(one.real, ("*",), self._closed) if os.path.isdir(one.real) else ""

    def listed_out(self, folder: str, listing: Listing) -> str:
        """A link in a list of files, or a name that would be cut, that leads out; "" for none."""
        names, links = (listing.names if listing.links else ()), None
        if listing.tracked:
            links = tracked_links(folder)
            names = names if links is None else ()
        for path in links or ():
            if self._closed(path) and not os.path.isdir(path):
                return path
        return link_out(folder, names, self._closed, words=True)

    def _closed(self, path: str) -> bool:
        found = Spot(path, _real(path))
        return not self.within("read", found) or bool(self.protected("read", found))

    @staticmethod
    def _concerns(rule: Rule, way: Way, tool: str) -> bool:
        covering = "Read" if way == "read" else "Edit"
        return rule.tool == covering or (bool(tool) and tool in COVERS.get(rule.tool, (rule.tool,)))

    def _covers(self, pattern: str, path: str, *, loose: bool) -> bool:
        folds = self.folds and loose
        for one in _readings(pattern, self.home):
            if one.startswith("../") and self.policy.folders:
                one = "/" + os.path.normpath(os.path.join(self.policy.folders[0], one))
            if one.startswith("//"):
                if _matches(one[1:], path, folds) or _matches(_resolved(one[1:]), path, folds):
                    return True
                continue
            for folder in self.policy.folders:
                root = str(folder)
                if not _below(_folded(path, folds), _folded(root, folds)):
                    continue
                relative = path[len(root) :].lstrip("/")
                anchored = one.removeprefix("./").lstrip("/")
                if _matches(anchored, relative, folds):
                    return True
                if "/" not in one.rstrip("/") and _matches(f"**/{anchored}", relative, folds):
                    return True
        return False


def _readings(pattern: str, home: str) -> list[str]:
    if pattern.startswith("~"):
        rest = pattern[1:]
        return [f"/{home}{rest}"] if rest[:1] in ("", "/") else [f"/{Path(pattern).expanduser()}"]
    if pattern.startswith("/") and not pattern.startswith("//"):
        return [f"/{pattern}", pattern]
    return [pattern]


def _resolved(pattern: str) -> str:
    """An absolute pattern whose literal folders may be links."""
    parts = pattern.split("/")
    fixed = list(itertools.takewhile(lambda part: not re.search(r"[*?\[{]", part), parts))
    head = "/".join(fixed)
    return "/".join([_real(head or "/").rstrip("/"), *parts[len(fixed) :]])


def _matches(pattern: str, path: str, folds: bool) -> bool:
    return _expression(_folded(pattern, folds)).fullmatch(_folded(path, folds)) is not None


@lru_cache(maxsize=512)
def _expression(pattern: str) -> re.Pattern[str]:
    """A folder's pattern covers what is below it; `src/**` also the folder itself."""
    absolute = "/" if pattern.startswith("/") else ""
    out = []
    for one in expand_braces(pattern):
        parts = [part for part in one.split("/") if part not in ("", ".")]
        if parts and parts[-1] == "**":
            parts.pop()
        out.append(absolute + path_expression(parts) + "(?:/.*)?" if parts else ".*")
    return re.compile("|".join(f"(?:{one})" for one in out), re.DOTALL)


def _folded(text: str, folds: bool) -> str:
    return unicodedata.normalize("NFC", text.casefold()) if folds else text


@lru_cache(maxsize=16)
def _folds(folder: str) -> bool:
    """Whether the file system takes upper and lower case for the same."""
    if sys.platform in ("darwin", "win32"):
        return True
    other = folder.swapcase()
    try:
        return other != folder and os.path.samefile(folder, other)
    except OSError:
        return False


def _protected(path: str, way: Way) -> str:
    text = path if path.isascii() else unicodedata.normalize("NFC", path)
    if not text.isascii():
        text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    parts = text.casefold().split("/")
    name = parts[-1]
    joined = "/" + "/".join(parts) + "/"
    if _SECRET_FOLDERS & set(parts) or name in _SECRET_NAMES:
        return "it may hold keys or passwords"
    if any(f"/{end}" in joined for end in _SECRET_ENDS):
        return "it may hold keys or passwords"
    if way == "read":
        return ""
    if own := sorted(_OWN_FOLDERS & set(parts)):
        return f"{own[0]} is protected"
    if _TOOLING & set(parts):
        return "it changes what other tools run"
    if name in _STARTUP or any(f"/{end}/" in joined for end in _STARTUP_ENDS):
        return "it changes what runs later"
    return ""
