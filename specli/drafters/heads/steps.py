"""Drafts token by token: a head's own hidden state stands for the target's in the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specli.drafters import grow
from specli.drafters.heads.core import Asked, HeadDecoder
from specli.events import Source
from specli.llama.decoder import Logits

CANDIDATES = 10
"""Tokens among which a head's probabilities are shared out, as in llama.cpp's heads (top-k 10)."""

_FOLDED = 32
"""Tokens of a column, see `_candidates`: of 16 to 48 any serves as well."""


@dataclass(slots=True)
class Growing:
    """One sequence while its proposal grows: the batch row that has the logits of its next token,
    and the position in the head's cache of the row after it."""

    asked: Asked
    row: int
    position: int


def draft_in_steps(
    decoder: HeadDecoder, name: Source, growing: Sequence[Growing], stride: int = 1
) -> None:
    """Fill the proposals of sequences whose first rows are in the batch; `stride` is how far apart
    the positions of the steps are."""
    while growing:
        decoder.decode()
        growing = [one for one in growing if extend(decoder, name, one)]
        for one in growing:
            token = one.asked.proposal.tokens[-1]
            state = decoder.state(one.row)[None]
            one.row = decoder.add_states(
                one.asked.request.seq, state, one.position, [token], outputs=1
            )
            one.position += stride


def extend(decoder: HeadDecoder, name: Source, one: Growing) -> bool:
    """Draft one token from the logits of a row; whether another one is wanted."""
    asked, found = one.asked, decoder.best(one.row)

    def choose() -> tuple[int, float]:
        return found or choice(asked, decoder.logits(one.row))

    return grow.extend(asked.proposal, asked.request.rule, name, choose, "head")


def choice(asked: Asked, logits: Logits) -> tuple[int, float]:
    """The token that a sequence takes by these logits, and how sure the head is of it."""
    request = asked.request
    position = len(request.tokens) + len(asked.proposal)
    token = request.chooser.guess(logits, position)
    if not request.rule.needs_confidence:
        return token, 1.0
    return token, share(logits, token)


def share(logits: Logits, token: int) -> float:
    """The probability of a token among the `CANDIDATES` most probable ones."""
    best = _candidates(logits)
    top = best.max()
    return float(np.exp(logits[token] - top) / np.exp(best - top).sum())


def _candidates(logits: Logits) -> Logits:
    """The highest logits. They are in the columns of a folded vocabulary that have the highest
    maxima. A partition of all of it takes a hundred times as long where a head has few of the
    target's tokens and the others are -inf, and three times as long where it has all."""
    columns = len(logits) // _FOLDED
    if columns > CANDIDATES:
        folded, rest = logits[: columns * _FOLDED].reshape(_FOLDED, columns), columns * _FOLDED
        wanted = np.argpartition(folded.max(axis=0), columns - CANDIDATES)[-CANDIDATES:]
        logits = np.concatenate((folded[:, wanted].ravel(), logits[rest:]))
    if len(logits) <= CANDIDATES:
        return logits
    return np.partition(logits, len(logits) - CANDIDATES)[-CANDIDATES:]
