"""`--check`: the same request without speculation, and the first difference if there is one."""

from __future__ import annotations

from dataclasses import replace

from specli.app.follow import Silent, follow
from specli.bench.difference import NEAR_TIE, Comparison, compared
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.session import Session

__all__ = ["NEAR_TIE", "Comparison", "compare_with_plain"]


def compare_with_plain(
    session: Session, request: GenerationRequest, generation: Generation
) -> Comparison:
    """Replay `request` without speculation against what `generation` got."""
    plain, interrupted = follow(session, replace(request, speculate=False, margins=True), Silent())
    if interrupted:
        raise KeyboardInterrupt
    name = session.target_model.vocab.name
    return compared(generation.tokens, plain.tokens, plain.margins, name)
