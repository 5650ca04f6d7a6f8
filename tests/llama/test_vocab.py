"""Tokens and text, chat templates and grammars on a tiny model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specli.errors import UsageError
from specli.llama.chat import Message, prompt_tokens
from specli.llama.grammar import Grammar
from specli.llama.model import Model
from tests import tiny_gguf
from tests.llama.conftest import Loader


@pytest.fixture
def model(load: Loader) -> Model:
    return load(tiny_gguf.llama_bytes())


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(max_size=60))
def test_text_survives_the_way_to_tokens_and_back(model: Model, text: str) -> None:
    tokens = model.vocab.tokenize(text, add_special=False, parse_special=False)
    assert model.vocab.detokenize(tokens) == text


def test_special_tokens_end_a_generation_and_show_no_text(model: Model) -> None:
    (end,) = model.vocab.tokenize("<|im_end|>", add_special=False)
    assert model.vocab.is_end(end)
    assert model.vocab.piece(end) == b""
    assert model.vocab.name(end) == "<|im_end|>"


def test_the_models_own_template_makes_the_prompt(model: Model) -> None:
    tokens = prompt_tokens(model, [Message("system", "be brief"), Message("user", "hello")])
    named = "".join(model.vocab.name(token) for token in tokens)
    assert named == (
        "<|im_start|>system\nbe brief<|im_end|>\n"
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_model_without_a_template_gets_the_bare_text(load: Loader) -> None:
    bare = load(tiny_gguf.llama_bytes(replace(tiny_gguf.bpe_vocabulary(), chat_template=None)))
    tokens = prompt_tokens(bare, [Message("user", "hello")])
    assert bare.vocab.detokenize(tokens) == "hello"


def test_a_template_cannot_reach_python(load: Loader) -> None:
    evil = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    model = load(tiny_gguf.llama_bytes(replace(tiny_gguf.bpe_vocabulary(), chat_template=evil)))
    with pytest.raises(UsageError, match="chat template"):
        prompt_tokens(model, [Message("user", "hello")])


def test_a_template_that_refuses_says_why(load: Loader) -> None:
    strict = "{{ raise_exception('no system role here') }}"
    model = load(tiny_gguf.llama_bytes(replace(tiny_gguf.bpe_vocabulary(), chat_template=strict)))
    with pytest.raises(UsageError, match="no system role here"):
        prompt_tokens(model, [Message("system", "x")])


def test_bos_is_not_added_twice_where_the_template_writes_it(load: Loader) -> None:
    vocabulary = tiny_gguf.bpe_vocabulary()
    assert vocabulary.bos is not None
    template = "{{ bos_token }}{{ messages[0]['content'] }}"
    model = load(tiny_gguf.llama_bytes(replace(vocabulary, chat_template=template, add_bos=True)))
    tokens = prompt_tokens(model, [Message("user", "hi")])
    assert tokens.count(vocabulary.bos) == 1


def test_a_grammar_allows_only_what_it_derives(model: Model) -> None:
    grammar = Grammar(model.vocab, 'root ::= "yes" | "no"')
    (yes,) = model.vocab.tokenize("y", add_special=False)
    (other,) = model.vocab.tokenize("z", add_special=False)
    assert grammar.allows(yes)
    assert not grammar.allows(other)
    masked = grammar.mask(np.zeros(model.vocab.size, dtype=np.float32))
    assert np.isfinite(masked[yes])
    assert np.isneginf(masked[other])
    grammar.close()
    grammar.close()


def test_a_grammar_that_does_not_parse_is_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="does not parse"):
        Grammar(model.vocab, "root ::= (")
