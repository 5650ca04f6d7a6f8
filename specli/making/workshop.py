"""Makes candidates one at a time in a folder, and measures each beside the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from specli.engine.policy.cost import Curve
from specli.hub.split import parts_of
from specli.llama.context import Context, ContextOptions
from specli.llama.decoder import Decoder
from specli.llama.metadata import rewrite
from specli.llama.model import Model, ModelOptions
from specli.llama.probe import probe
from specli.llama.quantize import prune, quantize
from specli.making.answers import ROWS, Answer, choice, echo
from specli.making.blocks import kept_blocks
from specli.making.score import expect
from specli.making.search import STARTS, Trial, Variant

ROUNDS = 6
ROUND_DRAFTED = 3
BRIEF_ANSWERS = 4
"""Answers, of the eight, that rank single blocks."""

_LONGER = 1.3
"""What a candidate is expected to take at most, over the last one of its kind."""

Tell = Callable[[str, float, Trial | None], None]
"""Told what is done now, the share of the budget that is spent, and the best so far."""


@dataclass(slots=True)
class Workshop:
    """What candidates are made from and measured against.

    `blocks` counts the target's, `per_block` are its metadata arrays with an entry for each. The
    budget of `seconds` runs from `began` on the `perf_counter` clock. Candidates of one type and
    as many blocks cost the same, so that the fastest measurement among them counts for all.
    """

    source: Path
    own_type: str
    blocks: int
    per_block: Sequence[str]
    folder: Path
    records: Path
    threads: int
    target: Context
    target_curve: Curve
    answers: Sequence[Answer]
    began: float
    seconds: float
    tell: Tell
    n_ctx: int
    best: Trial | None = None
    costs: dict[tuple[str, int], Curve] = field(default_factory=dict)
    _wholes: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    _took: dict[str, float] = field(default_factory=dict)
    _speeds: dict[str, float] = field(default_factory=dict)

    def measure(self, variant: Variant, *, until: float, brief: bool = False) -> Trial | None:
        """Implements `search.Measure`. Raises as `Model` and the quantiser do."""
        kind = "brief" if brief else "pruned" if variant.dropped else "whole"
        began = perf_counter()
        spent = (began - self.began) / self.seconds
        due = _LONGER * self._took.get(kind, self._took.get("whole", 0.0)) / self.seconds
        # Without one full trial there would be nothing to tell.
        if self.best is not None and spent + due > until:
            return None
        self.tell(f"trying {variant}", spent, self.best)
        trial = self._measured(variant, brief=brief)
        self._took[kind] = perf_counter() - began
        if not variant.dropped:
            self._speeds[variant.type] = trial.speedup
        if not brief and (self.best is None or trial.speedup > self.best.speedup):
            self.best = trial
        return trial

    def _measured(self, variant: Variant, *, brief: bool) -> Trial:
        whole, repacked = self._whole(variant.type)
        path = whole
        if variant.dropped:
            path = self.folder / "candidate.gguf"
            self.write(variant, path, {})
        key = self._key(variant)
        answers = self.answers[:BRIEF_ANSWERS] if brief else self.answers
        with ExitStack() as stack:
            model = stack.enter_context(Model(path, ModelOptions(repacked=repacked)))
            options = ContextOptions(n_ctx=self.n_ctx, n_batch=max(ROWS, 512), threads=self.threads)
            context = stack.enter_context(Context(model, options))
            curve = self.costs.get(key)
            if curve is None or not brief:
                curve = self._cost(key, cost_beside(self.target, context))
            echoes = tuple(echo(context, answer) for answer in answers)
        size = sum(part.stat().st_size for part in parts_of(path))
        if variant.dropped:
            path.unlink()
        expected = expect(echoes, self.target_curve, curve)
        return Trial(variant, size, curve(1), expected, echoes, brief)

    def _cost(self, key: tuple[str, int], measured: Curve) -> Curve:
        known = self.costs.get(key)
        self.costs[key] = measured if known is None else faster(known, measured)
        return self.costs[key]

    def _key(self, variant: Variant) -> tuple[str, int]:
        return variant.type, self.blocks - len(variant.dropped)

    def cost(self, variant: Variant) -> Curve:
        """T(1) and T(2) of a variant that has been measured."""
        return self.costs[self._key(variant)]

    def _whole(self, name: str) -> tuple[Path, bool]:
        """The target with weights of a type, and whether its weights may be repacked."""
        if name not in self._wholes:
            path = self.source
            if name != self.own_type:
                self._make_room()
                path = self.folder / f"{name}.gguf"
                quantize(self.source, path, name)
            # Candidates with fewer blocks are of the same kind: they need no trial of their own.
            self._wholes[name] = (path, probe(path, self.records).repacked)
        return self._wholes[name]

    def _make_room(self) -> None:
        """Remove the types that blocks will not be left out of: a large target fills a disk."""
        kept = sorted(self._speeds, key=lambda name: -self._speeds[name])[:STARTS]
        for name in self._wholes.keys() - {*kept, self.own_type}:
            path, _repacked = self._wholes.pop(name)
            path.unlink()

    def write(
        self, variant: Variant, path: Path, values: Mapping[str, str | int | Sequence[int]]
    ) -> None:
        """Write a variant, with `values` in its metadata; always the very same weights."""
        whole, _repacked = self._whole(variant.type)
        picked: dict[str, list[int]] = {}
        if variant.dropped:
            picked = dict.fromkeys(self.per_block, kept_blocks(self.blocks, variant.dropped))
        if not (picked or values):
            prune(whole, path, variant.dropped)
            return
        # llama.cpp counts the blocks anew, but leaves arrays with an entry for each as they are.
        pruned = self.folder / "pruned.gguf"
        prune(whole, pruned, variant.dropped)
        rewrite(pruned, path, values, picked)
        pruned.unlink()

    def again(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials by what is known of costs now."""
        redone = []
        for trial in trials:
            curve = self.cost(trial.variant)
            expected = expect(trial.echoes, self.target_curve, curve)
            redone.append(replace(trial, draft_ms=curve(1), expected=expected))
        return redone


def cost_beside(target: Decoder, draft: Decoder) -> Curve:
    """T(1) and T(2) of the draft in rounds with the target, the choice of each token included.

    A draft that runs alone finds its weights in the processor's cache; in a pair the target has
    just swept them out. Both contexts must be empty and are empty again after.
    """
    past = min(64, draft.n_ctx // 4)
    for context in (target, draft):
        _step(context, 0, past)
    ones, twos = [], []
    for round_ in range(ROUNDS):
        # Nothing is cut back: some models cannot.
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
    choice(decoder.logits(row))
    return 1000 * (perf_counter() - began)


def faster(left: Curve, right: Curve) -> Curve:
    """The faster of two measurements at each size: what a busy machine adds is no cost."""
    shared = [size for size in left.sizes if size in right.sizes]
    return Curve(shared, [min(left(size), right(size)) for size in shared])
