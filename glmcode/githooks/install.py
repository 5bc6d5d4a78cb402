"""Puts a hook into a repository and takes it out again, byte for byte as it was.

What was there is moved aside under a name of our own and still runs, before ours; uninstalling
moves it back. The hook is a small script that names its interpreter by its absolute path and
passes with a notice when that is gone: a removed glmcode never stops a commit. Must not touch a
hook that somebody changed after us.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import glmcode
from glmcode.exits import Exit
from glmcode.githooks.place import NAMES, HookError, Name, Place

MARK = "# glmcode hook"
SUM = "# sha256 "
BEFORE = ".before-glmcode"
_SCRIPT = """\
#!/bin/sh
{mark} {name}: `glmcode hook uninstall {name}` removes it unless it was changed{made}
{sum}{digest}
before="$0{suffix}"
python={python}
package={package}
{body}"""
_BODY = """\
{chain} || exit $?; fi
if [ ! -x "$python" ] || [ ! -e "$package" ]; then
  [ -x "$python" ] && python=$package
  echo "glmcode: $python is gone: {name} passed; \\`glmcode hook install\\` mends it" >&2
  exit 0
fi
export GLMCODE_GIT=$PPID
code=0
{given}"$python" -P -m glmcode hook run {name} --block-code {block} {options}-- "$@" || code=$?
case $code in 0) exit 0 ;; {block}) exit 1 ;; esac
echo "glmcode: {name}: {otherwise}: it ended with code $code" >&2
exit {last}
"""
"""Only the verdict has a code of its own: Python ends with 1 of a fault, too, and a fault of ours
must not look like one to git."""
_CHAIN = 'if [ -x "$before" ]; then {given}"$before" "$@"'
_HUSKY = 'if [ -f "$before" ]; then {given}sh -e "$before" "$@"'
"""husky runs its hooks so, executable or not, and ours as well."""
_STDIN = """\
refs=$(cat)
say() { if [ -n "$refs" ]; then printf '%s\\n' "$refs"; fi; }
"""
_MADE = re.compile(r"; folders made for it: (\d+)")


@dataclass(frozen=True, slots=True)
class Installed:
    """A hook in a repository. state: "ours", "changed" (ours, and somebody wrote into it), "other"
    (somebody else's) or "none". chained: what was there before runs first."""

    name: Name
    path: Path
    state: str
    chained: bool


def script(name: Name, options: list[str], *, made: int, husky: bool = False) -> str:
    """The hook's text. options: of `hook run`. made: how many folders were made for it. husky: it
    is husky that runs it."""
    piped = name == "pre-push"  # git's lines there are for both
    given = "say | " if piped else ""
    closed = "--fail-closed" in options and name != "prepare-commit-msg"
    body = _BODY.format(
        name=name,
        given=given,
        chain=(_HUSKY if husky else _CHAIN).format(given=given),
        block=int(Exit.BLOCK),
        options="".join(f"{shlex.quote(word)} " for word in options),
        otherwise="blocked, nothing was judged" if closed else "passed without a look",
        last=int(closed),
    )
    return _signed(
        mark=MARK,
        name=name,
        made=f"; folders made for it: {made}" if made else "",
        suffix=BEFORE,
        python=shlex.quote(sys.executable),
        package=shlex.quote(glmcode.__file__),
        body=_STDIN + body if piped else body,
    )


def _signed(**parts: str) -> str:
    """The script with its own checksum in it, so that what somebody writes into it is not lost."""
    digest = hashlib.sha256(_SCRIPT.format(**parts, sum=SUM, digest="").encode()).hexdigest()
    return _SCRIPT.format(**parts, sum=SUM, digest=digest)


def _state(text: str, name: Name) -> str:
    if f"{MARK} {name}:" not in text:
        return "other"
    unsigned, found = re.subn(rf"(?m)^({SUM}).*$", r"\1", text)
    if not found:
        return "ours"  # of a version that wrote none
    return "ours" if hashlib.sha256(unsigned.encode()).hexdigest() in text else "changed"


def look(place: Place) -> list[Installed]:
    """What stands for each hook. Raises HookError."""
    return [_installed(place, name) for name in NAMES]


def install(place: Place, name: Name, options: list[str]) -> Installed:
    """Put a hook there, in front of what is there. Raises HookError."""
    _refuse(place, name)
    path = place.hooks / name
    before = path.with_name(name + BEFORE)
    state = _installed(place, name).state
    missing = [one for one in (place.hooks, *place.hooks.parents) if not os.path.lexists(one)]
    made = len(missing) or max(map(_made, look(place)))
    try:
        place.hooks.mkdir(parents=True, exist_ok=True)
        if state in ("other", "changed"):
            if os.path.lexists(before):
                raise HookError(
                    f"{before} is there already, from an earlier install: look at both, and "
                    "remove one of them"
                )
            path.rename(before)
        _write(path, script(name, options, made=made, husky=place.manager == "husky"))
    except OSError as error:
        if state in ("other", "changed") and not os.path.lexists(path) and os.path.lexists(before):
            before.rename(path)
        raise HookError(f"{path} cannot be written: {error.strerror or error}") from error
    return _installed(place, name)


def uninstall(place: Place, name: Name) -> bool:
    """Take a hook out and put back what was there; whether there was one. Raises HookError."""
    found = _installed(place, name)
    if found.state == "none":
        return False
    if found.state == "changed":
        raise HookError(f"{found.path} was changed since glmcode put it there: it was left alone")
    if found.state == "other":
        raise HookError(f"{found.path} is not glmcode's: it was left alone")
    before = found.path.with_name(name + BEFORE)
    made = _made(found)
    try:
        if os.path.lexists(before):
            before.replace(found.path)
        else:
            found.path.unlink()
        for folder in (place.hooks, *place.hooks.parents)[:made]:
            if any(folder.iterdir()):
                break
            folder.rmdir()
    except OSError as error:
        raise HookError(f"{found.path} cannot be removed: {error.strerror or error}") from error
    return True


def _refuse(place: Place, name: Name) -> None:
    there = place.hooks / name
    if there.exists() and not there.is_file():
        raise HookError(f"{there} is no file, so it cannot run before ours: move it away first")
    call = f"glmcode hook run {name} --"
    if place.manager == "lefthook":
        raise HookError(
            f"this repository's hooks are lefthook's, which writes them anew: add a command "
            f"`{call} {{1}}` to {name} in its configuration instead"
        )
    if place.manager == "shared":
        raise HookError(
            f"core.hooksPath is {place.hooks}, outside of this repository, for all repositories "
            f'that use it: call `{call} "$@"` from the {name} there, or unset core.hooksPath here'
        )


def _installed(place: Place, name: Name) -> Installed:
    path = place.hooks / name
    chained = os.path.lexists(path.with_name(name + BEFORE))
    if not os.path.lexists(path):
        return Installed(name, path, "none", chained)
    state = "other" if path.is_symlink() else _state(_text(path), name)
    return Installed(name, path, state, chained and state != "other")


def _made(hook: Installed) -> int:
    found = _MADE.search(_text(hook.path)) if hook.state == "ours" else None
    return int(found[1]) if found else 0


def _text(path: Path) -> str:
    """Its beginning; "" for what is no file: a pipe would be waited for."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all: git may call it at any moment."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.chmod(0o755)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
