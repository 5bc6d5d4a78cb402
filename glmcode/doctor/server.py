"""A server elsewhere: its address, its key, and whether anything answers there."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from glmcode.core.model import ModelError
from glmcode.doctor.line import Asked, Line, fault, ok
from glmcode.engine.endpoint import Endpoint, address_of

CONNECT_S = 3.0


def server_lines(asked: Asked) -> list[Line]:
    """Nothing where no server is configured."""
    if not asked.server:
        return []
    lines = []
    if asked.key_env:
        if os.environ.get(asked.key_env):
            lines.append(ok("key", f"the variable {asked.key_env} is set"))
        else:
            text = f"the variable {asked.key_env} is not set or empty"
            lines.append(fault("key", text, f"export {asked.key_env}=..."))
    return [*lines, _reached(asked.server)]


def _reached(server: str) -> Line:
    try:
        place = address_of(Endpoint(base_url=server))
    except ModelError as error:
        return fault("server", str(error), "correct engine.base_url (or --base-url)")
    if place.socket is not None:
        return _unix(place.socket)
    try:
        with socket.create_connection((place.host, place.port), CONNECT_S):
            return ok("server", f"{place.shown} takes connections")
    except OSError as error:
        why = error.strerror or str(error)
        todo = f"is it running there, and may this machine reach port {place.port}?"
        return fault("server", f"{place.shown}: {why}", todo)


def _unix(path: Path) -> Line:
    todo = "start the server, or correct the path"
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return fault("server", f"{path} is no socket", todo)
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(CONNECT_S)
            there.connect(str(path))
        return ok("server", f"{path} takes connections")
    except OSError as error:
        return fault("server", f"{path}: {error.strerror or error}", todo)
