"""A bench: from options to runs, their report, and the files that keep it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from time import perf_counter

import specli
from specli.app.feedback import Feedback
from specli.app.prepare import loaded_session, planned, settings
from specli.bench.compare import Change, changes, differences
from specli.bench.facts import costs_of, machine_facts, models_of, peak_memory
from specli.bench.html import page, require_charts
from specli.bench.prompts import BenchPrompt, in_categories, read_prompts, shipped_prompts
from specli.bench.report import (
    VERSION,
    PromptFacts,
    Report,
    Run,
    SettingFacts,
    read_report,
    to_json,
)
from specli.bench.runner import Bench, Contender, contenders, interleaved
from specli.bench.runs_csv import runs_csv
from specli.bench.statistics import summarised
from specli.drafting_settings import speculative_config
from specli.errors import UsageError
from specli.files import write_text
from specli.option_table import AUTO
from specli.options import Options
from specli.speculative import DRAFT_MAX, Adaptive, SpeculativeConfig


@dataclass(frozen=True, slots=True)
class BenchTask:
    """The options of `specli bench` itself.

    `lengths` and `cuts` are swept; with neither, the settings are those of `specli run`.
    """

    runs: int
    predict: int
    prompts: Path | None = None
    categories: tuple[str, ...] = ()
    lengths: tuple[int | str, ...] = ()
    cuts: tuple[float, ...] = ()
    cache_prompt: bool = False
    output: Path | None = None
    csv_file: Path | None = None
    html_file: Path | None = None


OpenWatch = Callable[[int], AbstractContextManager[Callable[[str, int], None]]]
"""Opens a view of so many runs; it takes what was measured last, and how many runs are done."""


def bench(options: Options, task: BenchTask, feedback: Feedback, open_watch: OpenWatch) -> Report:
    """Measure a pair. Ctrl-C ends it with what has been measured, if anything has.

    Raises the errors of specli.errors.
    """
    prompts = _checked_prompts(task)
    plan = planned(options, feedback)
    options, sampling, setup = plan.options, plan.sampling, plan.setup
    rivals = contenders(variants(setup.speculative, options, task))

    created = datetime.now(UTC).isoformat(timespec="seconds")
    began = perf_counter()
    # Costs are measured whichever settings are compared.
    adaptive = replace(setup.speculative, policy=Adaptive())
    measuring = replace(setup, speculative=adaptive, steady=True)
    with loaded_session(measuring, feedback) as session:
        rig = Bench(session, task.predict, sampling, options.system, task.cache_prompt)
        for prompt in prompts:
            rig.check(prompt)
        facts = tuple(
            PromptFacts(one.id, one.category, rig.prompt_size(one), 1 + len(one.further))
            for one in prompts
        )
        costs = costs_of(session.policy)
        runs, complete = _measure(rig, rivals, prompts, task, open_watch)
    if not runs:
        raise KeyboardInterrupt
    return Report(
        version=VERSION,
        specli=specli.__version__,
        created=created,
        seconds=perf_counter() - began,
        complete=complete,
        machine=machine_facts(),
        models=models_of(setup),
        settings=tuple(
            SettingFacts(r.name, settings(replace(setup, speculative=r.speculative), sampling))
            for r in rivals
        ),
        prompts=facts,
        runs_wanted=task.runs,
        predict=task.predict,
        temperature=sampling.temperature,
        seed=None if sampling.greedy else sampling.seed,
        peak_memory=peak_memory(),
        costs=costs,
        runs=tuple(runs),
        summaries=summarised(runs, [rival.name for rival in rivals], facts),
        cache_prompt=task.cache_prompt,
    )


def _checked_prompts(task: BenchTask) -> list[BenchPrompt]:
    """The prompts to measure on. Raises UsageError for all that can be wrong before that."""
    for path in (task.output, task.csv_file, task.html_file):
        if path is not None and path.is_dir():
            raise UsageError(f"{path} is a folder", hint="name a file in it")
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    if task.html_file is not None:
        require_charts()
    given = shipped_prompts() if task.prompts is None else read_prompts(task.prompts)
    return in_categories(given, task.categories)


def variants(
    config: SpeculativeConfig, options: Options, task: BenchTask
) -> list[SpeculativeConfig]:
    """What to compare with plain decoding: what `specli run` would make of each sweep.

    Raises UsageError for a sweep of draft lengths without a draft model.
    """
    if not task.lengths and not task.cuts:
        return [config]
    draft = config.draft_model
    if draft is None:
        raise UsageError(
            "draft lengths and cut-offs are a draft model's, and there is none",
            hint="name one with -md, or take one that is here with -md auto",
        )
    fixed = DRAFT_MAX if options.draft_max in (None, AUTO) else options.draft_max
    lengths: tuple[int | str, ...] = task.lengths or (fixed,)
    cuts: tuple[float | None, ...] = task.cuts or (options.draft_p_min,)
    options = options.but(model_draft=str(draft.model))
    return [
        speculative_config(options.but(draft_max=length, draft_p_min=cut).given()).with_model(draft)
        for length, cut in product(lengths, cuts)
    ]


def _measure(
    bench: Bench,
    rivals: Sequence[Contender],
    prompts: Sequence[BenchPrompt],
    task: BenchTask,
    open_watch: OpenWatch,
) -> tuple[list[Run], bool]:
    """All runs, compared with plain decoding, and True; or those until Ctrl-C, and False."""
    runs: list[Run] = []
    complete = False
    with suppress(KeyboardInterrupt):
        with open_watch(task.runs * len(rivals) * len(prompts)) as watch:
            watch("warming up", 0)
            for rival in rivals:
                bench.warm_up(rival, prompts[0])
            for run in interleaved(rivals, prompts, task.runs, bench):
                runs.append(run)
                watch(f"{run.setting} on {run.prompt}", len(runs))
        complete = True
    with suppress(KeyboardInterrupt):
        return bench.compared(runs, rivals[0]) if runs else runs, complete
    return runs, False


def keep(report: Report, task: BenchTask, command: str) -> list[Path]:
    """Write the files of the task and return their paths; `command` is what made the report.

    Raises SpecliError where one cannot be written.
    """
    if task.output is not None:
        write_text(task.output, to_json(report))
    if task.csv_file is not None:
        write_text(task.csv_file, runs_csv(report))
    if task.html_file is not None:
        write_text(task.html_file, page(report, command))
    return [path for path in (task.output, task.csv_file, task.html_file) if path is not None]


def compare(first: Path, second: Path, *, force: bool) -> tuple[list[str], list[Change]]:
    """How two benches differ in their circumstances, and what has changed.

    Raises UsageError for different machines or models, unless `force`, and for what is no report.
    """
    one, other = read_report(first), read_report(second)
    found = differences(one, other)
    grave = [difference for difference in found if difference.grave]
    if grave and not force:
        sentences = "; ".join(difference.sentence for difference in grave)
        raise UsageError(
            f"these benches are not of the same machine and models: {sentences}",
            hint="--force compares them all the same",
        )
    shared = changes(one, other)
    if not shared:
        raise UsageError(
            "the two benches have no setting in common", hint="measure the same settings in both"
        )
    return [difference.sentence for difference in found], shared
