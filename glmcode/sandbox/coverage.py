"""What each sandbox cannot keep a command from: for `doctor`, for the docs, and for people.

A boundary that is believed to be where it isn't is worse than none. Pure; docs/sandbox.md
holds the same sentences, and a test compares them.
"""

from __future__ import annotations

from glmcode.sandbox.probe import Backend

COMMON = (
    "reading files that the user can read, but for glmcode's own folders",
    "a .glmcode and some files of .git that were not there before: removed after the command, "
    "not prevented, and not while it runs in the background",
    "a .glmcode in a folder below the workspace: where the workspace is trusted it counts when "
    "glmcode is started there",
    "what Read, Grep and Glob read while a command in the background exchanges folders for "
    "links: they go by names (what Edit, Write and an undo write is safe from it on Linux)",
    "filling the disk, and using processor and memory",
    "asking this run's engine for answers, in this run's place in the queue or behind it",
    "hooks and configuration of a repository that a command itself made, or of one nested in "
    "the workspace that is no submodule, and hooks that lie in the work tree (core.hooksPath)",
)
AS_ROOT = (
    "a fork bomb as root: the limit of processes does not hold for root",
    "as root in a workspace of another user: anything that root can do to the files of folders "
    "that are writable; glmcode's folders are empty there, not closed",
)
WITH_NETWORK = (
    "with the network allowed: everything that it reaches, abstract Unix sockets included"
)
BUBBLEWRAP = (
    "Unix sockets in the workspace, and those that another program makes outside of /tmp and /run "
    "while the command runs",
)
LANDLOCK = (
    "connecting to Unix sockets by path (Docker, D-Bus, tmux, an ssh agent)",
    ".git/hooks, .git/config and .glmcode: what a command changed there is put back after it, "
    "not prevented, and not while it runs in the background",
    "seeing which processes run and their command lines (not their memory or environment)",
    "reading files inside the workspace that a rule forbids to read",
    "seeing names, sizes and times of files (not contents) in glmcode's folders",
    "changing modes, owners, times and extended attributes (not contents) of the user's files",
    "files of other programs in /tmp, for reading",
    "making user namespaces, which give no rights outside of them",
)
BY_ABI = (
    (3, "truncating files outside of the workspace (this kernel's Landlock is below ABI 3)"),
    (2, "moving files between folders: always refused (this kernel's Landlock is below ABI 2)"),
    (5, "device control calls on devices that can be opened (below ABI 5)"),
    (6, "signals to other processes of the user, and abstract Unix sockets (below ABI 6)"),
)
NO_NAMESPACE = (
    "UDP and other protocols than TCP: no network namespace is allowed here",
    "TCP to this machine itself is refused as well, also to a command's own server",
)
NO_SPACE = (
    "shared memory of other programs in /dev/shm, the engine's included",
    "Unix sockets of glmcode itself, the engine's included: who reaches it can start programs",
)
NO_NETWORK_RULES = "the network: neither a namespace nor rules for TCP (below ABI 4)"
SEATBELT = ("it was never run by those who wrote it: the profile is tested as text only",)
NOTHING = "anything: there is no sandbox here"


def not_covered(backend: Backend, *, root: bool = False) -> tuple[str, ...]:
    """Sentences, the gravest first; root: whether commands run as root."""
    match backend.mechanism:
        case "none":
            return (NOTHING,)
        case "bubblewrap":
            special: tuple[str, ...] = BUBBLEWRAP
        case "seatbelt":
            special = SEATBELT
        case "landlock":
            special = _of_landlock(backend)
    return (*special, *COMMON, *(AS_ROOT if root else ()), WITH_NETWORK)


def _of_landlock(backend: Backend) -> tuple[str, ...]:
    missing = tuple(text for abi, text in BY_ABI if backend.abi < abi)
    if backend.namespaces:
        if backend.abi < 6:
            missing = tuple(m.replace(", and abstract Unix sockets", "") for m in missing)
        return (*LANDLOCK, *missing)
    network = NO_NAMESPACE if backend.abi >= 4 else (NO_NETWORK_RULES,)
    return (*network, *NO_SPACE, *LANDLOCK, *missing)
