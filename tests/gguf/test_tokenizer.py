"""The facts read from a header, held against what llama.cpp makes of the same file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import llama_cpp
import pytest

from specli.gguf.header import read_header
from specli.gguf.tokenizer import read_tokenizer
from specli.llama.model import Model, ModelOptions
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Typed, Value, Vocabulary

KINDS = {1: "SPM", 2: "BPE", 3: "WPM", 4: "UGM", 5: "RWKV", 6: "PLAMO2"}
BPE = tiny.bpe_vocabulary()
BARE = replace(BPE, bos=None, eos=None, add_bos=None)
SPM = tiny.spm_vocabulary()
BARE_SPM = replace(SPM, bos=None, eos=None, unk=None)


def with_tokens(vocabulary: Vocabulary, *texts: str) -> Vocabulary:
    for index, text in enumerate(texts):
        vocabulary = vocabulary.with_token(300 + index, text.encode())
    return vocabulary


def with_fields(vocabulary: Vocabulary, **fields: Value) -> Vocabulary:
    return replace(vocabulary, extra={f"tokenizer.ggml.{key}": v for key, v in fields.items()})


VOCABULARIES = {
    "bpe": BPE,
    "bpe with defaults": BARE,
    "bpe too small for its default ids": replace(
        BARE, tokens=BPE.tokens[:10], types=BPE.types[:10]
    ),
    "spm": SPM,
    "spm with defaults": BARE_SPM,
    "spm without bos": replace(SPM, add_bos=False),
    "spm with eos": replace(SPM, add_eos=True),
    "unigram": replace(BARE_SPM, model="t5"),
    "word pieces": replace(BARE_SPM, model="bert", types=(tiny.NORMAL,) * 320),
    "plamo2": replace(BARE_SPM, model="plamo2"),
    "gemma4": replace(BPE, model="gemma4", pre=None, add_bos=False),
    "whitespace": replace(BARE, model="whitespace", pre="whitespace"),
    "no pre-tokenizer": replace(BARE, pre=None),
    **{
        f"bpe as {pre}": replace(BARE, pre=pre)
        for pre in ("llama-bpe", "tekken", "chameleon", "qwen2", "smollm", "glm4", "chatglm-bpe")
    },
    "llama-bpe told not to add": replace(BARE, pre="llama-bpe", add_bos=False),
    "granite that always adds": replace(BPE, pre="granite-embed-multi-311m", add_bos=False),
    "ids outside the vocabulary": replace(BPE, bos=320, eos=4_000_000_000),
    "an empty token": BPE.with_token(301, b""),
    "a token with a zero byte": BPE.with_token(301, b"head\0tail"),
    "ends by text": with_tokens(BPE, "<|eot_id|>", "</s>", "<eos>", "<|eom_id|>"),
    "harmony": with_tokens(BPE, "<|return|>", "<|call|>", "<|end|>"),
    "solar": with_tokens(BPE, "<|flush|>", "<|calls|>", "<|end|>"),
    "return without call": with_tokens(BPE, "<|return|>", "<|end|>"),
    "return with calls": with_tokens(BPE, "<|return|>", "<|calls|>", "<|end|>"),
    "flush with call": with_tokens(BPE, "<|flush|>", "<|call|>", "<|end|>"),
    "a normal </s>": with_tokens(BPE, "<|tool_response>", "</s>"),
    "fill-in tokens by text": with_tokens(BPE, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    "fill-in tokens by key": with_fields(
        with_tokens(BPE, "<|fim_pad|>", "<|repo_name|>"),
        fim_pad_token_id=17,
        fim_rep_token_id=18,
        fim_sep_token_id=19,
        eot_token_id=20,
        eom_token_id=21,
    ),
    "a key outside the vocabulary": with_fields(BPE, eot_token_id=Typed(tiny.U32, 900)),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_tokenizer_is_what_llama_cpp_loads(name: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(VOCABULARIES[name]))
    mine = read_tokenizer(read_header(path))
    with Model(path, ModelOptions(vocab_only=True)) as model:
        handle = model.vocab.handle
        size = llama_cpp.llama_vocab_n_tokens(handle)
        assert len(mine) == size
        assert mine.kind == KINDS[llama_cpp.llama_vocab_type(handle)]
        assert (-1 if mine.bos is None else mine.bos) == llama_cpp.llama_vocab_bos(handle)
        assert (-1 if mine.eos is None else mine.eos) == llama_cpp.llama_vocab_eos(handle)
        assert mine.add_bos == llama_cpp.llama_vocab_get_add_bos(handle)
        assert mine.add_eos == llama_cpp.llama_vocab_get_add_eos(handle)
        assert mine.texts == [llama_cpp.llama_vocab_get_text(handle, i) for i in range(size)]
        ends = {i for i in range(size) if llama_cpp.llama_vocab_is_eog(handle, i)}
        assert mine.ends == ends
