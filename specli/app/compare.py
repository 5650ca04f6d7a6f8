"""`--check`: the same request without speculation, and what becomes of a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from specli.app.follow import Silent, follow
from specli.bench.difference import Comparison, compared
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.session import Session

__all__ = ["Comparison", "compare_with_plain"]


def compare_with_plain(
    session: Session, request: Callable[[], GenerationRequest], generation: Generation
) -> Comparison:
    """What plain decoding says to `request` against what `generation` got.

    `request` is made anew for each use, because a grammar moves on with its text.
    """
    plain, interrupted = follow(session, replace(request(), speculate=False), Silent())
    if interrupted:
        raise KeyboardInterrupt
    vocab = session.target_model.vocab
    return compared([(request(), generation)], [plain], session.target, vocab)
