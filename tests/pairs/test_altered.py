"""A model altered in one thing has exactly the rule named that stands for this thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.pairs.check import CheckOptions, ExaminedModel, PairCheck, check_pair, examine
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Vocabulary

SHAPE = tiny.Shape(layers=1, n_embd=8, heads=1, kv_heads=1, n_ff=8)
FIRST_COMPARED = 5
VOCABULARIES = [tiny.bpe_vocabulary(), tiny.spm_vocabulary()]
KINDS = ["BPE", "SPM"]

both_kinds = pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=KINDS)
some = settings(max_examples=40, deadline=None)


def model(vocabulary: Vocabulary) -> ExaminedModel:
    return examine(tiny.header(tiny.llama_bytes(vocabulary, shape=SHAPE)))


def report(one: Vocabulary, other: Vocabulary) -> PairCheck:
    return check_pair(model(one), model(other), CheckOptions())


def with_edge(vocabulary: Vocabulary, name: str, added: bool) -> Vocabulary:
    if name == "BOS":
        return replace(vocabulary, add_bos=added)
    return replace(vocabulary, add_eos=added)


def with_id(vocabulary: Vocabulary, name: str, token: int) -> Vocabulary:
    return replace(vocabulary, bos=token) if name == "BOS" else replace(vocabulary, eos=token)


def named(found: PairCheck, verdict: str) -> set[str]:
    # What follows from the sizes of the tiny models has nothing to do with what was altered.
    by_size = {"model sizes", "cost ratio"}
    return {rule.rule for rule in found.rules if rule.verdict == verdict} - by_size


@both_kinds
@some
@given(data=st.data())
def test_one_token(vocabulary: Vocabulary, data: st.DataObject) -> None:
    # With another text, a token that ends answers would break a second rule.
    ends = {vocabulary.eos, 0, 2}
    last = len(vocabulary.tokens) - 1
    anywhere = st.integers(1, 2 * FIRST_COMPARED) | st.integers(1, last)
    index = data.draw(anywhere.filter(lambda token: token not in ends))
    found = report(vocabulary, vocabulary.with_token(index, b"altered text"))
    if index < FIRST_COMPARED:
        assert (named(found, "fail"), named(found, "warn")) == (set(), {"special tokens"})
        return
    assert (named(found, "fail"), named(found, "warn")) == ({"token texts"}, set())
    (rule,) = [rule for rule in found.rules if rule.rule == "token texts"]
    assert rule.difference is not None
    assert (rule.difference.token, rule.difference.count) == (index, 1)
    assert f"token {index} is {rule.difference.target} in the target" in rule.detail
    assert "'altered text' in the draft" in rule.detail


@both_kinds
@pytest.mark.parametrize("name", ["BOS", "EOS"])
@pytest.mark.parametrize("added", [True, False])
@some
@given(token=st.integers(3, 300))
def test_one_special_id(vocabulary: Vocabulary, name: str, added: bool, token: int) -> None:
    whole = with_edge(vocabulary, name, added)
    found = report(whole, with_id(whole, name, token))
    assert named(found, "fail") == ({f"{name} token"} if added else set())
    assert "special tokens" in named(found, "warn")


@both_kinds
@pytest.mark.parametrize("name", ["BOS", "EOS"])
@pytest.mark.parametrize("added", [True, False])
def test_one_flag(vocabulary: Vocabulary, name: str, added: bool) -> None:
    one, other = with_edge(vocabulary, name, added), with_edge(vocabulary, name, not added)
    found = report(one, other)
    assert (named(found, "fail"), named(found, "warn")) == ({f"{name} token"}, set())


@both_kinds
@pytest.mark.parametrize("difference", [-129, -128, -1, 1, 128, 129])
def test_the_size(vocabulary: Vocabulary, difference: int) -> None:
    found = report(vocabulary.resized(600), vocabulary.resized(600 + difference))
    assert named(found, "fail") == ({"vocabulary size"} if abs(difference) > 128 else set())
    assert named(found, "warn") == set()
