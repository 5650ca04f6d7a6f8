"""Tiny targets with layers for multi-token prediction (MTP), and hybrid targets.

As in `tiny_heads`, an `Automaton` makes the acceptance of each head known. An MTP head guesses from
the token before: a chain of guesses repeats the table. Several heads may have a table each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tests.tiny_gguf import (
    ARRAY,
    BOOL,
    Shape,
    Tensor,
    Typed,
    Value,
    Vocabulary,
    Weights,
    attention,
    common_fields,
    feed_forward,
)
from tests.tiny_heads import (
    SHAPE,
    STATES,
    VOCABULARY,
    Automaton,
    Tiny,
    as_automaton,
    letters_only,
    output_rows,
)

Heads = Sequence[Automaton]
"""The table of each MTP head; its length is the number of heads."""
ONE_HEAD = (Automaton(),)
THREE_HEADS = (Automaton(), Automaton(), Automaton())

EXPERTS = 4
ASSISTANT_WIDTH = 96
WINDOW = 512
"""Longer than any test's text: what leaves the window differs in no test but those of windows."""


def _start(shape: Shape, seed: int, vocabulary: Vocabulary) -> Weights:
    weights = Weights(seed, 0.0)
    weights.matrix("token_embd.weight", len(vocabulary.tokens), shape.n_embd, scale=1.0)
    weights.vector("output_norm.weight", shape.n_embd)
    weights.matrix("output.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    letters_only(weights.tensors)
    return weights


def _fields(
    architecture: str, shape: Shape, heads: int, more: dict[str, Value]
) -> dict[str, Value]:
    head_size = shape.n_embd // shape.heads
    fields = common_fields(architecture, replace(shape, layers=shape.layers + heads))
    fields[f"{architecture}.rope.dimension_count"] = head_size
    fields[f"{architecture}.attention.key_length"] = head_size
    fields[f"{architecture}.attention.value_length"] = head_size
    if heads:
        fields[f"{architecture}.nextn_predict_layers"] = heads
    return fields | {f"{architecture}.{key}": value for key, value in more.items()}


def _finished(
    fields: dict[str, Value], weights: Weights, automaton: Automaton | None, heads: Heads
) -> Tiny:
    made = Tiny(fields | VOCABULARY.fields(), weights.tensors)
    if automaton is None:
        return made
    made = as_automaton(made, automaton)
    tensors = dict(made.tensors)
    projections = sorted(name for name in tensors if name.endswith("nextn.eh_proj.weight"))
    for name, head in zip(projections, heads, strict=True):
        tensors[name] = _projection(head, tensors[name])
    return replace(made, tensors=tensors)


def _projection(head: Automaton, drawn: Tensor) -> Tensor:
    """Where a head is wrong it takes the token for the next one, which the output then follows."""
    projection = head.noise * drawn
    for at in range(STATES):
        projection[head.next_state(at) if at in head.wrong else at, at] += 1
    return projection.astype(np.float32)


def _nextn(weights: Weights, block: int, shape: Shape, *, norm: bool = False) -> None:
    prefix = f"blk.{block}.nextn"
    weights.matrix(f"{prefix}.eh_proj.weight", shape.n_embd, 2 * shape.n_embd)
    weights.vector(f"{prefix}.enorm.weight", shape.n_embd)
    weights.vector(f"{prefix}.hnorm.weight", shape.n_embd)
    if norm:
        weights.vector(f"{prefix}.shared_head_norm.weight", shape.n_embd)


def _gated_attention(weights: Weights, prefix: str, shape: Shape) -> None:
    """Qwen3.5's attention: queries and a gate in one projection, norms of queries and keys."""
    attention(weights, prefix, shape)
    weights.matrix(f"{prefix}.attn_q.weight", 2 * shape.n_embd, shape.n_embd)
    _head_norms(weights, prefix, shape)


def _head_norms(weights: Weights, prefix: str, shape: Shape) -> None:
    for name in ("attn_q_norm", "attn_k_norm"):
        weights.vector(f"{prefix}.{name}.weight", shape.n_embd // shape.heads)


def _experts(weights: Weights, prefix: str, shape: Shape, *, gated: bool = True) -> None:
    width, hidden = shape.n_embd, 32
    weights.matrix(f"{prefix}.ffn_gate_inp.weight", EXPERTS, width)
    for name in ("ffn_gate", "ffn_up", "ffn_down")[not gated :]:
        rows, columns = (width, hidden) if name == "ffn_down" else (hidden, width)
        weights.matrix(f"{prefix}.{name}_exps.weight", EXPERTS * rows, columns)
        stacked = weights.tensors[f"{prefix}.{name}_exps.weight"].reshape(EXPERTS, rows, columns)
        weights.tensors[f"{prefix}.{name}_exps.weight"] = stacked
        weights.matrix(f"{prefix}.{name}_shexp.weight", rows, columns)


_EXPERT_FIELDS: dict[str, Value] = {
    "expert_count": EXPERTS,
    "expert_used_count": 2,
    "expert_feed_forward_length": 32,
    "expert_shared_feed_forward_length": 32,
    "expert_shared_count": 1,
    "expert_gating_func": 2,
}

DELTA_NET: dict[str, Value] = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 64,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 4,
    "ssm.group_count": 2,
    "full_attention_interval": 2,
}


def _delta_net(weights: Weights, prefix: str, shape: Shape, *, joined: bool) -> None:
    """A gated delta net, the recurrent layer of Qwen3.5; `joined` as in Qwen3-Next."""
    state, heads, groups, kernel = 16, 4, 2, 4
    value, channels = state * heads, state * heads + 2 * state * groups
    weights.matrix(f"{prefix}.attn_qkv.weight", channels, shape.n_embd)
    weights.matrix(f"{prefix}.attn_gate.weight", value, shape.n_embd)
    weights.matrix(f"{prefix}.ssm_conv1d.weight", channels, kernel)
    weights.vector(f"{prefix}.ssm_dt.bias", heads, -2.0)
    weights.vector(f"{prefix}.ssm_a", heads, -1.0)
    if joined:
        weights.matrix(f"{prefix}.ssm_ba.weight", 2 * heads, shape.n_embd)
    else:
        weights.matrix(f"{prefix}.ssm_beta.weight", heads, shape.n_embd)
        weights.matrix(f"{prefix}.ssm_alpha.weight", heads, shape.n_embd)
    weights.vector(f"{prefix}.ssm_norm.weight", state)
    weights.matrix(f"{prefix}.ssm_out.weight", shape.n_embd, value)


def qwen35(
    automaton: Automaton | None = None,
    heads: Heads = ONE_HEAD,
    *,
    seed: int = 10,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """Hybrid: every other layer recurrent. llama.cpp rolls it back with snapshots."""
    weights = _start(shape, seed, vocabulary)
    for layer in range(shape.layers + len(heads)):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        weights.vector(f"{prefix}.post_attention_norm.weight", shape.n_embd)
        if layer >= shape.layers:
            _nextn(weights, layer, shape)
        if layer >= shape.layers or layer % 2:
            _gated_attention(weights, prefix, shape)
        else:
            _delta_net(weights, prefix, shape, joined=False)
        feed_forward(weights, prefix, shape)
    more = DELTA_NET | {"rope.dimension_sections": [4, 2, 2, 0]}
    return _finished(_fields("qwen35", shape, len(heads), more), weights, automaton, heads)


def qwen3next(
    automaton: Automaton | None = None,
    heads: Heads = ONE_HEAD,
    *,
    seed: int = 11,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """Hybrid without snapshots in llama.cpp: a rollback restores a checkpoint."""
    weights = _start(shape, seed, vocabulary)
    for layer in range(shape.layers + len(heads)):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        weights.vector(f"{prefix}.post_attention_norm.weight", shape.n_embd)
        if layer >= shape.layers:
            _nextn(weights, layer, shape)
        if layer >= shape.layers or layer % 2:
            _gated_attention(weights, prefix, shape)
        else:
            _delta_net(weights, prefix, shape, joined=True)
        _experts(weights, prefix, shape)
        weights.vector(f"{prefix}.ffn_gate_inp_shexp.weight", shape.n_embd, 0.1)
    fields = _fields("qwen3next", shape, len(heads), DELTA_NET | _EXPERT_FIELDS)
    return _finished(fields, weights, automaton, heads)


def glm4moe(
    automaton: Automaton | None = None,
    heads: Heads = ONE_HEAD,
    *,
    seed: int = 12,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """Attention alone, a mixture of experts from the second layer on."""
    weights = _start(shape, seed, vocabulary)
    for layer in range(shape.layers + len(heads)):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        weights.vector(f"{prefix}.post_attention_norm.weight", shape.n_embd)
        attention(weights, prefix, shape)
        if layer >= shape.layers:
            _nextn(weights, layer, shape, norm=True)
        if layer == 0:
            feed_forward(weights, prefix, shape)
        else:
            _experts(weights, prefix, shape)
            weights.vector(f"{prefix}.exp_probs_b.bias", EXPERTS, 0.0)
    more = _EXPERT_FIELDS | {"leading_dense_block_count": 1}
    return _finished(_fields("glm4moe", shape, len(heads), more), weights, automaton, heads)


def step35(
    automaton: Automaton | None = None,
    heads: Heads = THREE_HEADS,
    *,
    seed: int = 13,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """Several heads, one for each draft step; some layers see a window only."""
    weights = _start(shape, seed, vocabulary)
    blocks = shape.layers + len(heads)
    for layer in range(blocks):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        weights.vector(f"{prefix}.ffn_norm.weight", shape.n_embd)
        attention(weights, prefix, shape)
        _head_norms(weights, prefix, shape)
        feed_forward(weights, prefix, shape)
        if layer >= shape.layers:
            _nextn(weights, layer, shape)
    more: dict[str, Value] = {
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": _flags(layer % 2 for layer in range(blocks)),
        "expert_feed_forward_length": 0,
    }
    return _finished(_fields("step35", shape, len(heads), more), weights, automaton, heads)


def _flags(values: Iterable[object]) -> Typed:
    return Typed(ARRAY, [bool(value) for value in values], element=BOOL)


def nemotron_h_moe(
    automaton: Automaton | None = None,
    heads: Heads = ONE_HEAD,
    *,
    seed: int = 14,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """Hybrid: a layer is recurrent, attention or a mixture of experts, in turn."""
    weights = _start(shape, seed, vocabulary)
    inner, state, ssm_heads, groups, kernel = 2 * shape.n_embd, 16, 4, 1, 4
    channels = inner + 2 * groups * state
    blocks = shape.layers + len(heads)
    for layer in range(blocks):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        ahead = layer >= shape.layers
        if ahead:
            _nextn(weights, layer, shape, norm=True)
            weights.vector(f"{prefix}.post_attention_norm.weight", shape.n_embd)
        if not ahead and layer % 3 == 0:
            weights.matrix(f"{prefix}.ssm_in.weight", inner + channels + ssm_heads, shape.n_embd)
            weights.matrix(f"{prefix}.ssm_conv1d.weight", channels, kernel)
            weights.vector(f"{prefix}.ssm_conv1d.bias", channels, 0.0)
            weights.vector(f"{prefix}.ssm_dt.bias", ssm_heads, -2.0)
            weights.tensors[f"{prefix}.ssm_a"] = -np.ones((ssm_heads, 1), dtype=np.float32)
            weights.tensors[f"{prefix}.ssm_d"] = np.ones((ssm_heads, 1), dtype=np.float32)
            weights.matrix(f"{prefix}.ssm_norm.weight", groups, inner // groups)
            weights.matrix(f"{prefix}.ssm_out.weight", shape.n_embd, inner)
        if ahead or layer % 3 == 1:
            attention(weights, prefix, shape)
        if ahead or layer % 3 == 2:
            _experts(weights, prefix, shape, gated=False)
            weights.vector(f"{prefix}.exp_probs_b.bias", EXPERTS, 0.0)
    kinds = [3 if layer >= shape.layers else layer % 3 for layer in range(blocks)]
    more = _EXPERT_FIELDS | {
        "attention.layer_norm_epsilon": 1e-5,
        "attention.head_count_kv": [shape.kv_heads if kind in (1, 3) else 0 for kind in kinds],
        "feed_forward_length": [shape.n_ff if kind in (2, 3) else 0 for kind in kinds],
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": ssm_heads,
        "ssm.group_count": groups,
    }
    fields = _fields("nemotron_h_moe", shape, len(heads), more)
    return _finished(fields, weights, automaton, heads)


def lfm2(
    automaton: Automaton | None = None,
    *,
    seed: int = 15,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """Hybrid of short convolutions and attention; it has no MTP layers of its own."""
    weights = _start(shape, seed, vocabulary)
    weights.tensors["token_embd_norm.weight"] = weights.tensors.pop("output_norm.weight")
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        weights.vector(f"{prefix}.ffn_norm.weight", shape.n_embd)
        feed_forward(weights, prefix, shape)
        if layer % 2:
            attention(weights, prefix, shape)
            _head_norms(weights, prefix, shape)
        else:
            weights.matrix(f"{prefix}.shortconv.conv.weight", shape.n_embd, 3)
            weights.matrix(f"{prefix}.shortconv.in_proj.weight", 3 * shape.n_embd, shape.n_embd)
            weights.matrix(f"{prefix}.shortconv.out_proj.weight", shape.n_embd, shape.n_embd)
    kv_heads = [shape.kv_heads * (layer % 2) for layer in range(shape.layers)]
    more: dict[str, Value] = {"shortconv.l_cache": 3, "attention.head_count_kv": kv_heads}
    return _finished(_fields("lfm2", shape, 0, more), weights, automaton, ())


def gemma4(
    automaton: Automaton | None = None,
    *,
    seed: int = 16,
    shape: Shape = SHAPE,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """A target whose cache a `gemma4_assistant` shares; the last layer alone sees everything."""
    weights = _start(shape, seed, vocabulary)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            weights.vector(f"{prefix}.{norm}.weight", shape.n_embd)
        attention(weights, prefix, shape)
        _head_norms(weights, prefix, shape)
        feed_forward(weights, prefix, shape)
    weights.vector("rope_freqs.weight", shape.n_embd // shape.heads // 2)
    more = _gemma4_fields(shape) | {
        "attention.sliding_window_pattern": _flags(
            layer < shape.layers - 1 for layer in range(shape.layers)
        ),
        "embedding_length_per_layer_input": 0,
    }
    made = Tiny(_fields("gemma4", shape, 0, more) | vocabulary.fields(), weights.tensors)
    return _quiet_norms(as_automaton(made, automaton), automaton) if automaton else made


def _gemma4_fields(shape: Shape) -> dict[str, Value]:
    head_size = shape.n_embd // shape.heads
    return {
        "attention.key_length_swa": head_size,
        "attention.value_length_swa": head_size,
        "attention.sliding_window": WINDOW,
    }


def _quiet_norms(made: Tiny, automaton: Automaton) -> Tiny:
    """Gemma norms what a block adds, so that small outputs would come out large."""
    tensors = {
        name: (automaton.noise * tensor).astype(np.float32) if "post_" in name else tensor
        for name, tensor in made.tensors.items()
    }
    return replace(made, tensors=tensors)


def gemma4_assistant(
    automaton: Automaton | None = None,
    *,
    seed: int = 17,
    shape: Shape = SHAPE,
    width: int = ASSISTANT_WIDTH,
    vocabulary: Vocabulary = VOCABULARY,
) -> Tiny:
    """A file of MTP layers alone that reads the target's cache and embedding."""
    weights = Weights(seed, 0.0)
    size, head_size, blocks = len(vocabulary.tokens), shape.n_embd // shape.heads, 2
    weights.matrix("token_embd.weight", size, width, scale=1.0)
    letters_only(weights.tensors, "token_embd.weight")
    weights.vector("output_norm.weight", width)
    weights.matrix("nextn.pre_projection.weight", width, 2 * shape.n_embd)
    weights.matrix("nextn.post_projection.weight", shape.n_embd, width)
    for block in range(blocks):
        prefix = f"blk.{block}"
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            weights.vector(f"{prefix}.{norm}.weight", width)
        weights.matrix(f"{prefix}.attn_q.weight", shape.heads * head_size, width)
        weights.matrix(f"{prefix}.attn_output.weight", width, shape.heads * head_size)
        weights.vector(f"{prefix}.attn_q_norm.weight", head_size)
        weights.vector(f"{prefix}.layer_output_scale.weight", 1)
        feed_forward(weights, prefix, replace(shape, n_embd=width))
    weights.vector("rope_freqs.weight", head_size // 2)
    narrow = replace(shape, n_embd=width, layers=0)
    more = _gemma4_fields(shape) | {
        "attention.key_length": head_size,
        "attention.value_length": head_size,
        "rope.dimension_count": head_size,
        "attention.sliding_window_pattern": _flags((True, False)),
        "embedding_length_out": shape.n_embd,
    }
    fields = _fields("gemma4-assistant", narrow, blocks, more) | vocabulary.fields()
    made = Tiny(fields, weights.tensors)
    if automaton is None:
        return made
    tensors = dict(_quiet_norms(made, automaton).tensors)
    tensors["token_embd.weight"] = output_rows(size, width, automaton)
    name = "nextn.pre_projection.weight"
    tensors[name] = _projection(automaton, tensors[name])
    return replace(made, tensors=tensors)


def head_only(target: Tiny) -> Tiny:
    """The MTP layers of a target alone, as llama.cpp's converter writes them with `--mtp`."""
    trunk = _trunk(target)
    return target.without(*(name for name in target.tensors if -1 < _block(name) < trunk))


def without_heads(target: Tiny) -> Tiny:
    """The target's tensors without its MTP layers, whose number the file still names."""
    trunk = _trunk(target)
    return target.without(*(name for name in target.tensors if _block(name) >= trunk))


def _block(tensor: str) -> int:
    return int(tensor.split(".")[1]) if tensor.startswith("blk.") else -1


def _trunk(target: Tiny) -> int:
    prefix = str(target.fields["general.architecture"])
    blocks, heads = (
        target.fields[f"{prefix}.{key}"] for key in ("block_count", "nextn_predict_layers")
    )
    assert isinstance(blocks, int)
    assert isinstance(heads, int)
    return blocks - heads
