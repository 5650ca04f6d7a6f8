"""A draft with a shorter context than the target drafts with the first tokens and the last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from specli.drafters.draft_model import DraftModel
from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.rule import Rule
from specli.drafters.windowed import SINKS, WindowedDrafter
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.llama.context import Context
from specli.llama.decoder import Decoder
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams
from tests import tiny_gguf as tiny
from tests.fakes import FakeDecoder, FakeVocab, hashed

SAMPLED = SamplingParams(temperature=0.8, seed=2)
WINDOW = 64


def texts(
    target: Decoder, drafter: WindowedDrafter | None, slots: int, sampling: SamplingParams
) -> tuple[list[list[int]], int]:
    drafters = [] if drafter is None else [drafter]
    engine = Engine(target, FakeVocab(), drafters, FixedPolicy(4), slots=slots)
    prompts = [[2, 1] * 90, [3, 1, 4], [5] * 61]
    found: dict[int, list[int]] = {}
    for prompt in prompts[:slots]:
        found[engine.submit(GenerationRequest(prompt, 150, sampling, ignore_end=True))] = []
    accepted = 0
    for event in engine.run():
        if isinstance(event, Round):
            found[event.seq] += event.tokens
            accepted += event.accepted
    return list(found.values()), accepted


@pytest.mark.parametrize("keeps_state", [False, True])
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("sampling", [SamplingParams(), SAMPLED], ids=["greedy", "sampled"])
def test_texts_far_past_its_context_are_the_targets_and_mostly_drafted(
    sampling: SamplingParams, slots: int, keeps_state: bool
) -> None:
    # What comes next depends on the last three tokens, which the window has.
    script = hashed(4, vocab=6, window=3)
    target = FakeDecoder(script, n_ctx=512, n_batch=256, vocab=6)
    plain, _accepted = texts(target, None, slots, sampling)
    draft = FakeDecoder(script, n_ctx=WINDOW, n_batch=256, vocab=6, keeps_state=keeps_state)
    drafter = WindowedDrafter(DraftModel(draft), WINDOW)
    target = FakeDecoder(script, n_ctx=512, n_batch=256, vocab=6)
    found, accepted = texts(target, drafter, slots, sampling)
    assert found == plain
    assert accepted > 100 * slots
    assert all(len(seen) <= WINDOW for seen in draft.seen.values())


def test_what_is_dropped_lies_between_the_first_tokens_and_the_last() -> None:
    draft = FakeDecoder(hashed(1), n_ctx=WINDOW, n_batch=256)
    drafter = WindowedDrafter(DraftModel(draft), WINDOW)
    prompt = list(range(16)) * 20
    drafter.begin(0, prompt)
    seen = draft.seen[0]
    assert seen[:SINKS] == prompt[:SINKS]
    assert seen[SINKS:] == prompt[: len(prompt) - 1][-len(seen) + SINKS :]
    assert WINDOW / 2 < len(seen) < WINDOW


def test_a_draft_that_is_not_asked_for_a_long_text_goes_on_with_its_end() -> None:
    draft = FakeDecoder(hashed(4, vocab=6, window=3), n_ctx=WINDOW, n_batch=256, vocab=6)
    drafter = WindowedDrafter(DraftModel(draft), WINDOW)
    text = [1, 2, 3]
    drafter.begin(0, text)
    for token in range(300):
        text.append(token % 6)
        drafter.accept([Accepted(0, text, 1, Proposal(), 0, 0)])
        assert drafter.pending(0, text) <= WINDOW
    chooser = Chooser(SamplingParams(), text)
    (proposal,) = drafter.propose([Request(0, text, Rule(4), chooser)])
    assert len(proposal) == 4
    seen = draft.seen[0]
    assert seen[:SINKS] == text[:SINKS]
    ended = [*text, *proposal.tokens[:-1]]
    assert seen[SINKS:] == ended[-len(seen) + SINKS :]


def test_quantised_keys_are_not_moved(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(shape=tiny.Shape(n_embd=128)))
    options = ContextOptions(
        n_ctx=128, threads=1, type_k="q8_0", type_v="q8_0", flash_attention="on"
    )
    with Model(path) as model, Context(model, options) as context:
        context.add(0, [10 + n for n in range(60)], 0, 0)
        context.decode()
        assert not context.drop(0, 4, 24)
        drafter = DraftModel(context)
        drafter.begin(0, [*range(20, 81)])
        drafter.drop(0, 4, 20)
        assert context.length(0) == 4
        assert drafter.pending(0, [20, 21, 22, 23, *range(44, 82)]) == 38


@pytest.mark.parametrize("sequences", [1, 2])
def test_moved_tokens_go_on_as_if_they_had_been_decoded_there(
    tmp_path: Path, sequences: int
) -> None:
    """To the first layer, which has seen nothing else; later ones remember what was dropped."""
    shape = tiny.Shape(layers=1)
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(shape=shape))
    options = ContextOptions(n_ctx=128, n_seq=sequences, threads=1, flash_attention="off")
    tokens: Sequence[int] = [10 + (7 * n) % 90 for n in range(60)]

    def after(context: Context, cached: Sequence[int]) -> np.ndarray:
        row = context.add(0, [5], len(cached), 1)
        context.decode()
        return context.logits(row).copy()

    with Model(path) as model, Context(model, options) as moved, Context(model, options) as fresh:
        moved.add(0, tokens, 0, 0)
        moved.decode()
        assert moved.drop(0, 4, 24) == (sequences == 1)
        if sequences > 1:
            assert moved.length(0) == 60
            return
        kept = [*tokens[:4], *tokens[24:]]
        fresh.add(0, kept, 0, 0)
        fresh.decode()
        assert moved.length(0) == len(kept)
        assert np.allclose(after(moved, kept), after(fresh, kept), atol=5e-3)
