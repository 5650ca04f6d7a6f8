"""Whether a text is plain decoding's own, and where it first is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

NEAR_TIE = 0.1
"""Two candidates closer than this may change places when a batch is computed with other kernels
than a single token; in logits, or in logits over temperature plus noise when sampling."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`position` counts generated tokens from 0; the other fields are None when identical.

    `margin` is the distance of the two best candidates in plain decoding at that position.
    """

    tokens: int
    identical: bool
    near_tie: bool = False
    position: int | None = None
    margin: float | None = None
    speculative: str | None = None
    plain: str | None = None

    @property
    def passed(self) -> bool:
        return self.identical or self.near_tie

    @property
    def difference(self) -> str:
        """The first difference in words, for texts that are not identical."""
        kind = "a near tie" if self.near_tie else "more than a near tie"
        margin = "unknown" if self.margin is None else f"{self.margin:.4g}"
        return (
            f"differs from plain decoding at token {self.position}: "
            f"{self.speculative!r} instead of {self.plain!r}, margin {margin}, {kind}"
        )

    @property
    def sentence(self) -> str:
        if self.identical:
            return f"check: identical to plain decoding, {self.tokens} tokens"
        return f"check: {self.difference}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def compared(
    speculative: Sequence[int],
    plain: Sequence[int],
    margins: Sequence[float],
    name: Callable[[int], str],
) -> Comparison:
    """Two answers token by token; `margins` are plain decoding's, `name` shows a token."""
    if list(speculative) == list(plain):
        return Comparison(tokens=len(plain), identical=True)
    place = next(
        (n for n, (a, b) in enumerate(zip(speculative, plain, strict=False)) if a != b),
        min(len(speculative), len(plain)),
    )
    margin = margins[place] if place < len(margins) else None
    return Comparison(
        tokens=len(plain),
        identical=False,
        near_tie=margin is not None and margin <= NEAR_TIE,
        position=place,
        margin=margin,
        speculative=name(speculative[place]) if place < len(speculative) else None,
        plain=name(plain[place]) if place < len(plain) else None,
    )
