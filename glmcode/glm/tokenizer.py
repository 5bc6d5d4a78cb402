"""The checkpoint's own tokenizer, loaded so that no text can ever become control.

`tokenizer.json` is read without its added tokens and its post-processor: what is left is
the byte-level BPE, which encodes all text, ours and untrusted alike. Control ids come only
from the name table that was taken out of the file. (The flag `encode_special_tokens` of
`tokenizers` leaves `<tool_call>` or `</think>` alone, and is a mutable global.) Detokenising
is ours, over bytes. Must not render or parse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from glmcode.glm.pieces import CONTROL_NAMES, STOP_NAMES, Control, Piece, ReplyPiece, Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN_BYTES = b"\xff"
"""What an id outside the vocabulary reads as: no UTF-8, so a call that holds it is rejected."""

_TAKEN_OUT = ("added_tokens", "post_processor")

_OPTIONAL = {"<|endoftext|>", "[MASK]", "[sMASK]", "<eop>", "/nothink"}
_OPTIONAL |= {"<tool_response>", "</tool_response>"}
NEEDED = tuple(name for name in CONTROL_NAMES if name not in _OPTIONAL)


class TokenizerError(Exception):
    """A tokenizer file is missing, damaged, or not one of the GLM family."""


def clean_text(text: str) -> tuple[str, int]:
    """The text with each lone surrogate replaced by U+FFFD, and how many there were."""
    try:
        text.encode()
    except UnicodeEncodeError:
        wide = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        bad = [char for char in wide if "\ud800" <= char <= "\udfff"]
        for char in set(bad):
            wide = wide.replace(char, "\ufffd")
        return wide, len(bad)
    return text, 0


class GlmTokenizer:
    """Text and pieces to ids, ids to pieces and bytes. Safe to share between threads."""

    def __init__(
        self, bpe: Tokenizer, added: Sequence[dict[str, Any]], fingerprint: str = ""
    ) -> None:
        """`bpe` must be without added tokens; `added` are the entries that were taken out."""
        self._bpe = bpe
        self.fingerprint = fingerprint
        self._ids: dict[str, int] = {}
        for entry in added:
            # An added token that the vocabulary holds as well has the vocabulary's id.
            known = bpe.token_to_id(entry["content"])
            self._ids[entry["content"]] = entry["id"] if known is None else known
        self._names: dict[int, str] = {number: name for name, number in self._ids.items()}
        self._bytes: dict[int, bytes] = {}
        self._reachable = frozenset(n for n in self._names if bpe.id_to_token(n) is not None)
        self._byte_ids = self._single_bytes()
        missing = [name for name in NEEDED if name not in self._ids]
        if missing:
            raise TokenizerError(f"not a GLM tokenizer: it has no token {', '.join(missing)}")
        self.stop_ids: dict[int, str] = {
            self._ids[name]: name for name in STOP_NAMES if name in self._ids
        }

    @classmethod
    def load(cls, path: Path | str) -> GlmTokenizer:
        """Read a tokenizer.json, or the one in a folder; 0.4 s for 151,000 tokens.

        Raises TokenizerError with one clear sentence.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "tokenizer.json"
        try:
            data = file.read_bytes()
        except FileNotFoundError as error:
            raise TokenizerError(f"there is no tokenizer at {file}") from error
        except OSError as error:
            raise TokenizerError(f"cannot read {file}: {error.strerror}") from error
        try:
            stripped, added = _take_out_added_tokens(data.decode())
            bpe = _load_bpe(stripped)
            return cls(bpe, added, hashlib.sha256(data).hexdigest())
        except TokenizerError as error:
            raise TokenizerError(f"{file}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise TokenizerError(f"{file} is damaged: {error}") from error

    def _single_bytes(self) -> tuple[int, ...]:
        found = [self._bpe.token_to_id(char) for char in _CHARS]
        ids = tuple(number for number in found if number is not None)
        if len(ids) < 256 or not self._reachable.isdisjoint(ids):
            raise TokenizerError("not a byte-level BPE with all 256 bytes")
        probe = "x \n\u00e9"
        if b"".join(map(self.token_bytes, self._bpe.encode(probe).ids)) != probe.encode():
            raise TokenizerError("it changes text that passes through it")
        return ids

    @property
    def control_names(self) -> tuple[str, ...]:
        """All added tokens of the file by name, known to GLM-4.6 or not."""
        return tuple(self._ids)

    def control_id(self, name: str) -> int | None:
        """The id of a control token; None where this checkpoint lacks it."""
        return self._ids.get(name)

    def control_name(self, number: int) -> str | None:
        """The name of a control id; None for any other id."""
        return self._names.get(number)

    def encode_text(self, text: str) -> list[int]:
        """The ids of content; never a control id. Lone surrogates become U+FFFD."""
        clean, _ = clean_text(text)
        ids: list[int] = self._bpe.encode(clean, add_special_tokens=False).ids
        if self._reachable and not self._reachable.isdisjoint(ids):
            return self._spelled_out(ids)
        return ids

    def _spelled_out(self, ids: Sequence[int]) -> list[int]:
        """Control ids that stand in the vocabulary as well, replaced by their single bytes."""
        out: list[int] = []
        for number in ids:
            if number in self._reachable:
                token = self._bpe.id_to_token(number) or ""
                out += [self._byte_ids[byte] for byte in _token_bytes(token)]
            else:
                out.append(number)
        return out

    def encode(self, pieces: Iterable[Piece]) -> list[int]:
        """The ids of pieces. Text between two controls is encoded in one piece.

        A control that the file lacks counts as text.
        """
        ids: list[int] = []
        run: list[str] = []
        for piece in pieces:
            number = self._ids.get(piece.name) if isinstance(piece, Control) else None
            if number is None:
                run.append(piece.text if isinstance(piece, Text) else piece.name)
                continue
            if run:
                ids += self.encode_text("".join(run))
                run.clear()
            ids.append(number)
        if run:
            ids += self.encode_text("".join(run))
        return ids

    def token_bytes(self, number: int) -> bytes:
        """What an id stands for, in bytes; a control id gives its name.

        An id outside the vocabulary gives UNKNOWN_BYTES.
        """
        known = self._bytes.get(number)
        if known is None:
            known = self._read_token(number)
            self._bytes[number] = known
        return known

    def _read_token(self, number: int) -> bytes:
        name = self._names.get(number)
        if name is not None:
            return name.encode()
        token = self._bpe.id_to_token(number) if 0 <= number < 2**32 else None
        return UNKNOWN_BYTES if token is None else _token_bytes(token)

    def pieces(self, ids: Iterable[int]) -> list[ReplyPiece]:
        """Ids as the parser reads them; neighbouring bytes come as one piece. Never raises."""
        pieces: list[ReplyPiece] = []
        run: list[bytes] = []
        for number in ids:
            name = self._names.get(number)
            if name is None:
                run.append(self.token_bytes(number))
                continue
            if run:
                pieces.append(b"".join(run))
                run.clear()
            pieces.append(Control(name))
        if run:
            pieces.append(b"".join(run))
        return pieces


def _byte_alphabet() -> dict[str, int]:
    """The 256 characters of byte-level BPE: printable bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTES = _byte_alphabet()
_CHARS = [char for char, _ in sorted(_BYTES.items(), key=lambda pair: pair[1])]


def _token_bytes(token: str) -> bytes:
    try:
        return bytes([_BYTES[char] for char in token])
    except KeyError:
        return token.encode()


class _TokenizersFault:
    """`tokenizers` raises bare Exception for a damaged file; make it a TokenizerError."""

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and type(error) is Exception:
            raise TokenizerError(f"damaged: {error}") from error


def _load_bpe(text: str) -> Tokenizer:
    from tokenizers import Tokenizer

    with _TokenizersFault():
        bpe = Tokenizer.from_str(text)
    if bpe.get_added_tokens_decoder() or bpe.post_processor is not None:
        raise TokenizerError("its added tokens cannot be taken out")
    bpe.no_truncation()
    bpe.no_padding()
    return bpe


def _take_out_added_tokens(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The file's text without its added tokens and post-processor, and those tokens.

    The vocabulary (20 MB) stands last in files that `tokenizers` wrote and is passed on
    unread; for any other order the whole file is parsed.
    """
    head = _head(text)
    if head is not None:
        table, rest = head
        added = table.pop("added_tokens", [])
        table.pop("post_processor", None)
        return f"{json.dumps(table)[:-1]}{', ' if table else ''}{rest}", _checked(added)
    table = json.loads(text)
    if not isinstance(table, dict):
        raise TokenizerError("not a JSON object")
    added = table.pop("added_tokens", [])
    table.pop("post_processor", None)
    return json.dumps(table), _checked(added)


def _head(text: str) -> tuple[dict[str, Any], str] | None:
    """What stands before the key "model", and the text from there on; None if in doubt."""
    decoder = json.JSONDecoder()
    table: dict[str, Any] = {}
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return None
    while True:
        start = _skip(text, at + 1)
        if text[start : start + 1] != '"':
            return None
        key, at = decoder.raw_decode(text, start)
        if key == "model":
            late = any(text.find(f'"{name}"', start) >= 0 for name in _TAKEN_OUT)
            return None if late else (table, text[start:])
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            return None
        table[key], at = decoder.raw_decode(text, _skip(text, at + 1))
        at = _skip(text, at)
        if text[at : at + 1] != ",":
            return None


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\r", "\t"):
        at += 1
    return at


def _checked(added: Any) -> list[dict[str, Any]]:
    if not isinstance(added, list):
        raise TokenizerError("its added tokens are no list")
    for entry in added:
        if not isinstance(entry, dict):
            raise TokenizerError("an added token is no object")
        if not (isinstance(entry.get("content"), str) and type(entry.get("id")) is int):
            raise TokenizerError("an added token has no content or no id")
    return added
