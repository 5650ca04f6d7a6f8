"""A donor of another family with the target's vocabulary: what it says, and when it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from specli.drafts.transplant import EMBEDDING, transplant
from specli.errors import PairIncompatibleError, UsageError
from specli.gguf.check import check_file
from specli.gguf.header import read_header
from specli.hub.progress import ignore
from specli.llama.context import Context
from specli.llama.lexicon import NO_TOKEN, Lexicon, match, read_lexicon
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.llama.quantize import quantize
from specli.llama.weights import floats
from specli.pairs.vocabulary import require_compatible
from tests import tiny_gguf as tiny

SIZE = 320


def shuffled(vocabulary: tiny.Vocabulary, order: Sequence[int]) -> tiny.Vocabulary:
    """The same tokens under other ids: the new id i is the old id `order[i]`."""
    place = {old: new for new, old in enumerate(order)}
    assert vocabulary.bos is not None
    assert vocabulary.eos is not None
    return replace(
        vocabulary,
        tokens=tuple(vocabulary.tokens[old] for old in order),
        types=tuple(vocabulary.types[old] for old in order),
        bos=place[vocabulary.bos],
        eos=place[vocabulary.eos],
    )


def logits(path: Path, tokens: Sequence[int]) -> NDArray[np.float32]:
    """What a model says after each of the tokens."""
    with Model(path) as model, Context(model, ContextOptions(n_ctx=64, threads=1)) as context:
        row = context.add(0, tokens, 0, len(tokens))
        context.decode()
        return np.array([context.logits(row + place) for place in range(len(tokens))])


def embedding(path: Path) -> NDArray[np.float32]:
    header = read_header(path)
    tensor = header.tensors[EMBEDDING]
    data = np.fromfile(path, np.uint8, tensor.size, offset=header.data_offset + tensor.offset)
    return floats(tensor.type, data.reshape(tensor.shape[-1], -1))


def lexicon(path: Path) -> Lexicon:
    with Model(path, ModelOptions(vocab_only=True)) as model:
        return read_lexicon(read_header(path), model.vocab)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "target.gguf", tiny.llama_bytes(tiny.bpe_vocabulary(SIZE)))


@pytest.mark.parametrize("weights", ["F32", "F16", "Q8_0", "Q4_0"])
def test_a_donor_with_other_ids_says_what_it_always_said(
    weights: str, target: Path, tmp_path: Path
) -> None:
    order = np.random.default_rng(7).permutation(SIZE).tolist()
    vocabulary = shuffled(tiny.bpe_vocabulary(SIZE), order)
    whole = tiny.write(tmp_path / "whole.gguf", tiny.llama_bytes(vocabulary, seed=5))
    donor, made = tmp_path / "donor.gguf", tmp_path / "made.gguf"
    quantize(whole, donor, weights)
    done = transplant(target, donor, made, ignore)
    assert (done.overlap.of_vocabulary, done.overlap.of_text, done.averaged) == (1.0, 1.0, 0)
    require_compatible(check_file(target), check_file(made), target, made)
    place = np.argsort(order)
    tokens = [20, 70, 300, 9, 9, 2, 150]
    expected = logits(donor, place[tokens].tolist())
    assert np.array_equal(logits(made, tokens), expected[:, place])
    assert np.ptp(expected) > 1


@pytest.mark.parametrize("size", [SIZE - 20, SIZE + 200])
def test_a_vocabulary_may_grow_and_shrink(size: int, target: Path, tmp_path: Path) -> None:
    vocabulary = shuffled(tiny.bpe_vocabulary(size), range(size)[::-1])
    extra: dict[str, tiny.Value] = {"llama.vocab_size": size, "general.alignment": 64}
    content = tiny.llama_bytes(vocabulary, seed=5, extra=extra)
    donor, made = tmp_path / "donor.gguf", tmp_path / "made.gguf"
    tiny.write(donor, content if size > SIZE else tiny.llama_bytes(vocabulary, seed=5))
    done = transplant(target, donor, made, ignore)
    assert done.overlap.matched == min(size, SIZE)
    rows, old = embedding(made), embedding(donor)
    assert len(rows) == SIZE
    shared = min(size, SIZE)
    assert np.array_equal(rows[:shared], old[::-1][:shared])
    if size > SIZE:
        assert read_header(made).model_integer("vocab_size") == SIZE
    else:
        # Fillers are made of letters that the donor has.
        assert done.averaged == SIZE - size
    assert np.isfinite(logits(made, [20, 319])).all()


def spm_with_pieces_of(vocabulary: tiny.Vocabulary) -> tiny.Vocabulary:
    """A SentencePiece vocabulary with the merged tokens of a byte-level one, and letters."""
    spm = tiny.spm_vocabulary(273)
    merged = [merge.replace(b" ", b"") for merge in vocabulary.merges or ()]
    pieces = [token.replace("Ġ".encode(), "▁".encode()) for token in merged]
    letters = [b"%c" % code for code in range(0x21, 0x7F)]
    new = [token for token in dict.fromkeys([*pieces, *letters]) if token not in spm.tokens]
    return replace(
        spm,
        tokens=(*spm.tokens, *new),
        types=(*spm.types, *[tiny.NORMAL] * len(new)),
        scores=(*(spm.scores or ()), *[-100.0 - rank for rank in range(len(new))]),
    )


def test_sentencepiece_and_bytes_are_read_across_families(target: Path, tmp_path: Path) -> None:
    vocabulary = spm_with_pieces_of(tiny.bpe_vocabulary(SIZE))
    donor = tiny.write(tmp_path / "donor.gguf", tiny.llama_bytes(vocabulary, seed=5))
    made = tmp_path / "made.gguf"
    done = transplant(target, donor, made, ignore)
    theirs, ours = lexicon(donor), lexicon(target)
    found = match(ours, theirs)
    for token, other in enumerate(found):
        if other != NO_TOKEN and ours.pieces[token]:
            assert theirs.pieces[other] == ours.pieces[token]
    by_name = dict(zip(ours.spelled, found, strict=True))
    spelled = {name: token for token, name in enumerate(theirs.spelled)}
    assert by_name["Ġthe".encode()] == spelled["▁the".encode()]
    assert by_name["Ċ".encode()] == spelled[b"<0x0A>"]
    assert by_name[b"A"] == spelled[b"A"]
    assert by_name[b"<|im_start|>"] == theirs.roles["bos"]
    assert by_name[b"<|im_end|>"] == theirs.roles["eos"]
    old, rows = embedding(donor), embedding(made)
    assert by_name[b"filler300"] == NO_TOKEN
    letters = [spelled[piece] for piece in (b"f", b"i", b"l", b"l", b"er", b"3", b"0", b"0")]
    filler = ours.spelled.index(b"filler300")
    assert np.allclose(rows[filler], old[letters].mean(axis=0), atol=1e-5)
    pad = ours.spelled.index(b"<pad>")
    assert by_name[b"<pad>"] == NO_TOKEN
    assert np.allclose(rows[pad], old.mean(axis=0), atol=1e-5)
    assert done.overlap.matched == sum(other != NO_TOKEN for other in found)
    require_compatible(check_file(target), check_file(made), target, made)


def test_too_little_in_common_is_refused_with_the_figures(target: Path, tmp_path: Path) -> None:
    donor = tiny.write(tmp_path / "donor.gguf", tiny.llama_bytes(tiny.spm_vocabulary(SIZE)))
    made = tmp_path / "made.gguf"
    with pytest.raises(PairIncompatibleError, match=r"share \d+ of 320 tokens .*% of sample texts"):
        transplant(target, donor, made, ignore)
    assert not made.exists()


def test_a_donor_that_fits_as_it_is_and_a_model_as_output_are_refused(
    target: Path, tmp_path: Path
) -> None:
    content = tiny.llama_bytes(tiny.bpe_vocabulary(SIZE), seed=5)
    donor = tiny.write(tmp_path / "donor.gguf", content)
    with pytest.raises(UsageError, match="already"):
        transplant(target, donor, tmp_path / "made.gguf", ignore)
    with pytest.raises(UsageError, match="one of the two"):
        transplant(target, donor, donor, ignore)
    assert donor.read_bytes() == content


PIECES = st.lists(st.binary(min_size=1, max_size=2), max_size=12)


@given(ours=PIECES, theirs=PIECES, lone=st.frozensets(st.integers(0, 11)))
def test_tokens_are_paired_by_their_bytes_and_as_many_as_can_be(
    ours: list[bytes], theirs: list[bytes], lone: frozenset[int]
) -> None:
    found = match(Lexicon("a", ours, ours, lone, {}), Lexicon("b", theirs, theirs, lone, {}))
    used = [other for other in found if other != NO_TOKEN]
    assert len(set(used)) == len(used)
    assert all(theirs[o] == ours[t] for t, o in enumerate(found) if o != NO_TOKEN)
    assert set(ours) & set(theirs) == {theirs[other] for other in used}


def test_no_token_of_the_donor_stands_for_two() -> None:
    """A lone byte would tie with the letter itself, and the lower id be drafted."""
    ours = Lexicon("llama", [b"<0x41>", b"A", b"B"], [b"A", b"A", b"B"], frozenset({0}), {})
    theirs = Lexicon("gpt2", [b"B", b"A"], [b"B", b"A"], frozenset(), {})
    assert match(ours, theirs) == [NO_TOKEN, 1, 0]


@pytest.mark.parametrize("vocabulary", [tiny.bpe_vocabulary(SIZE), tiny.spm_vocabulary(SIZE)])
def test_pieces_read_from_the_file_are_those_of_llama_cpp(
    vocabulary: tiny.Vocabulary, tmp_path: Path
) -> None:
    odd = ("<|eot_id|>", "[EOT]", "日本", "a b", "Ġ▁x", "ĊĊĊ")
    for place, text in enumerate(odd):
        vocabulary = vocabulary.with_token(SIZE - 10 + place, text.encode())
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(vocabulary))
    with Model(path, ModelOptions(vocab_only=True)) as model:
        assert lexicon(path).pieces == model.vocab.pieces()
