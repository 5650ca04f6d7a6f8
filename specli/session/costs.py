"""What target and draft cost here: from the record of an earlier run, or measured now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from time import perf_counter

from specli.drafters.heads.core import Kind
from specli.drafters.heads.tried import Tried
from specli.engine.measure import DRAFT_POINTS, POINTS, Batches, Watch, measure, undisturbed
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.events import MODEL
from specli.hub.progress import Progress, ProgressSink, ignore
from specli.llama import library
from specli.llama.context import Context
from specli.session.loading import physical_cores, threads_of
from specli.session.records import load, record_path, save
from specli.session.setup import Setup

PROBE_SECONDS = 1.0
SLOW_PROBE = 3.0
"""Seconds of measuring after which the user gets a note."""

Knowledge = tuple[CostModel, Acceptance]


def costs_record(setup: Setup, records: Path) -> Path:
    """Where the measured costs of a set-up are kept, whether or not they have been measured."""
    circumstances = [
        library.build_id(),
        setup.flash_attention,
        str(physical_cores()),
        *(["exact"] if setup.exact else []),
        *(repr(replace(one, threads=threads_of(one))) for one in setup.placements),
        *library.gpus(),
    ]
    if setup.own_head is not None:
        circumstances.append(setup.own_head.kind)
    # An adapter that is written anew under its name is another one.
    adapters = [file for one in setup.placements for file in one.native.adapters if file.exists()]
    return record_path(records, [*setup.files, *adapters], circumstances)


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
    acceptance: Acceptance | None = None
    """How often drafters are right, whatever the threads."""
    _known: dict[Path, CostModel] = field(default_factory=dict)
    _settled: dict[Path, CostModel] = field(default_factory=dict)
    """What was learned while nothing disturbed it, and may be kept."""
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
                self._before[path] = deepcopy(known)
                self._know(setup, known[0])
                self._settled[path] = deepcopy(known[0])
                self.acceptance = self.acceptance or known[1]
        if path not in self._known:
            return None
        return self._known[path], self._learning()

    def of(
        self, setup: Setup, target: Context, draft: Context | None, head: Kind | None = None
    ) -> Knowledge:
        """Costs and acceptance of the pair; costs are measured now where they are not known."""
        known = self.recorded(setup)
        if known is None:
            cost, complete = self._measured(target, draft, head)
            if not complete:
                self._partial.add(costs_record(setup, self.records))
            known = self._know(setup, cost), self._learning()
        return known

    def switched(self, setup: Setup, now: CostModel) -> CostModel:
        """The costs of other threads while sequences run: those that are known, or a guess from
        the present ones, which the first rounds correct."""
        known = self.recorded(setup)
        if known is not None:
            return known[0]
        # Between bound by memory, where threads change nothing, and bound by arithmetic.
        share = sum(now.threads) / sum(map(threads_of, setup.placements))
        return self._know(setup, now.slower(sqrt(share)))

    def settle(self, setup: Setup) -> None:
        """Nothing has disturbed what was learned of the costs lately."""
        path = costs_record(setup, self.records)
        if path in self._known and self._known[path].sure and path not in self._partial:
            self._settled[path] = deepcopy(self._known[path])

    def unsettle(self, setup: Setup) -> None:
        """Other work has disturbed what was learned since the last `settle`: forget it."""
        path = costs_record(setup, self.records)
        if path in self._settled:
            self._known[path] = deepcopy(self._settled[path])

    def save(self) -> None:
        """Keep what was learned undisturbed for the next time.

        What has taught nothing new is not written again.
        """
        for path, cost in self._settled.items():
            known = cost, self._learning()
            if known != self._before.get(path):
                save(path, *known, self.notice)

    def _learning(self) -> Acceptance:
        if self.acceptance is None:
            self.acceptance = Acceptance()
        return self.acceptance

    def _know(self, setup: Setup, cost: CostModel) -> CostModel:
        cost.threads = tuple(map(threads_of, setup.placements))
        self._known[costs_record(setup, self.records)] = cost
        return cost

    def _measured(
        self, target: Context, draft: Context | None, head: Kind | None
    ) -> tuple[CostModel, bool]:
        """Costs measured now, and whether that was not skipped."""
        began = perf_counter()
        token = max(target.model.vocab.eos, 0)
        drafters = {}
        with library.taking_one_interrupt() if self.skips else _NEVER as skipped:
            if draft is not None:
                watch = self._watch(draft.model.path.name, skipped)
                drafters[MODEL] = _timed(draft, DRAFT_POINTS, token, PROBE_SECONDS / 4, watch)
                _expect_attention(drafters[MODEL], draft)
            if head is not None:
                watch, tried = self._watch(head.name, skipped), Tried(head)
                drafters[head.name] = _timed(tried, DRAFT_POINTS, token, PROBE_SECONDS / 4, watch)
            watch = self._watch(target.model.path.name, skipped)
            cost = CostModel(_timed(target, POINTS, token, PROBE_SECONDS, watch), drafters)
            _expect_attention(cost.target, target)
        if skipped():
            sizes = f"{len(cost.target.sizes)} of {len(POINTS)} batch sizes"
            self.notice(f"measuring was skipped after {sizes}; the next run measures again")
        elif not all(map(undisturbed, cost.curves)):
            cost.sure = False
            self.notice(
                "the machine was busy while the costs of this pair were measured; "
                "they are measured again while generating"
            )
        elif perf_counter() - began > SLOW_PROBE:
            self.notice(f"calibrated this pair in {perf_counter() - began:.0f} s (cached)")
        return cost, not skipped()

    def _watch(self, name: str, skipped: Callable[[], bool]) -> Watch:
        """Reports each size that is known; ends the measuring when it is skipped."""

        def watch(done: int, total: int) -> bool:
            self.report(Progress("measure", name, done, total))
            return not skipped()

        return watch


_NEVER = nullcontext(lambda: False)


def _expect_attention(curve: Curve, context: Context) -> None:
    """Until rounds tell, each byte of the cache takes as long as each byte of the weights."""
    curve.per_context = curve(1) * context.bytes_per_token / context.model.size


def _timed(
    context: Batches, points: tuple[int, ...], token: int, seconds: float, watch: Watch
) -> Curve:
    """A curve; measured a second time where other work disturbed the first."""
    curve = measure(context, points, token, seconds, perf_counter, watch)
    if undisturbed(curve) or not watch(len(curve.sizes), len(points)):
        return curve
    again = measure(context, points, token, seconds, perf_counter, watch)
    return again if undisturbed(again) else curve.fastest(again)
