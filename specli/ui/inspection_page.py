"""Every token of a text as one HTML page without scripts that needs no network."""

from __future__ import annotations

from pathlib import Path

from specli.bench.html import page_environment
from specli.events import TARGET
from specli.inspection import InspectedRun, InspectedToken
from specli.ui.inspection import NOTE, quoted, share

KNOWN = (TARGET, "draft", "suffix", "ngram", "prediction", "lookup")


def page(run: InspectedRun) -> str:
    """The page of a run."""
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {"quoted": quoted, "share": share, "about": _about, "kind": _kind}
    tokens = [token for one in run.rounds for token in one.tokens]
    rejected = sum(len(one.rejected) for one in run.rounds)
    return environment.get_template("inspection.html.jinja").render(
        run=run,
        tokens=len(tokens),
        accepted=sum(token.source != TARGET for token in tokens),
        rejected=rejected,
        sources=list(dict.fromkeys(token.source for token in tokens)),
        note=NOTE,
    )


def _kind(source: str) -> str:
    """A class of the style sheet."""
    return source if source in KNOWN else "other"


def _about(token: InspectedToken) -> str:
    """What a pointer over a token shows."""
    parts = [f"{quoted(token.text)} {token.id}", token.source]
    if token.confidence is not None:
        parts.append(f"confidence {share(token.confidence)}")
    if token.rank is not None:
        parts.append(f"rank {token.rank}, probability {share(token.probability)}")
    return ", ".join(parts)
