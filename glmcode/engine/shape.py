"""The shape of a model, read from its config.json: what the planner computes with.

Knows decoders with full attention and gated MLPs (GLM, Llama, Qwen, Mistral and their
mixtures of experts) and refuses, in one sentence, what is built otherwise: a wrong number would
be worse than none. The file may be anything; its size and every number in it are bounded. Must
not import a library or run anything of the model's.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.engine.quantised import (
    Quantisation,
    ShapeError,
    check_effort,
    read_quantisation,
)
from glmcode.engine.unplanned import EXPERTS, refuse

_FILE_MOST = 4 << 20
_SIZE_MOST = 1 << 27
_LAYERS_MOST = 1024
_KNOWN = (
    *("glm4_moe", "glm4", "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3"),
    *("qwen3_moe", "internlm2", "olmo2", "olmoe", "phi3", "gemma2", "gemma3_text", "cohere"),
    *("cohere2", "llama4_text", "minimax_m2", "granite", "seed_oss"),
)
_INNER = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where models that also see or hear keep their text model."""

_INHERITED = (
    *("quantization_config", "compression_config", "dtype", "torch_dtype"),
    "tie_word_embeddings",
)
_WINDOWS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    *("max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"),
)
"""vLLM takes the smallest of them, unless there is a model_max_length."""

_FIXED_ROPE = (
    *("default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"),
    *("mrope", "proportional"),
)
"""Kinds of rotary embedding whose factor the window in the file already has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Sizes of a model, in elements; layers, heads and experts are counts.

    dense_mlp: width of the MLP of layers without experts. expert_mlp: of one expert.
    shared_mlp: of all shared experts together. moe: for each layer whether it has experts.
    window: the most positions it was made for, 0 when it doesn't say. dtype: of what is not
    quantised. active_experts: per token. notes: what was assumed.
    """

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    dense_mlp: int
    expert_mlp: int
    shared_mlp: int
    experts: int
    active_experts: int
    moe: tuple[bool, ...]
    qkv_bias: bool
    qk_norm: bool
    window: int
    dtype: str
    quantisation: Quantisation
    notes: tuple[str, ...] = ()

    @property
    def sliding(self) -> bool:
        """Whether some layers look back a fixed number of tokens only."""
        return any("sliding window" in note for note in self.notes)


def read_shape(path: Path) -> ModelShape:
    """From a config.json, or a folder that has one. Raises ShapeError."""
    try:
        folder = path.is_dir()
        older = path / "quantize_config.json"
        has_older = folder and older.is_file()
        by_modelopt = folder and (path / "hf_quant_config.json").is_file()
    except OSError as error:
        raise ShapeError(f"{str(path)[:200]} cannot be read: {error.strerror}") from error
    file = path / "config.json" if folder else path
    config = _load(file)
    if isinstance(config, dict) and "quantization_config" not in config and has_older:
        quantisation = _load(older)
        if isinstance(quantisation, dict):
            config["quantization_config"] = {"quant_method": "gptq", **quantisation}
    elif isinstance(config, dict) and "quantization_config" not in config and by_modelopt:
        raise ShapeError(
            f"{file}: its weights are quantised as hf_quant_config.json says (ModelOpt): the "
            "planner doesn't know it, so they cannot be counted"
        )
    return parse_shape(config, str(file))


def _load(file: Path) -> Any:
    """The JSON of a plain file of a sensible size."""
    try:
        with open(file, "rb", opener=_without_waiting) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise ShapeError(f"{file} is not a plain file")
            raw = source.read(_FILE_MOST + 1)
    except FileNotFoundError:
        raise ShapeError(f"{file} does not exist: name a config.json or its folder") from None
    except OSError as error:
        raise ShapeError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a zero byte in the name
        raise ShapeError(f"{str(file)!r} is no name of a file") from error
    if len(raw) > _FILE_MOST:
        raise ShapeError(f"{file} is larger than {_FILE_MOST >> 20} MiB: no config.json is")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ShapeError(f"{file} is nested too deeply to be a config.json") from None
    except ValueError as error:
        raise ShapeError(f"{file} is not JSON: {' '.join(str(error).split())[:120]}") from error


def _without_waiting(path: str, flags: int) -> int:
    """A FIFO without a writer must not hold us up."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_shape(config: Any, where: str) -> ModelShape:
    """From the parsed file; where: how errors name it. Raises ShapeError."""
    if not isinstance(config, dict):
        raise ShapeError(f"{where} is not a config.json: it holds no table")
    notes: list[str] = []
    text = _text(config)
    if text is not config:
        notes.append("only the text model is counted, not what sees or hears")
    try:
        return _shape(text, notes)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}") from None


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The text model's part of the file, with what is said about the whole."""
    for key in _INNER:
        inner = config.get(key)
        if isinstance(inner, dict):
            over = {name: config[name] for name in _INHERITED if name in config}
            found = _text(inner) if key == "thinker_config" else inner
            return {**over, **{name: v for name, v in found.items() if v is not None}}
    return config


def _shape(config: Mapping[str, Any], notes: list[str]) -> ModelShape:
    kind = re.sub(r"[^A-Za-z0-9_.-]", "?", str(config.get("model_type", ""))[:60])
    refuse(config, kind)
    layers = _size(config, "num_hidden_layers", most=_LAYERS_MOST)
    hidden = _size(config, "hidden_size")
    heads = _size(config, "num_attention_heads")
    kv_heads = _size(config, "num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise ShapeError(f"{heads} query heads cannot share {kv_heads} KV heads")
    head_dim = _size(config, "head_dim", default=hidden // heads)
    if head_dim < 1:
        raise ShapeError(f"{heads} heads do not fit into a hidden_size of {hidden}")
    experts = _size(config, *EXPERTS, default=0)
    moe = _moe_layers(config, layers) if experts else (False,) * layers
    if kind not in _KNOWN:
        name = repr(kind) if kind else "no model_type"
        notes.append(f"{name} is not known to the planner: counted like a Llama")
    _more_notes(config, notes)
    quantisation = read_quantisation(config)
    check_effort(quantisation, layers)
    dense = _size(config, "intermediate_size", default=0 if experts else None)
    expert = _size(config, "moe_intermediate_size", default=dense) if experts else 0
    if experts:
        dense = _size(config, "intermediate_size_mlp", default=dense)
    return ModelShape(
        model_type=kind,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=_size(config, "vocab_size"),
        tied=config.get("tie_word_embeddings", _ties(kind)) is True,
        dense_mlp=dense,
        expert_mlp=expert,
        shared_mlp=_shared(config, kind, expert) if experts else 0,
        experts=experts,
        active_experts=_size(config, "num_experts_per_tok", default=1) if experts else 0,
        moe=moe,
        qkv_bias=config.get("attention_bias", kind.startswith("qwen2")) is True,
        qk_norm=config.get("use_qk_norm", kind.startswith("qwen3")) is True,
        window=_window(config, kind, notes),
        dtype=_dtype(config, notes),
        quantisation=quantisation,
        notes=(*notes, *quantisation.notes),
    )


def _moe_layers(config: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    """Which layers have experts; the conventions of GLM, of Qwen and of Llama 4."""
    kinds = config.get("mlp_layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        return tuple(item == "sparse" for item in kinds)
    first = _size(config, "first_k_dense_replace", default=0)
    names = ("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_freq")
    step = max(1, _size(config, *names, default=1))
    only = config.get("mlp_only_layers")
    dense = {item for item in only if isinstance(item, int)} if isinstance(only, list) else set()
    if any(name in config for name in names[:2]):
        return tuple(i not in dense and (i + 1) % step == 0 for i in range(layers))
    return tuple(i >= first and i % step == 0 for i in range(layers))


def _shared(config: Mapping[str, Any], kind: str, expert: int) -> int:
    """Width of all shared experts together."""
    names = ("shared_expert_intermediate_size", "shared_intermediate_size")
    width = _size(config, *names, default=0)
    if width:
        return width
    if kind.startswith("llama4"):
        return expert
    return _size(config, "n_shared_experts", "num_shared_experts", default=0) * expert


def _ties(kind: str) -> bool:
    """What transformers takes where the file doesn't say."""
    return kind.startswith(("gemma", "cohere"))


def _window(config: Mapping[str, Any], kind: str, notes: list[str]) -> int:
    """The longest window, as vLLM works it out; 0 when the file doesn't say."""
    told = [size for name in _WINDOWS if (size := _size(config, name, default=0))]
    window = _size(config, "model_max_length", default=0) or min(told, default=0)
    if not window:
        notes.append("the file does not say for how many tokens it was made")
        return 0
    rope = config.get("rope_scaling") or config.get("rope_parameters")
    tables = [rope, *rope.values()] if isinstance(rope, dict) else []
    for table in (item for item in tables if isinstance(item, dict)):
        rotary, factor = table.get("rope_type", table.get("type", "default")), table.get("factor")
        if rotary == "longrope":
            short = str(config.get("original_max_position_embeddings"))[:12]
            notes.append(f"vLLM takes a window of {short} (longrope) where none is asked for")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor > 0:
            continue
        if rotary not in _FIXED_ROPE and not kind.startswith("gemma3"):
            return max(1, int(min(_SIZE_MOST, window * min(factor, _SIZE_MOST))))
    return window


def _dtype(config: Mapping[str, Any], notes: list[str]) -> str:
    """Of what is not quantised, where a profile names none."""
    name = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    if name == "float32":
        notes.append("the file says float32: vLLM halves it where no dtype is asked for")
    return "float16" if name == "float16" else "bfloat16"


def _more_notes(config: Mapping[str, Any], notes: list[str]) -> None:
    kinds = config.get("layer_types")
    window = config.get("sliding_window")
    used = config.get("use_sliding_window", True) is not False
    if (
        (isinstance(kinds, list) and any("sliding" in str(item) for item in kinds))
        or (kinds is None and isinstance(window, int) and not isinstance(window, bool) and used)
        or config.get("attention_chunk_size")
    ):
        notes.append(
            "layers with a sliding window keep fewer tokens than counted here: the window is "
            "at least as large as said"
        )
    if _size(config, "num_nextn_predict_layers", default=0):
        notes.append("the layers for multi-token prediction are not loaded, so not counted")


def _size(
    config: Mapping[str, Any], *names: str, default: int | None = None, most: int = _SIZE_MOST
) -> int:
    """The first of the keys that is there, as a whole number in bounds."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ShapeError(f"{name} is {str(value)[:40]!r}, not a whole number")
        least = 0 if default == 0 else 1
        if not least <= value <= most:
            raise ShapeError(f"{name} is {str(value)[:24]}: it must lie between {least} and {most}")
        return value
    if default is None:
        if not config.get("model_type"):
            raise ShapeError(f"it has no {names[0]}: not the config.json of a language model")
        raise ShapeError(
            f"it has no {names[0]}, and what is meant by that in such a model is not known to the "
            "planner: write it into a copy of the file"
        )
    return default
