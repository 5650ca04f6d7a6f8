"""A draft model with another vocabulary: its drafts are translated, and the text never changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.draft_model import DraftModel
from specli.drafters.translated import TranslatedDrafter
from specli.drafters.translation import SETTLED_AFTER, Translated, Translation
from specli.drafts.transplant import transplant
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.gguf.header import read_header
from specli.hub.progress import ignore
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.sampling.params import SamplingParams
from tests import tiny_gguf as tiny
from tests.drafts.test_transplant import SIZE, shuffled

PROMPTS = ("the cat and the hen", "on the other", "rain in the au")
SAMPLED = SamplingParams(temperature=0.9, seed=5)


@dataclass
class Pair:
    """A target and a draft of another vocabulary, loaded."""

    models: tuple[Model, Model]
    contexts: tuple[Context, Context]
    translation: Translation

    def texts(
        self, sampling: SamplingParams, length: int, least: float = 0.8
    ) -> tuple[list[list[int]], int, int]:
        """The tokens of each prompt's answer, and how many were drafted and accepted."""
        target, draft = self.contexts
        drafters = [TranslatedDrafter(DraftModel(draft), self.translation, least)]
        vocab = self.models[0].vocab
        engine = Engine(target, vocab, drafters, FixedPolicy(draft_max=length), slots=2)
        texts: dict[int, list[int]] = {}
        for prompt in PROMPTS:
            tokens = vocab.tokenize(prompt, add_special=True)
            request = GenerationRequest(tokens, 40, sampling, ignore_end=True)
            texts[engine.submit(request)] = []
        drafted = accepted = 0
        for event in engine.run():
            if isinstance(event, Round):
                texts[event.seq] += event.tokens
                drafted += len(event.proposal_sources)
                accepted += event.accepted
        return list(texts.values()), drafted, accepted


def opened(stack: ExitStack, target: Path, draft: Path) -> Pair:
    first, second = (stack.enter_context(Model(path)) for path in (target, draft))
    options = ContextOptions(n_ctx=256, n_seq=2, threads=1)
    contexts = (
        stack.enter_context(Context(first, options)),
        stack.enter_context(Context(second, options)),
    )
    headers = read_header(target), read_header(draft)
    return Pair((first, second), contexts, Translation(first.vocab, second.vocab, *headers))


@pytest.fixture(scope="module")
def same_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A draft that is the target under other token ids."""
    folder = tmp_path_factory.mktemp("same")
    order = np.random.default_rng(7).permutation(SIZE).tolist()
    vocabulary = shuffled(tiny.bpe_vocabulary(SIZE), order)
    draft = tiny.write(folder / "draft.gguf", tiny.llama_bytes(vocabulary, seed=5))
    plain = tiny.write(folder / "plain.gguf", tiny.llama_bytes(tiny.bpe_vocabulary(SIZE)))
    target = folder / "target.gguf"
    transplant(plain, draft, target, ignore)
    with ExitStack() as stack:
        yield opened(stack, target, draft)


@pytest.fixture(scope="module")
def other_family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Byte-level BPE drafts for SentencePiece, which puts a space before every text."""
    folder = tmp_path_factory.mktemp("other")
    target = tiny.write(folder / "target.gguf", tiny.llama_bytes(tiny.spm_vocabulary(SIZE)))
    draft = tiny.write(folder / "draft.gguf", tiny.llama_bytes(tiny.bpe_vocabulary(SIZE)))
    with ExitStack() as stack:
        yield opened(stack, target, draft)


@pytest.mark.parametrize("sampling", [SamplingParams(), SAMPLED], ids=["greedy", "sampled"])
def test_the_same_model_under_other_ids_is_always_right(
    same_model: Pair, sampling: SamplingParams
) -> None:
    plain, _, _ = same_model.texts(sampling, 0)
    texts, drafted, accepted = same_model.texts(sampling, 4)
    assert texts == plain
    assert accepted == drafted > 60


@pytest.mark.parametrize("sampling", [SamplingParams(), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("least", [0.0, 2.0], ids=["shared tokens", "through text"])
@pytest.mark.parametrize("length", [1, 3, 8])
def test_the_text_is_the_targets_own(
    other_family: Pair, sampling: SamplingParams, least: float, length: int
) -> None:
    plain, _, _ = other_family.texts(sampling, 0)
    texts, drafted, _ = other_family.texts(sampling, length, least)
    assert texts == plain
    assert drafted > 0


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12))
def test_a_translation_has_the_bytes_of_the_text_however_it_grows(
    other_family: Pair, pieces: Sequence[bytes]
) -> None:
    target, draft = (model.vocab for model in other_family.models)
    one_by_one = {target.piece(token): token for token in range(3, 259)}
    translated = Translated(other_family.translation)
    settled: list[int] = []
    for piece in pieces:
        translated.extend([one_by_one[bytes([byte])] for byte in piece])
        assert translated.tokens[: len(settled)] == settled
        settled = translated.tokens[: translated.settled]
    assert b"".join(map(draft.piece, translated.tokens)) == b"".join(pieces)
    assert len(translated.tokens) - translated.settled <= SETTLED_AFTER


def test_turns_and_ends_are_translated_and_a_beginning_of_text_is_not(other_family: Pair) -> None:
    translation = other_family.translation
    target, draft = (model.vocab for model in other_family.models)
    assert translation.to_draft[target.eos] == draft.turn_end
    translated = Translated(translation)
    translated.extend([target.bos, *target.tokenize("the", add_special=False), target.eos])
    assert draft.bos not in translated.tokens
    assert b"".join(map(draft.piece, translated.tokens)).strip() == b"the"
    assert translated.tokens[-1] == draft.turn_end


def test_text_that_the_target_would_merge_with_what_is_there_is_not_proposed(
    same_model: Pair,
) -> None:
    target = same_model.models[0].vocab
    before = target.tokenize("t", add_special=False)
    assert target.tokenize("the", add_special=False) != before + target.tokenize(
        "he", add_special=False
    )
    assert same_model.translation.respelled(before, b"he") == []
    found = same_model.translation.respelled(before, b" a")
    assert [token for token, _end in found] == target.tokenize(" a", add_special=False)
