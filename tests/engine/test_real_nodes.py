"""One model over two nodes: vLLM's own multi-node executor, both nodes on this machine."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.engine.attach import attach, engine_status
from glmcode.engine.bootstrap import broken_packages
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import load_profile
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.plan_commands import launch_of
from tests.conftest import ROOT, START_LIMIT_S, TinyEngine, end_engines, tiny_home
from tests.engine.engine_kit import until
from tests.engine.test_real_workers import answer

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]

# `vllm serve` of the build for CPUs asks for a distribution called vllm and fails; and what can't
# be loaded here (builds for CUDA) breaks its import.
SERVE = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
from vllm.utils.argparse_utils import FlexibleArgumentParser
if __name__ == "__main__":
    cli_env_setup()
    parser = FlexibleArgumentParser()
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(dest="subparser"))
    arguments = parser.parse_args(sys.argv[1:])
    command.validate(arguments)
    command.cmd(arguments)
"""


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """The second node, as the plan says; the first is up."""
    folder = Path(tempfile.mkdtemp(prefix="glm-nodes-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder))
    tiny_home(folder)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    profiles = folder / "config" / "profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    (profiles / "nodes.toml").write_text(
        'extends = "tiny"\ntensor_parallel = 2\nwindow = "auto"\nwindow_cap = 16384\n[flags]\n'
        f'nnodes = 2\nnode-rank = 0\nmaster-addr = "127.0.0.1"\nmaster-port = {port}\n'
        'distributed-executor-backend = "mp"\n'
    )
    profile = load_profile("nodes")
    (command,) = launch_of(profile).others
    words = shlex.split(command)
    at = words.index("vllm")
    env = dict(word.split("=", 1) for word in words[:at])
    script = folder / "second.py"
    script.write_text(SERVE.format(hidden=broken_packages(folder / "cache" / "engine")))
    second = subprocess.Popen(
        [sys.executable, str(script), *words[at + 1 :]],
        env={**os.environ, **env, "VLLM_HOST_IP": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        asyncio.run(attach(profile, lambda event: None, timeout_s=START_LIMIT_S))
        yield second
    finally:
        end_engines(folder)
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_two_nodes_answer_as_one_machine_and_the_loss_of_one_is_told(
    tiny_engine: TinyEngine, other: subprocess.Popen[bytes]
) -> None:
    tokenizer = GlmTokenizer.load(ROOT / "models" / "tiny" / "tokenizer.json")
    ids = tokenizer.encode_text("Run the tests and fix what fails.")
    one = answer(tiny_engine.address.socket, ids)
    assert len(one) > 1 and answer(engine_paths("nodes").socket, ids) == one
    assert engine_status("nodes").window == 16_384
    os.killpg(other.pid, signal.SIGKILL)
    with pytest.raises((KeyError, OSError)):  # an error in place of an answer
        answer(engine_paths("nodes").socket, ids)
    until(lambda: engine_status("nodes").state == "failed", 60)
    assert "other machines' commands again" in engine_status("nodes").reason
