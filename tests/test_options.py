"""The table of options, and how its values are read."""

from __future__ import annotations

import pytest

from specli.errors import UsageError
from specli.options import OPTIONS, parsed


@pytest.mark.parametrize("name", ["budget", "timeout"])
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("0.5", 0.5),
        ("3m", 180),
        ("1h30m", 5400),
        ("1.5m", 90),
        (" 2m 30s", 150),
    ],
)
def test_a_time_is_read_alike_everywhere(name: str, text: str, seconds: float) -> None:
    assert parsed(OPTIONS[name], text) == seconds


@pytest.mark.parametrize("text", ["", "m", "3x", "0", "0s", "-3m", "3m!", "three", "5 days"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget takes a time"):
        parsed(OPTIONS["budget"], text)


def test_no_spelling_is_used_twice() -> None:
    spellings = [
        spelling
        for option in OPTIONS.values()
        for spelling in f"{option.flags} {option.aliases}".split()
    ]
    assert len(set(spellings)) == len(spellings)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("draft_max", "-1", "--draft is -1, but must be 0 or more"),
        ("ngram_size", "65", "--ngram-size is 65, but must be 1 to 64"),
        ("top_p", "0", "--top-p is 0, but must be above 0, at most 1"),
        ("temp", "nan", "--temp is nan, but must be 0 or more"),
        ("threads", "many", "--threads takes a whole number or `auto`, not 'many'"),
        ("cache_type_k", "q9", "--cache-type-k is 'q9', but must be one of: f32"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(OPTIONS[name], text)
    assert caught.value.message.startswith(message)
