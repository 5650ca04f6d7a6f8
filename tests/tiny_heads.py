"""Targets and draft heads as tiny GGUF files that llama.cpp loads and drafts with.

Without an `Automaton` the weights are random: heads guess badly, but every value on the way from
the target's hidden states to the head's logits counts. With one, acceptance is known by
construction. The target's next token depends on the current token alone (`Automaton.next_token`),
because no block adds to the residual stream, and a head has the same table, except for the states
in `wrong`. `noise` lets the blocks add that much again, so that acceptance lies between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.tiny_gguf import (
    Shape,
    Tensor,
    Value,
    Vocabulary,
    Weights,
    attention,
    bpe_vocabulary,
    common_fields,
    feed_forward,
    gguf_bytes,
)

STATES = 64
FIRST_BYTE = 5
"""Token of byte 0 in `bpe_vocabulary`."""
CYCLE = tuple(FIRST_BYTE + code for code in range(ord("?"), ord("?") + STATES))
"""The tokens of the automaton, `?` to `~`: one byte each, and none ends a text."""
SHAPE = Shape(layers=4, n_embd=128, heads=8, kv_heads=4, n_ff=128, context=512)
MASK = 4
VOCABULARY = bpe_vocabulary()


def state(token: int) -> int:
    """The automaton's state at a token; tokens outside of the cycle lead into it."""
    return (token - CYCLE[0]) % STATES


@dataclass(frozen=True)
class Automaton:
    """The target's table, and the states at which a head's differs from it."""

    wrong: frozenset[int] = frozenset()
    noise: float = 0.0

    def next_state(self, at: int) -> int:
        # A linear congruential generator of full period.
        return (5 * at + 13) % STATES

    def guessed_state(self, at: int) -> int:
        step = self.next_state(at)
        return self.next_state(step) if at in self.wrong else step

    def next_token(self, token: int) -> int:
        return CYCLE[self.next_state(state(token))]

    def guessed_token(self, token: int) -> int:
        return CYCLE[self.guessed_state(state(token))]


@dataclass(frozen=True)
class Tiny:
    """A model before it is a file, so that a test can take from it or change it."""

    fields: Mapping[str, Value]
    tensors: Mapping[str, Tensor]

    def bytes(self) -> bytes:
        return gguf_bytes(self.fields, self.tensors)

    def without(self, *names: str) -> Tiny:
        """The same without these tensors and fields."""
        fields = {key: value for key, value in self.fields.items() if key not in names}
        return Tiny(fields, {key: one for key, one in self.tensors.items() if key not in names})

    def with_fields(self, **changed: Value) -> Tiny:
        """Other values for fields under the architecture's prefix; `__` stands for a dot."""
        prefix = str(self.fields["general.architecture"])
        named = {f"{prefix}.{key.replace('__', '.')}": value for key, value in changed.items()}
        return replace(self, fields={**self.fields, **named})


def llama_target(
    automaton: Automaton | None = None,
    *,
    seed: int = 0,
    shape: Shape = SHAPE,
    architecture: str = "llama",
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """A target whose graph publishes layer inputs."""
    weights = Weights(seed, 0.0)
    weights.matrix("token_embd.weight", len(vocabulary.tokens), shape.n_embd, scale=1.0)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        attention(weights, prefix, shape)
        weights.vector(f"{prefix}.ffn_norm.weight", shape.n_embd)
        feed_forward(weights, prefix, shape)
    weights.vector("output_norm.weight", shape.n_embd)
    weights.matrix("output.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    letters_only(weights.tensors)
    fields = common_fields(architecture, shape)
    fields[f"{architecture}.rope.dimension_count"] = shape.n_embd // shape.heads
    target = Tiny({**fields, **vocabulary.fields()}, weights.tensors)
    return target if automaton is None else as_automaton(target, automaton)


_RESIDUAL = ("attn_output.", "ffn_down", "ssm_out.", "shortconv.out_proj.")
"""Parts of the names of tensors that write into the residual stream."""


def as_automaton(target: Tiny, automaton: Automaton) -> Tiny:
    """The target with the automaton's table between its embedding and its output."""
    tensors = dict(target.tensors)
    for name, tensor in target.tensors.items():
        if any(part in name for part in _RESIDUAL):
            tensors[name] = (automaton.noise * tensor).astype(np.float32)
    size, width = tensors["token_embd.weight"].shape
    tensors["token_embd.weight"] = embedding(size, width)
    tensors["output.weight"] = output_rows(size, width, automaton)
    return replace(target, tensors=tensors)


def letters_only(tensors: dict[str, Tensor], name: str = "output.weight") -> None:
    """Let an output matrix choose tokens of the automaton alone, so that texts are printable."""
    others = np.ones(len(tensors[name]), dtype=bool)
    others[list(CYCLE)] = False
    tensors[name][others] = 0


def embedding(size: int, width: int) -> Tensor:
    """One state a token; the mask token has a place of its own."""
    rows = np.zeros((size, width), dtype=np.float32)
    rows[np.arange(size), [state(token) for token in range(size)]] = 1
    rows[MASK] = 0
    rows[MASK, STATES] = 1
    return rows


def output_rows(size: int, width: int, automaton: Automaton) -> Tensor:
    """Logits of the table's next token; the small rest keeps two tokens from being equal."""
    rows = 0.01 * np.random.default_rng(7).standard_normal((size, width)).astype(np.float32)
    for at in range(STATES):
        rows[CYCLE[automaton.next_state(at)], at] += 1
    return rows.astype(np.float32)


def _step_in_feed_forward(
    tensors: dict[str, Tensor], prefix: str, steps: Sequence[int], scale: float, noise: float
) -> None:
    """The feed-forward network turns `scale` times a state into `scale` times the one given."""
    width = tensors[f"{prefix}.ffn_up.weight"].shape[1]
    active = width**0.5
    gated = active / (1 + np.exp(-active)) * active
    for name in ("ffn_gate", "ffn_up"):
        tensors[f"{prefix}.{name}.weight"] = np.eye(width, dtype=np.float32)
    down = noise * tensors[f"{prefix}.ffn_down.weight"]
    for at, step in enumerate(steps):
        down[at, at] -= scale / gated
        down[step, at] += scale / gated
    tensors[f"{prefix}.ffn_down.weight"] = down.astype(np.float32)


def eagle3_head(
    automaton: Automaton | None = None,
    *,
    seed: int = 1,
    shape: Shape = SHAPE,
    target_width: int | None = None,
    layers: tuple[int, ...] = (1, 2, 3),
    own_embedding: bool = False,
    own_output: bool = True,
    draft_vocabulary: tuple[int, ...] | None = None,
    norm_before_residual: bool = False,
    norm_before_fc: bool = False,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """An EAGLE-3 head. With an automaton the first guess follows from the last token that the
    target has decoded, two steps before the guess, and each further one from the guess before."""
    width, size = shape.n_embd, len(vocabulary.tokens)
    target_width = target_width or width
    weights = Weights(seed, 0.0)
    weights.matrix("fc.weight", width, len(layers) * target_width)
    if norm_before_fc:
        weights.vector("enc.output_norm.weight", len(layers) * target_width)
    if own_embedding:
        weights.matrix("token_embd.weight", size, width, scale=1.0)
    head_size = width // shape.heads
    weights.vector("blk.0.attn_norm.weight", width)
    weights.vector("blk.0.attn_norm_2.weight", width)
    weights.matrix("blk.0.attn_q.weight", shape.heads * head_size, 2 * width)
    weights.matrix("blk.0.attn_k.weight", shape.kv_heads * head_size, 2 * width)
    weights.matrix("blk.0.attn_v.weight", shape.kv_heads * head_size, 2 * width)
    weights.matrix("blk.0.attn_output.weight", width, shape.heads * head_size)
    weights.vector("blk.0.ffn_norm.weight", width)
    feed_forward(weights, "blk.0", shape)
    weights.vector("output_norm.weight", width)
    tensors = weights.tensors
    if own_output:
        weights.matrix("output.weight", size, width, scale=0.6)
        letters_only(tensors)
    if automaton is not None:
        kept = np.zeros((width, len(layers) * target_width), dtype=np.float32)
        kept[np.arange(STATES), target_width + np.arange(STATES)] = 1
        tensors["fc.weight"] = kept + automaton.noise * tensors["fc.weight"]
        normed = target_width**0.5 if norm_before_fc else 1.0
        scale = width**0.5 if norm_before_residual else normed
        steps = [automaton.guessed_state(at) for at in range(STATES)]
        _step_in_feed_forward(tensors, "blk.0", steps, scale, automaton.noise)
        silent = automaton.noise * tensors["blk.0.attn_output.weight"]
        tensors["blk.0.attn_output.weight"] = silent.astype(np.float32)
        if own_output:
            tensors["output.weight"] = output_rows(size, width, automaton)
    if draft_vocabulary is not None:
        tensors["d2t"] = np.array(draft_vocabulary, dtype=np.int64)
        tensors["output.weight"] = tensors["output.weight"][list(draft_vocabulary)]
    fields = common_fields("eagle3", replace(shape, layers=1)) | {
        "eagle3.rope.dimension_count": head_size,
        "eagle3.attention.key_length": head_size,
        "eagle3.attention.value_length": head_size,
        "eagle3.vocab_size": size,
        "eagle3.target_layers": list(layers),
        "eagle3.target_hidden_size": target_width,
        "eagle3.norm_before_residual": norm_before_residual,
        "eagle3.norm_before_fc": norm_before_fc,
    }
    return Tiny(fields | vocabulary.fields(), tensors)


_LOW_FREQUENCIES = 1e9
"""RoPE base at which the slowest pair of a head barely turns within a test's context."""


def dflash_head(
    automaton: Automaton | None = None,
    *,
    seed: int = 2,
    shape: Shape = SHAPE,
    blocks: int = 1,
    layers: tuple[int, ...] = (1, 2, 3),
    block_size: int = 8,
    own_embedding: bool = False,
    own_output: bool = False,
    draft_vocabulary: tuple[int, ...] | None = None,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """A DFlash draft. With an automaton every place of its block attends to the first token of the
    block alone and guesses what follows that: the first token of a proposal is the table's, and
    the others repeat it."""
    width, size, head_size = shape.n_embd, len(vocabulary.tokens), shape.n_embd // shape.heads
    weights = Weights(seed, 0.0)
    weights.matrix("fc.weight", width, len(layers) * width)
    weights.vector("enc.output_norm.weight", width)
    if own_embedding:
        weights.matrix("token_embd.weight", size, width, scale=1.0)
    for block in range(blocks):
        prefix = f"blk.{block}"
        weights.vector(f"{prefix}.attn_norm.weight", width)
        attention(weights, prefix, shape)
        weights.vector(f"{prefix}.attn_q_norm.weight", head_size)
        weights.vector(f"{prefix}.attn_k_norm.weight", head_size)
        weights.vector(f"{prefix}.ffn_norm.weight", width)
        feed_forward(weights, prefix, shape)
    weights.vector("output_norm.weight", width)
    if own_output or draft_vocabulary is not None:
        weights.matrix("output.weight", size, width, scale=0.6)
        letters_only(weights.tensors)
    tensors = weights.tensors
    if automaton is not None:
        _attend_to_anchor(tensors, automaton, shape)
        if "output.weight" in tensors:
            tensors["output.weight"] = output_rows(size, width, automaton)
        if own_embedding:
            tensors["token_embd.weight"] = embedding(size, width)
    if draft_vocabulary is not None:
        tensors["d2t"] = np.array(draft_vocabulary, dtype=np.int64)
        tensors["output.weight"] = tensors["output.weight"][list(draft_vocabulary)]
    fields = common_fields("dflash", replace(shape, layers=blocks)) | {
        "dflash.rope.dimension_count": head_size,
        "dflash.rope.freq_base": _LOW_FREQUENCIES,
        "dflash.attention.key_length": head_size,
        "dflash.attention.value_length": head_size,
        "dflash.target_layers": list(layers),
        "dflash.block_size": block_size,
        "tokenizer.ggml.mask_token_id": MASK,
    }
    return Tiny(fields | vocabulary.fields(), tensors)


def _attend_to_anchor(tensors: dict[str, Tensor], automaton: Automaton, shape: Shape) -> None:
    """Mask tokens read the state of the one other token of the block, and nothing else.

    That token's key points along the slowest pair of dimensions, where the masks look; keys of
    masks and of injected features point the other way.
    """
    width, head_size = shape.n_embd, shape.n_embd // shape.heads
    slow, context = head_size // 2 - 1, STATES + 1
    noise = automaton.noise
    kept = np.zeros_like(tensors["fc.weight"])
    kept[context, width + np.arange(STATES)] = 1
    tensors["fc.weight"] = kept + noise * tensors["fc.weight"]
    query, key = np.zeros((width, width)), np.zeros((shape.kv_heads * head_size, width))
    for head in range(shape.heads):
        query[head * head_size + slow, STATES] = 1
    value = noise * tensors["blk.0.attn_v.weight"]
    back = noise * tensors["blk.0.attn_output.weight"]
    for head in range(shape.kv_heads):
        key[head * head_size + slow, :STATES] = 1
        key[head * head_size + slow, [STATES, context]] = -1
    group = shape.heads // shape.kv_heads
    for at in range(STATES):
        value[at, at] = 1
        back[at, at // head_size * group * head_size + at % head_size] = 1
    tensors["blk.0.attn_q.weight"] = query.astype(np.float32)
    tensors["blk.0.attn_k.weight"] = key.astype(np.float32)
    tensors["blk.0.attn_v.weight"] = value.astype(np.float32)
    tensors["blk.0.attn_output.weight"] = back.astype(np.float32)
    for name in ("attn_q_norm", "attn_k_norm"):
        tensors[f"blk.0.{name}.weight"] = np.full(head_size, 4, dtype=np.float32)
    steps = [automaton.next_state(at) if at in automaton.wrong else at for at in range(STATES)]
    _step_in_feed_forward(tensors, "blk.0", steps, width**0.5, noise)


def dspark_head(
    automaton: Automaton | None = None,
    *,
    rank: int = STATES,
    sample_from_anchor: bool = True,
    confidence: bool = True,
    seed: int = 3,
    shape: Shape = SHAPE,
    block_size: int = 8,
    own_output: bool = False,
    draft_vocabulary: tuple[int, ...] | None = None,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """A DSpark draft: DFlash with a Markov head, and a confidence head if asked for.

    With an automaton the Markov head alone decides, and holds the table: every guess follows from
    the one before. Where the table is wrong the confidence is 0.02, elsewhere 0.98.
    """
    base = dflash_head(
        seed=seed,
        shape=shape,
        block_size=block_size,
        own_output=own_output,
        draft_vocabulary=draft_vocabulary,
        vocabulary=vocabulary,
    )
    size, width = len(vocabulary.tokens), shape.n_embd
    weights = Weights(seed + 100, 0.0)
    weights.matrix("markov_w1.weight", size, rank, scale=1.0)
    weights.matrix("markov_w2.weight", size, rank)
    if confidence:
        weights.matrix("conf_proj.weight", 1, width + rank)
        weights.vector("conf_proj.bias", 1, 0.0)
    tensors = {**base.tensors, **weights.tensors}
    if automaton is not None:
        for name in ("blk.0.attn_output.weight", "blk.0.ffn_down.weight"):
            tensors[name] = (automaton.noise * tensors[name]).astype(np.float32)
        first = np.zeros((size, rank), dtype=np.float32)
        first[np.arange(size), [state(token) for token in range(size)]] = 1
        second = np.zeros((size, rank), dtype=np.float32)
        sure = np.zeros((1, width + rank), dtype=np.float32)
        for at in range(STATES):
            second[CYCLE[automaton.guessed_state(at)], at] = 40
            sure[0, width + at] = -4 if at in automaton.wrong else 4
        tensors |= {"markov_w1.weight": first, "markov_w2.weight": second}
        if confidence:
            tensors["conf_proj.weight"] = sure
    if draft_vocabulary is not None:
        tensors["markov_w2.weight"] = tensors["markov_w2.weight"][list(draft_vocabulary)]
    fields = {
        "dflash.sample_from_anchor": sample_from_anchor,
        "dflash.has_confidence_head": confidence,
    }
    return Tiny({**base.fields, **fields}, tensors)
