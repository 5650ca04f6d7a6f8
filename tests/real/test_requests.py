"""Stops, schemas and reused prompts on the real pair."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from specli.generation import Generation
from specli.llama.constraint import rules_of
from specli.sampling.params import SamplingParams
from tests.real.pair import Pair, generated, require_same
from tests.real.prompts import PROMPTS

pytestmark = pytest.mark.real

GREEDY = SamplingParams()
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "city": {"type": "string", "maxLength": 20},
        },
        "required": ["name", "age", "city"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize("variant", ["both", "adaptive"])
@pytest.mark.parametrize("start", [30, 101, 202])
def test_a_stop_string_ends_the_text_before_it(pair: Pair, variant: str, start: int) -> None:
    whole = pair.plain(PROMPTS["story"], GREEDY).text
    # Ten characters from anywhere: they begin and end inside tokens.
    stop = whole[start : start + 10]
    assert len(stop) == 10
    request = replace(pair.request(PROMPTS["story"], GREEDY), stops=("not in the text", stop))
    generation = generated(pair.engine(variant), request)
    assert generation.text == whole[: whole.index(stop)]
    assert generation.finish == "stop"


@pytest.mark.parametrize(
    "sampling", [GREEDY, SamplingParams(temperature=0.8, seed=6)], ids=["greedy", "sampled"]
)
def test_a_schema_gives_valid_json_that_drafting_does_not_change(
    pair: Pair, sampling: SamplingParams
) -> None:
    rules = rules_of(None, SCHEMA)
    assert rules is not None

    def run(variant: str) -> Generation:
        request = pair.request("Describe a person as JSON.", sampling)
        with_grammar = replace(request, grammar=pair.session.constrained(rules), margins=True)
        return generated(pair.engine(variant), with_grammar)

    plain, drafted = run("plain"), run("both")
    answer = json.loads(drafted.text)
    assert set(answer) == {"name", "age", "city"}
    assert isinstance(answer["age"], int)
    require_same(plain, drafted)


def test_a_reused_prefix_is_not_decoded_again_and_changes_nothing(pair: Pair) -> None:
    rules = "You answer in full sentences, politely, and never in more than five of them. "
    first, second = rules + "What is a fjord?", rules + "What is a volcano?"
    engine = pair.engine("both")
    generated(engine, pair.request(first, GREEDY))
    reused = generated(engine, pair.request(second, GREEDY))
    fresh = pair.plain(second, GREEDY)
    assert fresh.stats.prompt_cached == 0
    assert reused.stats.prompt_cached >= 20
    require_same(fresh, reused)
