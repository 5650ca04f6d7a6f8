"""From flags to drafters."""

from __future__ import annotations

import pytest

from specli.cli.drafting import choose_drafting
from specli.errors import UsageError
from specli.options import Options
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
    options = Options(ngram=True, ngram_size=size, ngram_draft=draft)
    assert choose_drafting(options).ngram == expected


def test_ngram_sizes_that_could_never_draft_are_refused() -> None:
    with pytest.raises(UsageError, match="--ngram-draft 3 is less than --ngram-size 4"):
        choose_drafting(Options(ngram_size=4, ngram_draft=3))


@pytest.mark.parametrize("kind", ["ngram-map-k", "ngram-map-k4v", "ngram-mod"])
def test_llama_cpps_kinds_with_tables_mean_suffix_drafting(kind: str) -> None:
    drafting = choose_drafting(Options(spec_type=kind))
    assert drafting == choose_drafting(Options(spec_type="suffix"))
    assert drafting.suffix


def test_draft_auto_lets_costs_decide_whatever_else_is_given() -> None:
    assert choose_drafting(Options(draft_max="auto", draft_p_min=0.5)).policy is None
    assert choose_drafting(Options(draft_p_min=0.5)).policy is not None
