"""A draft for a target: made from it, or from another family's model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from specli.drafts.evaluator import Trial
from specli.drafts.make import (
    PAYS,
    MakeOptions,
    MakeResult,
    OnProgress,
    made_draft_path,
    make_draft,
)
from specli.drafts.transplant import Transplanted, transplant
from specli.hub.progress import ProgressSink
from specli.hub.references import fetch

OpenReport = Callable[[], AbstractContextManager[ProgressSink]]


@dataclass(frozen=True, slots=True)
class Made:
    """What a search for a draft of `target` came to."""

    target: str
    result: MakeResult

    @property
    def pays(self) -> bool:
        return self.result.best.speedup >= PAYS

    def report(self) -> dict[str, object]:
        """The search as `--json` prints it."""
        result = self.result
        return {
            "target": self.target,
            "draft": None if result.path is None else str(result.path),
            "plain_ms": round(result.plain_ms, 3),
            "answer_tokens": result.tokens,
            "seconds": round(result.seconds, 1),
            "trials": [_trial(trial) for trial in result.trials],
        }


def _trial(trial: Trial) -> dict[str, object]:
    expected = trial.expected
    return {
        "type": trial.type,
        "bytes": trial.size,
        "draft_ms": round(trial.draft_ms, 3),
        "agreement": round(expected.agreement, 4),
        "mean_accepted_length": round(expected.mean_accepted_length, 3),
        "predicted_per_second": round(expected.predicted_per_second, 2),
        "speedup": round(trial.speedup, 3),
        "draft_max": expected.draft_max,
        "draft_p_min": expected.p_min,
    }


def make(
    target: str,
    output: Path | None,
    open_report: OpenReport,
    open_watch: Callable[[], AbstractContextManager[OnProgress]],
    *,
    seconds: float,
    type_name: str | None = None,
) -> Made:
    """Fetch a target and make a draft from it; `output` None is specli's cache.

    Raises what `fetch` and `make_draft` raise.
    """
    with open_report() as report:
        path = fetch(target, report)
    with open_watch() as on_progress:
        return Made(target, make_draft(path, MakeOptions(seconds, type_name), output, on_progress))


@dataclass(frozen=True, slots=True)
class TransplantResult:
    """A draft that is another model with the vocabulary of `target`; `size` in bytes."""

    target: str
    donor: str
    done: Transplanted
    size: int

    @property
    def unknown(self) -> int:
        """Tokens that the donor can neither know nor spell."""
        shared = self.done.overlap
        return shared.size - shared.matched - self.done.averaged

    def report(self) -> dict[str, object]:
        """The draft as `--json` prints it."""
        done, shared = self.done, self.done.overlap
        return {
            "target": self.target,
            "from": self.donor,
            "draft": str(done.path),
            "bytes": self.size,
            "tokens": shared.size,
            "tokens_shared": shared.matched,
            "tokens_averaged": done.averaged,
            "sample_tokens": shared.used,
            "sample_tokens_shared": shared.used_matched,
        }


def transplant_draft(
    target: str, donor: str, output: Path | None, open_report: OpenReport
) -> TransplantResult:
    """Fetch both models and give the donor the target's vocabulary, as `transplant` does."""
    with open_report() as report:
        path, donor_path = fetch(target, report), fetch(donor, report)
        made = made_draft_path(path) if output is None else output.absolute()
        done = transplant(path, donor_path, made, report)
    return TransplantResult(target, donor, done, done.path.stat().st_size)
