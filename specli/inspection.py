"""Every token of a text: who proposed it, how sure of it, and what the target thought of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from specli.errors import UsageError
from specli.events import Round, Source, TokenLogprob
from specli.files import read_text

LARGEST_FILE = 1 << 28
"""Bytes of a file that is read as a run; a long answer takes a few megabytes."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class InspectedToken(_Strict):
    """A token that was emitted or rejected.

    `confidence` is its drafter's; `rank` and `probability` are the target's, where it judged the
    token and was asked for them.
    """

    id: int
    text: str
    source: Source
    confidence: Share | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    probability: Share | None = None


class InspectedRound(_Strict):
    """A round: what it emitted, and the rest of the proposal, of which the target judged only the
    first token."""

    draft_ms: float
    verify_ms: float
    tokens: list[InspectedToken]
    rejected: list[InspectedToken] = []


class InspectedRun(_Strict):
    """A run as `specli run --json` writes it, as far as it can be inspected."""

    text: str
    rounds: list[InspectedRound]
    settings: dict[str, object] = {}

    @property
    def ranked(self) -> bool:
        """Whether the target's own order was recorded."""
        return any(token.rank is not None for one in self.rounds for token in one.tokens)


def inspected(rounds: Sequence[Round], piece: Callable[[int], bytes]) -> list[InspectedRound]:
    """Rounds with the texts of their tokens."""
    return [_round(one, piece) for one in rounds]


def _round(one: Round, piece: Callable[[int], bytes]) -> InspectedRound:
    def token(
        number: int, source: Source, confidence: float | None, found: TokenLogprob | None
    ) -> InspectedToken:
        return InspectedToken(
            id=number,
            text=piece(number).decode("utf-8", "replace"),
            source=source,
            confidence=None if confidence is None else round(min(max(confidence, 0), 1), 4),
            **({} if found is None else standing(found)),
        )

    standings: Sequence[TokenLogprob | None] = one.logprobs or [None] * len(one.tokens)
    confidences = [*one.confidences[: one.accepted], *([None] * len(one.tokens))]
    emitted = zip(one.tokens, one.sources, confidences, standings, strict=False)
    after = slice(one.accepted, None)
    refused = zip(
        one.proposal[after], one.proposal_sources[after], one.confidences[after], strict=False
    )
    rejected = [token(*given, None) for given in refused]
    if rejected and one.refused is not None:
        rejected[0] = rejected[0].model_copy(update=standing(one.refused))
    return InspectedRound(
        draft_ms=round(one.draft_ms, 2),
        verify_ms=round(one.verify_ms, 2),
        tokens=[token(*given) for given in emitted],
        rejected=rejected,
    )


def standing(found: TokenLogprob) -> dict[str, Any]:
    """Rank, from 1, and probability of a token among the target's choices."""
    return {"rank": found.rank + 1, "probability": round(math.exp(found.logprob), 4)}


def rounds_json(rounds: Sequence[InspectedRound]) -> list[dict[str, object]]:
    """Rounds for a JSON object; what is not known is left out."""
    return [one.model_dump(exclude_none=True) for one in rounds]


def read_run(path: Path) -> InspectedRun:
    """A run that `specli run --json` has written. Raises UsageError for anything else."""
    text = read_text(path, LARGEST_FILE)
    try:
        return InspectedRun.model_validate_json(text)
    except ValidationError:
        raise UsageError(
            f"{path} is not a run that can be inspected",
            hint='write one with: specli run --json --inspect "…" > run.json',
        ) from None
