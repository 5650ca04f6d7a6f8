"""Measures every setting of a grid, then lets `specli tune` search, and compares what each found.

The grid is measured in turns, pass by pass, as `specli tune` measures. Then tune searches within
its budget, knowing nothing of the grid. At last plain decoding, tune's choice and the grid's best
take turns once more: the best of many settings owes part of its lead to chance, and only a new
measurement is fair to both. The last line is one JSON object; `ratio` is tune's choice over the
grid's best, in speed.

    python scripts/tune_against_grid.py --lengths 2,4,8 --p-min 0,0.5 --threads 2 --passes 4
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from time import perf_counter

from specli.app.prepare import chosen_profile, prepared_setup, sampling_of
from specli.app.tune import Questions, machine_choices, prompts_of
from specli.bench.evidence import ratio
from specli.bench.halving import Race, interval
from specli.bench.rig import Rig
from specli.bench.space import PLAIN_SETTING, Machine, Setting, default_config
from specli.bench.tuner import space_of, tune
from specli.hub.cache import cache_dir
from specli.options import Options
from specli.session.loading import physical_cores
from specli.speculative import DraftModel, FixedLength, NgramSimple, SpeculativeConfig

NGRAMS = ((2, 4), (3, 8), (12, 48))


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def grid(given: argparse.Namespace, draft: DraftModel) -> list[Setting]:
    """Every way of drafting with every pair of thread counts."""
    configs = [SpeculativeConfig(), default_config(draft), SpeculativeConfig((draft,))]
    configs.append(default_config(None))
    configs += [
        SpeculativeConfig((NgramSimple(*sizes),), FixedLength()) for sizes in NGRAMS[: given.ngrams]
    ]
    configs += [
        SpeculativeConfig((draft,), FixedLength(draft_max=int(length), p_min=cut))
        for length, cut in product(given.lengths, given.p_min)
    ]
    cores = physical_cores()
    machines = [
        Machine(
            threads=None if threads == cores else int(threads),
            threads_draft=None if draft == threads else int(draft),
        )
        for threads, draft in product(given.threads or [cores], given.threads_draft or [cores])
    ]
    settings = [
        Setting(config, machine if config.draft_model else machine.without_draft())
        for config, machine in product(configs, machines)
    ]
    return [s for s in dict.fromkeys(settings) if s != PLAIN_SETTING]


def race_of(rig: Rig) -> Race[Setting]:
    return Race(PLAIN_SETTING, rig.measure, perf_counter, math.inf)


def measure_grid(rig: Rig, settings: list[Setting], passes: int) -> Race[Setting]:
    race = race_of(rig)
    for number in range(passes):
        began = perf_counter()
        race.run_pass(settings)
        seconds = perf_counter() - began
        left = seconds * (passes - number - 1)
        best = race.ranked(settings)[0]
        print(
            f"grid: pass {number + 1} of {passes} took {seconds:.0f} s, {left:.0f} s left; "
            f"best so far {best}",
            file=sys.stderr,
            flush=True,
        )
    return race


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=numbers, default=[1, 2, 3, 4, 6, 8, 12, 16])
    parser.add_argument("--p-min", type=numbers, default=[0.0, 0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--ngrams", type=int, default=len(NGRAMS), help="n-gram sizes to try")
    parser.add_argument("--threads", type=numbers, default=[], help="default: physical cores")
    parser.add_argument("--threads-draft", type=numbers, default=[], help="default: as the target")
    parser.add_argument("--passes", type=int, default=8, help="prompts that all of the grid meets")
    parser.add_argument("--tokens", type=int, default=48, help="tokens a text of the grid has")
    parser.add_argument("--budget", type=float, default=180.0, help="seconds that tune has")
    parser.add_argument("--final", type=int, default=16, help="passes of the last comparison")
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("-m", "--model")
    parser.add_argument("-md", "--model-draft")
    given = parser.parse_args()
    options = Options(model=given.model, model_draft=given.model_draft)
    setup = prepared_setup(options, chosen_profile(options))
    ask = Questions(prompts_of(given.prompts), sampling_of(options))
    if setup.draft is None:
        sys.exit("there is no draft model: name one with -md")
    settings = grid(given, setup.draft)
    print(f"{len(settings)} settings and plain decoding", file=sys.stderr)
    space = space_of(setup.draft, machine_choices(setup, lossy=False))
    with Rig(setup, cache_dir() / "probes", ask) as rig:
        rig.warm_up(math.inf)
        rig.tokens = given.tokens
        best = measure_grid(rig, settings, given.passes).ranked([PLAIN_SETTING, *settings])[0]
    with Rig(setup, cache_dir() / "probes", ask) as rig:
        tuned = tune(rig, space, given.budget)
        if tuned.verdict is None:
            sys.exit("the budget was over before tune had measured anything")
        chosen = tuned.verdict.chosen
        print(f"grid: {best}; tune: {chosen} in {tuned.seconds:.0f} s", file=sys.stderr)
        rig.tokens = given.tokens
        race = race_of(rig)
        there = dict.fromkeys([chosen, best, space.default])
        finalists = [setting for setting in there if setting != PLAIN_SETTING]
        for _pass in range(given.final):
            race.run_pass(finalists)
    found = interval(race.gains(chosen, best))
    print(f"tune's choice over the grid's best: {ratio(found)}", file=sys.stderr)
    report = {
        "grid_best": str(best),
        "chosen": str(chosen),
        "ratio": round(math.exp(found.mean), 4),
        "log_ratio": asdict(found),
        "grid_best_over_plain": round(math.exp(interval(race.gains(best, PLAIN_SETTING)).mean), 4),
        "chosen_over_plain": round(math.exp(interval(race.gains(chosen, PLAIN_SETTING)).mean), 4),
        "settings": len(settings) + 1,
        "passes": given.passes,
        "budget": given.budget,
        "tune_seconds": round(tuned.seconds, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
