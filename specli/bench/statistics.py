"""The figures of a report, from its single runs.

The speed of a machine drifts, so a setting is compared with plain decoding only within one turn,
in which both ran the same prompt one after the other. The speed-up of a prompt is the median of
these ratios over its turns, that of a category the geometric mean over its prompts. Its interval
is a stratified bootstrap: the turns of every prompt are resampled with replacement, and the middle
95 % of the speed-ups is the interval. It covers repetitions of the same bench on this machine, not
other prompts. With fewer than three turns a median has no measurable error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from statistics import fmean, median

import numpy as np

from specli.bench.report import OVERALL, PLAIN_NAME, Interval, PromptFacts, Run, Summary

RESAMPLES = 2000
CONFIDENCE = 0.95
LEAST_TURNS = 3


def ratios(runs: Iterable[Run], setting: str) -> dict[str, list[float]]:
    """By prompt, the speed of `setting` over plain decoding in each turn that has both."""
    speeds = {(run.setting, run.prompt, run.number): run.per_second for run in runs}
    found: dict[str, list[float]] = {}
    for (name, prompt, number), speed in speeds.items():
        plain = speeds.get((PLAIN_NAME, prompt, number))
        if name == setting and plain is not None:
            found.setdefault(prompt, []).append(speed / plain)
    return found


def speedup(by_prompt: Sequence[Sequence[float]]) -> Interval:
    """The geometric mean over prompts of their median ratios, and its 95 % interval.

    `by_prompt` holds the ratios of each prompt's turns; there must be at least one of each.
    """
    value = math.exp(fmean(math.log(median(turns)) for turns in by_prompt))
    if min(len(turns) for turns in by_prompt) < LEAST_TURNS:
        return Interval(value, None, None)
    source = np.random.default_rng(0)
    logs = np.zeros(RESAMPLES)
    for turns in by_prompt:
        drawn = source.choice(np.asarray(turns), (RESAMPLES, len(turns)))
        logs += np.log(np.median(drawn, axis=1))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(logs / len(by_prompt), [tail, 1 - tail]))
    return Interval(value, float(low), float(high))


def summarised(
    runs: Sequence[Run], settings: Sequence[str], prompts: Sequence[PromptFacts]
) -> tuple[Summary, ...]:
    """Every setting's categories in the order of the prompts, then all prompts together.

    Categories without a run are left out.
    """
    ids: dict[str, set[str]] = {}
    for prompt in prompts:
        ids.setdefault(prompt.category, set()).add(prompt.id)
    ids[OVERALL] = {prompt.id for prompt in prompts}
    summaries = []
    for setting in settings:
        by_prompt = {} if setting == PLAIN_NAME else ratios(runs, setting)
        for category, members in ids.items():
            mine = [run for run in runs if run.setting == setting and run.prompt in members]
            inside = [turns for prompt, turns in by_prompt.items() if prompt in members]
            if mine:
                summaries.append(_summary(setting, category, mine, inside))
    return tuple(summaries)


def _summary(
    setting: str, category: str, runs: Sequence[Run], by_prompt: Sequence[Sequence[float]]
) -> Summary:
    low, middle, high = quartiles([run.per_second for run in runs])
    drafted = sum(run.drafted for run in runs)
    rounds = sum(run.rounds_with_proposal for run in runs)
    compared = [run.compared for run in runs if run.compared is not None]
    of_prompts = [median(turns) for turns in by_prompt]
    return Summary(
        setting=setting,
        category=category,
        prompts=len({run.prompt for run in runs}),
        runs=len(runs),
        speed=middle,
        speed_low=low,
        speed_high=high,
        speedup=speedup(by_prompt) if by_prompt else None,
        slowest_prompt=min(of_prompts, default=None),
        fastest_prompt=max(of_prompts, default=None),
        acceptance_rate=sum(run.accepted for run in runs) / drafted if drafted else None,
        mean_accepted_length=sum(run.predicted_n for run in runs) / sum(run.rounds for run in runs),
        acceptance_per_position=tuple(
            sum(counts) / rounds
            for counts in zip_longest(*(run.accepted_at for run in runs), fillvalue=0)
        ),
        first_token_ms=median(run.first_token_ms for run in runs),
        compared=len(compared),
        identical=sum(found.identical for found in compared),
        explained=sum(found.verdict == "kernels" for found in compared),
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, interpolated between the values."""
    low, middle, high = np.quantile(np.asarray(values), [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)
