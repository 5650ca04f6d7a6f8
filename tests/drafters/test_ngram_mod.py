"""The table of hashed n-grams against llama.cpp's arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters import ngram_mod
from specli.drafters.ngram_mod import ModSettings, NgramModDrafter
from specli.llama.decoder import common_prefix
from tests.drafters.replay import replay, request

ENTRIES, FACTOR = 4 * 1024 * 1024, 6364136223846793005


class Plain:
    """llama.cpp's `common_ngram_mod` and the drafting around it, step by step."""

    def __init__(self, n: int, least: int, most: int) -> None:
        self.n, self.least, self.most = n, least, most
        self.entries: dict[int, int] = {}
        self.last = self.drafted = self.low = 0

    def index(self, tokens: list[int]) -> int:
        result = 0
        for token in tokens:
            result = (result * FACTOR + token) % 2**64
        return result % ENTRIES

    def add(self, text: list[int], start: int, end: int) -> None:
        for i in range(start, end):
            self.entries[self.index(text[i : i + self.n])] = text[i + self.n]

    def begin(self, prompt: list[int]) -> None:
        if len(prompt) >= self.n:
            self.add(prompt, 0, len(prompt) - self.n)
            self.last = len(prompt) - self.n

    def draft(self, text: list[int]) -> list[int]:
        self.drafted = 0
        size = len(text) - 1
        if size < self.n:
            return []
        if self.last + 32 < size:
            self.add(text[:-1], self.last, size - self.n)
            self.last = size - self.n
        window = text[-self.n :]
        for i in range(self.most):
            token = self.entries.get(self.index(window[i : i + self.n]))
            if token is None:
                if i < self.least:
                    return []
                break
            window.append(token)
        self.drafted = len(window) - self.n
        return window[self.n :]

    def accept(self, accepted: int) -> None:
        if self.drafted:
            self.low = self.low + 1 if accepted / self.drafted < 0.25 else 0
            if self.low >= 5:
                self.entries.clear()
                self.low = self.last = 0


@settings(deadline=None, max_examples=60)
@given(
    text=st.lists(st.integers(0, 2), min_size=40, max_size=250),
    prompt=st.integers(1, 60),
    n=st.integers(1, 4),
    least=st.integers(0, 5),
    more=st.integers(0, 9),
)
def test_every_round_drafts_what_llama_cpp_would(
    text: list[int], prompt: int, n: int, least: int, more: int
) -> None:
    drafter = NgramModDrafter(ModSettings(n, least, least + more))
    plain = Plain(n, least, least + more)
    place = min(prompt, len(text) - 1)
    plain.begin(text[:place])
    drafter.begin(0, text[:place])
    while place < len(text):
        expected = plain.draft(text[:place])
        assert drafter.propose([request(text[:place], limit=99)])[0].tokens == expected
        accepted = common_prefix(expected, text[place:])
        emitted = text[place : place + accepted + 1]
        if expected and len(emitted) > accepted:
            plain.accept(accepted)
        place += len(emitted)
        drafter.observe(0, text[:place], len(emitted), accepted)


def test_texts_learn_from_each_other() -> None:
    passage = [token * 7 % 101 for token in range(100)]
    drafter = NgramModDrafter(ModSettings(4, 4, 16))
    drafter.begin(0, passage)
    drafter.end(0)
    assert replay(drafter, passage[:10], passage[10:], seq=1).accepted > 70


def test_a_table_that_is_full_is_emptied_when_a_text_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ngram_mod, "FULL", 50 / ENTRIES)
    passage = [token * 7 % 101 for token in range(60)]
    drafter = NgramModDrafter(ModSettings(4, 4, 16))
    drafter.begin(0, passage)
    assert drafter.propose([request([0, *passage[:4]])])[0].tokens == []
