"""Windows, recurrent states, hybrids: drafting changes no text, and a state goes back rightly."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from specli.drafters.draft_model import DraftModel
from specli.drafters.protocol import STEPS, Accepted, Drafter, Proposal, Request
from specli.drafters.rule import Rule
from specli.drafters.suffix import SuffixDrafter
from specli.drafters.without_model import WithoutModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import MODEL, Finished, Round, Stats
from specli.llama.context import Context, RollbackMeans
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams
from tests import tiny_gguf, tiny_mtp
from tests.tiny_heads import VOCABULARY, Tiny

WINDOW = tiny_gguf.Shape().window
SLOTS = 3
PROMPTS = ("the cat and the hen, then the other", "a long road " * 9, "xyzzy " * 12)
SAMPLINGS = (SamplingParams(), SamplingParams(temperature=0.8, seed=3), SamplingParams())


def noisy(made: Callable[..., Tiny]) -> Callable[[float], bytes]:
    """The bytes of a tiny model without heads, disturbed by so much noise."""

    def model(noise: float) -> bytes:
        tiny, draw = made(heads=()) if made is not tiny_mtp.lfm2 else made(), random.Random(5)
        generator = np.random.default_rng(draw.randrange(99))
        tensors = {
            name: (one + noise * one.std() * generator.standard_normal(one.shape)).astype("f4")
            for name, one in tiny.tensors.items()
        }
        return replace(tiny, tensors=tensors).bytes()

    return model


ARCHITECTURES: dict[str, tuple[Callable[[float], bytes], RollbackMeans]] = {
    "gemma3": (lambda noise: tiny_gguf.gemma3_bytes(VOCABULARY, noise=noise), "cut"),
    "mamba": (lambda noise: tiny_gguf.mamba_bytes(VOCABULARY, noise=noise), "checkpoint"),
    "falcon-h1": (lambda noise: tiny_gguf.falcon_h1_bytes(VOCABULARY, noise=noise), "checkpoint"),
    "qwen3next": (noisy(tiny_mtp.qwen3next), "checkpoint"),
    "lfm2": (noisy(tiny_mtp.lfm2), "snapshots"),
    "qwen35": (noisy(tiny_mtp.qwen35), "snapshots"),
}
# A cache in F16 rounds what the other order of the batches has left in the last bits.
OPTIONS = ContextOptions(
    n_ctx=512,
    n_seq=SLOTS,
    n_batch=128,
    n_ubatch=128,
    threads=1,
    type_k="f32",
    type_v="f32",
    flash_attention="off",
    snapshots=8,
)


@dataclass
class Pair:
    target: Context
    draft: Context
    means: RollbackMeans
    slots: int
    rollbacks: list[int] = field(default_factory=list)
    """Tokens that each rollback of the target cut."""

    def texts(
        self, requests: Sequence[GenerationRequest], drafters: Sequence[Drafter]
    ) -> tuple[list[list[int]], Stats, Engine]:
        engine = Engine(
            self.target,
            self.target.model.vocab,
            drafters,
            FixedPolicy(4),
            slots=self.slots,
            prefill_chunk=48,
        )
        found: dict[int, list[int]] = {engine.submit(request): [] for request in requests}
        stats = Stats()
        for event in engine.run():
            stats.add(event)
            if isinstance(event, Round):
                found[event.seq] += event.tokens
            elif isinstance(event, Finished):
                assert event.error is None, event.error
        return list(found.values()), stats, engine

    def requests(self, most: int) -> list[GenerationRequest]:
        vocab = self.target.model.vocab
        return [
            GenerationRequest(vocab.tokenize(text, add_special=True), most, sampling, (), True)
            for text, sampling in zip(PROMPTS, SAMPLINGS, strict=True)
        ]


CASES = [(name, SLOTS) for name in ARCHITECTURES]
CASES += [(name, 1) for name, (_made, means) in ARCHITECTURES.items() if means == "snapshots"]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1]}")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    name, slots = request.param
    made, means = ARCHITECTURES[name]
    # Snapshots are for one sequence alone.
    means = "checkpoint" if means == "snapshots" and slots > 1 else means
    folder: Path = tmp_path_factory.mktemp(name)
    with ExitStack() as stack:
        files = [tiny_gguf.write(folder / f"{noise}.gguf", made(noise)) for noise in (0.0, 0.15)]
        models = [stack.enter_context(Model(file)) for file in files]
        target, draft = (
            stack.enter_context(Context(model, replace(OPTIONS, n_seq=slots, snapshots=snapshots)))
            for model, snapshots in zip(models, (OPTIONS.snapshots, 0), strict=True)
        )
        pair = Pair(target, draft, means, slots)
        plain_rollback = target.rollback

        def counted(seq: int, length: int) -> None:
            if 0 < length < target.length(seq):
                pair.rollbacks.append(target.length(seq) - length)
            plain_rollback(seq, length)

        target.rollback = counted  # type: ignore[method-assign]
        yield pair


@dataclass
class Guessing(WithoutModel):
    """Proposes what the target will say, which it has been told, with mistakes drawn at random."""

    known: dict[int, list[int]]
    """The whole texts by slot."""
    random: random.Random
    vocabulary: int
    name: str = MODEL
    cost = STEPS
    rejected: int = 0

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        pass

    def end(self, seq: int) -> None:
        pass

    def pending(self, seq: int, tokens: list[int]) -> int:
        return 0

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        return [self._proposal(request) for request in requests]

    def _proposal(self, request: Request) -> Proposal:
        text = next(
            one for one in self.known.values() if one[: len(request.tokens)] == request.tokens
        )
        length = self.random.randint(1, request.rule.limit)
        right = text[len(request.tokens) :][:length]
        tokens = [
            self.random.randrange(self.vocabulary) if self.random.random() < 0.25 else token
            for token in right
        ]
        return Proposal(tokens, [self.name] * len(tokens), [1.0] * len(tokens))

    def accept(self, results: Sequence[Accepted]) -> None:
        self.rejected += sum(one.accepted < len(one.proposal) for one in results)


def test_the_state_is_rolled_back_by_what_the_architecture_has(pair: Pair) -> None:
    assert pair.target.rollback_means == pair.means
    assert pair.target.max_rollback == (OPTIONS.snapshots if pair.means == "snapshots" else None)
    # A draft decodes token by token, and snapshots are of one batch.
    assert pair.draft.rollback_means == ("cut" if pair.means == "cut" else "checkpoint")


def test_drafts_of_a_model_and_of_the_text_change_no_text(pair: Pair) -> None:
    requests = pair.requests(60)
    assert len(requests[1].prompt) > 2 * WINDOW
    plain, _stats, _engine = pair.texts(requests, [])
    pair.rollbacks.clear()
    drafted, stats, _engine = pair.texts(requests, [SuffixDrafter(), DraftModel(pair.draft)])
    assert drafted == plain
    assert stats.by_drafter[MODEL].accepted > 0
    assert pair.rollbacks
    assert stats.rollback_ms > 0


def test_after_200_rounds_a_draft_s_state_is_that_of_the_text_alone(pair: Pair) -> None:
    draft, draw = pair.draft, random.Random(7)
    drafter = DraftModel(draft)
    texts = [request.prompt for request in pair.requests(1)[: pair.slots]]
    for slot, text in enumerate(texts):
        drafter.begin(slot, text)
    rejected = 0
    for _round in range(200 // pair.slots + 1):
        asked = {slot: Proposal() for slot in range(pair.slots) if draw.random() < 0.9}
        requests = [
            Request(slot, texts[slot], Rule(draw.randint(1, 3)), Chooser(SamplingParams(), []))
            for slot in asked
        ]
        if requests:
            asked = dict(zip(asked, drafter.propose(requests), strict=True))
        results = []
        for slot, text in enumerate(texts):
            proposal = asked.get(slot, Proposal())
            accepted = draw.randint(0, len(proposal))
            rejected += accepted < len(proposal)
            text += [*proposal.tokens[:accepted], draw.randrange(3, draft.n_vocab)]
            results.append(Accepted(slot, text, accepted + 1, proposal, len(proposal), accepted))
        drafter.accept(results)
    assert rejected > 80
    for slot, text in enumerate(texts):
        assert 100 < len(text) <= draft.n_ctx
        row = draft.add(slot, text[draft.length(slot) :], draft.length(slot), 1)
        draft.decode()
        after = draft.logits(row).copy()
        assert np.allclose(alone(draft, slot, text), after, atol=1e-4)


def alone(context: Context, slot: int, text: list[int]) -> NDArray[np.float32]:
    """The logits after a text that is decoded from scratch, and forgotten then."""
    context.rollback(slot, 0)
    for start in range(0, len(text) - 1, 100):
        context.add(slot, text[start : min(start + 100, len(text) - 1)], start, 0)
        context.decode()
    row = context.add(slot, text[-1:], len(text) - 1, 1)
    context.decode()
    logits = context.logits(row).copy()
    context.rollback(slot, 0)
    return logits


def test_after_200_rounds_of_guesses_the_state_is_that_of_the_text_alone(pair: Pair) -> None:
    requests = pair.requests(180)
    plain, _stats, _engine = pair.texts(requests, [])
    whole = {
        n: [*one.prompt, *text] for n, (one, text) in enumerate(zip(requests, plain, strict=True))
    }
    guessing = Guessing(whole, random.Random(11), pair.target.n_vocab)
    pair.rollbacks.clear()
    texts, stats, engine = pair.texts(requests, [guessing])
    assert texts == plain
    assert stats.rounds >= 200
    assert len(pair.rollbacks) == guessing.rejected > 60
    for slot, cached in engine.cached_prefixes.items():
        assert pair.target.length(slot) == len(cached)
        row = pair.target.add(slot, [7], len(cached), 1)
        pair.target.decode()
        after = pair.target.logits(row).copy()
        assert np.allclose(alone(pair.target, slot, [*cached, 7]), after, atol=1e-4)
