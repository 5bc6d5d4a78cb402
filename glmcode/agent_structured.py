"""One answer that is an instance of a JSON Schema, asked on a fork of a conversation.

The loop runs free; only this last step is bound: thinking is closed, the engine is told the
schema (vLLM keeps the answer to it), and the text is judged here all the same, since a server
may know nothing of schemas. One answer that is wrong is asked for again with what was wrong.
The conversation itself stays as it was. Must not show anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    except Wrong as error:
        where = "/".join(map(str, error.absolute_path))
        raise SchemaError(
            f"{name} is no JSON Schema: {_short(error.message)}{f' (at {where})' if where else ''}"
        ) from error
    except RecursionError as error:
        raise SchemaError(f"{name} is nested too deeply") from error


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
        value = json.loads(_bare(text), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return Structured(None, text, (f"it is no JSON: {_short(str(error))}",))
    return Structured(value, text, faults_of(value, schema))


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
    told = replace(judge(reply.text, schema), usage=reply.usage)
    if not told.faults:
        return told
    again = REPAIR.format(question=text, answer=reply.text, faults="; ".join(told.faults))
    reply = await client.ask(transcript, again, max_tokens, emit, schema)
    return replace(judge(reply.text, schema), usage=told.usage.plus(reply.usage))


def _bare(text: str) -> str:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text.partition("\n")[2][:-3]
    return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value of JSON")


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"
