"""Tiny targets with layers for multi-token prediction (MTP), and hybrid targets.

As in `tiny_heads`, an `Automaton` makes the acceptance of each head known. An MTP head guesses from
the token before: a chain of guesses repeats the table. Several heads may have a table each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from tests.tiny_gguf import (
    ARRAY,
    BOOL,
    Shape,
    Tensor,
    Typed,
    Value,
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

WIDTH, LAYERS, HEAD_SIZE = SHAPE.n_embd, SHAPE.layers, SHAPE.n_embd // SHAPE.heads
SIZE = len(VOCABULARY.tokens)


class Parts(Weights):
    """The tensors of a model in the making, of `SHAPE`, block by block."""

    def __init__(self, seed: int, heads: int = 0) -> None:
        super().__init__(seed, 0.0)
        self._blocks = LAYERS + heads
        self.matrix("token_embd.weight", SIZE, WIDTH, scale=1.0)
        self.vector("output_norm.weight", WIDTH)
        self.matrix("output.weight", SIZE, WIDTH, scale=0.6)
        letters_only(self.tensors)

    def blocks(self, *norms: str) -> Iterator[tuple[int, str]]:
        """Number and name of each block, with these norms."""
        for number in range(self._blocks):
            prefix = f"blk.{number}"
            self.norms(prefix, *norms)
            yield number, prefix

    def norms(self, prefix: str, *names: str, size: int = WIDTH) -> None:
        for name in names:
            self.vector(f"{prefix}.{name}.weight", size)

    def head_norms(self, prefix: str) -> None:
        self.norms(prefix, "attn_q_norm", "attn_k_norm", size=HEAD_SIZE)

    def nextn(self, prefix: str, *more: str) -> None:
        self.matrix(f"{prefix}.nextn.eh_proj.weight", WIDTH, 2 * WIDTH)
        self.norms(f"{prefix}.nextn", "enorm", "hnorm", *more)

    def gated_attention(self, prefix: str) -> None:
        """Qwen3.5's attention: queries and a gate in one projection, norms of queries and keys."""
        attention(self, prefix, SHAPE)
        self.matrix(f"{prefix}.attn_q.weight", 2 * WIDTH, WIDTH)
        self.head_norms(prefix)

    def experts(self, prefix: str, *, gated: bool = True) -> None:
        hidden = 32
        self.matrix(f"{prefix}.ffn_gate_inp.weight", EXPERTS, WIDTH)
        for name in ("ffn_gate", "ffn_up", "ffn_down")[not gated :]:
            rows, columns = (WIDTH, hidden) if name == "ffn_down" else (hidden, WIDTH)
            stacked = f"{prefix}.{name}_exps.weight"
            self.matrix(stacked, EXPERTS * rows, columns)
            self.tensors[stacked] = self.tensors[stacked].reshape(EXPERTS, rows, columns)
            self.matrix(f"{prefix}.{name}_shexp.weight", rows, columns)

    def delta_net(self, prefix: str, *, joined: bool) -> None:
        """A gated delta net, the recurrent layer of Qwen3.5; `joined` as in Qwen3-Next."""
        state, heads, groups, kernel = 16, 4, 2, 4
        value, channels = state * heads, state * heads + 2 * state * groups
        self.matrix(f"{prefix}.attn_qkv.weight", channels, WIDTH)
        self.matrix(f"{prefix}.attn_gate.weight", value, WIDTH)
        self.matrix(f"{prefix}.ssm_conv1d.weight", channels, kernel)
        self.vector(f"{prefix}.ssm_dt.bias", heads, -2.0)
        self.vector(f"{prefix}.ssm_a", heads, -1.0)
        if joined:
            self.matrix(f"{prefix}.ssm_ba.weight", 2 * heads, WIDTH)
        else:
            self.matrix(f"{prefix}.ssm_beta.weight", heads, WIDTH)
            self.matrix(f"{prefix}.ssm_alpha.weight", heads, WIDTH)
        self.vector(f"{prefix}.ssm_norm.weight", state)
        self.matrix(f"{prefix}.ssm_out.weight", WIDTH, value)

    def ssm(self, prefix: str, inner: int, state: int, heads: int, kernel: int) -> None:
        """A Mamba 2 layer with one group."""
        channels = inner + 2 * state
        self.matrix(f"{prefix}.ssm_in.weight", inner + channels + heads, WIDTH)
        self.matrix(f"{prefix}.ssm_conv1d.weight", channels, kernel)
        self.vector(f"{prefix}.ssm_conv1d.bias", channels, 0.0)
        self.vector(f"{prefix}.ssm_dt.bias", heads, -2.0)
        self.tensors[f"{prefix}.ssm_a"] = -np.ones((heads, 1), dtype=np.float32)
        self.tensors[f"{prefix}.ssm_d"] = np.ones((heads, 1), dtype=np.float32)
        self.matrix(f"{prefix}.ssm_norm.weight", 1, inner)
        self.matrix(f"{prefix}.ssm_out.weight", WIDTH, inner)

    def made(
        self,
        architecture: str,
        more: dict[str, Value],
        automaton: Automaton | None,
        heads: Heads = (),
    ) -> Tiny:
        """The model, with the tables of target and heads where there is an automaton."""
        made = Tiny(_fields(architecture, SHAPE, len(heads), more), self.tensors)
        if automaton is None:
            return made
        made = as_automaton(made, automaton)
        tensors = dict(made.tensors)
        projections = sorted(name for name in tensors if name.endswith("nextn.eh_proj.weight"))
        for name, head in zip(projections, heads, strict=True):
            tensors[name] = _projection(head, tensors[name])
        return replace(made, tensors=tensors)


def _fields(
    architecture: str, shape: Shape, heads: int, more: dict[str, Value]
) -> dict[str, Value]:
    own: dict[str, Value] = {
        "rope.dimension_count": HEAD_SIZE,
        "attention.key_length": HEAD_SIZE,
        "attention.value_length": HEAD_SIZE,
        **({"nextn_predict_layers": heads} if heads else {}),
        **more,
    }
    fields = common_fields(architecture, replace(shape, layers=shape.layers + heads))
    return fields | {f"{architecture}.{key}": value for key, value in own.items()} | _TOKENS


_TOKENS = VOCABULARY.fields()


def _projection(head: Automaton, drawn: Tensor) -> Tensor:
    """Where a head is wrong it takes the token for the next one, which the output then follows."""
    projection = head.noise * drawn
    for at in range(STATES):
        projection[head.next_state(at) if at in head.wrong else at, at] += 1
    return projection.astype(np.float32)


def _flags(values: Iterable[object]) -> Typed:
    return Typed(ARRAY, [bool(value) for value in values], element=BOOL)


EXPERT_FIELDS: dict[str, Value] = {
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


def _qwen(seed: int, heads: int, *, joined: bool) -> Parts:
    """Every other layer is recurrent; `joined` as in Qwen3-Next, which has experts too."""
    parts = Parts(seed, heads)
    for layer, prefix in parts.blocks("attn_norm", "post_attention_norm"):
        if layer >= LAYERS:
            parts.nextn(prefix)
        if layer >= LAYERS or layer % 2:
            parts.gated_attention(prefix)
        else:
            parts.delta_net(prefix, joined=joined)
        if joined:
            parts.experts(prefix)
            parts.vector(f"{prefix}.ffn_gate_inp_shexp.weight", WIDTH, 0.1)
        else:
            feed_forward(parts, prefix, SHAPE)
    return parts


def qwen35(automaton: Automaton | None = None, heads: Heads = ONE_HEAD) -> Tiny:
    """Hybrid: every other layer recurrent. llama.cpp rolls it back with snapshots."""
    more = DELTA_NET | {"rope.dimension_sections": [4, 2, 2, 0]}
    return _qwen(10, len(heads), joined=False).made("qwen35", more, automaton, heads)


def qwen3next(automaton: Automaton | None = None, heads: Heads = ONE_HEAD) -> Tiny:
    """Hybrid without snapshots in llama.cpp: a rollback restores a checkpoint."""
    more = DELTA_NET | EXPERT_FIELDS
    return _qwen(11, len(heads), joined=True).made("qwen3next", more, automaton, heads)


def glm4moe(automaton: Automaton | None = None, heads: Heads = ONE_HEAD) -> Tiny:
    """Attention alone, a mixture of experts from the second layer on."""
    parts = Parts(12, len(heads))
    for layer, prefix in parts.blocks("attn_norm", "post_attention_norm"):
        attention(parts, prefix, SHAPE)
        if layer >= LAYERS:
            parts.nextn(prefix, "shared_head_norm")
        if layer == 0:
            feed_forward(parts, prefix, SHAPE)
        else:
            parts.experts(prefix)
            parts.vector(f"{prefix}.exp_probs_b.bias", EXPERTS, 0.0)
    more = EXPERT_FIELDS | {"leading_dense_block_count": 1}
    return parts.made("glm4moe", more, automaton, heads)


def step35(automaton: Automaton | None = None, heads: Heads = THREE_HEADS) -> Tiny:
    """Several heads, one for each draft step; some layers see a window only."""
    parts = Parts(13, len(heads))
    for layer, prefix in parts.blocks("attn_norm", "ffn_norm"):
        attention(parts, prefix, SHAPE)
        parts.head_norms(prefix)
        feed_forward(parts, prefix, SHAPE)
        if layer >= LAYERS:
            parts.nextn(prefix)
    more: dict[str, Value] = {
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": _flags(
            layer % 2 for layer in range(LAYERS + len(heads))
        ),
        "expert_feed_forward_length": 0,
    }
    return parts.made("step35", more, automaton, heads)


def nemotron_h_moe(automaton: Automaton | None = None, heads: Heads = ONE_HEAD) -> Tiny:
    """Hybrid: a layer is recurrent, attention or a mixture of experts, in turn."""
    parts = Parts(14, len(heads))
    inner, state, ssm_heads, kernel = 2 * WIDTH, 16, 4, 4
    kinds = [layer % 3 for layer in range(LAYERS)] + [3] * len(heads)
    for layer, prefix in parts.blocks("attn_norm"):
        kind = kinds[layer]
        if kind == 3:
            parts.nextn(prefix, "shared_head_norm")
            parts.norms(prefix, "post_attention_norm")
        if kind == 0:
            parts.ssm(prefix, inner, state, ssm_heads, kernel)
        if kind in (1, 3):
            attention(parts, prefix, SHAPE)
        if kind in (2, 3):
            parts.experts(prefix, gated=False)
            parts.vector(f"{prefix}.exp_probs_b.bias", EXPERTS, 0.0)
    more = EXPERT_FIELDS | {
        "attention.layer_norm_epsilon": 1e-5,
        "attention.head_count_kv": [SHAPE.kv_heads if kind in (1, 3) else 0 for kind in kinds],
        "feed_forward_length": [SHAPE.n_ff if kind in (2, 3) else 0 for kind in kinds],
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": ssm_heads,
        "ssm.group_count": 1,
    }
    return parts.made("nemotron_h_moe", more, automaton, heads)


def lfm2(automaton: Automaton | None = None) -> Tiny:
    """Hybrid of short convolutions and attention; it has no MTP layers of its own."""
    parts = Parts(15)
    parts.tensors["token_embd_norm.weight"] = parts.tensors.pop("output_norm.weight")
    for layer, prefix in parts.blocks("attn_norm", "ffn_norm"):
        feed_forward(parts, prefix, SHAPE)
        if layer % 2:
            attention(parts, prefix, SHAPE)
            parts.head_norms(prefix)
        else:
            parts.matrix(f"{prefix}.shortconv.conv.weight", WIDTH, 3)
            parts.matrix(f"{prefix}.shortconv.in_proj.weight", 3 * WIDTH, WIDTH)
            parts.matrix(f"{prefix}.shortconv.out_proj.weight", WIDTH, WIDTH)
    kv_heads = [SHAPE.kv_heads * (layer % 2) for layer in range(LAYERS)]
    more: dict[str, Value] = {"shortconv.l_cache": 3, "attention.head_count_kv": kv_heads}
    return parts.made("lfm2", more, automaton)


_GEMMA_NORMS = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
_GEMMA_FIELDS: dict[str, Value] = {
    "attention.key_length_swa": HEAD_SIZE,
    "attention.value_length_swa": HEAD_SIZE,
    "attention.sliding_window": WINDOW,
}


def gemma4(automaton: Automaton | None = None) -> Tiny:
    """A target whose cache a `gemma4_assistant` shares; the last layer alone sees everything."""
    parts = Parts(16)
    for _layer, prefix in parts.blocks(*_GEMMA_NORMS):
        attention(parts, prefix, SHAPE)
        parts.head_norms(prefix)
        feed_forward(parts, prefix, SHAPE)
    parts.vector("rope_freqs.weight", HEAD_SIZE // 2)
    more = _GEMMA_FIELDS | {
        "attention.sliding_window_pattern": _flags(layer < LAYERS - 1 for layer in range(LAYERS)),
        "embedding_length_per_layer_input": 0,
    }
    made = parts.made("gemma4", more, automaton)
    return made if automaton is None else _quiet_norms(made, automaton)


def _quiet_norms(made: Tiny, automaton: Automaton) -> Tiny:
    """Gemma norms what a block adds, so that small outputs would come out large."""
    tensors = {
        name: (automaton.noise * tensor).astype(np.float32) if "post_" in name else tensor
        for name, tensor in made.tensors.items()
    }
    return replace(made, tensors=tensors)


def gemma4_assistant(automaton: Automaton | None = None) -> Tiny:
    """A file of MTP layers alone that reads the target's cache and embedding."""
    width, blocks = ASSISTANT_WIDTH, 2
    narrow = replace(SHAPE, n_embd=width, layers=0)
    weights = Weights(17, 0.0)
    weights.matrix("token_embd.weight", SIZE, width, scale=1.0)
    letters_only(weights.tensors, "token_embd.weight")
    weights.vector("output_norm.weight", width)
    weights.matrix("nextn.pre_projection.weight", width, 2 * WIDTH)
    weights.matrix("nextn.post_projection.weight", WIDTH, width)
    for block in range(blocks):
        prefix = f"blk.{block}"
        for norm in _GEMMA_NORMS:
            weights.vector(f"{prefix}.{norm}.weight", width)
        weights.matrix(f"{prefix}.attn_q.weight", WIDTH, width)
        weights.matrix(f"{prefix}.attn_output.weight", width, WIDTH)
        weights.vector(f"{prefix}.attn_q_norm.weight", HEAD_SIZE)
        weights.vector(f"{prefix}.layer_output_scale.weight", 1)
        feed_forward(weights, prefix, narrow)
    weights.vector("rope_freqs.weight", HEAD_SIZE // 2)
    more = _GEMMA_FIELDS | {
        "attention.sliding_window_pattern": _flags((True, False)),
        "embedding_length_out": WIDTH,
    }
    made = Tiny(_fields("gemma4-assistant", narrow, blocks, more), weights.tensors)
    if automaton is None:
        return made
    tensors = dict(_quiet_norms(made, automaton).tensors)
    tensors["token_embd.weight"] = output_rows(SIZE, width, automaton)
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
