"""`glmcode engine profiles`: what each is for, where it comes from, whether it fits here.

Must not start an engine or download anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glmcode.engine.profile import (
    Profile,
    ProfileError,
    list_profiles,
    load_profile,
    own_profiles_folder,
    profile_source,
)
from glmcode.exits import Exit
from glmcode.plan_commands import NoShape, profile_settings, profile_shape
from glmcode.repl.clean import for_terminal, visible

if TYPE_CHECKING:
    from glmcode.engine.gpus import Gpus


def run_profiles(as_json: bool) -> int:
    """List the profiles: what each is for, where it comes from, whether it fits here."""
    from glmcode.engine.gpus import find_gpus

    here = find_gpus()
    found = [_listed(name, here) for name in list_profiles()]
    if as_json:
        print(json.dumps(found))
        return Exit.DONE
    width = max(len(item["name"]) for item in found)
    for item in found:
        words = [item["description"], f"({item['from']}{_here_words(item, here)})"]
        print(for_terminal(f"{item['name']:<{width}}  {' '.join(words)}"))
    print(f"your own: {visible(str(own_profiles_folder()))}/NAME.toml", file=sys.stderr)
    return Exit.DONE


def _listed(name: str, here: Gpus) -> dict[str, Any]:
    item: dict[str, Any] = {"name": name, "model": "", "from": profile_source(name)}
    try:
        profile = load_profile(name)
    except ProfileError as error:
        return {**item, "description": f"cannot be used: {error}", "gpus": None, "fits_here": None}
    return {
        **item,
        "model": profile.model,
        "description": profile.description,
        "gpus": profile.gpus or None,
        "fits_here": _fits(profile, here),
    }


def _fits(profile: Profile, here: Gpus) -> str | None:
    """The planner's verdict for this machine; None without GPUs, or where nobody can say."""
    from glmcode.engine.fit import fit
    from glmcode.engine.fit_kv import kv_dtype
    from glmcode.engine.fit_text import verdict
    from glmcode.engine.quantised import ShapeError

    if not here.found or not profile.gpus:
        return None
    settings = profile_settings(profile)
    try:
        shape, _ = profile_shape(profile)
    except (NoShape, ShapeError):
        return None
    if kv_dtype(settings.kv) is None:
        return None
    return verdict(fit(shape, settings, len(here.found), here.smallest_gib))


def _here_words(item: Mapping[str, Any], here: Gpus) -> str:
    if not item["gpus"]:
        return ""
    if item["fits_here"] is None:
        return f"; for {item['gpus']}"
    return (
        f"; for {item['gpus']}; on this machine's {len(here.found)} x {here.smallest_gib:.0f} GiB: "
        f"{item['fits_here']}"
    )
