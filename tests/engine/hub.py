"""A model hub on this machine that speaks the protocol of the real one, and can be unkind.

Serves one model: its listing with sizes and hashes, and its files, with ranges. `unkind` says what
goes wrong: it is asked before each answer to a GET of a file; `twist` may change the listing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Unkind:
    """status: answer with it. cut: drop the connection after so many bytes. wrong: other bytes."""

    status: int = 0
    cut: int | None = None
    wrong: bool = False


Mood = Callable[[str, int], "Unkind | None"]


@dataclass
class Hub:
    """`with Hub("org/model", files) as hub`: hub.address is for HF_ENDPOINT."""

    model: str
    files: dict[str, bytes]
    mood: Mood = lambda name, nth: None
    private: bool = False
    twist: Callable[[dict[str, Any]], Any] = lambda listing: listing
    asked: list[str] = field(default_factory=list)
    heads: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    sent: int = 0

    def __enter__(self) -> Hub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words: object) -> None:
                pass

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, to: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = to.path.split("?")[0]
        self.heads.append((path, str(to.headers)))
        if self.private:
            return self._plain(to, 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if path.startswith(f"/api/models/{self.model}"):
            return self._plain(to, 200, json.dumps(self.twist(self._listing())).encode(), {})
        prefix = f"/{self.model}/resolve/"
        name = path.removeprefix(prefix).partition("/")[2]
        if not path.startswith(prefix) or name not in self.files:
            return self._plain(to, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        return self._file(to, name, body=body)

    def _listing(self) -> dict[str, Any]:
        return {
            "id": self.model,
            "sha": COMMIT,
            "siblings": [self._sibling(name, data) for name, data in self.files.items()],
        }

    def _sibling(self, name: str, data: bytes) -> dict[str, object]:
        one: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_id(data)}
        if name.endswith(".safetensors"):
            digest = hashlib.sha256(data).hexdigest()
            one["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
        return one

    def _file(self, to: BaseHTTPRequestHandler, name: str, *, body: bool) -> None:
        data = self.files[name]
        lfs = name.endswith(".safetensors")
        etag = hashlib.sha256(data).hexdigest() if lfs else git_id(data)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        mood = None
        if body:
            self.asked.append(name)
            mood = self.mood(name, self.asked.count(name))
        if mood is not None and mood.status:
            return self._plain(to, mood.status, b"{}", {})
        start = 0
        if body and (wanted := to.headers.get("Range")):
            self.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        part = data[start:]
        if mood is not None and mood.wrong:
            part = b"\0" * len(part)
        to.send_response(206 if start else 200)
        for key, value in {**headers, "Content-Length": str(len(part))}.items():
            to.send_header(key, value)
        to.end_headers()
        if not body:
            return None
        if mood is not None and mood.cut is not None:
            part = part[: mood.cut]
            to.close_connection = True
        self.sent += len(part)
        to.wfile.write(part)
        return None

    def _plain(
        self, to: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str]
    ) -> None:
        to.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            to.send_header(key, value)
        to.end_headers()
        if to.command == "GET":
            to.wfile.write(data)


def git_id(data: bytes) -> str:
    """The name git has for a content."""
    digest = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()
