"""Measures whether a step costs more when the conversation is long: 2K to 200K tokens and 1.4 MB.

A scripted session is filled by large Reads and then does small steps (a Read, an Edit, ...);
only the small ones are measured. `own` is the end of an answer to the head of the next
request, `sent` the same to the last byte of its body, `floor` what a bare socket needs to
bring a body of that size to the same scripted engine. The engine is a process of its own and
reads a request whole before it looks at it. The tiny model's ids have three digits or four and
stand for few characters; 200,000 of GLM's own are about as many bytes (1.4 MB of ids, 0.7 MB of
text) as 410,000 of these: hence the last size.
`relay` is what the supervisor's proxy adds to a request of that size.

    python benchmarks/size.py [--runs N] [--protocol chat|tokens|both]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results import keep

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
SIZES = (2_000, 20_000, 100_000, 200_000, 410_000)
WINDOW = 900_000
SMALL_STEPS = 16
LINES = 400
STEP_PATHS = ("/v1/chat/completions", "/v1/completions", "/inference/v1/generate")


def big_file(number: int) -> str:
    """A file whose Read is just under the limit of a tool result."""
    return "".join(
        f"    total_{number}_{line} = compute(total_{line}, {line * 7919 % 9973})  # step {line}\n"
        for line in range(LINES)
    )


def script(fills: int) -> list[dict[str, Any]]:
    """Large reads, then small steps, then an answer."""
    whole = {"offset": 1, "limit": LINES}  # without a range the outline would come
    steps = [_call("Read", file_path=f"big{number}.py", **whole) for number in range(fills)]
    for number in range(SMALL_STEPS // 2):
        steps.append(_call("Read", file_path="a.py"))
        old, new = f"value = {number}", f"value = {number + 1}"
        steps.append(_call("Edit", file_path="a.py", old_string=old, new_string=new))
    return [*steps, {"text": "Done.", "reasoning": "all edits are made"}]


def _call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"reasoning": f"now {name}", "calls": [{"name": name, "arguments": arguments}]}


def fills_for(size: int) -> int:
    """How many large reads bring the prompt to `size` tokens (the head has about 2,000)."""
    from glmcode.glm.tokenizer import GlmTokenizer

    numbered = "".join(f"{n}\t{line}\n" for n, line in enumerate(big_file(0).splitlines(), 1))
    each = len(GlmTokenizer.load(TOKENIZER).encode_text(numbered)) + 40
    return round(max(0, size - 2_000) / each)


@contextlib.contextmanager
def engine(folder: Path, steps: list[dict[str, Any]], *options: str) -> Iterator[str]:
    """The scripted engine in its own process; gives its address."""
    (folder / "script.json").write_text(json.dumps(steps))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--slim", "--script",
         str(folder / "script.json"), "--record", str(folder / "record.jsonl"),
         "--tokenizer", str(TOKENIZER), "--window", str(WINDOW), *options],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().split()[-1]
        time.sleep(0.5)  # it writes its record a moment later
    finally:
        process.kill()
        process.wait()


def recorded(folder: Path) -> list[dict[str, Any]]:
    """The steps' requests."""
    lines = (folder / "record.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["path"] in STEP_PATHS]


def measure(protocol: str, size: int, folder: Path) -> dict[str, float]:
    """One session that ends at about `size` tokens: medians of its small steps."""
    fills = fills_for(size)
    work = folder / "work"
    work.mkdir()
    (work / "a.py").write_text("def f():\n    value = 0\n    return value\n" + "# line\n" * 9)
    for number in range(fills):
        (work / f"big{number}.py").write_text(big_file(number))
    with engine(folder, script(fills)) as address:
        base_url = address if address.endswith("/v1") else f"{address}/v1"
        command = [
            sys.executable, "-m", "glmcode", "-p", "make value 8", "--base-url", base_url,
            "--protocol", protocol, "-m", "glm", "-y", "--output-format", "stream-json",
            "-C", str(work),
        ]  # fmt: skip
        if protocol == "tokens":
            command += ["--set", f"engine.tokenizer={TOKENIZER}"]
        memory, said = _run(command, {**os.environ, "GLMCODE_HOME": str(folder / "home")})
    steps = recorded(folder)
    if len(steps) != fills + SMALL_STEPS + 1:
        raise SystemExit(f"the session took {len(steps)} steps: {said[-800:]}")
    assert all(step["grows"] is not False for step in steps), "a prompt did not grow"
    pairs = list(itertools.pairwise(steps))[fills:]
    return {
        "own_ms": statistics.median(1000 * (b["at"] - a["answered"]) for a, b in pairs),
        "sent_ms": statistics.median(1000 * (b["received"] - a["answered"]) for a, b in pairs),
        "tokens": float(steps[-1]["tokens"] or 0),
        "body_kb": steps[-1]["bytes"] / 1000,
        "rss_mb": memory,
    }


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run it; the most memory it had (MB), and what it said."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        said = output.read()
    if status:
        raise SystemExit(f"the session failed: {said[-800:]}")
    return usage.ru_maxrss / 1024, said


def floor_ms(size: int, folder: Path) -> float:
    """Time until the last byte of a body of `size` bytes is there, by a bare socket."""
    body = b'{"pad":"' + b"x" * max(0, size - 10) + b'"}'
    head = f"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    times = []
    with engine(folder, []) as address:
        host, port = address.split("//")[1].split("/")[0].split(":")
        with socket.create_connection((host, int(port))) as connection:
            for _ in range(SMALL_STEPS):
                began = time.monotonic()
                connection.sendall(head + body)
                times.append(began)
                while b"Not Found" not in connection.recv(65536):
                    pass
    lines = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    spent = [line["received"] - began for line, began in zip(lines, times, strict=True)]
    return 1000 * statistics.median(spent)


def relay_ms(size: int, folder: Path) -> dict[str, float]:
    """A request of `size` bytes through our transport: straight, and through the relay."""
    engine_socket = folder / "engine.sock"
    with engine(folder, [], "--socket", str(engine_socket)):
        relay = subprocess.Popen(
            [sys.executable, __file__, "--relay", str(folder / "relay.sock"), str(engine_socket)],
            stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert relay.stdout is not None
        relay.stdout.readline()
        try:
            straight = asyncio.run(_ask(engine_socket, size))
            through = asyncio.run(_ask(folder / "relay.sock", size))
        finally:
            relay.kill()
            relay.wait()
    return {"straight_ms": straight, "through_ms": through, "relay_ms": through - straight}


async def _ask(path: Path, size: int) -> float:
    from glmcode.engine.endpoint import Endpoint, address_of
    from glmcode.engine.http import HttpTransport

    transport = HttpTransport(address_of(Endpoint(socket=path)), {})
    body = b'{"pad":"' + b"x" * max(0, size - 10) + b'"}'
    times = []
    for _ in range(40):
        began = time.monotonic()
        response = await transport.open("POST", "/v1/nowhere", (body,))
        while await response.read():
            pass
        times.append(1000 * (time.monotonic() - began))
        response.release()
    await transport.close()
    return statistics.median(times[5:])


async def serve_relay(path: str, upstream: str) -> None:
    """The supervisor's relay alone, in front of the scripted engine."""
    from glmcode.engine.proxy import relay
    from glmcode.engine.wire import Incoming

    async def excuse() -> dict[str, Any]:
        return {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Incoming(reader)
        while (head := await client.head()) is not None:
            if not await relay(client, writer, head, Path(upstream), excuse):
                break
        writer.close()

    server = await asyncio.start_unix_server(accept, path)
    print("ready", flush=True)
    await server.serve_forever()


def best(rows: list[dict[str, float]]) -> dict[str, float]:
    """The quietest run's medians: what other processes took is not ours. Most memory of all."""
    return {
        key: round((max if key == "rss_mb" else min)(row[key] for row in rows), 3)
        for key in rows[0]
    }


def table(protocol: str, runs: int) -> dict[str, dict[str, float]]:
    """Per size; sizes take turns, so that a busy minute strikes all of them."""
    rows: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for _, size in itertools.product(range(runs), SIZES):
        with tempfile.TemporaryDirectory() as folder:
            rows[size].append(measure(protocol, size, Path(folder)))
    found = {f"{size}": best(rows[size]) for size in SIZES}
    base = found[f"{SIZES[0]}"]
    for size, row in found.items():
        row["ratio"] = round(row["sent_ms"] / base["sent_ms"], 2)
        with tempfile.TemporaryDirectory() as folder:
            row["floor_ms"] = round(floor_ms(int(row["body_kb"] * 1000), Path(folder)), 3)
        print(protocol, size, json.dumps(row), flush=True)
    return found


def main() -> None:
    """Run, print, keep results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--protocol", choices=("chat", "tokens", "both"), default="both")
    parser.add_argument("--relay", nargs=2, metavar=("SOCKET", "ENGINE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.relay:
        asyncio.run(serve_relay(*given.relay))
        return
    results: dict[str, Any] = {}
    for protocol in ("tokens", "chat") if given.protocol == "both" else (given.protocol,):
        results[protocol] = table(protocol, given.runs)
    relays: dict[str, dict[str, float]] = {}
    for size in (14_000, 1_400_000):
        with tempfile.TemporaryDirectory() as folder:
            found = relay_ms(size, Path(folder))
            relays[f"{size}"] = {key: round(value, 3) for key, value in found.items()}
            print("relay", size, "bytes", json.dumps(relays[f"{size}"]))
    results["relay"] = relays
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"(the benchmark itself: {peak:.0f} MB)")
    keep({"size": results})


if __name__ == "__main__":
    main()
