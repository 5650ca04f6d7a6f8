"""Recognises draft heads by their headers: which drafter each serves, and for which target."""

from __future__ import annotations

from dataclasses import dataclass

from specli.errors import ModelFileError
from specli.gguf.header import Header
from specli.gguf.tokenizer import TOKENS

EAGLE3, DFLASH, DSPARK, MTP = "draft-eagle3", "draft-dflash", "draft-dspark", "draft-mtp"

ASSISTANT = "gemma4-assistant"
"""MTP layers in a file of their own that read the cache of a target of `ASSISTED`."""
ASSISTED = "gemma4"

ONE_MTP_HEAD = frozenset(
    (
        *("qwen35", "qwen35moe", "qwen3next", "deepseek2", "deepseek32", "deepseek4", "glm4moe"),
        *("glm-dsa", "nemotron_h_moe", "cohere2moe", "bailingmoe3"),
    )
)
"""Architectures whose MTP graph in llama.cpp 0.5.0 asserts that there is one MTP layer."""
SEVERAL_MTP_HEADS = frozenset(("step35", "mimo2", "hy_v3"))
"""Those with a layer for each draft step. Of any other architecture llama.cpp keeps the weights of
MTP layers, but has no graph for them: asking for one may end the process."""

PUBLISHING = frozenset(
    (
        *("llama", "qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe", "qwen4exp", "gemma4"),
        *("gpt-oss", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "hunyuan-dense"),
        *("hunyuan_vl", "mimo2", "minimax-01", "minimax-m2", "muse-glimmer", "nanbeige"),
        *("bailingmoe3", "deepseek4"),
    )
)
"""Values of `general.architecture` whose graphs publish layer inputs (llama.cpp 0.5.0). With any
other, enabling them ends the process by an assertion at the next decode."""

PUBLISHING_LAST = frozenset(("mimo2", "nemotron_h", "nemotron_h_moe", "deepseek4"))
"""Those that also publish the output of the last layer, as the input of a layer past it."""

PUBLISHING_NEXTN = frozenset(
    (
        *("bailingmoe3", "cohere2moe", "deepseek2", "deepseek32", "deepseek4", "gemma4", "glm-dsa"),
        *("glm4moe", "gpt-oss", "hy_v3", "mimo2", "nemotron_h", "nemotron_h_moe", "qwen35"),
        *("qwen35moe", "qwen3next", "step35"),
    )
)
"""Those whose graphs publish the last hidden states; any other gives zeros for them."""

DEFAULT_BLOCK = 16
"""llama.cpp's block size of a DFlash draft that names none."""
MARKOV, CONFIDENCE = "markov_w1.weight", "conf_proj.weight"
"""Tensors that a DSpark head has, and may have, in addition to those of DFlash."""
_FIRST_TRUNK_TENSOR = "blk.0.attn_norm.weight"


@dataclass(frozen=True, slots=True)
class HeadFacts:
    """A head and what it was made for.

    `kind` is llama.cpp's name of its drafter. `target_layers` are the layers of the target whose
    inputs it reads, `hidden_size` the width of its hidden states; MTP layers read the last ones.
    It proposes `draft_vocabulary` of `vocabulary` tokens, `longest` of them at once (None: no
    limit). `weight_bytes` are its own weights; it `borrows_output` where it uses the target's
    output matrix.
    """

    kind: str
    architecture: str
    target_layers: tuple[int, ...]
    hidden_size: int
    vocabulary: int
    draft_vocabulary: int
    longest: int | None
    layers: int
    weight_bytes: int
    has_confidence: bool = False
    borrows_output: bool = False
    has_selector: bool = False
    """A DFlash2 head: a selector picks the tokens of a block among candidates."""

    @property
    def share(self) -> float:
        """Share of the vocabulary's tokens that it can propose."""
        return self.draft_vocabulary / self.vocabulary if self.vocabulary else 0.0


def head_kind(header: Header) -> str | None:
    """llama.cpp's name of the drafter that a file is a head for; None for a model of its own."""
    match header.architecture:
        case "eagle3":
            return EAGLE3
        case "dflash":
            return DSPARK if MARKOV in header.tensors else DFLASH
        case architecture if architecture == ASSISTANT:
            return MTP
    return MTP if _mtp_blocks(header) and _FIRST_TRUNK_TENSOR not in header.tensors else None


def read_head(header: Header) -> HeadFacts | None:
    """Facts of a file that is a head; None for a model of its own.

    Raises ModelFileError where a field that llama.cpp needs is missing.
    """
    kind = head_kind(header)
    if kind is None:
        return None
    if kind == MTP:
        return _mtp(header)
    vocabulary = len(header.strings(TOKENS) or ())
    reduced = header.tensors.get("d2t")
    width = "target_hidden_size" if kind == EAGLE3 else "embedding_length"
    return HeadFacts(
        kind=kind,
        architecture=header.architecture,
        target_layers=_target_layers(header),
        hidden_size=header.required(width),
        vocabulary=vocabulary,
        draft_vocabulary=vocabulary if reduced is None else reduced.elements,
        longest=None if kind == EAGLE3 else _longest(header, kind),
        layers=header.required("block_count"),
        weight_bytes=sum(tensor.size for tensor in header.tensors.values()),
        has_confidence=kind == DSPARK and _has_confidence(header),
        borrows_output=not {"output.weight", "token_embd.weight"} & header.tensors.keys()
        if kind != EAGLE3
        else "output.weight" not in header.tensors,
        has_selector=bool(header.model_integer("selector_top_k")),
    )


def read_mtp_layers(header: Header) -> HeadFacts | None:
    """Facts of the MTP layers inside a model's own file; None where it holds none."""
    if not _mtp_blocks(header) or head_kind(header) is not None:
        return None
    return _mtp(header)


def _mtp(header: Header) -> HeadFacts:
    blocks = _mtp_blocks(header)
    assistant = header.architecture == ASSISTANT
    trunk = 0 if assistant else header.required("block_count") - len(blocks)
    own = [
        tensor.size
        for tensor in header.tensors.values()
        if assistant or _block(tensor.name) >= trunk
    ]
    vocabulary = len(header.strings(TOKENS) or ())
    return HeadFacts(
        kind=MTP,
        architecture=header.architecture,
        target_layers=(),
        hidden_size=header.required("embedding_length_out" if assistant else "embedding_length"),
        vocabulary=vocabulary,
        draft_vocabulary=vocabulary,
        longest=len(blocks) if header.architecture in SEVERAL_MTP_HEADS else None,
        layers=len(blocks),
        weight_bytes=sum(own),
    )


def _mtp_blocks(header: Header) -> range:
    """The blocks that a file says are MTP layers, where it also holds their weights."""
    count = header.model_integer("nextn_predict_layers") or 0
    end = header.model_integer("block_count") or 0
    blocks = range(max(end - count, 0), end)
    if header.architecture == ASSISTANT:
        return blocks
    held = blocks and f"blk.{blocks[0]}.nextn.eh_proj.weight" in header.tensors
    return blocks if held else range(0)


def _block(tensor: str) -> int:
    """The block that a tensor belongs to, -1 for none."""
    match tensor.split("."):
        case ["blk", number, *_] if number.isdecimal():
            return int(number)
    return -1


def _target_layers(header: Header) -> tuple[int, ...]:
    key = f"{header.architecture}.target_layers"
    layers = tuple(header.integers(key) or ())
    if not layers or (header.architecture == "eagle3" and len(layers) != 3):
        raise ModelFileError(
            f"{header.name}: {key} names {len(layers)} layers of the target, not "
            + ("3" if header.architecture == "eagle3" else "one or more"),
            hint="convert the head again",
        )
    return layers


def _longest(header: Header, kind: str) -> int:
    """The longest proposal: a block less its first token, unless that is drafted from too."""
    block = header.model_integer("block_size") or DEFAULT_BLOCK
    anchored = header.flag(f"{header.architecture}.sample_from_anchor")
    return block if kind == DSPARK and anchored is not False else block - 1


def _has_confidence(header: Header) -> bool:
    said = header.flag(f"{header.architecture}.has_confidence_head")
    return said is not False and CONFIDENCE in header.tensors
