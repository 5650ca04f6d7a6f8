"""`specli demo`: what drafting does on this machine, measured on the spot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import geometric_mean

from specli.app.feedback import Feedback
from specli.app.follow import View, follow
from specli.app.prepare import loaded_session, planned
from specli.app.race import Race
from specli.app.tasks import Task, races, request_for
from specli.options import Options

PREDICT = 96
SECONDS = 12.0
"""At most so long for a task, both sides together: the demonstration takes less than a minute."""


PAIR_PREDICT = 64
PAIR_SECONDS = 5.0
"""Of each task, where a pair is measured and nothing else is shown."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The tasks with what they came to."""

    races: list[tuple[Task, Race]]

    @property
    def speedup(self) -> float | None:
        """The geometric mean over the tasks; None where one has no figure."""
        found = [made.speedup for _task, made in self.races]
        known = [one for one in found if one]
        return geometric_mean(known) if known and len(known) == len(found) else None

    @property
    def best(self) -> tuple[Task, float]:
        """The task that gained most, and how many times as fast it was."""
        rated = [(task, made.speedup or 0.0) for task, made in self.races]
        return max(rated, key=lambda one: one[1])


def demonstrate(
    options: Options,
    feedback: Feedback,
    open_watch: Callable[[], AbstractContextManager[Callable[[Task], None]]],
    on_measured: Callable[[Demonstration], None],
    open_view: Callable[[], AbstractContextManager[View]],
) -> Demonstration:
    """Measure every task under a watch, report them, and generate the best once more under a view.

    Raises the errors of specli.errors.
    """
    plan = planned(options, feedback, slots=2, steady=True)
    with loaded_session(plan.setup, feedback) as session:
        with open_watch() as watch:
            made = Demonstration(list(races(session, PREDICT, SECONDS, watch)))
        on_measured(made)
        task, _speedup = made.best
        with open_view() as view:
            # A drafter that has seen the answer would only repeat it.
            engine = session.engine_for(session.setup.speculative)
            request = request_for(session, task, PREDICT)
            _generation, interrupted = follow(session, request, view, engine)
        if interrupted:
            raise KeyboardInterrupt
    return made


def measure_pair(
    options: Options,
    feedback: Feedback,
    open_watch: Callable[[], AbstractContextManager[Callable[[Task], None]]],
) -> Demonstration:
    """The same tasks with a pair that is named, for some seconds. Raises as `demonstrate`."""
    plan = planned(options, feedback, slots=2, steady=True)
    with loaded_session(plan.setup, feedback) as session, open_watch() as watch:
        return Demonstration(list(races(session, PAIR_PREDICT, PAIR_SECONDS, watch)))
