"""Decoding, logits and rollback on tiny models of several memory kinds."""

from __future__ import annotations

from collections.abc import Callable

import llama_cpp
import numpy as np
import pytest

from specli.errors import DecodeError, LoadError
from specli.llama.context import Context
from specli.llama.model import Model
from tests import tiny_gguf
from tests.llama.conftest import Loader

MakeContext = Callable[..., Context]

KINDS = {
    "llama": tiny_gguf.llama_bytes,
    "gemma3": tiny_gguf.gemma3_bytes,
    "mamba": tiny_gguf.mamba_bytes,
    "falcon-h1": tiny_gguf.falcon_h1_bytes,
}
TOKENS = [10 + (7 * n) % 90 for n in range(60)]


def last_logits(context: Context, seq: int, tokens: list[int], position: int) -> np.ndarray:
    row = context.add(seq, tokens, position, 1)
    context.decode()
    return context.logits(row).copy()


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_rollback_the_model_goes_on_as_if_the_tail_had_never_been(
    kind: str, load: Loader, contexts: MakeContext
) -> None:
    model = load(KINDS[kind]())
    straight, winding = contexts(model), contexts(model)
    expected = last_logits(straight, 0, TOKENS[:40], 0)
    expected_next = last_logits(straight, 0, [5], 40)
    winding.add(0, TOKENS[:40], 0, 0)
    winding.decode()
    winding.checkpoint(0)
    winding.add(0, [77, 78, 79, 80], 40, 4)
    winding.decode()
    winding.rollback(0, 42)
    winding.rollback(0, 40)
    assert winding.length(0) == 40
    assert np.allclose(last_logits(winding, 0, [5], 40), expected_next, atol=1e-4)
    assert not np.allclose(expected, expected_next, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_keeps_the_accepted_part_of_what_came_after_the_checkpoint(
    kind: str, load: Loader, contexts: MakeContext
) -> None:
    model = load(KINDS[kind]())
    straight, winding = contexts(model), contexts(model)
    straight.add(0, [*TOKENS[:30], 50, 51], 0, 0)
    straight.decode()
    winding.add(0, TOKENS[:30], 0, 0)
    winding.decode()
    winding.checkpoint(0)
    winding.add(0, [50, 51, 52, 53], 30, 4)
    winding.decode()
    winding.rollback(0, 32)
    assert np.allclose(
        last_logits(winding, 0, [7], 32), last_logits(straight, 0, [7], 32), atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_to_nothing_is_a_fresh_start(kind: str, load: Loader, contexts: MakeContext) -> None:
    model = load(KINDS[kind]())
    context = contexts(model)
    first = last_logits(context, 0, TOKENS[:20], 0)
    context.rollback(0, 0)
    assert np.allclose(last_logits(context, 0, TOKENS[:20], 0), first, atol=1e-5)


def test_a_sliding_window_can_be_cut_far_behind_the_window(
    load: Loader, contexts: MakeContext
) -> None:
    model = load(tiny_gguf.gemma3_bytes())
    assert llama_cpp.llama_model_n_swa(model.handle) > 0
    straight, winding = contexts(model), contexts(model)
    winding.add(0, TOKENS, 0, 0)
    winding.decode()
    winding.rollback(0, 25)
    expected = last_logits(straight, 0, [*TOKENS[:25], 9], 0)
    assert np.allclose(last_logits(winding, 0, [9], 25), expected, atol=1e-4)


def test_a_recurrent_model_says_that_it_needs_checkpoints(
    load: Loader, contexts: MakeContext
) -> None:
    assert contexts(load(tiny_gguf.llama_bytes())).can_cut
    mamba = contexts(load(tiny_gguf.mamba_bytes()))
    assert not mamba.can_cut
    assert mamba.rollback_means == "checkpoint"


def test_a_state_cannot_go_back_without_a_checkpoint(load: Loader, contexts: MakeContext) -> None:
    context = contexts(load(tiny_gguf.mamba_bytes()))
    context.add(0, TOKENS[:5], 0, 0)
    context.decode()
    with pytest.raises(DecodeError, match="no checkpoint"):
        context.rollback(0, 3)


@pytest.mark.parametrize("kind", ["mamba", "falcon-h1"])
def test_checkpoints_take_no_room_from_the_cache(
    kind: str, load: Loader, contexts: MakeContext
) -> None:
    context = contexts(load(KINDS[kind]()), n_ctx=256, n_seq=2)
    for _text in range(3):
        length = {0: 0, 1: 0}
        while max(length.values()) + 8 <= context.n_ctx:
            for seq, cached in length.items():
                context.checkpoint(seq)
                context.add(seq, TOKENS[:8], cached, 8)
            context.decode()
            for seq in length:
                length[seq] += 3 + seq
                context.rollback(seq, length[seq])
        for seq in length:
            context.rollback(seq, 0)


def test_sequences_in_one_batch_do_not_see_each_other(load: Loader, contexts: MakeContext) -> None:
    model = load(tiny_gguf.llama_bytes())
    alone, shared = contexts(model), contexts(model, n_seq=2)
    expected = last_logits(alone, 0, TOKENS[:10], 0)
    row_a = shared.add(0, TOKENS[:10], 0, 1)
    row_b = shared.add(1, TOKENS[10:30], 0, 1)
    shared.decode()
    assert np.allclose(shared.logits(row_a), expected, atol=1e-4)
    assert not np.allclose(shared.logits(row_b), expected, atol=1e-2)


def test_only_the_last_outputs_of_a_run_of_tokens_have_logits(
    load: Loader, contexts: MakeContext
) -> None:
    context = contexts(load(tiny_gguf.llama_bytes()))
    row = context.add(0, TOKENS[:10], 0, 3)
    assert row == 7
    context.decode()
    assert context.logits(9).shape == (context.n_vocab,)
    with pytest.raises(DecodeError, match="row 2"):
        context.logits(2)


def test_a_batch_on_a_server_always_has_a_result_to_wait_for(
    load: Loader, contexts: MakeContext
) -> None:
    model = load(tiny_gguf.llama_bytes())
    model.on_servers = True
    context = contexts(model)
    context.add(0, TOKENS[:10], 0, 0)
    context.decode()
    assert context.logits(9).shape == (context.n_vocab,)
    context.add(0, TOKENS[:4], 10, 1)
    context.decode()
    with pytest.raises(DecodeError, match="row 0"):
        context.logits(0)


def test_logits_are_a_view_that_later_batches_reuse(load: Loader, contexts: MakeContext) -> None:
    context = contexts(load(tiny_gguf.llama_bytes()))
    row = context.add(0, TOKENS[:3], 0, 1)
    context.decode()
    assert not context.logits(row).flags.owndata


def test_more_tokens_than_the_context_holds_are_refused_before_llama_cpp_sees_them(
    load: Loader, contexts: MakeContext
) -> None:
    context = contexts(load(tiny_gguf.llama_bytes()), n_ctx=32)
    with pytest.raises(DecodeError, match="outside the context of"):
        context.add(0, [1] * 4, context.n_ctx - 2, 0)


def test_a_closed_context_refuses_to_decode_and_closes_twice_safely(load: Loader) -> None:
    from specli.llama.opening import ContextOptions

    model = load(tiny_gguf.llama_bytes())
    context = Context(model, ContextOptions(n_ctx=32, threads=1))
    context.close()
    context.close()
    with pytest.raises(ValueError, match="closed"):
        context.decode()


def test_a_context_that_cannot_be_allocated_quotes_llama_cpp(
    load: Loader, contexts: MakeContext
) -> None:
    # Eight numbers a head do not make a block of 32 quantised ones.
    model: Model = load(tiny_gguf.llama_bytes())
    with pytest.raises(LoadError, match=r"could not make a context of 128 tokens.*q8_0"):
        contexts(model, type_k="q8_0")


def test_more_sequences_than_a_context_has_tokens_each_take_one_in_a_batch(
    load: Loader, contexts: MakeContext
) -> None:
    context = contexts(load(tiny_gguf.llama_bytes()), n_ctx=40, n_seq=64)
    rows = [context.add(seq, [10 + seq], 0, 1) for seq in range(64)]
    context.decode()
    assert len({context.logits(row).tobytes() for row in rows}) == 64
