from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from glmcode.sandbox import Backend, not_covered
from tests.sandbox.kit import WORKING, Place, backend

SCRIPT = Path(__file__).with_name("hostile.py")
ATTEMPTS = tuple(re.findall(r"^@attempt\ndef (\w+)", SCRIPT.read_text(), re.MULTILINE))
FOREIGN = "bubblewrap, the workspace of another user"
"""Root has to keep rights over files there, and no user namespace stands around it."""
BARE = "landlock, no network namespace"
"""As in a container that refuses namespaces: Landlock's own rules are all there is."""
VARIANTS = (
    *WORKING,
    *([FOREIGN] if os.geteuid() == 0 and "bubblewrap" in WORKING else []),
    *([BARE] if "landlock" in WORKING and backend("landlock").abi >= 6 else []),
)
PUT_BACK = {
    "bubblewrap": {"point_git_elsewhere", "plant_settings"},
    "landlock": {
        "plant_a_hook",
        "plant_hooks_by_rename",
        "change_the_git_config",
        "change_the_git_config_by_git",
        "point_git_elsewhere",
        "plant_settings",
        "replace_the_git_folder",
    },
}
"""What can't be refused, and is undone: the state afterwards is what counts."""
OPEN = {
    "landlock": {
        "connect_to_a_socket_in_tmp": "Unix sockets by path",
        "connect_to_a_socket_elsewhere": "Unix sockets by path",
        "list_the_state_folder": "names, sizes and times",
        "read_the_command_line_of_another": "their command lines",
        "change_a_mode_outside": "modes, owners",
    },
    "bubblewrap": {},
}
"""What a mechanism does not refuse, and words of the sentence that says so."""
OPEN_THERE = {
    FOREIGN: {
        "list_the_state_folder": "empty there, not closed",
        "gain_rights_by_setuid": "anything that root can do",
    },
    BARE: {
        "send_by_udp": "UDP",
        "change_the_shared_memory_of_another": "shared memory",
        "connect_to_the_engine": "Unix sockets of glmcode itself",
    },
}


@dataclass(frozen=True, slots=True)
class Outcome:
    backend: Backend
    place: Place
    told: dict[str, str]
    before: dict[str, bytes]
    after: dict[str, bytes]
    victim_lives: bool
    contacts: tuple[str, ...]
    variant: str


@pytest.fixture(scope="module", params=VARIANTS)
def outcome(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    folder = Path(tempfile.mkdtemp(prefix="glm-hostile-"))
    elsewhere = Path(tempfile.mkdtemp(prefix=".glm-", dir=Path.home()))
    try:
        place = Place(folder)
        if request.param == FOREIGN:
            os.chown(place.workspace, 65534, 65534)
        found = backend(request.param.partition(",")[0])
        if request.param == BARE:
            found = replace(found, namespaces="")
        yield attack(found, place, elsewhere, request.param)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(elsewhere)


def attack(found: Backend, place: Place, elsewhere: Path, variant: str) -> Outcome:
    contacts: list[str] = []
    with ExitStack() as stack:
        victim = subprocess.Popen(
            [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)"],
            cwd=place.outside,
            stdout=subprocess.PIPE,
        )
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        assert victim.stdout is not None and victim.stdout.readline() == b"up\n"
        name = f"glm-{os.getpid()}-{elsewhere.name}"
        engine = place.home / "state" / "run" / "supervisor.sock"
        disk = Path("/").stat().st_dev
        memory = Path(tempfile.mkstemp(prefix="glm-", dir="/dev/shm")[1])
        stack.callback(memory.unlink)
        terminal, other_end = os.openpty()
        stack.callback(os.close, terminal)
        stack.callback(os.close, other_end)
        facts = {
            "workspace": str(place.workspace),
            "outside": str(place.outside),
            "state": str(place.home / "state"),
            "victim": victim.pid,
            "parent": os.getpid(),
            "tcp": listen(stack, contacts, "tcp", socket.AF_INET, ("127.0.0.1", 0)),
            "udp": answer(stack, contacts),
            "abstract": name,
            "socket": str(place.outside / "s"),
            "socket_elsewhere": str(elsewhere / "s"),
            "engine": str(engine),
            "memory": str(memory),
            "terminal": os.ttyname(other_end),
            "disk": [os.major(disk), os.minor(disk)],
        }
        listen(stack, contacts, "abstract", socket.AF_UNIX, "\0" + name)
        for path in (place.outside / "s", elsewhere / "s", engine):
            listen(stack, contacts, path.name, socket.AF_UNIX, str(path))
        subprocess.run(["git", "init", "-q", place.workspace], check=True)
        before = picture(place)
        text = asyncio.run(run(found, place, json.dumps(facts)))
        told = json.loads(text[text.index("{") : text.index("}") + 1])
        lives = victim.poll() is None
        return Outcome(found, place, told, before, picture(place), lives, tuple(contacts), variant)


async def run(found: Backend, place: Place, facts: str) -> str:
    script = place.workspace / "hostile.py"
    shutil.copy(SCRIPT, script)
    session = place.session(place.sandbox(found), FACTS=facts)
    try:
        return await session.text(f'{sys.executable} hostile.py "$FACTS"')
    finally:
        await session.close()


def listen(
    stack: ExitStack, contacts: list[str], name: str, family: int, address: object
) -> int | None:
    server = socket.socket(family)
    server.bind(address)  # type: ignore[arg-type]
    server.listen()
    stack.callback(server.close)

    def take() -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return
            contacts.append(name)

    threading.Thread(target=take, daemon=True).start()
    return int(server.getsockname()[1]) if family == socket.AF_INET else None


def answer(stack: ExitStack, contacts: list[str]) -> int:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(60)
    stack.callback(server.close)

    def take() -> None:
        try:
            server.sendto(b"y", server.recvfrom(10)[1])
        except OSError:
            return
        contacts.append("udp")

    threading.Thread(target=take, daemon=True).start()
    return int(server.getsockname()[1])


def picture(place: Place) -> dict[str, bytes]:
    """Every file that must not change: outside, glmcode's own, and what git obeys."""
    roots = [place.outside, place.home / "state", place.workspace / ".git" / "hooks"]
    files = {path for root in roots for path in root.rglob("*") if path.is_file()}
    files |= {place.workspace / ".git" / name for name in ("config", "commondir")}
    files |= {place.workspace / ".glmcode" / "config.toml"}
    spill = place.home / "state" / "spill"
    return {
        str(path): path.read_bytes() if path.is_file() else b"(nothing)"
        for path in files
        if not path.is_relative_to(spill)
    }


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_every_way_out_is_refused_or_told_as_open(outcome: Outcome, attempt: str) -> None:
    told = outcome.told[attempt]
    mechanism = outcome.backend.mechanism
    left_open = OPEN[mechanism] | OPEN_THERE.get(outcome.variant, {})
    if attempt in left_open:
        assert told == "DONE", "it is refused here: not_covered() and the docs say otherwise"
        sentences = not_covered(outcome.backend, root=os.geteuid() == 0)
        assert any(left_open[attempt] in sentence for sentence in sentences)
    elif attempt not in PUT_BACK[mechanism]:
        assert told.startswith("refused"), attempt


def test_nothing_outside_has_changed_and_what_git_obeys_is_as_it_was(outcome: Outcome) -> None:
    assert outcome.after == outcome.before


def test_no_process_outside_was_touched_and_nothing_that_listens_was_reached(
    outcome: Outcome,
) -> None:
    assert outcome.victim_lives
    reached = set(outcome.contacts)
    open_here = {"s", "supervisor.sock"} if outcome.backend.mechanism == "landlock" else set()
    assert reached <= open_here | ({"udp"} if outcome.variant == BARE else set())
