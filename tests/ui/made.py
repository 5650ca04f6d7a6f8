"""Made-up events and statistics for the views."""

from __future__ import annotations

from collections.abc import Sequence

from specli.events import TARGET, Event, Piece, Prefilled, Round, Source, Stats


def prompt_read(total: int = 24, done: int | None = None) -> Prefilled:
    done = total if done is None else done
    return Prefilled(seq=0, done=done, total=total, cached=0, ms=50.0, at=10.0)


def round_of(
    *pieces: tuple[str, Source],
    proposal: Sequence[Source] = (),
    accepted: int = 0,
    at: float = 11.0,
) -> Round:
    return Round(
        seq=0,
        tokens=[0] * (accepted + 1),
        sources=[*proposal[:accepted], TARGET],
        pieces=[Piece(text, source) for text, source in pieces],
        proposal_sources=list(proposal),
        accepted=accepted,
        draft_ms=10.0,
        verify_ms=30.0,
        rollback_ms=0.0,
        native_ms=39.0,
        at=at,
    )


def stats_of(*events: Event) -> Stats:
    stats = Stats()
    for event in events:
        stats.add(event)
    return stats


def drafted_stats() -> Stats:
    """24 prompt tokens in 50 ms; 9 tokens in 2 s; 6 of 9 drafted tokens accepted."""
    return stats_of(
        prompt_read(),
        round_of(proposal=["draft"] * 4, accepted=4, at=10.5),
        round_of(at=11.0),
        round_of(proposal=["ngram"] * 3 + ["draft"] * 2, accepted=2, at=12.0),
    )
