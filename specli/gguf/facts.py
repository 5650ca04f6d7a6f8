"""What a model is, read from its header: sizes, layers, cache layout."""

from __future__ import annotations

from dataclasses import dataclass

from specli.errors import ModelFileError
from specli.gguf.header import Header
from specli.gguf.tokenizer import TOKENS
from specli.gguf.types import TENSOR_TYPES

BYTES_PER_ELEMENT = {
    kind.name.lower(): kind.block_bytes / kind.block_size for kind in TENSOR_TYPES.values()
}

# fmt: off
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}
SNAPSHOTS = frozenset({
    "bailingmoe3", "deepseek4", "glm5-next", "kimi-k3", "lfm2", "lfm2moe", "nemotron_h",
    "nemotron_h_moe", "qwen35", "qwen35moe", "qwen4exp",
})
# fmt: on
"""Architectures of whose recurrent state llama.cpp keeps earlier steps: its
`llm_arch_supports_rs_rollback`."""
_EXPERT_MARK = "_exps."
_FULL_ATTENTION_INTERVAL = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Hybrid architectures whose every n-th layer attends, where the file does not state it."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's sizes. `active_*` count what one token passes through, experts at rest left out.

    `kv_elements` are cache elements that one token adds, keys and values apart; `state_bytes` is
    the fixed recurrent state of one sequence. `layer_bytes` are the weights of each block,
    `output_bytes` those after the last one, the embedding again where it is the output matrix too.
    """

    name: str
    architecture: str
    quantisation: str
    parameters: int
    active_parameters: int
    weight_bytes: int
    active_bytes: int
    layer_bytes: tuple[int, ...]
    output_bytes: int
    layers: int
    context_length: int
    embedding_length: int
    vocabulary: int
    feed_forward_length: int
    heads: int
    kv_heads: int
    experts: int
    experts_used: int
    window: int
    k_elements: int
    v_elements: int
    state_bytes: int
    chat_template: str | None
    writes_text: bool = True
    """False for what only reads: encoders and embedding models."""

    def kv_bytes_per_token(self, type_k: str = "f16", type_v: str = "f16") -> float:
        """Bytes that each token adds to the cache; specli keeps windowed layers in full."""
        return (
            self.k_elements * BYTES_PER_ELEMENT[type_k]
            + self.v_elements * BYTES_PER_ELEMENT[type_v]
        )

    @property
    def is_recurrent(self) -> bool:
        """Whether a recurrent state carries the past, which no rollback can cut."""
        return self.state_bytes > 0

    def states(self, sequences: int, snapshots: int) -> int:
        """How many recurrent states a context keeps of each sequence: so many snapshots, where
        llama.cpp has them, beside the current one, else a checkpoint."""
        snapshots = snapshots if sequences == 1 and self.architecture in SNAPSHOTS else 0
        return 1 + (snapshots or 1)


def read_facts(header: Header) -> ModelFacts:
    """Facts of a model. Raises ModelFileError where a size that llama.cpp needs is missing."""
    layers = header.required("block_count") - _optional(header, "nextn_predict_layers")
    heads = layer_values(header, "attention.head_count", layers) or [0] * layers
    kv_heads = layer_values(header, "attention.head_count_kv", layers) or heads
    experts = _optional(header, "expert_count")
    used = max(layer_values(header, "expert_used_count", 0), default=0) if experts else 0
    # A lookup reads one row of the embedding, unless it is the output matrix as well.
    has_output = "output.weight" in header.tensors
    parameters = active_parameters = weight_bytes = output_bytes = 0
    active_bytes = 0.0
    for tensor in header.tensors.values():
        share = used / experts if experts and _EXPERT_MARK in tensor.name else 1.0
        parameters += tensor.elements
        weight_bytes += tensor.size
        is_embedding = tensor.name == "token_embd.weight"
        active_parameters += int(share * tensor.elements)
        active_bytes += 0 if is_embedding and has_output else share * tensor.size
        if tensor.name.startswith("output") or (is_embedding and not has_output):
            output_bytes += tensor.size
    k_elements, v_elements = _cache_elements(header, layers, heads, kv_heads)
    return ModelFacts(
        name=header.text("general.name") or "",
        architecture=header.architecture,
        quantisation=_quantisation(header),
        parameters=parameters,
        active_parameters=active_parameters,
        weight_bytes=weight_bytes,
        active_bytes=int(active_bytes),
        layer_bytes=_layer_bytes(header, layers),
        output_bytes=output_bytes,
        layers=layers,
        context_length=header.required("context_length"),
        embedding_length=header.required("embedding_length"),
        vocabulary=len(header.strings(TOKENS) or ()),
        feed_forward_length=max(layer_values(header, "feed_forward_length", 0), default=0),
        heads=max(heads, default=0),
        kv_heads=max(kv_heads, default=0),
        experts=experts,
        experts_used=used,
        window=_optional(header, "attention.sliding_window"),
        k_elements=k_elements,
        v_elements=v_elements,
        state_bytes=_state_bytes(header, layers, kv_heads),
        chat_template=header.text("tokenizer.chat_template"),
        writes_text=_writes_text(header),
    )


def _writes_text(header: Header) -> bool:
    pools = header.model_integer("pooling_type") or 0
    causal = header.flag(f"{header.architecture}.attention.causal")
    wordpiece = header.text("tokenizer.ggml.model") == "bert"
    return not (pools or wordpiece or causal is False or header.architecture.startswith("t5"))


def _layer_bytes(header: Header, layers: int) -> tuple[int, ...]:
    sizes = [0] * layers
    for tensor in header.tensors.values():
        match tensor.name.split("."):
            case ["blk", number, *_] if number.isdecimal() and int(number) < layers:
                sizes[int(number)] += tensor.size
    return tuple(sizes)


def _quantisation(header: Header) -> str:
    file_type = header.integer("general.file_type")
    if file_type in _FILE_TYPES:
        return _FILE_TYPES[file_type]
    by_type: dict[str, int] = {}
    for tensor in header.tensors.values():
        by_type[tensor.type.name] = by_type.get(tensor.type.name, 0) + tensor.size
    return max(by_type, key=lambda name: by_type[name], default="")


def _cache_elements(
    header: Header, layers: int, heads: list[int], kv_heads: list[int]
) -> tuple[int, int]:
    """Elements of keys and of values that one token adds over all layers with a cache."""
    embedding = header.required("embedding_length")
    first_heads = next((count for count in heads if count), 0)
    if not first_heads:
        return 0, 0
    default = embedding // first_heads
    k_length = _optional(header, "attention.key_length", default)
    v_length = _optional(header, "attention.value_length", default)
    k_windowed = _optional(header, "attention.key_length_swa", k_length)
    v_windowed = _optional(header, "attention.value_length_swa", v_length)
    windowed = _windowed_layers(header, layers)
    if header.model_integer("attention.key_length_mla"):
        # Multi-head latent attention reads the values out of the cached keys.
        v_length = v_windowed = 0
    k_elements = v_elements = 0
    for layer in _attending_layers(header, layers):
        in_window = layer in windowed
        k_elements += kv_heads[layer] * (k_windowed if in_window else k_length)
        v_elements += kv_heads[layer] * (v_windowed if in_window else v_length)
    return k_elements, v_elements


def _attending_layers(header: Header, layers: int) -> range:
    default = _FULL_ATTENTION_INTERVAL.get(header.architecture, 1)
    interval = max(_optional(header, "full_attention_interval", default), 1)
    own = layers - _optional(header, "attention.shared_kv_layers")
    return range(interval - 1, own, interval)


def _windowed_layers(header: Header, layers: int) -> set[int]:
    key = f"{header.architecture}.attention.sliding_window_pattern"
    field = header.fields.get(key)
    if field is None or field.element is None:
        return set()
    return {layer for layer, flag in enumerate((header.numbers(key) or ())[:layers]) if flag}


def _state_bytes(header: Header, layers: int, kv_heads: list[int]) -> int:
    """Bytes of recurrent state for one sequence, 32-bit floats in every recurrent layer."""
    embedding = header.required("embedding_length")
    head_size = _optional(header, "wkv.head_size")
    convolution = _optional(header, "shortconv.l_cache")
    kernel = _optional(header, "ssm.conv_kernel")
    if head_size:
        elements = embedding * (head_size + _optional(header, "token_shift_count", 2))
    elif convolution:
        elements = embedding * (convolution - 1)
    elif kernel:
        inner = _optional(header, "ssm.inner_size")
        state = _optional(header, "ssm.state_size")
        groups = _optional(header, "ssm.group_count")
        elements = (kernel - 1) * (inner + 2 * groups * state) + inner * state
    else:
        return 0
    attending = len(_attending_layers(header, layers))
    recurrent = layers - attending if attending < layers else layers
    if recurrent == layers and any(kv_heads) and not all(kv_heads):
        recurrent = kv_heads.count(0)
    return 4 * elements * recurrent


def _optional(header: Header, key: str, default: int = 0) -> int:
    value = header.model_integer(key)
    return default if value is None else max(value, 0)


def layer_values(header: Header, key: str, layers: int) -> list[int]:
    """A value for each layer, which the file gives as one number or as an array of `layers`.

    `layers` 0 takes as many as there are; a missing key gives an empty list. Raises
    ModelFileError when there are too few.
    """
    full_key = f"{header.architecture}.{key}"
    field = header.fields.get(full_key)
    if field is None:
        return []
    if field.element is None:
        return [max(header.integer(full_key) or 0, 0)] * max(layers, 1)
    values = [max(value, 0) for value in header.integers(full_key) or ()]
    if len(values) < layers:
        raise ModelFileError(
            f"{header.name}: {full_key} has {len(values)} entries for {layers} layers",
            hint="download or convert the file again",
        )
    return values[: layers or None]
