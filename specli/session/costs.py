"""What target and draft cost here: from the record of an earlier run, or measured now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from specli.engine.measure import DRAFT_POINTS, POINTS, Watch, measure, undisturbed
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.events import MODEL
from specli.hub.progress import Progress, ProgressSink, ignore
from specli.llama import library
from specli.llama.context import Context
from specli.session.loading import physical_cores
from specli.session.records import load, record_path, save
from specli.session.setup import Setup
from specli.speculative import Placement

PROBE_SECONDS = 1.0
SLOW_PROBE = 3.0
"""Seconds of measuring after which the user gets a note."""

Knowledge = tuple[CostModel, Acceptance]


def costs_record(setup: Setup, records: Path) -> Path:
    """Where the measured costs of a set-up are kept, whether or not they have been measured."""
    draft = Placement() if setup.draft is None else setup.draft.placement
    circumstances = [
        library.build_id(),
        setup.flash_attention,
        str(physical_cores()),
        repr(setup.target_placement),
        repr(draft),
        *(["exact"] if setup.exact else []),
        *(device.description for device in library.devices() if device.is_gpu),
    ]
    return record_path(records, setup.files, circumstances)


@dataclass(slots=True)
class Costs:
    """What a session knows of its pair, once for each choice of threads.

    `records` is the folder of the records, `notice` takes a sentence for the user. With `skips`
    the first Ctrl-C ends the measuring, and what is known by then has to do for this session.
    """

    records: Path
    notice: Callable[[str], None]
    recalibrate: bool = False
    report: ProgressSink = ignore
    skips: bool = False
    _known: dict[Path, Knowledge] = field(default_factory=dict)
    _before: dict[Path, Knowledge] = field(default_factory=dict)
    """What was on record when the session began to use it."""
    _partial: set[Path] = field(default_factory=set)
    """Measured in part only, and therefore not kept."""

    def recorded(self, setup: Setup) -> Knowledge | None:
        """What is known already; None where it has to be measured."""
        path = costs_record(setup, self.records)
        if path not in self._known and not self.recalibrate:
            known = load(path)
            if known is not None:
                self._known[path] = known
                self._before[path] = deepcopy(known)
        return self._known.get(path)

    def of(self, setup: Setup, target: Context, draft: Context | None) -> Knowledge:
        """Costs and acceptance of the pair; costs are measured now where they are not known."""
        known = self.recorded(setup)
        if known is None:
            # What a draft is worth does not depend on threads, what it costs does.
            learned = [acceptance for _cost, acceptance in self._known.values()]
            acceptance = deepcopy(learned[-1]) if learned else Acceptance()
            path = costs_record(setup, self.records)
            cost, complete = self._measured(target, draft)
            if not complete:
                self._partial.add(path)
            self._known[path] = known = cost, acceptance
        return known

    def save(self) -> None:
        """Keep what is known for the next time, unless other work disturbed it.

        What has taught nothing new is not written again.
        """
        for path, known in self._known.items():
            cost, acceptance = known
            learned = known != self._before.get(path) and path not in self._partial
            if learned and undisturbed(cost.target):
                save(path, cost, acceptance, self.notice)

    def _measured(self, target: Context, draft: Context | None) -> tuple[CostModel, bool]:
        """Costs measured now, and whether that was not skipped."""
        began = perf_counter()
        token = max(target.model.vocab.eos, 0)
        drafters = {}
        taking = library.taking_one_interrupt if self.skips else _no_interrupt
        with taking() as skipped:
            if draft is not None:
                watch = self._watch(draft, skipped)
                drafters[MODEL] = _timed(draft, DRAFT_POINTS, token, PROBE_SECONDS / 4, watch)
            watch = self._watch(target, skipped)
            cost = CostModel(_timed(target, POINTS, token, PROBE_SECONDS, watch), drafters)
        if skipped():
            sizes = f"{len(cost.target.sizes)} of {len(POINTS)} batch sizes"
            self.notice(f"measuring was skipped after {sizes}; the next run measures again")
        elif not undisturbed(cost.target):
            self.notice(
                "the machine was busy while the cost of drafting was measured; "
                "it will be measured again next time"
            )
        elif perf_counter() - began > SLOW_PROBE:
            self.notice(f"calibrated this pair in {perf_counter() - began:.0f} s (cached)")
        return cost, not skipped()

    def _watch(self, context: Context, skipped: Callable[[], bool]) -> Watch:
        """Reports each size that is known; ends the measuring when it is skipped."""

        def watch(done: int, total: int) -> bool:
            self.report(Progress("measure", context.model.path.name, done, total))
            return not skipped()

        return watch


@contextmanager
def _no_interrupt() -> Iterator[Callable[[], bool]]:
    yield lambda: False


def _timed(
    context: Context, points: tuple[int, ...], token: int, seconds: float, watch: Watch
) -> Curve:
    """A curve; measured a second time where other work disturbed the first."""
    curve = measure(context, points, token, seconds, perf_counter, watch)
    if undisturbed(curve) or not watch(len(curve.sizes), len(points)):
        return curve
    again = measure(context, points, token, seconds, perf_counter, watch)
    return again if undisturbed(again) else curve.fastest(again)
