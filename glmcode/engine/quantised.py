"""How a checkpoint's weights are stored, from the `quantization_config` of its config.json.

Answers two questions for every linear layer: is it quantised, and how many bytes does a matrix
take, scales and zero points included. The rules that leave layers out come from a file that may
be hostile: patterns that could take for ever are not tried, and that is said. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Method: TypeAlias = Literal["none", "gptq", "awq", "compressed-tensors", "fp8"]

_WIDTHS: Mapping[str, float] = {
    **{"float16": 2, "half": 2, "bfloat16": 2},
    **{"float32": 4, "float": 4},
}
_RULES_MOST = 5_000
_TRIALS_MOST = 20_000
"""Patterns times layers: beyond it reading a file could take minutes."""
_PATTERN_MOST = 300
_ONE_EXPERT = re.compile(r"\.experts\.\d+\..*")


class ShapeError(Exception):
    """A model that cannot be planned for: one sentence that says what and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How one matrix is stored. bits: of a weight; group: rows that share a scale, 0 for one
    scale a column; block: rows and columns that share one (FP8), 0 for none; zeros: bytes of
    zero points stay on the GPU. bits = 0: not quantised."""

    bits: int = 0
    group: int = 0
    block: int = 0
    zeros: bool = False

    def matrix_bytes(self, rows: float, columns: float, width: float) -> float:
        """Bytes of a matrix of rows inputs and columns outputs; width: bytes of a plain weight."""
        if not self.bits:
            return rows * columns * width
        if self.block:
            scales = math.ceil(rows / self.block) * math.ceil(columns / self.block) * 4
            return rows * columns * self.bits / 8 + scales
        groups = math.ceil(rows / self.group) if self.group else 1
        zeros = groups * columns * self.bits / 8 if self.zeros else 0.0
        return rows * columns * self.bits / 8 + groups * columns * 2 + zeros


PLAIN = Stored()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """The quantisation of a checkpoint.

    default: of every linear layer that no rule names; literal, parts, patterns: rules that
    leave layers out (whole names, pieces of a name, regular expressions); only: if not empty,
    just layers whose name holds one of these; special: pattern -> another way; rest: layers of
    no such pattern are quantised, too. head: the lm_head is quantised too. file_zeros: the
    files hold zero points although the GPU need
    not. notes: what was not understood.
    """

    method: Method = "none"
    default: Stored = PLAIN
    literal: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()
    only: tuple[str, ...] = ()
    special: tuple[tuple[re.Pattern[str], Stored], ...] = ()
    rest: bool = True
    head: bool = False
    file_zeros: bool = False
    notes: tuple[str, ...] = field(default=())

    def stored(self, name: str) -> Stored:
        """How the linear layer of that full name is stored."""
        if not self.default.bits or name in self.literal:
            return PLAIN
        if self.only and not any(part in name for part in self.only):
            return PLAIN
        if any(self._holds(name, part) for part in self.parts):
            return PLAIN
        if any(pattern.match(name) for pattern in self.patterns):
            return PLAIN
        for pattern, other in self.special:
            if pattern.match(name):
                return other
        return self.default if self.rest else PLAIN

    def _holds(self, name: str, part: str) -> bool:
        """Whether a rule's piece of a name means this layer, as vLLM reads it: in FP8 whole
        components (`gate` is not `gate_proj`), else any piece, but of experts together."""
        if self.method == "fp8":
            return f".{part.strip('.')}." in f".{name}."
        return part in _ONE_EXPERT.sub(".experts", name)


def check_effort(quantisation: Quantisation, layers: int) -> None:
    """Raises ShapeError where a file has more rules than can be tried in a moment."""
    patterns = len(quantisation.patterns) + len(quantisation.special)
    parts = len(quantisation.parts) + len(quantisation.only)
    if patterns * layers > _TRIALS_MOST or parts * layers > 25 * _TRIALS_MOST:
        raise ShapeError("quantization_config has more rules about layers than can be tried")


def plain_width(dtype: str) -> float:
    """Bytes of a weight that is not quantised."""
    return _WIDTHS.get(dtype, 2)


def read_quantisation(config: Mapping[str, Any]) -> Quantisation:
    """From the whole config.json. Raises ShapeError for a method that is not known."""
    raw = config.get("quantization_config") or config.get("compression_config")
    if raw is None:
        return Quantisation()
    if not isinstance(raw, dict):
        raise ShapeError("quantization_config is not a table of settings")
    method = str(raw.get("quant_method", "")).lower().replace("_", "-")
    match method:
        case "gptq" | "gptq-marlin" | "auto-gptq":
            return _gptq(raw)
        case "awq" | "awq-marlin":
            return _awq(raw)
        case "compressed-tensors":
            return _compressed(raw)
        case "fp8" | "fbgemm-fp8":
            return _fp8(raw)
    raise ShapeError(
        f"the quantisation {method[:40]!r} is not one that the planner knows (gptq, awq, "
        "compressed-tensors, fp8): its weights cannot be counted"
    )


def _gptq(raw: Mapping[str, Any]) -> Quantisation:
    bits, group = _bits(raw.get("bits")), _group(raw.get("group_size"))
    symmetric = raw.get("sym") is not False
    default = Stored(bits=bits, group=group, zeros=not symmetric)
    rules = _Rules()
    special: list[tuple[re.Pattern[str], Stored]] = []
    dynamic = raw.get("dynamic") or {}
    if not isinstance(dynamic, dict):
        raise ShapeError("quantization_config.dynamic is not a table of rules")
    for text, change in list(dynamic.items())[:_RULES_MOST]:
        pattern = rules.pattern(text.removeprefix("-:").removeprefix("+:"))
        if pattern is None:
            continue
        if text.startswith("-:"):
            rules.patterns.append(pattern)
        elif isinstance(change, dict):
            other = Stored(
                bits=_bits(change.get("bits", bits)),
                group=_group(change.get("group_size", group)),
                zeros=default.zeros,
            )
            special.append((pattern, other))
    return Quantisation(
        method="gptq",
        default=default,
        patterns=tuple(rules.patterns),
        only=tuple(_flat(raw.get("modules_in_block_to_quantize"))),
        special=tuple(special),
        head=raw.get("lm_head") is True,
        file_zeros=True,
        notes=tuple(rules.notes),
    )


def _awq(raw: Mapping[str, Any]) -> Quantisation:
    bits = _bits(raw.get("bits", raw.get("w_bit")))
    group = _group(raw.get("group_size", raw.get("q_group_size")))
    parts = tuple(_flat(raw.get("modules_to_not_convert")))
    stored = Stored(bits=bits, group=group, zeros=raw.get("zero_point") is not False)
    return Quantisation(method="awq", default=stored, parts=parts, file_zeros=stored.zeros)


def _fp8(raw: Mapping[str, Any]) -> Quantisation:
    block = raw.get("weight_block_size")
    size = 0
    if block is not None:
        if not (isinstance(block, list) and len(block) == 2 and block[0] == block[1]):
            raise ShapeError("quantization_config.weight_block_size is not two equal numbers")
        size = _group(block[0])
    names = [*_flat(raw.get("ignored_layers")), *_flat(raw.get("modules_to_not_convert"))]
    return Quantisation(method="fp8", default=Stored(bits=8, block=size), parts=tuple(names))


def _compressed(raw: Mapping[str, Any]) -> Quantisation:
    groups = raw.get("config_groups")
    if groups == {} and raw.get("kv_cache_scheme"):
        return Quantisation()  # only the KV cache was calibrated
    if not isinstance(groups, dict) or not groups:
        raise ShapeError("quantization_config has no config_groups")
    rules = _Rules()
    default: Stored | None = None
    special: list[tuple[re.Pattern[str], Stored]] = []
    head = False
    for group in list(groups.values())[:_RULES_MOST]:
        stored = _of_group(group)
        for target in _flat(group.get("targets")) or ["Linear"]:
            if target.startswith("re:"):
                pattern = rules.pattern(target[3:])
            elif "." in target:
                pattern = re.compile(re.escape(target) + r"\Z")
            else:  # a class of layers
                default, head = default or stored, head or target == "ParallelLMHead"
                continue
            special += [] if pattern is None else [(pattern, stored)]
    for text in _flat(raw.get("ignore")):
        if not text.startswith("re:"):
            rules.literal.append(text)
        elif (pattern := rules.pattern(text[3:])) is not None:
            rules.patterns.append(pattern)
    if default is None and not special:
        raise ShapeError("quantization_config.config_groups name no layers that can be told")
    return Quantisation(
        method="compressed-tensors",
        default=default or special[0][1],
        literal=frozenset(rules.literal),
        patterns=tuple(rules.patterns),
        special=tuple(special),
        rest=default is not None,
        head=head and "lm_head" not in rules.literal,
        notes=tuple(rules.notes),
    )


def _of_group(group: Any) -> Stored:
    """How the layers of one of the config_groups are stored. Raises ShapeError."""
    weights = group.get("weights") if isinstance(group, dict) else None
    if not isinstance(weights, dict):
        raise ShapeError("quantization_config.config_groups does not say how weights are stored")
    block = weights.get("block_structure")
    if isinstance(block, str) and (match := re.fullmatch(r"(\d{1,6})x\d{1,6}", block)):
        block = [int(match[1])]
    size = _group(block[0]) if isinstance(block, list) and block else 0
    return Stored(
        bits=_bits(weights.get("num_bits")),
        group=0 if size else _group(weights.get("group_size")),
        block=size,
        zeros=weights.get("symmetric") is False,
    )


class _Rules:
    """Rules of a checkpoint while they are read."""

    def __init__(self) -> None:
        self.literal: list[str] = []
        self.patterns: list[re.Pattern[str]] = []
        self.notes: list[str] = []

    def pattern(self, text: str) -> re.Pattern[str] | None:
        """Compiled, or None (and a note) for one that is wrong or could take for ever."""
        repeats = len(re.findall(r"[*+]|\{\d*,", text))
        nested = re.search(r"\)\s*[*+{?]", text)
        if len(text) > _PATTERN_MOST or repeats > 2 or nested:
            self._note(text, "is too intricate to be tried")
            return None
        try:
            return re.compile(text)
        except (re.error, RecursionError, OverflowError):
            self._note(text, "is no regular expression")
            return None

    def _note(self, text: str, why: str) -> None:
        if len(self.notes) < 3:
            self.notes.append(f"a rule about layers {why}, so it is left out: {text[:60]!r}")


def _bits(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value in (2, 3, 4, 5, 6, 8, 16):
        return value if value < 16 else 0
    raise ShapeError(f"{str(value)[:20]!r} bits for a quantised weight are not possible")


def _group(value: Any) -> int:
    """Rows that share a scale; 0 for one scale a column (-1 or nothing in the file)."""
    if value is None or value == -1:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65536:
        return value
    raise ShapeError(f"a group size of {str(value)[:20]!r} is not possible")


def _flat(value: Any) -> list[str]:
    """The strings of a list, or of a list of lists."""
    if not isinstance(value, list):
        return []
    found: list[str] = []
    for item in value[:_RULES_MOST]:
        found += [item] if isinstance(item, str) else _flat(item) if isinstance(item, list) else []
    return [text for text in found if text][:_RULES_MOST]
