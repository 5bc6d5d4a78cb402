"""Fetches a profile's model from the hub: whole, checked, and resumable at any byte.

It comes into huggingface_hub's own cache, where vLLM and every other tool finds it; here is
what it leaves open: is there room for it, does each file hold what the hub says (size and hash),
how far is it, and what to do about a failure. What was checked is recorded, so that it need not be
read again and so that a later change of tokenizer or template is noticed. Must not print.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from glmcode.engine.pull_file import fetch_file
from glmcode.engine.pulled import mark_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

WORKERS = 4
MAX_TRIES = 8
"""Tries of one file in a row that bring nothing new."""
LONGEST_WAIT_S = 30.0
ROOM = 1 << 30
"""Bytes that must stay free on the disk beside the model."""
POLL_S = 0.25
_CHUNK = 1 << 22
_WEIGHTS = (".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".ot")
_LOST = (401, 403, 404, 410)
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EPERM)
_COMMIT = re.compile(r"[0-9a-f]{6,64}")


class PullError(Exception):
    """The model can't be had; one sentence that says why and what helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of the model. size in bytes, -1 where the hub doesn't say; sha256 in hex, or ""
    where only git knows it."""

    name: str
    size: int
    sha256: str = ""
    git: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the hub has of a model. folder: of this model in the hub's cache on this disk."""

    model: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]
    folder: Path

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(max(0, file.size) for file in self.files)

    def path(self, file: HubFile) -> Path:
        """Where a file lies once it is there."""
        return self.folder / "snapshots" / self.commit / file.name

    def here(self, file: HubFile) -> bool:
        """Whether it is there, with its whole size."""
        try:
            return file.size in (-1, self.path(file).stat().st_size)
        except OSError:
            return False

    def fetched(self) -> int:
        """Bytes that are on this disk, those of unfinished files included."""
        whole = sum(max(0, file.size) for file in self.files if self.here(file))
        part = 0
        with suppress(OSError):
            for entry in os.scandir(self.folder / "blobs"):
                with suppress(OSError):
                    ours = entry.name.partition(".")[2] == "incomplete"  # others begin anew
                    part += entry.stat().st_size if ours else 0
        return min(self.size, whole + part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """fetched, checked and total in bytes; trying_again: why a file is asked for once more."""

    fetched: int
    checked: int
    total: int
    trying_again: str = ""


def list_model(model: str, revision: str = "") -> Listing:
    """What the hub has. Raises PullError."""
    if ".." in revision.split("/"):
        raise PullError(f"{revision[:60]!r} is no revision: see `revision` in the profile")
    _quiet()
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    try:
        info = HfApi().model_info(model, revision=revision or None, files_metadata=True, timeout=30)
        files = [_listed(one) for one in info.siblings or ()]
    except (TypeError, AttributeError, KeyError) as error:
        raise PullError(f"what the hub says of {model} can't be understood: {error}") from error
    except hub_faults() as error:
        raise PullError(_words(error, model)) from error
    if not any(file.name.endswith(".safetensors") for file in files):
        raise PullError(f"{model} holds no weights that vLLM reads (*.safetensors) at the hub")
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise PullError(f"the hub names no commit of {model}: {str(info.sha)[:60]!r}")
    return Listing(
        model=model,
        revision=revision or "main",
        commit=info.sha,
        files=tuple(file for file in files if not file.name.endswith(_WEIGHTS)),
        folder=Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model"),
    )


def _listed(one: RepoSibling) -> HubFile:
    """One line of the hub's list. Raises PullError: a name becomes a path on this disk."""
    name, size = one.rfilename, one.size
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise PullError(f"the hub lists a file that can be none of a model: {name[:100]!r}")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise PullError(f"the hub gives {name} an impossible size: {str(size)[:20]!r}")
    return HubFile(
        name=name,
        size=-1 if size is None else size,
        sha256=one.lfs.sha256 if one.lfs is not None else "",
        git=one.blob_id or "" if one.lfs is None else "",
    )


def check_room(listing: Listing) -> int:
    """Bytes that are still to be fetched. Raises PullError where the disk can't take them."""
    needed = listing.size - listing.fetched()
    place = listing.folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed and free < needed + ROOM:
        raise PullError(
            f"{gigabytes(needed + ROOM)} are needed in {place} and {gigabytes(free)} are free: "
            "free some, or set HF_HOME to a folder on a larger disk"
        )
    return needed


@dataclass(slots=True)
class Pull:
    """One run: fetches and checks what is missing. known: name -> mark of files checked before."""

    listing: Listing
    known: Mapping[str, str] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)
    _hashed: int = 0
    _again: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failed: PullError | None = None

    def run(self, tell: Callable[[Progress], None]) -> None:
        """Until everything is there and checked. Raises PullError; KeyboardInterrupt passes."""
        _quiet()
        waiting: SimpleQueue[HubFile] = SimpleQueue()
        for file in sorted(self.listing.files, key=lambda one: one.size):
            waiting.put(file)
        workers = [
            threading.Thread(target=self._work, args=(waiting,), daemon=True)
            for _ in range(min(WORKERS, len(self.listing.files)))
        ]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers) and self._failed is None:
            tell(self.progress())
            time.sleep(POLL_S)
        if self._failed is not None:
            raise self._failed
        self._point()
        tell(self.progress())

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            fetched=self.listing.fetched(),
            checked=self._hashed,
            total=self.listing.size,
            trying_again=self._again,
        )

    def _work(self, waiting: SimpleQueue[HubFile]) -> None:
        while self._failed is None:
            try:
                file = waiting.get_nowait()
            except Empty:
                return
            try:
                self._file(file)
            except PullError as error:
                self._failed = error
            except OSError as error:
                self._failed = PullError(_words(error, self.listing.model))

    def _file(self, file: HubFile) -> None:
        for last in (False, True):
            self._fetch(file)
            path = self.listing.path(file)
            mark = mark_of(path)
            if self.known.get(file.name) == mark:
                self._count(max(0, file.size))
            elif not self._is_right(path, file):
                self._forget(path)
                if last:
                    raise PullError(
                        f"{file.name} came twice with other bytes than the hub says: try again "
                        "later, and look at the disk and the memory of this machine"
                    )
                continue
            with self._lock:
                self.checked[file.name] = mark
            return

    def _count(self, size: int) -> None:
        with self._lock:
            self._hashed += size

    def _fetch(self, file: HubFile) -> None:
        tries, had = 0, -1
        while not self.listing.here(file):
            try:
                fetch_file(
                    self.listing.model,
                    self.listing.commit,
                    file.name,
                    file.size,
                    self.listing.folder / "blobs",
                    large=bool(file.sha256),
                )
                if not self.listing.here(file):
                    self._forget(self.listing.path(file))  # cut short
                    raise ConnectionError(f"{file.name} came cut short")
                break
            except hub_faults() as error:
                if _is_final(error):
                    raise PullError(_words(error, self.listing.model, file.name)) from error
                fetched = self.listing.fetched()
                tries = 1 if fetched > had else tries + 1
                had = fetched
                if tries > MAX_TRIES or self._failed is not None:
                    raise PullError(_words(error, self.listing.model, file.name)) from error
                self._again = f"{file.name}: {_reason(error)}"
                time.sleep(min(LONGEST_WAIT_S, 2 ** (tries - 1) / 2))

    def _is_right(self, path: Path, file: HubFile) -> bool:
        if not file.sha256 and not file.git:
            self._count(max(0, file.size))
            return True
        digest = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
        if not file.sha256:
            digest.update(b"blob %d\0" % path.stat().st_size)
        done = 0
        for chunk in _chunks(path):
            digest.update(chunk)
            done += len(chunk)
            self._count(len(chunk))
        if digest.hexdigest() == (file.sha256 or file.git):
            return True
        self._count(-done)
        return False

    def _forget(self, path: Path) -> None:
        """Away with a file and the content that it points to in this cache; what a person has
        linked in from elsewhere stays."""
        with suppress(OSError):
            content = path.resolve()
            path.unlink()
            if content.is_relative_to(self.listing.folder.resolve()):
                content.unlink(missing_ok=True)

    def _point(self) -> None:
        """What others ask for by the name of the revision is this."""
        ref = self.listing.folder / "refs" / self.listing.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(self.listing.commit, encoding="utf-8")


# Words


def gigabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _quiet() -> None:
    """Its own bars and warnings would go over ours; an empty variable means none, to us as well."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        if os.environ.get(name) == "":
            del os.environ[name]
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it tells the hub which agent asks
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)


def _status_of(error: BaseException) -> int:
    code = getattr(getattr(error, "response", None), "status_code", 0)
    return code if isinstance(code, int) else 0


def hub_faults() -> tuple[type[BaseException], ...]:
    """What huggingface_hub raises: its errors have no common root but their library's."""
    from huggingface_hub import errors

    xet = getattr(errors, "XetDownloadError", OSError)
    return (OSError, ValueError, RuntimeError, xet, *errors.HfHubHTTPError.__bases__)


def _is_final(error: BaseException) -> bool:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, *_UNWRITABLE):
        return True
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return True  # what was asked for is wrong
    return _status_of(error) in _LOST


def _reason(error: BaseException) -> str:
    status = _status_of(error)
    if status:
        return f"the hub answered {status}"
    if error.__cause__ is not None and not isinstance(error, ConnectionError):
        return _reason(error.__cause__)
    return " ".join(str(error).split())[:160] or type(error).__name__


def _words(error: BaseException, model: str, name: str = "") -> str:
    from huggingface_hub import errors

    what = f"{name} of {model}" if name else model
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: free some and run it again ({what}; what was fetched stays)"
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return f"the hub's cache can't be written ({error}): set HF_HOME to a folder of yours"
    if isinstance(error, errors.GatedRepoError):
        return f"{model} is given only to accounts that asked for it: ask there, then set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model} has no such revision at the hub: see `revision` in the profile"
    status = _status_of(error)
    if name and status in (404, 410):
        return f"the hub lists {name} of {model} and does not have it: the model is damaged there"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        return f"the hub has no {model}, or HF_TOKEN may not see it: see `model` in the profile"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "the hub may not be asked: HF_HUB_OFFLINE is set"
    if isinstance(error, errors.HFValidationError):
        return f"{model!r} is no name of a model at the hub (OWNER/NAME)"
    if isinstance(error, UnicodeEncodeError):
        return "HF_TOKEN (or the token that is stored) holds characters that no token has"
    if isinstance(error, json.JSONDecodeError):
        return f"what the hub says of {model} is no answer: is a proxy in between, or HF_ENDPOINT?"
    return f"{what} can't be fetched: {_reason(error)}; run it again: what was fetched stays"
