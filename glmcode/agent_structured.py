"""One answer that is an instance of a JSON Schema, asked on a fork of a conversation.

The loop runs free; only this last step is bound: thinking is closed, the engine is told the
schema (vLLM keeps the answer to it), and the text is judged here all the same, since a server
may know nothing of schemas. One answer that is wrong is asked for again with what was wrong.
The conversation itself stays as it was. Must not show anything.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmcode.core.messages import Usage
from glmcode.core.model import Emit
from glmcode.core.transcript import Transcript

if TYPE_CHECKING:
    from glmcode.engine.client import Client

MOST_BYTES = 1 << 20
MOST_FAULTS = 5
MOST_CHARS = 300
PATTERNS_S = 10.0
_MAIN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from glmcode.agent_structured import judge_stdin; judge_stdin()"
)
QUESTION = """\
Answer now with one JSON value and nothing else: no prose, no code fence. It must be an instance \
of this JSON Schema:

{schema}"""
REPAIR = """\
{question}

You answered before:

{answer}

That is wrong: {faults}. Answer again, with the whole JSON value."""


class SchemaError(Exception):
    """A schema that cannot be used; the text names the file and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Structured:
    """What came of it: value where faults is empty; text: the last answer as it was.

    usage: of all that was asked.
    """

    value: Any
    text: str
    faults: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)


def read_schema(path: Path) -> Mapping[str, Any]:
    """The JSON Schema in a file. Raises SchemaError."""
    from glmcode.base.files import FileFault, load

    try:
        schema = json.loads(load(path, MOST_BYTES).data.decode("utf-8-sig"))
    except FileFault as error:
        raise SchemaError(f"{path} cannot be read: it {error}") from error
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{path} is no JSON: {error}") from error
    check_schema(schema, str(path))
    found: Mapping[str, Any] = schema
    return found


def check_schema(schema: Mapping[str, Any], name: str) -> None:
    """Raises SchemaError where the schema is none, or needs what lies elsewhere."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError as Wrong
    from jsonschema.validators import validator_for

    if not isinstance(schema, Mapping):
        raise SchemaError(f"{name} is no JSON Schema: it must be a JSON object")
    if not isinstance(schema.get("$schema", ""), str):
        raise SchemaError(f"{name} is no JSON Schema: its $schema is no text")
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(dict(schema))
        if missing := next(_elsewhere(schema, schema), ""):
            raise SchemaError(f"{name} refers to what is not in it: {_short(missing)}")
    except Wrong as error:
        where = "/".join(map(str, error.absolute_path))
        raise SchemaError(
            f"{name} is no JSON Schema: {_short(error.message)}{f' (at {where})' if where else ''}"
        ) from error
    except RecursionError as error:
        raise SchemaError(f"{name} is nested too deeply") from error


def _elsewhere(part: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """The references that surely lead nowhere: pointers to what is not there, and addresses. Where
    parts have ids of their own only the check of an answer can tell."""
    if isinstance(part, list):
        for one in part:
            yield from _elsewhere(one, schema)
    if not isinstance(part, Mapping) or "$id" in part:
        return
    match part.get("$ref"):
        case str() as ref if ref.startswith("#/") and not _there(ref, schema):
            yield ref
        case str() as ref if "://" in ref and "//json-schema.org/" not in ref:
            yield ref
    for key, value in part.items():
        if key not in ("const", "enum", "default", "examples"):
            yield from _elsewhere(value, schema)


def _there(ref: str, schema: Mapping[str, Any]) -> bool:
    from urllib.parse import unquote

    at: Any = schema
    for word in unquote(ref[2:]).split("/"):
        key = word.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and key.isdecimal() and int(key) < len(at):
            at = at[int(key)]
        elif isinstance(at, Mapping) and key in at:
            at = at[key]
        else:
            return False
    return True


def faults_of(value: Any, schema: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with a value, the first few; none: it is an instance."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        found = sorted(kind(schema).iter_errors(value), key=lambda one: list(map(str, one.path)))
    except Unresolvable as error:
        return (f"the schema refers to what is not in it: {_short(str(error))}",)
    except RecursionError:
        return ("it is nested too deeply",)
    told = []
    for one in found[:MOST_FAULTS]:
        inner = best_match(one.context) if one.context else one
        where = "/".join(map(str, (inner or one).absolute_path)) or "the value"
        told.append(f"{where}: {_short((inner or one).message)}")
    if len(found) > MOST_FAULTS:
        told.append(f"and {len(found) - MOST_FAULTS} more")
    return tuple(told)


def judge(text: str, schema: Mapping[str, Any]) -> Structured:
    """Read an answer; a code fence around it is forgiven."""
    try:
        value = json.loads(_bare(text), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return Structured(None, text, (f"it is no JSON: {_short(str(error))}",))
    return Structured(value, text, faults_of(value, schema))


async def judge_in_time(text: str, schema: Mapping[str, Any]) -> Structured:
    """As judge. Where the schema has patterns, which may take for ever and let nothing else run
    meanwhile, in a process of its own that gets PATTERNS_S."""
    if '"pattern' not in json.dumps(schema):
        return judge(text, schema)
    root = str(Path(__file__).resolve().parent.parent)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "utf8", "-c", _MAIN, root),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for us
    )
    try:
        async with asyncio.timeout(PATTERNS_S):
            said, _ = await process.communicate(json.dumps([text, schema]).encode())
        value, faults = json.loads(said)
    except TimeoutError:
        return Structured(None, text, (f"its patterns took longer than {PATTERNS_S:g} s",))
    except ValueError:
        return Structured(None, text, ("it could not be checked: the check broke off",))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return Structured(value, text, tuple(faults))


def judge_stdin() -> None:
    """The other side of judge_in_time, which ends also where nobody is left to end it."""
    import resource

    seconds = int(PATTERNS_S) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    told = judge(*json.load(sys.stdin))
    json.dump([told.value, told.faults], sys.stdout)


async def ask_structured(
    client: Client,
    transcript: Transcript,
    schema: Mapping[str, Any],
    emit: Emit,
    *,
    question: str = QUESTION,
    max_tokens: int,
) -> Structured:
    """Ask after the transcript, which stays as it is; once more where the answer is wrong.

    question: may hold {schema}. max_tokens: of each answer. Raises ModelError, CancelledError.
    """
    shown = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    text = question.replace("{schema}", shown)
    reply = await client.ask(transcript, text, max_tokens, emit, schema)
    told = replace(await judge_in_time(reply.text, schema), usage=reply.usage)
    if not told.faults:
        return told
    again = REPAIR.format(question=text, answer=reply.text, faults="; ".join(told.faults))
    reply = await client.ask(transcript, again, max_tokens, emit, schema)
    told_again = await judge_in_time(reply.text, schema)
    return replace(told_again, usage=told.usage.plus(reply.usage))


def _bare(text: str) -> str:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text.partition("\n")[2][:-3]
    return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{_short(digits)} is too large a number")
    return number


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"
