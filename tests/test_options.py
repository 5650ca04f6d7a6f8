"""The table of options, and how its values are read."""

from __future__ import annotations

import math

import pytest

from specli.drafting_settings import placement
from specli.errors import UsageError
from specli.option_table import OPTIONS
from specli.option_values import parsed
from specli.sampling.params import SamplingParams


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
        ("draft_max", "-1", "--draft is -1, but must be 0 to 512"),
        ("ngram_size", "65", "--ngram-size is 65, but must be 1 to 64"),
        ("top_p", "0", "--top-p is 0, but must be above 0, at most 1"),
        ("temp", "nan", "--temp is nan, but must be 0 to 100"),
        ("threads", "100000", "--threads is 100000, but must be 1 to 512"),
        (
            "repeat_last_n",
            "1" + 30 * "0",
            "--repeat-last-n is 1000000000000000000000000000000, but",
        ),
        ("frequency_penalty", "1e39", "--frequency-penalty is 1e39, but must be -100 to 100"),
        ("draft_max", 5000 * "9", f"--draft takes a whole number or `auto`, not '{80 * '9'}…'"),
        ("timeout", 400 * "9", f"--timeout takes a time of at most a year, not '{80 * '9'}…'"),
        ("threads", "many", "--threads takes a whole number or `auto`, not 'many'"),
        ("cache_type_k", "q9", "--cache-type-k is 'q9', but must be one of: f32"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(OPTIONS[name], text)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("bias", ["1+" + 39 * "9", 5000 * "9" + "+1", "1+inf"])
def test_a_bias_that_no_logit_can_hold_is_refused(bias: str) -> None:
    with pytest.raises(UsageError, match="token id and a signed number of at most 1,000,000"):
        parsed(OPTIONS["logit_bias"], [bias])


def test_every_number_has_an_upper_bound() -> None:
    numbers = [one for one in OPTIONS.values() if one.kind in ("integer", "number")]
    assert [one.name for one in numbers if one.most is None] == []


def test_python_has_the_bounds_of_the_flags() -> None:
    with pytest.raises(UsageError, match=r"`frequency_penalty` is 1e\+39, but must be -100 to 100"):
        SamplingParams(frequency_penalty=1e39)
    with pytest.raises(UsageError, match="bias of token 5 is nan"):
        SamplingParams(logit_bias={5: math.nan})
    with pytest.raises(UsageError, match="`threads` is a whole number from 0 to 512"):
        placement({"threads": 100_000})
