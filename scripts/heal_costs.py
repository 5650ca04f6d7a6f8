"""Spoils the record of a pair's costs, and shows what a hundred tokens make of it.

The costs are measured, on a machine that should be idle, and once more at the end. In between,
each case writes a record that is wrong by `--by` in one direction, loads the pair with it,
generates, and compares what the session believes then with what was measured. Exit code 1 where a
size is off by more than 25 %. docs/policy.md has what came out.

    python scripts/heal_costs.py
    python scripts/heal_costs.py -m TARGET -md DRAFT --tokens 100 --by 4
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from math import sqrt
from pathlib import Path

from specli.engine.measure import DRAFT_POINTS, POINTS, measure
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import AGREES, CostModel, Curve
from specli.engine.sequence import GenerationRequest
from specli.events import MODEL, Round
from specli.llama.chat import Message, prompt_tokens
from specli.session import Session, Setup
from specli.session.costs import costs_record
from specli.session.records import save
from specli.speculative import DraftModel, SpeculativeConfig

PROMPT = "Write a Python class for a queue, explain each method, and give an example."
SIZES = (1, 2, 3, 4, 6, 8, 16)
SECONDS = 2.0

Spoil = Callable[[Curve, float], Curve]


def every(curve: Curve, by: float) -> Curve:
    return curve.slower(by)


def batches(curve: Curve, by: float) -> Curve:
    times = zip(curve.sizes, curve.ms, strict=True)
    return Curve(list(curve.sizes), [ms * (by if size > 1 else 1.0) for size, ms in times])


def single(curve: Curve, by: float) -> Curve:
    return Curve(list(curve.sizes), [curve.ms[0] * by, *curve.ms[1:]])


def right(curve: Curve, _by: float) -> Curve:
    return curve.slower(1.0)


CASES: dict[str, tuple[Spoil, Spoil]] = {
    "target": (every, right),
    "draft": (right, every),
    "both": (every, every),
    "batches of the target": (batches, right),
    "single tokens of the target": (single, right),
}
"""What is wrong: the curve of the target, and that of the draft."""


def measured(setup: Setup, records: Path) -> CostModel:
    """The costs of a pair, each size several times."""
    with Session(setup, records, print) as session:
        token = max(session.target_model.vocab.eos, 0)
        target = measure(session.target, POINTS, token, SECONDS)
        assert session.draft is not None
        return CostModel(target, {MODEL: measure(session.draft, DRAFT_POINTS, token, SECONDS / 4)})


def healed(setup: Setup, records: Path, spoilt: CostModel, tokens: int) -> tuple[CostModel, int]:
    """What a session believes that began with a record, and how many tokens it has generated."""
    save(costs_record(setup, records), spoilt, Acceptance())
    with Session(setup, records, print) as session:
        engine = session.engine()
        prompt = prompt_tokens(session.target_model, [Message("user", PROMPT)])
        engine.submit(GenerationRequest(prompt, max_tokens=tokens, ignore_end=True))
        count = sum(len(event.tokens) for event in engine.run() if isinstance(event, Round))
        return session.costs, count


def ratios(found: CostModel, before: CostModel, after: CostModel) -> list[float]:
    """What is believed of each size over the truth, the draft's single token last."""
    true = {size: sqrt(before.target(size) * after.target(size)) for size in SIZES}
    draft = sqrt(before.drafters[MODEL](1) * after.drafters[MODEL](1))
    return [*(found.target(size) / true[size] for size in SIZES), found.drafters[MODEL](1) / draft]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path, help="without it, the embedded pair")
    parser.add_argument("-md", "--draft", type=Path)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--by", type=float, default=4.0)
    given = parser.parse_args()
    if given.model is None:
        from bench_busy import embedded_pair

        given.model, given.draft = embedded_pair()
    setup = Setup(
        given.model, n_ctx=1024, speculative=SpeculativeConfig((DraftModel(given.draft),))
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        before = measured(setup, folder)
        found = {}
        for name, (target, draft) in CASES.items():
            for by in (given.by, 1 / given.by):
                spoilt = CostModel(
                    target(before.target, by), {MODEL: draft(before.drafters[MODEL], by)}
                )
                found[name, by], count = healed(setup, folder, spoilt, given.tokens)
                assert count <= given.tokens
        after = measured(setup, folder)
    drift = ratios(after, before, before)
    print(
        f"{'believed over measured':38}" + "".join(f"{f'T({size})':>7}" for size in SIZES), " draft"
    )
    print(
        f"{'measured at the end over the beginning':38}" + "".join(f"{one:7.2f}" for one in drift)
    )
    wrong = 0
    for (name, by), cost in found.items():
        off = ratios(cost, before, after)
        right_now = all(1 / AGREES <= one <= AGREES for one in off)
        wrong += not right_now
        row = "".join(f"{one:7.2f}" for one in off)
        print(f"{f'{name} × {by:g}':38}{row}{'' if right_now else '  off'}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
