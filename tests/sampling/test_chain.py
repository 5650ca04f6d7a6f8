"""The filters keep what llama.cpp's own samplers keep, and speculation changes none of it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.draft_model import DraftModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.errors import UsageError
from specli.llama.model import Model, ModelOptions
from specli.sampling.chain import filtered, near, surprising
from specli.sampling.chooser import Chooser
from specli.sampling.dry import Dry
from specli.sampling.noise import chance
from specli.sampling.params import SAMPLERS, SamplingParams, sampler_names
from tests import tiny_gguf as tiny
from tests.fakes import FakeDecoder, FakeVocab, hashed, mostly

OFF = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
SIZE = 200


def native(sampler: Any, logits: np.ndarray, accepted: Sequence[int] = ()) -> dict[int, float]:
    """What a sampler of llama.cpp leaves of `logits`, after it has seen tokens."""
    data = (llama_cpp.llama_token_data * len(logits))(
        *(llama_cpp.llama_token_data(i, float(v), 0.0) for i, v in enumerate(logits))
    )
    array = llama_cpp.llama_token_data_array(data, len(logits), -1, False)
    for token in accepted:
        llama_cpp.llama_sampler_accept(sampler, token)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    left = {int(array.data[i].id): float(array.data[i].logit) for i in range(array.size)}
    llama_cpp.llama_sampler_free(sampler)
    return {token: logit for token, logit in left.items() if logit > -math.inf}


def left_of(logits: np.ndarray, params: SamplingParams, chance: float = 1.0) -> dict[int, float]:
    left = filtered(logits, float(logits.max()), params, chance)
    return dict(zip(left.ids.tolist(), left.values.tolist(), strict=True))


def logits_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, SIZE).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_typical_p_is_llama_cpps(seed: int, p: float) -> None:
    expected = native(llama_cpp.llama_sampler_init_typical(p, 0), logits_of(seed))
    assert left_of(logits_of(seed), replace(OFF, typical_p=p)).keys() == expected.keys()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [0.5, 1.0, 2.0])
def test_top_n_sigma_is_llama_cpps(seed: int, n: float) -> None:
    expected = native(llama_cpp.llama_sampler_init_top_n_sigma(n), logits_of(seed))
    params = replace(OFF, top_n_sigma=n)
    assert left_of(logits_of(seed), params).keys() == expected.keys()
    # A temperature before it moves nothing.
    hot = replace(params, temperature=2.0, samplers=("temperature", "top_n_sigma"))
    assert left_of(logits_of(seed), hot).keys() == expected.keys()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3, 0.6])
def test_xtc_is_llama_cpps_where_it_takes_part(seed: int, threshold: float) -> None:
    expected = native(llama_cpp.llama_sampler_init_xtc(1.0, threshold, 0, 1), logits_of(seed))
    params = replace(OFF, xtc_probability=1.0, xtc_threshold=threshold)
    kept = left_of(logits_of(seed), params, chance=0.5)
    assert max(kept, key=kept.__getitem__) == max(expected, key=expected.__getitem__)
    assert kept.keys() == expected.keys()
    assert left_of(logits_of(seed), replace(params, xtc_probability=0.3), chance=0.5).keys() == (
        left_of(logits_of(seed), OFF).keys()
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("spread", "exponent"), [(0.5, 1.0), (0.9, 2.0)])
def test_dynamic_temperature_is_llama_cpps(seed: int, spread: float, exponent: float) -> None:
    sampler = llama_cpp.llama_sampler_init_temp_ext(0.8, spread, exponent)
    expected = native(sampler, logits_of(seed))
    params = replace(OFF, temperature=0.8, dynatemp_range=spread, dynatemp_exponent=exponent)
    for token, logit in left_of(logits_of(seed), params).items():
        assert logit == pytest.approx(expected[token], rel=1e-3)


def test_mirostat_2_keeps_tokens_up_to_its_surprise() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], dtype=np.float32))
    left = filtered(logits, float(logits.max()), replace(OFF, mirostat=2), 1.0)
    surprising(left, replace(OFF, mirostat=2), 3.001, len(logits))
    assert left.ids.tolist() == [0, 1, 2]
    surprising(left, replace(OFF, mirostat=2), 0.1, len(logits))
    assert left.ids.tolist() == [0]


@pytest.mark.parametrize("mu", [0.5, 3.0, 8.0])
def test_mirostat_1_keeps_fewer_tokens_for_less_surprise(mu: float) -> None:
    logits = logits_of(1)
    kept = []
    for bits in (mu, 2 * mu):
        left = filtered(logits, float(logits.max()), replace(OFF, mirostat=1), 1.0)
        surprising(left, replace(OFF, mirostat=1), bits, len(logits))
        kept.append(len(left.ids))
    assert 1 <= kept[0] <= kept[1] <= SIZE


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_brings_the_surprise_to_what_it_aims_at(version: int) -> None:
    params = SamplingParams(temperature=1.0, mirostat=version, mirostat_entropy=2.0, seed=4)
    chooser, surprises = Chooser(params, []), []
    for position in range(600):
        logits = np.random.default_rng(position).normal(0, 2, SIZE).astype(np.float32)
        token = chooser.choose(logits, position)
        assert token is not None
        chooser.accept(token)
        surprises.append(chooser._surprise)
    assert float(np.mean(surprises[200:])) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_adaptive_p_is_llama_cpps_token_after_token(target: float) -> None:
    params = replace(
        OFF, adaptive_target=target, adaptive_decay=0.7, samplers=(*SAMPLERS, "adaptive_p")
    )
    chooser = Chooser(params, [])
    sampler = llama_cpp.llama_sampler_init_adaptive_p(target, 0.7, 1)
    for seed in range(12):
        logits = logits_of(seed)
        data = (llama_cpp.llama_token_data * SIZE)(
            *(llama_cpp.llama_token_data(i, float(v), 0.0) for i, v in enumerate(logits))
        )
        array = llama_cpp.llama_token_data_array(data, SIZE, -1, False)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        taken = int(array.data[array.selected].id)
        llama_cpp.llama_sampler_accept(sampler, taken)
        expected = {int(array.data[i].id): float(array.data[i].logit) for i in range(SIZE)}
        left = filtered(logits, float(logits.max()), params, 1.0)
        chances = left.chances()
        found = near(chances, chooser.aim)
        for token, score in zip(left.ids.tolist(), found.tolist(), strict=True):
            assert score + 5.0 == pytest.approx(expected[token], abs=2e-3)
        # Goes on as if it had chosen what llama.cpp did.
        chooser._chance = float(chances[left.ids.tolist().index(taken)])
        chooser.accept(taken)
    llama_cpp.llama_sampler_free(sampler)


def test_adaptive_p_brings_probabilities_to_what_it_aims_at() -> None:
    params = SamplingParams(
        temperature=1.0, adaptive_target=0.4, seed=4, samplers=("temperature", "adaptive_p")
    )
    chooser, taken = Chooser(params, []), []
    for position in range(400):
        logits = np.random.default_rng(position).normal(0, 3, 20).astype(np.float32)
        token = chooser.choose(logits, position)
        assert token is not None
        chooser.accept(token)
        taken.append(chooser._chance)
    assert float(np.mean(taken)) == pytest.approx(0.4, abs=0.05)


def test_adaptive_p_only_draws_below_a_target_of_zero() -> None:
    with_it, without = (replace(OFF, samplers=(*SAMPLERS, *more)) for more in (["adaptive_p"], []))
    assert [Chooser(with_it, []).choose(logits_of(n), n) for n in range(20)] == [
        Chooser(without, []).choose(logits_of(n), n) for n in range(20)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tiny.write(tmp_path_factory.mktemp("dry") / "tiny.gguf", tiny.llama_bytes())
    with Model(path, ModelOptions(vocab_only=True)) as model:
        yield model


BREAKS = [(), ("\n",), ("a", "bc"), ("filler30",)]


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(st.sampled_from([102, 103, 104, 15, 300]), max_size=60),
    breaks=st.sampled_from(BREAKS),
    base=st.sampled_from([1.0, 1.75, 3.0]),
    allowed=st.sampled_from([0, 1, 2]),
    last_n=st.sampled_from([4, 16, 64]),
)
def test_dry_is_llama_cpps(
    model: Model, text: list[int], breaks: tuple[str, ...], base: float, allowed: int, last_n: int
) -> None:
    texts = (ctypes.c_char_p * len(breaks))(*(one.encode() for one in breaks))
    sampler = llama_cpp.llama_sampler_init_dry(
        model.vocab.handle, 0.5, base, allowed, last_n, texts, len(breaks)
    )
    expected = native(sampler, np.zeros(model.vocab.size, dtype=np.float32), text)
    params = replace(
        OFF, dry_multiplier=0.5, dry_base=base, dry_allowed_length=allowed, dry_last_n=last_n
    )
    found = Dry(params, text[:5], model.vocab.breakers(breaks))
    for token in text[5:]:
        found.accept(token)
    penalties = found.penalties()
    for token, logit in expected.items():
        assert -penalties.get(token, 0.0) == pytest.approx(logit, rel=1e-5), token


EVERYTHING: dict[str, dict[str, Any]] = {
    "typical-p": {"typical_p": 0.7},
    "top-n-sigma": {"top_n_sigma": 1.0},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.1},
    "xtc, greedy": {"xtc_probability": 0.5, "temperature": 0.0},
    "typical-p, greedy": {"typical_p": 0.3, "temperature": 0.0},
    "dynamic temperature": {"dynatemp_range": 0.5},
    "dry": {"dry_multiplier": 1.0, "dry_allowed_length": 1},
    "dry, greedy": {"dry_multiplier": 1.0, "temperature": 0.0},
    "mirostat 1": {"mirostat": 1, "mirostat_entropy": 2.0},
    "mirostat 2": {"mirostat": 2, "mirostat_entropy": 2.0},
    "adaptive-p": {"adaptive_target": 0.4, "samplers": ("top_k", "temperature", "adaptive_p")},
    "another order": {"samplers": ("dry", "temperature", "top_p", "top_k"), "top_p": 0.8},
}


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("seed", range(4))
def test_a_speculative_text_is_the_plain_one(name: str, seed: int) -> None:
    sampling = SamplingParams(**{"temperature": 0.9, "seed": seed, **EVERYTHING[name]})
    target = hashed(seed)
    texts = []
    for length in (0, 5):
        draft = DraftModel(FakeDecoder(mostly(target, hashed(seed + 50), 0.7)))
        drafters, policy = ([draft], FixedPolicy(length)) if length else ([], FixedPolicy(0))
        engine = Engine(FakeDecoder(target), FakeVocab(), drafters, policy)
        engine.submit(GenerationRequest([1, 2, 3], max_tokens=60, sampling=sampling))
        texts.append([event.tokens for event in engine.run() if hasattr(event, "tokens")])
    plain, speculative = ([token for part in text for token in part] for text in texts)
    assert plain == speculative
    assert len(plain) > 1


def test_without_a_sampler_its_setting_has_no_effect() -> None:
    params = SamplingParams(temperature=0.0, repeat_penalty=9.0, samplers=("top_k",), top_k=1)
    assert not params.greedy
    assert not params.penalises
    assert Chooser(params, [0, 0]).choose(np.array([5, 4], dtype=np.float32), 2) == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("top_k;top_p;temperature", ("top_k", "top_p", "temperature")),
        ("Top-K; nucleus; temp; min-p", ("top_k", "top_p", "temperature", "min_p")),
        ("edskypmxt", SAMPLERS),
        ("kt", ("top_k", "temperature")),
        ("xtc", ("xtc",)),
        ("typical-p", ("typ_p",)),
    ],
)
def test_samplers_are_named_as_llama_cpp_names_them(text: str, names: tuple[str, ...]) -> None:
    assert sampler_names(text) == names


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("infill",), "no 'infill'"),
        (("top_k", "top_k"), "twice"),
        (("top_k", "penalties"), "after another one"),
    ],
)
def test_samplers_that_cannot_be_are_refused(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        SamplingParams(samplers=names)


def test_the_chance_of_a_position_is_even_and_depends_on_the_seed() -> None:
    drawn = np.array([chance(3, position) for position in range(4000)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert 0 < drawn.min() < drawn.max() < 1
    assert chance(4, 0) != chance(3, 0)
