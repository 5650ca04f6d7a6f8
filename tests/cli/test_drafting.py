"""From flags to drafters."""

from __future__ import annotations

import pytest

from specli.cli.drafting import choose_drafting
from specli.cli.options import RunOptions
from specli.drafters.ngram_map import MapSettings
from specli.drafters.ngram_mod import ModSettings
from specli.engine.policy import FixedPolicy
from specli.errors import UsageError
from specli.session import NgramSettings


@pytest.mark.parametrize(
    ("size", "draft", "expected"),
    [
        (None, None, NgramSettings(size=3, draft_max=8)),
        (2, None, NgramSettings(size=2, draft_max=8)),
        (12, None, NgramSettings(size=12, draft_max=12)),
        (None, 2, NgramSettings(size=2, draft_max=2)),
        (12, 48, NgramSettings(size=12, draft_max=48)),
    ],
)
def test_an_ngram_size_that_is_left_open_lets_the_other_one_draft(
    size: int | None, draft: int | None, expected: NgramSettings
) -> None:
    options = RunOptions(ngram=True, ngram_size=size, ngram_draft=draft)
    assert choose_drafting(options).ngram == expected


def test_ngram_sizes_that_could_never_draft_are_refused() -> None:
    with pytest.raises(UsageError, match="--ngram-draft 3 is less than --ngram-size 4"):
        choose_drafting(RunOptions(ngram_size=4, ngram_draft=3))


def test_llama_cpps_kinds_have_its_defaults_and_sizes() -> None:
    drafting = choose_drafting(RunOptions(spec_type="ngram-map-k,ngram-map-k4v,ngram-mod"))
    assert drafting.tables == (
        MapSettings("ngram-map-k", 12, 48),
        MapSettings("ngram-map-k4v", 12, 48, 1),
        ModSettings(24, 48, 64),
    )
    assert (drafting.draft, drafting.suffix, drafting.policy) == (False, False, None)
    options = RunOptions(spec_type="ngram-map-k4v", map_k4v_size=4, map_k4v_min_hits=2)
    drafting = choose_drafting(options)
    assert drafting.tables == (MapSettings("ngram-map-k4v", 4, 48, 2),)
    assert isinstance(drafting.policy, FixedPolicy)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RunOptions(mod_size=4), "a size is given for ngram-mod"),
        (RunOptions(spec_type="ngram-mod", map_k_size=4), "a size is given for ngram-map-k"),
        (RunOptions(spec_type="ngram-mod", mod_draft_max=8), "--spec-ngram-mod-n-max 8"),
    ],
)
def test_sizes_that_nothing_would_use_are_refused(options: RunOptions, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_drafting(options)
