"""A short bench of the real pair."""

from __future__ import annotations

import pytest

from specli.bench.prompts import in_categories, shipped_prompts
from specli.bench.report import OVERALL, PromptFacts
from specli.bench.runner import Bench, contenders, interleaved
from specli.bench.statistics import summarised
from tests.real.pair import Pair

pytestmark = pytest.mark.real


def test_a_bench_of_the_real_pair_measures_speeds_and_finds_the_same_texts(pair: Pair) -> None:
    session = pair.session
    prompts = in_categories(shipped_prompts(), ["question", "translation"])[1:3]
    rivals = contenders([session.setup.speculative])
    bench = Bench(session, predict=12)
    runs = bench.compared(list(interleaved(rivals, prompts, 1, bench)), rivals[0])
    facts = [PromptFacts(p.id, p.category, bench.prompt_size(p), 1) for p in prompts]
    found = {(s.setting, s.category): s for s in summarised(runs, ["plain", "auto"], facts)}
    drafted, plain = found["auto", OVERALL], found["plain", OVERALL]
    assert (drafted.identical + drafted.explained, drafted.compared) == (2, 2)
    assert plain.mean_accepted_length == 1.0
    assert drafted.mean_accepted_length >= 1.0
    assert drafted.speedup is not None
    assert min(drafted.speedup.value, plain.speed, plain.first_token_ms) > 0
