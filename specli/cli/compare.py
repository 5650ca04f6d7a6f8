"""`--check`: the same request without speculation, and the first difference if there is one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from specli.cli.follow import Generation, Silent, follow
from specli.engine.sequence import GenerationRequest
from specli.session import Session

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
    def sentence(self) -> str:
        if self.identical:
            return f"check: identical to plain decoding, {self.tokens} tokens"
        kind = "a near tie" if self.near_tie else "more than a near tie"
        return (
            f"check: differs from plain decoding at token {self.position}: "
            f"{self.speculative!r} instead of {self.plain!r}, margin {self.margin:.4g}, {kind}"
        )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def compare_with_plain(
    session: Session, request: GenerationRequest, generation: Generation
) -> Comparison:
    """Replay `request` without speculation against what `generation` got."""
    plain, interrupted = follow(session, replace(request, speculate=False, margins=True), Silent())
    if interrupted:
        raise KeyboardInterrupt
    ours, theirs = generation.tokens, plain.tokens
    if ours == theirs:
        return Comparison(tokens=len(ours), identical=True)
    place = next(
        (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    vocab = session.target_model.vocab
    margin = plain.margins[place] if place < len(plain.margins) else None
    return Comparison(
        tokens=len(theirs),
        identical=False,
        near_tie=margin is not None and margin <= NEAR_TIE,
        position=place,
        margin=margin,
        speculative=vocab.name(ours[place]) if place < len(ours) else None,
        plain=vocab.name(theirs[place]) if place < len(theirs) else None,
    )
