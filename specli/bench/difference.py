"""Whether a text equals plain decoding's, and where it first differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

NEAR_TIE = 0.1
"""Two candidates closer than this may swap, because a batch is computed with other kernels than a
single token; in logits, or in logits over temperature plus noise when sampling."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`position` counts generated tokens from 0; the fields from it on are None when identical.

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
        """The first difference in words."""
        kind = "a near tie" if self.near_tie else "more than a near tie"
        margin = "unknown" if self.margin is None else f"{self.margin:.4g}"
        return (
            f"differs from plain decoding at token {self.position}: "
            f"{self.speculative!r} instead of {self.plain!r}, margin {margin}, {kind}"
        )

    @property
    def sentence(self) -> str:
        same = f"identical to plain decoding, {self.tokens} tokens"
        return f"check: {same if self.identical else self.difference}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def compared(
    speculative: Sequence[int],
    plain: Sequence[int],
    margins: Sequence[float],
    name: Callable[[int], str],
) -> Comparison:
    """Compare two answers; `margins` are plain decoding's, `name` gives a token's text."""
    if list(speculative) == list(plain):
        return Comparison(tokens=len(plain), identical=True)
    position = next(
        (n for n, (a, b) in enumerate(zip(speculative, plain, strict=False)) if a != b),
        min(len(speculative), len(plain)),
    )
    margin = margins[position] if position < len(margins) else None
    return Comparison(
        tokens=len(plain),
        identical=False,
        near_tie=margin is not None and margin <= NEAR_TIE,
        position=position,
        margin=margin,
        speculative=name(speculative[position]) if position < len(speculative) else None,
        plain=name(plain[position]) if position < len(plain) else None,
    )
