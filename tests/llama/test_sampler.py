"""The best token found by llama.cpp's backend sampler is the one that the logits have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from specli.drafters.model import DraftModel
from specli.engine.engine import Engine
from specli.engine.policy import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.errors import DecodeError
from specli.events import MODEL, Round, Stats
from specli.llama import sampler
from specli.llama.context import Context
from specli.llama.model import Model
from specli.sampling.params import SamplingParams
from tests import tiny_gguf
from tests.llama.conftest import Loader

MakeContext = Callable[..., Context]
KINDS = {
    "llama": tiny_gguf.llama_bytes,
    "gemma3": tiny_gguf.gemma3_bytes,
    "mamba": tiny_gguf.mamba_bytes,
    "falcon-h1": tiny_gguf.falcon_h1_bytes,
}
PROMPT = [10 + (7 * n) % 90 for n in range(20)]


def expected(logits: np.ndarray) -> tuple[int, float]:
    """The most probable token and its probability among the ten most probable."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return int(logits.argmax()), float(weights.max() / np.sort(weights)[-10:].sum())


@pytest.mark.parametrize("kind", KINDS)
def test_token_and_probability_are_those_of_the_logits(
    kind: str, load: Loader, contexts: MakeContext
) -> None:
    model = load(KINDS[kind]())
    plain, watched = contexts(model), contexts(model, best_on_device=True)
    watched.watch_best(0, True)
    tokens, position = PROMPT, 0
    for _ in range(6):
        found = []
        for context in (plain, watched):
            row = context.add(0, tokens, position, 1)
            context.decode()
            found.append(context.best(row) or expected(context.logits(row)))
        position += len(tokens)
        assert found[0][0] == found[1][0]
        assert found[0][1] == pytest.approx(found[1][1], rel=1e-4)
        tokens = [found[0][0]] * (1 + position % 2)


def test_sequences_are_watched_one_by_one(load: Loader, contexts: MakeContext) -> None:
    model = load(tiny_gguf.llama_bytes())
    plain, mixed = (contexts(model, n_seq=3, best_on_device=flag) for flag in (False, True))
    mixed.watch_best(1, True)
    rows = []
    for context in (plain, mixed):
        # The output of one sequence lies between those of two others.
        rows = [context.add(seq, PROMPT[seq:], 0, 1) for seq in range(3)]
        context.decode()
    for seq in (0, 2):
        assert mixed.best(rows[seq]) is None
        assert np.allclose(mixed.logits(rows[seq]), plain.logits(rows[seq]), atol=1e-5)
    assert mixed.best(rows[1]) == pytest.approx(expected(plain.logits(rows[1])), rel=1e-4)


def test_logits_come_back_when_the_best_token_is_no_longer_wanted(
    load: Loader, contexts: MakeContext
) -> None:
    model = load(tiny_gguf.llama_bytes())
    plain, watched = contexts(model), contexts(model, best_on_device=True)
    # Not wanted, wanted, not wanted, wanted but with several outputs, wanted again.
    for wanted, outputs in ((False, 1), (True, 1), (False, 1), (True, 3), (True, 1)):
        watched.watch_best(0, wanted)
        rows = [context.add(0, PROMPT, 0, outputs) for context in (plain, watched)]
        plain.decode()
        watched.decode()
        if wanted and outputs == 1:
            assert (watched.best(rows[1]) or (-1, 0))[0] == plain.logits(rows[0]).argmax()
        else:
            assert watched.best(rows[1]) is None
            for offset in range(outputs):
                ours, theirs = watched.logits(rows[1] + offset), plain.logits(rows[0] + offset)
                assert np.allclose(ours, theirs, atol=1e-5)
        plain.rollback(0, 0)
        watched.rollback(0, 0)


def test_on_a_cpu_nothing_is_watched_unless_asked_for(load: Loader, contexts: MakeContext) -> None:
    model: Model = load(tiny_gguf.llama_bytes())
    assert not model.output_on_gpu
    context = contexts(model)
    context.watch_best(0, True)
    row = context.add(0, PROMPT, 0, 1)
    context.decode()
    assert context.best(row) is None


def test_where_the_device_lacks_an_operation_logits_are_read(
    load: Loader, contexts: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "_name", lambda _sampler: b"-top-k")
    model = load(tiny_gguf.llama_bytes())
    plain, unable = contexts(model), contexts(model, best_on_device=True)
    unable.watch_best(0, True)
    unable.watch_best(0, True)
    rows = [context.add(0, PROMPT, 0, 1) for context in (plain, unable)]
    plain.decode()
    unable.decode()
    assert unable.best(rows[1]) is None
    assert np.allclose(unable.logits(rows[1]), plain.logits(rows[0]), atol=1e-5)


def test_a_row_that_was_not_asked_for_has_no_best_token(
    load: Loader, contexts: MakeContext
) -> None:
    context = contexts(load(tiny_gguf.llama_bytes()), best_on_device=True)
    context.watch_best(0, True)
    context.add(0, PROMPT, 0, 1)
    context.decode()
    with pytest.raises(DecodeError, match="row 3"):
        context.best(3)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafting_on_the_device_changes_neither_text_nor_acceptance(
    temperature: float, load: Loader, contexts: MakeContext
) -> None:
    target_model = load(tiny_gguf.llama_bytes())
    draft_model = load(tiny_gguf.llama_bytes(noise=0.05))
    params = SamplingParams(temperature=temperature, seed=3)
    texts, stats = [], []
    for on_device in (False, True):
        target = contexts(target_model, n_ctx=256, n_seq=2)
        draft = contexts(draft_model, n_ctx=256, n_seq=2, best_on_device=on_device)
        engine = Engine(
            target, target_model.vocab, DraftModel(draft), FixedPolicy(draft_max=4), slots=2
        )
        requests = [GenerationRequest(PROMPT[n:], 60, params, ignore_end=True) for n in (0, 5)]
        tokens: dict[int, list[int]] = {engine.submit(request): [] for request in requests}
        counted = Stats()
        for event in engine.run():
            counted.add(event)
            if isinstance(event, Round):
                tokens[event.seq] += event.tokens
        texts.append(tokens)
        stats.append(counted)
    assert texts[0] == texts[1]
    assert stats[0].by_drafter[MODEL] == stats[1].by_drafter[MODEL]
    assert stats[0].accepted > 0
