"""Makes candidate drafts one at a time and measures each against the target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from specli.drafts.recording import ROWS, Answer, greedy, measure_agreement
from specli.drafts.score import Agreement, Expected, expect
from specli.engine.policy.cost import Curve
from specli.llama.context import Context
from specli.llama.decoder import Decoder
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.llama.probe import probe
from specli.llama.quantize import quantize

ROUNDS = 6
ROUND_DRAFTED = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that has been measured: the target with weights of `type`.

    `size` is the file's in bytes; `cost` holds T(1) and T(2) in milliseconds.
    """

    type: str
    size: int
    cost: Curve
    expected: Expected
    agreements: tuple[Agreement, ...]

    @property
    def draft_ms(self) -> float:
        """Milliseconds for one token."""
        return self.cost(1)

    @property
    def speedup(self) -> float:
        return self.expected.speedup


@dataclass(frozen=True, slots=True)
class CandidateEvaluator:
    """What candidates are made from and measured against. Files are written to `folder`."""

    source: Path
    folder: Path
    threads: int
    n_ctx: int
    target: Context
    target_cost: Curve
    answers: Sequence[Answer]

    def path(self, type_name: str) -> Path:
        return self.folder / f"{type_name}.gguf"

    def write(self, type_name: str) -> Path:
        """The candidate's file, which is written unless it is still there."""
        path = self.path(type_name)
        if not path.exists():
            quantize(self.source, path, type_name)
        return path

    def measure(self, type_name: str) -> Trial:
        """Make a candidate and measure it. Raises as `quantize`, `probe` and `Model` do."""
        path = self.write(type_name)
        repacked = probe(path, self.folder / "probes").repacked
        with ExitStack() as stack:
            model = stack.enter_context(Model(path, ModelOptions(repacked=repacked)))
            options = ContextOptions(n_ctx=self.n_ctx, n_batch=max(ROWS, 512), threads=self.threads)
            context = stack.enter_context(Context(model, options))
            cost = measure_paired_cost(self.target, context)
            agreements = tuple(measure_agreement(context, answer) for answer in self.answers)
        expected = expect(agreements, self.target_cost, cost)
        return Trial(type_name, path.stat().st_size, cost, expected, agreements)


def ranked(trials: Sequence[Trial], target_cost: Curve) -> list[Trial]:
    """Trials, fastest first, with speed-ups for this cost of the target."""
    scored = [
        replace(trial, expected=expect(trial.agreements, target_cost, trial.cost))
        for trial in trials
    ]
    return sorted(scored, key=lambda trial: -trial.speedup)


def measure_paired_cost(target: Decoder, draft: Decoder) -> Curve:
    """T(1) and T(2) of the draft in rounds with the target, choosing each token included.

    A draft measured alone finds its weights in the processor's cache; in a pair the target has
    just evicted them. Both contexts must be empty and are empty again afterwards.
    """
    past = min(64, draft.n_ctx // 4)
    for context in (target, draft):
        _step(context, 0, past)
    ones, twos = [], []
    for round_ in range(ROUNDS):
        # No rollback: some models cannot.
        start = past + round_ * (ROUND_DRAFTED + 1)
        _step(target, start, ROUND_DRAFTED + 1)
        twos.append(_step(draft, start, 2))
        ones += [_step(draft, start + 2 + ahead, 1) for ahead in range(ROUND_DRAFTED - 1)]
    target.rollback(0, 0)
    draft.rollback(0, 0)
    return Curve([1, 2], [min(ones), min(twos)])


def _step(decoder: Decoder, position: int, size: int) -> float:
    """Milliseconds to decode `size` tokens and choose from the last one's logits."""
    began = perf_counter()
    row = decoder.add(0, [0] * size, position, 1)
    decoder.decode()
    greedy(decoder.logits(row))
    return 1000 * (perf_counter() - began)
