"""The suffix drafter: whose text it follows, whom it believes, what it remembers."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters import suffix
from specli.drafters.grow import LEAST_CHANCE
from specli.drafters.protocol import Proposal
from specli.drafters.suffix import (
    CONTEXTS,
    DOUBT,
    LONGEST_MATCH,
    MOST_POSITIONS,
    SuffixDrafter,
)
from tests.drafters.replay import grown, replay, request

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def proposed(tokens: list[int], limit: int = 6) -> Proposal:
    drafter = SuffixDrafter()
    drafter.begin(0, tokens)
    return drafter.propose([request(tokens, limit=limit)])[0]


def first_token_by_search(tokens: list[int]) -> tuple[int, float] | None:
    """What a search of the whole text proposes first, and its confidence."""
    for size in CONTEXTS:
        key = tokens[-size:]
        places = [p for p in range(size, len(tokens)) if tokens[p - size : p] == key]
        if places and len(key) == size:
            break
    else:
        return None
    votes: dict[int, float] = {}
    for place in places[: -MOST_POSITIONS - 1 : -1]:
        pairs = zip(tokens[place - 1 :: -1], tokens[: -LONGEST_MATCH - 1 : -1], strict=False)
        matched = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        votes[tokens[place]] = votes.get(tokens[place], 0) + matched
    best = max(votes, key=votes.__getitem__)
    confidence = votes[best] / (sum(votes.values()) + DOUBT * len(votes))
    return (best, confidence) if confidence >= LEAST_CHANCE else None


@settings(deadline=None)
@given(TEXTS)
def test_the_first_token_is_what_a_search_of_the_whole_text_finds(tokens: list[int]) -> None:
    draft = proposed(tokens, 1)
    first = (draft.tokens[0], draft.confidences[0]) if draft else None
    assert first == first_token_by_search(tokens)


@settings(deadline=None)
@given(text=TEXTS, cuts=st.sets(st.integers(1, 59)))
def test_it_does_not_matter_in_which_pieces_the_text_arrives(
    text: list[int], cuts: set[int]
) -> None:
    drafter = SuffixDrafter()
    ends = [*sorted(cut for cut in cuts if cut < len(text)), len(text)]
    drafter.begin(0, text[: ends[0]])
    for before, end in itertools.pairwise(ends):
        drafter.accept([grown(text[:end], end - before)])
    assert drafter.propose([request(text, limit=6)])[0] == proposed(text)


@settings(deadline=None)
@given(text=TEXTS, limit=st.integers(0, 5))
def test_limits_and_ranges_are_kept(text: list[int], limit: int) -> None:
    draft = proposed(text, limit)
    assert len(draft.tokens) == len(draft.sources) == len(draft.confidences) <= limit
    assert all(0 < confidence < 1 for confidence in draft.confidences)
    assert not draft or math.prod(draft.confidences) >= LEAST_CHANCE
    assert set(draft.sources) <= {"suffix"}
    assert draft.tokens == proposed(text, limit + 3).tokens[:limit]


def test_the_most_frequent_continuation_wins_and_doubt_shows_in_the_confidence() -> None:
    sure = proposed([1, 2, 5, 8, 1, 2, 5, 9, 1, 2, 5, 7, 1, 2])
    torn = proposed([1, 2, 5, 8, 1, 2, 6, 9, 1, 2, 5, 7, 1, 2])
    assert sure.tokens[0] == torn.tokens[0] == 5
    assert torn.confidences[0] < sure.confidences[0]


def test_a_longer_context_outweighs_more_frequent_shorter_ones() -> None:
    frequent = [1, 2, 5, 9, 1, 2, 5, 8, 1, 2, 5]
    tokens = [3, 4, 7, 1, 2, 6, *frequent, 3, 4, 7, 1, 2]
    assert proposed(tokens).tokens[0] == 6


def test_a_text_that_repeats_itself_is_drafted_beyond_its_end() -> None:
    assert proposed([9, *[1, 2, 3] * 5], 8).tokens == [1, 2, 3, 1, 2, 3, 1, 2]


def test_sequences_that_are_alive_do_not_see_each_other() -> None:
    drafter = SuffixDrafter()
    first, second = [1, 2, 3, 4, 1, 2], [1, 2, 7, 8, 1, 2]
    drafter.begin(0, first)
    drafter.begin(1, second)
    one, two = drafter.propose([request(second, 1, 2), request(first, 0, 2)])
    assert one.tokens == [7, 8]
    assert two.tokens == [3, 4]


def test_an_answer_is_remembered_for_other_sequences_and_a_prompt_is_not() -> None:
    drafter = SuffixDrafter()
    drafter.begin(0, [40, 41, 42])
    drafter.accept([grown([40, 41, 42, 50, 51, 52], 3)])
    drafter.end(0)
    for prompt, expected in (([9, 50, 51], [52]), ([9, 40, 41], [])):
        drafter.begin(1, prompt)
        assert drafter.propose([request(prompt, 1)])[0].tokens == expected
        drafter.end(1)


def test_a_draft_does_not_run_from_one_answer_into_the_next() -> None:
    drafter = SuffixDrafter()
    for answer in ([50, 51], [60, 61]):
        drafter.begin(0, [9])
        drafter.accept([grown([9, *answer], 2)])
        drafter.end(0)
    drafter.begin(0, [8, 50])
    assert drafter.propose([request([8, 50])])[0].tokens == [51]


def remembered(drafter: SuffixDrafter) -> int:
    shared = drafter._shared
    return len(shared._old[0]) + len(shared._new[0])


@pytest.mark.parametrize("answers", [5, 40])
def test_memory_of_other_answers_is_bounded_and_keeps_the_newest(answers: int) -> None:
    drafter = SuffixDrafter(shared_tokens=100)
    for first in range(answers):
        answer = [1000 * first + place for place in range(20)]
        drafter.begin(0, [9])
        drafter.accept([grown([9, *answer], 20)])
        drafter.end(0)
        assert remembered(drafter) <= 100
    newest = 1000 * (answers - 1)
    drafter.begin(0, [8, newest, newest + 1])
    draft = drafter.propose([request([8, newest, newest + 1])])[0]
    assert draft.tokens[:2] == [newest + 2, newest + 3]


def test_an_answer_longer_than_the_memory_is_cut_and_the_drafter_goes_on() -> None:
    drafter = SuffixDrafter(shared_tokens=20)
    drafter.begin(0, [9])
    drafter.accept([grown([9, *range(100, 200)], 100)])
    drafter.end(0)
    assert 0 < remembered(drafter) <= 20
    drafter.begin(0, [100, 101])
    assert drafter.propose([request([100, 101], limit=3)])[0].tokens == [102, 103, 104]


def test_of_a_very_long_text_the_last_part_is_indexed_and_found() -> None:
    index, text = suffix._Index(most=100), [n % 37 for n in range(30)]
    for _ in range(40):
        text += [100 + len(text), 7, 8, 9, len(text)]
        index.extend(text)
        assert sum(map(len, index._earlier)) <= 3 * 100
        found = index.find(text, [7, 8, 9])
        assert found
        assert all(text[position - 3 : position] == [7, 8, 9] for position, _matched in found)
    at_once = suffix._Index(most=100)
    at_once.extend(text)
    assert at_once.find(text, [7, 8, 9])[0] == found[0]


def test_hashes_that_collide_do_not_lead_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [9, 1, 2, 3, 4, 6, 7, 5, 1, 2]
    expected = proposed(tokens)
    monkeypatch.setattr(suffix, "hash", lambda key: 0, raising=False)
    assert proposed(tokens).tokens[0] == expected.tokens[0] == 3


def test_replaying_a_copied_text_accepts_nearly_all_and_counts_add_up() -> None:
    passage = [token * 7 % 101 for token in range(200)]
    result = replay(SuffixDrafter(), [*passage, 200], passage)
    assert result.accepted + result.rounds in (len(passage), len(passage) + 1)
    assert result.accepted > 180
    outcomes = Counter(right for _, right in result.checked)
    assert outcomes[True] == result.accepted
