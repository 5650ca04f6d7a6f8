"""The n-gram drafter against llama.cpp's search, written down plainly."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.ngram import LONGEST_MATCH, NgramDrafter, confidence
from specli.drafters.rule import Rule
from tests.drafters.replay import grown, replay, request

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=80)
ANY_LENGTH = 1000


def searched(tokens: list[int], size_n: int, size_m: int) -> list[int]:
    """What llama.cpp's `ngram-simple` drafts: its text ends before the last sampled token."""
    text, key = tokens[:-1], tokens[-size_n:]
    if len(text) <= size_n + size_m + 1:
        return []
    for start in range(len(text) - size_n - 1, 0, -1):
        if text[start : start + size_n] == key:
            follows = start + size_n
            found = text[follows : follows + size_m]
            return found if len(found) >= size_n else []
    return []


@settings(deadline=None)
@given(
    text=TEXTS,
    size_n=st.integers(1, 5),
    size_m=st.integers(1, 12),
    cuts=st.sets(st.integers(1, 79)),
)
def test_drafts_what_a_search_of_the_whole_text_finds_however_the_text_arrives(
    text: list[int], size_n: int, size_m: int, cuts: set[int]
) -> None:
    drafter = NgramDrafter(size_n, size_m)
    ends = [*sorted(cut for cut in cuts if cut < len(text)), len(text)]
    drafter.begin(0, text[: ends[0]])
    for before, end in itertools.pairwise(ends):
        drafter.accept([grown(text[:end], end - before)])
    proposal = drafter.propose([request(text, limit=ANY_LENGTH)])[0]
    assert proposal.tokens == searched(text, size_n, size_m)
    assert proposal.sources == ["ngram"] * len(proposal)
    assert len(proposal.confidences) == len(proposal)


def test_several_sequences_draft_from_their_own_text_only() -> None:
    drafter = NgramDrafter(2, 3)
    first, second = [9, 1, 2, 3, 4, 5, 6, 7, 1, 2], [9, 1, 2, 8, 8, 5, 6, 7, 1, 2]
    unlike = [9, 3, 4, 3, 5, 3, 6, 7, 1, 2]
    for seq, tokens in enumerate((first, second, unlike)):
        drafter.begin(seq, tokens)
    asked = [request(unlike, 2), request(second, 1), request(first, 0)]
    assert [proposal.tokens for proposal in drafter.propose(asked)] == [[], [8, 8, 5], [3, 4, 5]]


def test_a_new_sequence_in_the_same_slot_knows_nothing_of_the_last_one() -> None:
    drafter = NgramDrafter(2, 3)
    drafter.begin(0, [9, 1, 2, 3, 4, 5, 6, 7, 1, 2])
    drafter.end(0)
    fresh = [9, 9, 8, 9, 7, 9, 6, 9, 1, 2]
    drafter.begin(0, fresh)
    assert drafter.propose([request(fresh)])[0].tokens == []


@pytest.mark.parametrize("limit", [0, 1, 2, 5])
def test_the_rules_limit_is_kept(limit: int) -> None:
    drafter = NgramDrafter(2, 5)
    tokens = [9, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    drafter.begin(0, tokens)
    assert drafter.propose([request(tokens, limit=limit)])[0].tokens == [3, 4, 5, 6, 7][:limit]


def test_the_proposal_ends_where_the_rule_finds_a_token_too_doubtful() -> None:
    drafter = NgramDrafter(2, 5)
    tokens = [9, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    drafter.begin(0, tokens)
    rule = Rule(5, confidence(2) + 0.001)
    assert drafter.propose([request(tokens, rule=rule)])[0].tokens == []


def test_a_longer_match_is_believed_more() -> None:
    confidences = [confidence(matched) for matched in range(1, LONGEST_MATCH + 9)]
    assert confidences == sorted(confidences)
    assert 0 < confidences[0] < confidences[-1] < 1
    short, long = [9, 5, 1, 2, 3, 4, 6, 7, 1, 2], [9, 7, 1, 2, 3, 4, 6, 7, 1, 2]
    drafter = NgramDrafter(2, 3)
    drafter.begin(0, short)
    drafter.begin(1, long)
    doubtful, sure = drafter.propose([request(short, 0), request(long, 1)])
    assert doubtful.tokens == sure.tokens == [3, 4, 6]
    assert doubtful.confidences[0] == confidence(2)
    assert sure.confidences[0] == confidence(3)


def test_a_copied_passage_is_drafted_nearly_whole() -> None:
    passage = [token * 7 % 101 for token in range(100)]
    result = replay(NgramDrafter(3, 10), [*passage, 200, 201], passage)
    assert result.accepted >= 80
    assert result.rounds <= 20
