"""`glmcode debug parse|render|tokens`: the GLM dialect by hand, on standard input.

For people who look into what a model wrote, and for tests from outside. Reads standard
input to its end, writes one answer, and touches nothing else. Exit code 1: the data cannot
be used; 2: the command line cannot.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from glmcode.base.data import DataMissing
from glmcode.glm.parser import ParsedReply, ReplyParser
from glmcode.glm.pieces import ReplyPiece, pieces_text, raw_pieces, text_pieces
from glmcode.glm.template import TemplateError, render
from glmcode.glm.tokenizer import GlmTokenizer, TokenizerError, clean_text
from glmcode.repl.clean import for_terminal, visible

if TYPE_CHECKING:
    import argparse


class DebugError(Exception):
    """The data on standard input, or a file named, cannot be used: one clear sentence."""


def run_debug(argv: list[str]) -> int:
    """Run one debug command; `argv` is what follows `debug`. Returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
        output = options.run(options)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    except (DebugError, TokenizerError, TemplateError, DataMissing) as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"{error.filename or 'standard input'}: {error.strerror}")
        return 1
    except RecursionError:
        _say("standard input: nested too deeply")
        return 1
    return _write(output)


def _write(output: bytes) -> int:
    output = for_terminal(output.decode("utf-8", "surrogateescape")).encode(
        "utf-8", "surrogateescape"
    )
    try:
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes standard output once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _say(f"standard output: {error.strerror}")
        return 1
    return 0


def _say(text: str) -> None:
    print(f"glmcode debug: {visible(text)}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the words after the command."""
    from glmcode.arguments import Parser

    parser = Parser(
        prog="glmcode debug", description="Look at the GLM dialect by hand, on standard input."
    )
    commands = parser.add_subparsers(required=True, metavar="parse|render|tokens")

    def command(name: str, run: Callable[[Any], bytes], words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(run=run)
        return made

    parse = command("parse", _parse, "Raw model output in, what glmcode makes of it out.")
    parse.add_argument(
        "--specs", type=Path, metavar="FILE", help="tools as a JSON array; default: our own"
    )
    parse.add_argument(
        "--finish-reason", choices=("stop", "length"), default="stop", help="why it ended (stop)"
    )
    parse.add_argument("--ids", action="store_true", help="the input is a JSON array of token ids")
    parse.add_argument("--profile", default="tiny", metavar="NAME", help="whose tokenizer (--ids)")
    command("render", _render, "Messages as JSON in, the exact prompt text out.")
    tokens = command("tokens", _tokens, "Text in, the ids of its tokens out.")
    tokens.add_argument("--profile", required=True, metavar="NAME", help="whose tokenizer")
    tokens.add_argument("--raw", action="store_true", help="tags in the text are controls")
    return parser


# parse


def _parse(options: argparse.Namespace) -> bytes:
    schemas = _schemas(options.specs)
    pieces: list[ReplyPiece]
    if options.ids:
        pieces = tokenizer_of(options.profile).pieces(_ids(_input()))
    else:
        pieces = raw_pieces(_input())
    parser = ReplyParser(schemas, str)
    for piece in pieces:
        parser.feed(piece)
    return _line(_reply_json(parser.finish(options.finish_reason)))


def _reply_json(reply: ParsedReply) -> dict[str, Any]:
    return {
        "reasoning": reply.reasoning,
        "content": reply.text,
        "calls": [{"name": c.name, "arguments": dict(c.arguments)} for c in reply.calls],
        "rejected": [{"reason": r.reason, "raw": r.raw} for r in reply.rejected],
    }


def _schemas(file: Path | None) -> dict[str, Mapping[str, Any]]:
    """Parameters by tool name: those of a file, else those of glmcode's own tools."""
    if file is None:
        from glmcode.tools.specs import load_specs

        return {spec.name: spec.parameters for spec in load_specs()}
    tools = _json(file.read_bytes(), str(file))
    if isinstance(tools, dict):
        tools = tools.get("tools")
    if not isinstance(tools, list):
        raise DebugError(f"{file}: not a JSON array of tools")
    schemas: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DebugError(f"{file}: a tool has no name")
        parameters = function.get("parameters")
        schemas[function["name"]] = parameters if isinstance(parameters, dict) else {}
    return schemas


def _ids(data: bytes) -> list[int]:
    ids = _json(data, "standard input")
    if not isinstance(ids, list) or not all(type(number) is int for number in ids):
        raise DebugError("standard input: not a JSON array of token ids")
    return ids


# render and tokens


def _render(options: argparse.Namespace) -> bytes:
    request = _json(_input(), "standard input")
    if not isinstance(request, dict):
        raise DebugError("standard input: not a JSON object with messages")
    messages, tools = request.get("messages"), request.get("tools")
    if not _objects(messages):
        raise DebugError("standard input: messages is not an array of objects")
    if tools is not None and not _objects(tools):
        raise DebugError("standard input: tools is not an array of objects")
    thinking = request.get("enable_thinking")
    pieces = render(
        messages,
        tools,
        add_generation_prompt=bool(request.get("add_generation_prompt", False)),
        enable_thinking=thinking is None or bool(thinking),
    )
    return _clean(pieces_text(pieces)).encode()


def _objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _tokens(options: argparse.Namespace) -> bytes:
    tokenizer = tokenizer_of(options.profile)
    text = _clean(_input().decode("utf-8", "surrogateescape"))
    if options.raw:
        return _line(tokenizer.encode(text_pieces(text, tokenizer.control_names)))
    return _line(tokenizer.encode_text(text))


def tokenizer_of(profile: str) -> GlmTokenizer:
    """The tokenizer of a profile; a name with a slash is the path of a tokenizer itself."""
    if "/" in profile:
        return GlmTokenizer.load(profile)
    from glmcode.engine.profile import ProfileError, find_tokenizer, load_profile

    try:
        file = find_tokenizer(load_profile(profile))
    except ProfileError as error:
        raise DebugError(str(error)) from error
    if file is None:
        raise DebugError(f"the tokenizer of profile {profile!r} is not on this disk")
    return GlmTokenizer.load(file)


# Reading and writing


def _input() -> bytes:
    if sys.stdin is None:
        raise DebugError("standard input is closed")
    return sys.stdin.buffer.read()


def _clean(text: str) -> str:
    clean, count = clean_text(text)
    if count:
        _say(f"replaced by U+FFFD: {count} places that are not valid Unicode text")
    return clean


def _json(data: bytes, where: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DebugError(f"{where}: not JSON: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
