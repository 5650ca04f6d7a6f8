"""The n-gram maps against llama.cpp's way of finding and counting, written down plainly."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.ngram_map import Kind, MapSettings, NgramMapDrafter
from specli.llama.decoder import common_prefix
from tests.drafters.replay import replay, request

SLOTS = 4


class Plain:
    """llama.cpp's `common_ngram_map` for one text, step by step, without its table of hashes."""

    def __init__(self, kind: Literal["ngram-map-k", "ngram-map-k4v"], n: int, m: int, hits: int):
        self.values_wanted = kind == "ngram-map-k4v"
        self.n, self.m, self.hits = n, m, hits
        self.begun = self.last = 0
        self.first: dict[tuple[int, ...], int] = {}
        self.keys: dict[tuple[int, ...], dict[str, int]] = {}
        self.values: dict[tuple[int, ...], list[list[int]]] = {}
        self.chosen: list[int] | None = None

    def draft(self, text: list[int]) -> list[int]:
        n, m = self.n, self.m
        self.chosen = None
        inp, size = text[:-1], len(text) - 1
        if size < 2 * n + m:
            return []
        key = tuple(text[-n:])
        match = self.first.get(key, 0)
        match = match if match < size - n - m - 1 else 0
        places = [
            j
            for j in range(self.begun - n - m - 1, 0, -1)
            if j > self.last and self.begun > n + m + 1
        ]
        places += [j for j in range(size - n - m - 1, 0, -1) if j > self.begun and j > self.last]
        for j in places:
            here = tuple(inp[j : j + n])
            if match == 0 and here == key:
                match = j
            self.first.setdefault(here, j)
        self.last = max(self.last, size - n - m - 1)
        if match == 0:
            return []
        known = self.keys.setdefault(key, {"hits": 0, "stat": 0})
        values = self.values.setdefault(key, [[0, 0, m] for _ in range(SLOTS)])
        known["hits"] += 1
        if self.values_wanted:
            if known["hits"] < self.hits:
                return []
            self.count(inp, key, known["stat"], match)
            known["stat"] = match
            times = [value[1] for value in values]
            best = times.index(max(times))
            others = sum(times) - times[best]
            if others > 0 and times[best] < 2 * others:
                return []
        else:
            best = 0
        self.chosen = values[best]
        return inp[match + n : match + n + min(m, values[best][2])]

    def count(self, inp: list[int], key: tuple[int, ...], start: int, match: int) -> None:
        n, m = self.n, self.m
        for i in range(start, match + 1):
            if tuple(inp[i : i + n]) != key:
                continue
            for value in self.values[key]:
                if value[0] == 0:
                    value[:] = [i + n, 0, m]
                elif inp[value[0] : value[0] + m] != inp[i + n : i + n + m]:
                    continue
                value[1] += 1
                break

    def accept(self, count: int) -> None:
        if self.chosen is not None:
            self.chosen[2] = count


@pytest.mark.parametrize("kind", ["ngram-map-k", "ngram-map-k4v"])
@settings(deadline=None)
@given(
    text=st.lists(st.integers(0, 3), min_size=5, max_size=120),
    prompt=st.integers(1, 60),
    n=st.integers(1, 4),
    m=st.integers(1, 6),
    hits=st.integers(1, 3),
)
def test_every_round_drafts_what_llama_cpp_would(
    kind: Kind, text: list[int], prompt: int, n: int, m: int, hits: int
) -> None:
    drafter = NgramMapDrafter(MapSettings(kind, n, m, hits))
    plain = Plain(kind, n, m, hits)
    place = min(prompt, len(text) - 2)
    plain.begun = place
    drafter.begin(0, text[:place])
    place += 1
    drafter.observe(0, text[:place], 1, 0)
    while place < len(text):
        expected = plain.draft(text[:place])
        proposal = drafter.propose([request(text[:place], limit=99)])[0]
        assert proposal.tokens == expected
        assert proposal.sources == [kind] * len(expected)
        accepted = common_prefix(expected, text[place:])
        emitted = text[place : place + accepted + 1]
        # The last round may end in the middle of a draft: what it was worth stays unknown.
        if expected and len(emitted) > accepted:
            plain.accept(accepted)
        place += len(emitted)
        drafter.observe(0, text[:place], len(emitted), accepted)


def test_a_copied_passage_is_drafted() -> None:
    passage = [token * 7 % 101 for token in range(100)]
    for kind in ("ngram-map-k", "ngram-map-k4v"):
        drafter = NgramMapDrafter(MapSettings(kind, 4, 12))
        assert replay(drafter, [*passage, 200], passage).accepted > 70


def test_a_draft_that_was_wrong_is_shorter_the_next_time() -> None:
    drafter = NgramMapDrafter(MapSettings("ngram-map-k", 2, 4))
    prompt = [9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2]
    drafter.begin(0, prompt)
    assert drafter.propose([request(prompt)])[0].tokens == [3, 4, 5, 6]
    tokens = [*prompt, 3, 4, 0]
    drafter.observe(0, tokens, 3, 2)
    tokens += [1, 2]
    drafter.observe(0, tokens, 2, 0)
    assert drafter.propose([request(tokens)])[0].tokens == [3, 4]


def test_a_draft_cut_short_by_the_rule_or_not_used_teaches_nothing() -> None:
    drafter = NgramMapDrafter(MapSettings("ngram-map-k", 2, 4))
    prompt = [9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2]
    drafter.begin(0, prompt)
    assert drafter.propose([request(prompt, limit=2)])[0].tokens == [3, 4]
    tokens = [*prompt, 3, 4, 0, 1, 2]
    drafter.observe(0, tokens[:-2], 3, 2)
    drafter.observe(0, tokens, 2, 0)
    assert drafter.propose([request(tokens)])[0].tokens == [3, 4, 5, 6]
    # Another drafter's round: one token, the proposal's first.
    drafter.observe(0, [*tokens, 3], 1, 0)
    again = [*tokens, 3, 1, 2]
    drafter.observe(0, again, 2, 0)
    assert drafter.propose([request(again)])[0].tokens == [3, 4, 5, 6]
