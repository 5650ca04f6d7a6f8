"""specli's verdict on a pair of vocabularies agrees with llama.cpp's own rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import llama_cpp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specli.errors import PairIncompatibleError
from specli.gguf.check import check_file
from specli.gguf.header import read_header
from specli.llama.model import Model, ModelOptions
from specli.pairs.vocabulary import RuleResult, compare_vocabularies, require_compatible
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Vocabulary

SHAPE = tiny.Shape(layers=1, n_embd=8, heads=1, kv_heads=1, n_ff=8)
BPE = tiny.bpe_vocabulary()
SPM = tiny.spm_vocabulary()
BIG = tiny.bpe_vocabulary(600)

PAIRS: dict[str, tuple[Vocabulary, Vocabulary, str | None]] = {
    "equal": (BPE, BPE, None),
    "equal spm": (SPM, SPM, None),
    "token below 5": (BPE, BPE.with_token(4, b"other"), None),
    "token 5": (BPE, BPE.with_token(5, b"other"), "token texts"),
    "last token": (BPE, BPE.with_token(319, b"other"), "token texts"),
    "equal up to a zero byte": (BPE.with_token(9, b"zz\0b"), BPE.with_token(9, b"zz\0c"), None),
    "larger by 1": (BPE, BPE.resized(321), None),
    "smaller by 1": (BPE, BPE.resized(319), None),
    "larger by 128": (BPE, BPE.resized(448), None),
    "larger by 129": (BPE, BPE.resized(449), "vocabulary size"),
    "smaller by 129": (BIG, BIG.resized(471), "vocabulary size"),
    "another type": (BPE, SPM, "vocabulary type"),
    "another bos that nobody adds": (BPE, replace(BPE, bos=0), None),
    "another bos that both add": (
        replace(BPE, add_bos=True),
        replace(BPE, add_bos=True, bos=0),
        "BOS token",
    ),
    "bos added by one": (BPE, replace(BPE, add_bos=True), "BOS token"),
    "bos added by the pre-tokenizer of one": (
        replace(BPE, add_bos=None),
        replace(BPE, add_bos=None, pre="llama-bpe"),
        "BOS token",
    ),
    "bos added by both, one by default": (
        replace(BPE, add_bos=True),
        replace(BPE, add_bos=None, pre="llama-bpe"),
        None,
    ),
    "another pre-tokenizer": (BPE, replace(BPE, pre="qwen2"), None),
    "another eos that nobody adds": (BPE, replace(BPE, eos=0), None),
    "another eos that both add": (
        replace(BPE, add_eos=True),
        replace(BPE, add_eos=True, eos=0),
        "EOS token",
    ),
    "eos added by one": (SPM, replace(SPM, add_eos=True), "EOS token"),
    "another template": (BPE, replace(BPE, chat_template=None), None),
}


def llama_cpp_accepts(target: Path, draft: Path) -> bool:
    """llama.cpp's `common_speculative_are_compatible`, asked through its C interface."""
    options = ModelOptions(vocab_only=True)
    with Model(target, options) as target_model, Model(draft, options) as draft_model:
        one, two = target_model.vocab.handle, draft_model.vocab.handle
        if llama_cpp.llama_vocab_type(one) != llama_cpp.llama_vocab_type(two):
            return False
        for adds, token in (
            (llama_cpp.llama_vocab_get_add_bos, llama_cpp.llama_vocab_bos),
            (llama_cpp.llama_vocab_get_add_eos, llama_cpp.llama_vocab_eos),
        ):
            if adds(one) != adds(two) or (adds(one) and token(one) != token(two)):
                return False
        sizes = [llama_cpp.llama_vocab_n_tokens(handle) for handle in (one, two)]
        text = llama_cpp.llama_vocab_get_text
        return abs(sizes[0] - sizes[1]) <= 128 and all(
            text(one, token) == text(two, token) for token in range(5, min(sizes))
        )


def write_pair(directory: Path, target: Vocabulary, draft: Vocabulary) -> tuple[Path, Path]:
    return (
        tiny.write(directory / "target.gguf", tiny.llama_bytes(target, shape=SHAPE)),
        tiny.write(directory / "draft.gguf", tiny.llama_bytes(draft, shape=SHAPE)),
    )


def failures(target: Path, draft: Path) -> list[RuleResult]:
    results = compare_vocabularies(read_header(target), read_header(draft))
    return [result for result in results if result.verdict == "fail"]


@pytest.mark.parametrize("case", PAIRS)
def test_the_verdict_is_llama_cpps_and_names_the_rule(case: str, tmp_path: Path) -> None:
    target_vocabulary, draft_vocabulary, rule = PAIRS[case]
    target, draft = write_pair(tmp_path, target_vocabulary, draft_vocabulary)
    failed = failures(target, draft)
    assert llama_cpp_accepts(target, draft) == (rule is None)
    assert bool(failed) == (rule is not None)
    assert rule is None or rule in [result.rule for result in failed]


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    vocabulary = draw(st.sampled_from([BPE, BPE, SPM]))
    if draw(st.booleans()):
        vocabulary = vocabulary.resized(320 + draw(st.sampled_from([-1, 1, 127, 128, 129])))
    for token in draw(st.lists(st.integers(0, 318), max_size=2, unique=True)):
        vocabulary = vocabulary.with_token(token, b"changed-%d" % token)
    if draw(st.booleans()):
        vocabulary = replace(
            vocabulary,
            bos=draw(st.sampled_from([None, 0, 1, 2, 9999])),
            eos=draw(st.sampled_from([None, 0, 1, 2, 9999])),
            add_bos=draw(st.sampled_from([None, True, False])),
            add_eos=draw(st.sampled_from([None, True, False])),
        )
    return vocabulary


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(target=vocabularies(), draft=vocabularies())
def test_the_verdict_is_llama_cpps_on_any_altered_pair(
    tmp_path: Path, target: Vocabulary, draft: Vocabulary
) -> None:
    paths = write_pair(tmp_path, target, draft)
    assert llama_cpp_accepts(*paths) == (not failures(*paths))


def test_an_error_names_the_rule_the_id_both_strings_and_the_count(tmp_path: Path) -> None:
    draft_vocabulary = BPE.with_token(139, b"one\n").with_token(200, b"two")
    target, draft = write_pair(tmp_path, BPE, draft_vocabulary)
    with pytest.raises(PairIncompatibleError) as caught:
        require_compatible(check_file(target), check_file(draft), target, draft)
    message = caught.value.message
    assert message.startswith(f"{draft} cannot draft for {target} (token texts):")
    assert f"token 139 is {BPE.tokens[139].decode()!r} in the target" in message
    assert r"'one\n' in the draft" in message
    assert "2 of 315 tokens differ" in message
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_a_pair_that_works_passes_silently(tmp_path: Path) -> None:
    target, draft = write_pair(tmp_path, BPE, BPE.resized(400))
    require_compatible(check_file(target), check_file(draft), target, draft)


def test_the_difference_is_there_as_data(tmp_path: Path) -> None:
    target, draft = write_pair(tmp_path, BPE, BPE.with_token(139, "éé".encode()))
    (failed,) = failures(target, draft)
    assert failed.difference is not None
    assert (failed.difference.token, failed.difference.count) == (139, 1)
    assert failed.difference.draft == "'éé'"


def test_a_bos_difference_shows_both_tokens(tmp_path: Path) -> None:
    adds = replace(BPE, add_bos=True)
    target, draft = write_pair(tmp_path, adds, replace(adds, bos=0))
    (failed,) = failures(target, draft)
    assert "token 1 '<|im_start|>' in the target" in failed.detail
    assert "token 0 '<|endoftext|>' in the draft" in failed.detail
