"""The lookup drafter's counts against llama.cpp's rules, and its cache file."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters import lookup
from specli.drafters.lookup import Counts, LookupDrafter, load, merge, save
from specli.errors import UsageError
from tests.drafters.replay import replay, request

TEXTS = st.lists(st.integers(0, 4), min_size=1, max_size=60)

ANY_TOKEN = 2**31

COUNTS = st.dictionaries(
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4).map(tuple),
    st.dictionaries(st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1), min_size=1, max_size=3),
    max_size=8,
)

# Thresholds as llama.cpp has them, for n-grams of 1 to 4 tokens.
LEAST_SAMPLE, LEAST_PERCENT = (2, 2, 1, 1), (66, 50, 50, 50)


def first_token_by_search(tokens: list[int]) -> set[int]:
    """The best tokens of the longest n-gram whose followers in `tokens` say enough."""
    for size in range(min(4, len(tokens)), 0, -1):
        places = range(size, len(tokens))
        found = Counter(tokens[p] for p in places if tokens[p - size : p] == tokens[-size:])
        best, total = max(found.values(), default=0), found.total()
        if total >= LEAST_SAMPLE[size - 1] and 100 * best >= LEAST_PERCENT[size - 1] * total:
            return {token for token, count in found.items() if count == best}
    return set()


@settings(deadline=None)
@given(text=TEXTS, cuts=st.sets(st.integers(1, 59)))
def test_the_first_token_is_what_a_count_of_the_whole_text_finds_however_it_arrives(
    text: list[int], cuts: set[int]
) -> None:
    drafter = LookupDrafter()
    ends = [*sorted(cut for cut in cuts if cut < len(text)), len(text)]
    drafter.begin(0, text[: ends[0]])
    for before, end in itertools.pairwise(ends):
        drafter.observe(0, text[:end], end - before, 0)
    draft = drafter.propose([request(text, limit=3)])[0]
    expected = first_token_by_search(text)
    assert draft.tokens[0] in expected if draft else not expected
    assert len(draft) <= 3
    assert all(0 < confidence < 1 for confidence in draft.confidences)


def test_the_cache_drafts_where_the_text_itself_has_nothing_but_must_be_surer() -> None:
    prompt = [9, 1, 2]
    for counts, expected in (({7: 1}, []), ({7: 3}, [7]), ({7: 3, 8: 2}, [])):
        drafter = LookupDrafter({(1, 2): counts})
        drafter.begin(0, prompt)
        assert drafter.propose([request(prompt)])[0].tokens == expected


def test_a_sequence_that_ends_teaches_the_cache_and_others_do_not_see_it_before() -> None:
    drafter = LookupDrafter()
    taught, prompt = [1, 2, 3, 1, 2, 3, 1, 2, 3], [8, 1, 2]
    drafter.begin(0, taught)
    drafter.begin(1, prompt)
    assert drafter.propose([request(prompt, 1)])[0].tokens == []
    drafter.end(0)
    assert drafter.propose([request(prompt, 1)])[0].tokens[0] == 3
    assert drafter.cache[2, 3] == {1: 2}


def test_a_cache_that_is_full_learns_no_new_ngrams_but_goes_on_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookup, "MOST_NGRAMS", 2)
    cache: Counts = {(1,): {2: 1}}
    merge(cache, {(1,): {2: 4, 3: 1}, (2,): {3: 1}, (3,): {4: 1}})
    assert cache == {(1,): {2: 5, 3: 1}, (2,): {3: 1}}


def test_merging_leaves_the_merged_counts_alone() -> None:
    new: Counts = {(1,): {2: 1}}
    cache: Counts = {}
    merge(cache, new)
    merge(cache, new)
    assert (cache, new) == ({(1,): {2: 2}}, {(1,): {2: 1}})


@pytest.mark.parametrize(("draft_max", "limit", "drafted"), [(8, 99, 8), (3, 99, 3), (8, 2, 2)])
def test_a_draft_is_as_long_as_its_setting_and_the_rule_allow(
    draft_max: int, limit: int, drafted: int
) -> None:
    drafter = LookupDrafter(draft_max=draft_max)
    tokens = [1, 2, 3] * 9
    drafter.begin(0, tokens)
    assert drafter.propose([request(tokens, limit=limit)])[0].tokens == ([1, 2, 3] * 3)[:drafted]


def test_a_text_that_repeats_itself_is_drafted() -> None:
    passage = [token * 7 % 101 for token in range(100)]
    result = replay(LookupDrafter(), [*passage, 200], passage, limit=8)
    assert result.accepted > 80


@settings(deadline=None)
@given(COUNTS)
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, counts: Counts) -> None:
    path = tmp_path_factory.mktemp("cache") / "lookup.bin"
    save(path, counts)
    assert load(path, ANY_TOKEN) == counts
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_laid_out_as_llama_cpp_lays_it_out(tmp_path: Path) -> None:
    path = tmp_path / "lookup.bin"
    record = struct.pack("<4i i 2i 2i", 5, 6, -1, -1, 2, 7, 3, 8, 1)
    path.write_bytes(record)
    assert load(path, ANY_TOKEN) == {(5, 6): {7: 3, 8: 1}}
    save(path, {(5, 6): {7: 3, 8: 1}})
    assert path.read_bytes() == record


def test_a_cache_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert load(tmp_path / "none.bin", ANY_TOKEN) == {}


GOOD = struct.pack("<4i i 2i", 5, 6, -1, -1, 1, 7, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(GOOD[:-1], "27 bytes is no multiple of 4", id="odd length"),
        pytest.param(GOOD + GOOD[:-4], "byte 28 is broken or cut short", id="cut in a pair"),
        pytest.param(GOOD + GOOD[:8], "byte 28 is broken or cut short", id="cut in an n-gram"),
        pytest.param(
            struct.pack("<4i i", 5, 6, -1, -1, 0), "byte 0 is broken", id="nothing followed"
        ),
        pytest.param(
            struct.pack("<4i i 2i", 5, 6, -1, -1, -1, 7, 3), "byte 0 is broken", id="negative"
        ),
        pytest.param(
            struct.pack("<4i i 2i", 5, -1, 6, -1, 1, 7, 3), "byte 0 has invalid tokens", id="a gap"
        ),
        pytest.param(
            struct.pack("<4i i 2i", -1, -1, -1, -1, 1, 7, 3), "invalid tokens", id="no n-gram"
        ),
        pytest.param(
            struct.pack("<4i i 2i", 5, 6, -1, -1, 1, -7, 3), "invalid tokens", id="a token below 0"
        ),
        pytest.param(
            struct.pack("<4i i 2i", 5, 6, -1, -1, 1, 7, 0), "invalid count", id="a count of 0"
        ),
        pytest.param(b"GGUF" + bytes(40), "is not a lookup cache", id="another format"),
    ],
)
def test_a_broken_cache_is_refused_with_its_place(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "lookup.bin"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=reason) as raised:
        load(path, ANY_TOKEN)
    assert raised.value.hint is not None
    assert str(path) in raised.value.message


@settings(deadline=None)
@given(data=st.binary(max_size=120))
def test_any_bytes_are_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("cache") / "lookup.bin"
    path.write_bytes(data)
    try:
        counts = load(path, ANY_TOKEN)
    except UsageError:
        return
    save(path, counts)
    assert load(path, ANY_TOKEN) == counts


@pytest.mark.parametrize("counts", [{(5, 100): {7: 1}}, {(5, 6): {100: 1}}])
def test_a_cache_of_another_vocabulary_is_refused(tmp_path: Path, counts: Counts) -> None:
    path = tmp_path / "lookup.bin"
    save(path, counts)
    assert load(path, 101) == counts
    with pytest.raises(UsageError, match="token 100, and this model has 100 tokens"):
        load(path, 100)


def test_a_count_at_the_files_limit_stays_there_when_the_cache_learns_more(tmp_path: Path) -> None:
    path = tmp_path / "lookup.bin"
    save(path, {(1,): {2: 2**31 - 1}})
    drafter = LookupDrafter(load(path, 10))
    drafter.begin(0, [1, 2, 1, 2])
    drafter.end(0)
    save(path, drafter.cache)
    assert load(path, 10)[1,] == {2: 2**31 - 1}


def test_a_cache_in_a_directory_that_does_not_exist_is_refused_before_it_is_used(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="no directory") as raised:
        load(tmp_path / "missing" / "lookup.bin", ANY_TOKEN)
    assert str(tmp_path / "missing") in str(raised.value.hint)


def test_a_cache_that_cannot_be_read_or_written_is_an_error_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path, ANY_TOKEN)
    with pytest.raises(UsageError, match="cannot be written"):
        save(tmp_path / "missing" / "lookup.bin", {})


def test_a_failed_save_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    path = tmp_path / "lookup.bin"
    save(path, {(1,): {2: 3}})
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UsageError, match="No space left"):
        save(path, {(4,): {5: 6}})
    assert load(path, ANY_TOKEN) == {(1,): {2: 3}}
    assert list(tmp_path.iterdir()) == [path]
