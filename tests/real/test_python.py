"""`LLM()` without a model: the embedded pair from Python."""

from __future__ import annotations

import pytest

from specli import LLM, SamplingParams
from specli.events import TARGET, Piece
from specli.generation import Generation
from specli.sampling.params import SamplingParams as Choice
from tests.real.pair import TOKENS, Pair, require_same

pytestmark = pytest.mark.real

PROMPT = "Write a Python function that computes a factorial"


def test_the_embedded_pair_answers_with_the_targets_text(pair: Pair) -> None:
    messages = [{"role": "user", "content": PROMPT}]
    with LLM(num_speculative_tokens=4, max_num_seqs=2) as llm:
        (output,) = llm.chat(messages, SamplingParams(max_tokens=TOKENS))
    (completion,) = output.outputs
    generation = Generation(
        pieces=[Piece(completion.text, TARGET)],
        tokens=completion.token_ids,
        finish=completion.finish_reason,
    )
    assert output.prompt_token_ids == pair.prompt(PROMPT)
    assert output.metrics.num_accepted_draft_tokens > 0
    require_same(pair.plain(PROMPT, Choice()), generation)
