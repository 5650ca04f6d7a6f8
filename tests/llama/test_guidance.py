"""Schemas and Lark grammars by llguidance, on the vocabulary of a tiny model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from specli.errors import DecodeError, UsageError
from specli.llama import guidance
from specli.llama.constraint import rules_of
from specli.llama.grammar import Grammar
from specli.llama.guidance import Guide, lark_rules, schema_rules
from specli.llama.model import Model
from specli.llama.vocab import Vocab
from tests import tiny_gguf
from tests.llama.conftest import Loader

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture(params=["bpe", "spm"])
def vocab(request: pytest.FixtureRequest, load: Loader) -> Vocab:
    vocabularies = {"bpe": tiny_gguf.bpe_vocabulary(), "spm": tiny_gguf.spm_vocabulary()}
    model: Model = load(tiny_gguf.llama_bytes(vocabularies[request.param]))
    return model.vocab


def written(guide: Guide, vocab: Vocab, seed: int, most: int = 400) -> str:
    """A text of allowed tokens drawn by chance."""
    rng, text = np.random.default_rng(seed), b""
    for _token in range(most):
        masked = guide.mask(rng.normal(size=vocab.size).astype(np.float32))
        token = int(masked.argmax())
        assert guide.allows(token)
        assert np.isfinite(masked[token])
        if vocab.is_end(token):
            break
        guide.accept(token)
        text += vocab.piece(token)
    return text.decode("utf-8", "replace")


def test_random_texts_of_a_schema_are_valid_or_the_start_of_valid_ones(vocab: Vocab) -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["cat", "dog"]},
            "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
            "note": {"type": "string", "maxLength": 4},
        },
        "required": ["kind", "tags", "note"],
    }
    for seed in range(5):
        told = json.loads(written(Guide(vocab, schema_rules(json.dumps(schema))), vocab, seed))
        assert told["kind"] in ("cat", "dog")
        assert set(told) == {"kind", "tags", "note"}
        assert len(told["tags"]) <= 3
        assert len(told["note"]) <= 4


def test_what_is_forced_is_all_that_is_allowed(vocab: Vocab) -> None:
    guide = Guide(vocab, lark_rules('%llguidance {}\nstart: "abcdefgh" ("x" | "y")'))
    forced = list(guide.forced())
    assert forced
    for token in forced:
        assert guide.allows(token)
        other = (token + 1) % vocab.size
        assert not guide.allows(other)
        masked = guide.mask(np.full(vocab.size, -np.inf, dtype=np.float32))
        assert np.flatnonzero(np.isfinite(masked)).tolist() == [token]
        guide.accept(token)
    text = b"".join(map(vocab.piece, forced)).decode()
    assert "abcdefgh".startswith(text.strip())


@pytest.mark.parametrize(
    "rules",
    [
        'start: "a" b\nb: /(x{500}){500}/ b',
        'start: /[a-b]/ b\nb: "xyz" b',
        "start: /x{20000}/",
        'start: "a" b\nb: "x" <[1]> b',  # BOS
    ],
)
def test_a_text_without_choice_and_end_is_forced_piece_by_piece(vocab: Vocab, rules: str) -> None:
    """llguidance would write it out to its end: 24 GB, in one of these."""
    guide = Guide(vocab, lark_rules("%llguidance {}\n" + rules))
    text, forced = b"", 0
    for _token in range(200):
        forced += bool(guide.forced())
        assert len(guide.forced()) <= 8 * guidance._MOST_FORCED
        token = int(guide.mask(np.zeros(vocab.size, dtype=np.float32)).argmax())
        guide.accept(token)
        text += vocab.piece(token)
    assert forced > 100
    assert set(text) <= set(b"abxyz")


def test_a_grammar_cannot_turn_on_what_has_no_bound() -> None:
    with pytest.raises(UsageError, match="more than once"):
        lark_rules(f"{guidance.LARK} {{}}\nstart: %lark {{\n{guidance.LARK} {{}}\nstart: A\n}}")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 20_000},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 50_000},
    ],
)
def test_long_strings_and_many_items_work(vocab: Vocab, schema: dict[str, object]) -> None:
    text = written(Guide(vocab, schema_rules(json.dumps(schema))), vocab, 3)
    assert text[0] in '["'


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"type": "string"}}, "uses not,"),
        ({"type": "array", "uniqueItems": True}, "uses uniqueItems,"),
        ({"if": {"type": "string"}, "then": {"maxLength": 3}}, "uses if, then,"),
        ({"type": "nonsense"}, "nonsense"),
        ({"type": "string", "pattern": "^*$"}, "lookarounds"),
        ({"$ref": "#/nowhere"}, "nowhere"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_by_keyword(
    schema: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match="JSON schema") as caught:
        schema_rules(json.dumps(schema))
    assert said in caught.value.message


@pytest.mark.parametrize(
    "schema", ["{", "[1]", "false", "7", "[" * 100_000, '{"items":' * 900 + "{}" + "}" * 900]
)
def test_what_is_no_schema_is_refused(schema: str) -> None:
    with pytest.raises(UsageError, match="JSON schema"):
        schema_rules(schema)


def test_objects_are_closed_unless_the_schema_says_otherwise() -> None:
    data: dict[str, object] = {"properties": {"a": {}}}
    found = guidance._closed(
        {
            "properties": {"x": {"properties": {"y": {}}}, "properties": {"enum": [data]}},
            "$defs": {"open": {"properties": {}, "additionalProperties": True}},
        }
    )
    assert found["additionalProperties"] is False
    assert found["properties"]["x"]["additionalProperties"] is False
    assert found["properties"]["properties"] == {"enum": [data]}
    assert found["$defs"]["open"]["additionalProperties"] is True


def test_a_lark_grammar_that_does_not_parse_is_refused() -> None:
    with pytest.raises(UsageError, match="the grammar cannot be followed"):
        lark_rules("%llguidance {}\nstart: (")


def test_a_constraint_past_its_limits_fails_its_own_text(vocab: Vocab) -> None:
    guide = Guide(vocab, lark_rules('%llguidance {}\nstart: "ab" | "cd"'))
    bad = next(token for token in range(vocab.size) if not guide.allows(token))
    guide.accept(bad)
    with pytest.raises(DecodeError, match="cannot be followed further"):
        guide.allows(bad)


def test_gbnf_goes_to_llama_cpp_and_lark_to_llguidance(vocab: Vocab) -> None:
    gbnf = rules_of('root ::= "a"', None)
    lark = rules_of('\n%llguidance {}\nstart: "a"', None)
    assert gbnf is not None
    assert lark is not None
    begun = gbnf.begin(vocab)
    assert isinstance(begun, Grammar)
    begun.close()
    assert isinstance(lark.begin(vocab), Guide)
    assert rules_of(None, None) is None
    with pytest.raises(UsageError, match="not both"):
        rules_of('root ::= "a"', "{}")
