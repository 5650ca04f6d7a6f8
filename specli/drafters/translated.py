"""Drafting by a model with another vocabulary: a wrapper around any drafter that has a model.

The target decides every token as always, so that text stays the target's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import numpy as np

from specli.drafters.protocol import Accepted, Chooser, Drafter, Proposal, Request
from specli.drafters.translation import Translated, Translation
from specli.drafters.without_model import Around
from specli.llama.decoder import Logits

LEAST_SHARED = 0.8
"""Share of a prompt's tokens that the draft must have for drafting token by token."""


class TranslatedDrafter(Around[Drafter]):
    """Gives `inner` the sequences in its own tokens, and proposes what it drafts in the target's.

    A sampled text is drafted with tokens that both vocabularies have, chosen with the target's
    noise, unless they share too few tokens of the prompt for that. A greedy one is drafted with
    any of the draft's tokens, and the drafted text is tokenized by the target: measured with
    SmolLM2 for Gemma 3, that gets 61 % of the drafted tokens accepted instead of 47 %.
    """

    def __init__(
        self, inner: Drafter, translation: Translation, least: float = LEAST_SHARED
    ) -> None:
        super().__init__(inner)
        self._translation = translation
        self._least = least
        self._sequences: dict[int, Translated] = {}
        self._shared: dict[int, bool] = {}

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        translated = self._sequences[seq] = Translated(self._translation)
        translated.extend(prompt)
        self._shared[seq] = self._translation.share(prompt) >= self._least
        self._inner.begin(seq, translated.tokens)

    def pending(self, seq: int, tokens: list[int]) -> int:
        known = self._sequences[seq]
        return self._inner.pending(seq, known.tokens) + len(tokens) - known.seen

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        asked = [self._asked(request) for request in requests]
        proposals = self._inner.propose(asked)
        return [
            one if one.error is not None else self._proposal(request, one)
            for request, one in zip(requests, proposals, strict=True)
        ]

    def accept(self, results: Sequence[Accepted]) -> None:
        """Nothing: what a sequence got is translated when it is drafted for again."""

    def _asked(self, request: Request) -> Request:
        """The request in the draft's tokens, with the draft's cache cut to what still holds."""
        known = self._sequences[request.seq]
        settled = known.settled
        known.extend(request.tokens[known.seen :])
        new = len(known.tokens) - settled
        self._inner.accept([Accepted(request.seq, known.tokens, new, Proposal(), 0, 0)])
        offset = len(request.tokens) - len(known.tokens)
        chooser: Chooser = (
            _AnyToken()
            if self._through_text(request)
            else _SharedToken(request.chooser, self._translation, offset)
        )
        return Request(request.seq, known.tokens, request.rule, chooser)

    def _through_text(self, request: Request) -> bool:
        if self._translation.alike:
            return False
        return request.chooser.plain or not self._shared[request.seq]

    def _proposal(self, request: Request, drafted: Proposal) -> Proposal:
        if self._through_text(request):
            return self._respelled(request, drafted)
        found = [self._translation.to_target(token) for token in drafted.tokens]
        tokens = [token for token in found if token is not None]
        return Proposal(tokens, drafted.sources, drafted.confidences)

    def _respelled(self, request: Request, drafted: Proposal) -> Proposal:
        """The drafted text in the target's tokens, each as probable as the draft's in it."""
        pieces = [self._translation.draft.piece(token) for token in drafted.tokens]
        words = pieces.index(b"") if b"" in pieces else len(pieces)
        starts = list(accumulate(map(len, pieces[:words]), initial=0))[:-1]
        proposal, begin = Proposal(), 0
        for token, end in self._translation.respelled(request.tokens, b"".join(pieces[:words])):
            within = [
                one
                for one, start in zip(drafted.confidences, starts, strict=False)
                if begin <= start < end
            ]
            proposal.tokens.append(token)
            proposal.confidences.append(prod(within))
            begin = end
        if words < len(pieces) and bool(proposal) == bool(words):
            ended = self._translation.to_target(drafted.tokens[words])
            if ended is not None:
                proposal.tokens.append(ended)
                proposal.confidences.append(drafted.confidences[words])
        proposal.sources = [self.name] * len(proposal.tokens)
        return proposal.head(request.rule.limit)


class _SharedToken:
    """Chooses as the sequence does, among the tokens that both vocabularies have."""

    plain = False

    def __init__(self, chooser: Chooser, translation: Translation, offset: int) -> None:
        self._chooser = chooser
        self._translation = translation
        self._offset = offset
        self._logits = np.full(translation.target.size, -np.inf, dtype=np.float32)

    def forced(self) -> Sequence[int]:
        return ()

    def guess(self, logits: Logits, position: int) -> int:
        token = self._chooser.guess(self._mapped(logits), position + self._offset)
        return self._translation.to_draft[token]

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        token, confidence = self._chooser.draft(self._mapped(logits), position + self._offset)
        return self._translation.to_draft[token], confidence

    def _mapped(self, logits: Logits) -> Logits:
        self._logits[self._translation.target_ids] = logits[self._translation.draft_ids]
        return self._logits


class _AnyToken:
    """Takes the most probable token: noise by token id says nothing about other tokens."""

    plain = True

    def forced(self) -> Sequence[int]:
        return ()

    def guess(self, logits: Logits, _position: int) -> int:
        return int(logits.argmax())

    def draft(self, logits: Logits, _position: int) -> tuple[int, float]:
        token = int(logits.argmax())
        weights = np.exp(logits - logits[token])
        return token, float(1 / weights.sum())
