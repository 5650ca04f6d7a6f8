"""Replays recorded answers through `--draft auto` and every fixed length, without a model.

Answers and what draft models say at each of their tokens are recorded in scripts/recordings. They
run through the real engine, policy and drafters on a virtual clock, under the cost curves of
several machines. Printed are auto over plain decoding, over the best fixed setting of hindsight
for each text (plain decoding, and draft lengths 2, 4, 8 and 16), and over an oracle that knows
every acceptance. Nothing in it measures Python or the pauses of a machine.

    python scripts/replay_policy.py                         the report set, every pair and machine
    python scripts/replay_policy.py --set tune --pair f32-q4_0 --machine epyc --worst 10
    python scripts/replay_policy.py --set tune --sensitivity
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from recordings import FOLDER, RecordedText, load
from replayed import Milliseconds, replay

from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.rule import Rule
from specli.drafters.suffix import SuffixDrafter
from specli.engine.policy import acceptance, text
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.policy.fixed import FixedPolicy
from specli.events import MODEL
from specli.llama.decoder import common_prefix
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams

PAIRS = ("f32-q4_0", "f32-q2_k", "q8_0-pruned")
LENGTHS = (2, 4, 8, 16)
LONG = 64
SHORTEST = 8
WRONG = 1.3
"""Costs of batches and drafts at the start of a text, over what they are, in `--wrong-costs`."""
SEED = 1

_SIZES = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64]
_DRAFTS = [1, 2, 4, 8, 16, 32, 64]


@dataclass(frozen=True, slots=True)
class Machine:
    """Milliseconds for batches of `_SIZES` tokens by the target, and of `_DRAFTS` by the draft."""

    target_ms: tuple[float, ...]
    draft_ms: tuple[float, ...]

    @property
    def target(self) -> Curve:
        return Curve(list(_SIZES), list(self.target_ms))

    @property
    def draft(self) -> Curve:
        return Curve(list(_DRAFTS), list(self.draft_ms))


MACHINES = {
    # SmolLM2-135M F32 and Q4_0, two threads: measured.
    "xeon": Machine(
        (21, 24.2, 27.4, 31, 34.6, 38, 42, 50, 58, 74, 90, 120, 150),
        (8.2, 10.8, 13, 19.6, 34.2, 65, 120),
    ),
    "epyc": Machine(
        (13, 18, 18, 20, 21, 22, 25, 29.5, 34, 50, 66, 98, 130), (3.5, 5, 7, 11, 18, 34, 66)
    ),
    # Shapes: a GPU that is bound by memory, experts that each token wakes, a target that computes
    # each token anew.
    "gpu": Machine(
        (10, 10.3, 10.6, 10.9, 11.2, 11.5, 12, 13, 14, 16, 18, 22, 26),
        (0.8, 0.82, 0.86, 0.95, 1.1, 1.5, 2.2),
    ),
    "moe": Machine(
        (10, 14.5, 18.5, 22, 24.5, 27, 31, 38, 44, 54, 62, 76, 90),
        (0.9, 1, 1.2, 1.5, 2.2, 3.6, 6),
    ),
    "never": Machine(
        (5, 9.8, 14, 18, 22, 26, 34, 50, 66, 98, 130, 194, 258), (3, 4, 7, 12, 22, 42, 82)
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One text: its tokens, and milliseconds of auto, of each fixed length and of the oracle."""

    name: str
    tokens: int
    auto: float
    fixed: dict[int, float]
    oracle: float

    @property
    def plain(self) -> float:
        return self.fixed[0]

    @property
    def share(self) -> float:
        """Auto's speed over that of the best fixed setting."""
        return min(self.fixed.values()) / self.auto


@dataclass(slots=True)
class Changing:
    """A machine that becomes slower by `WRONG` in the middle of every text."""

    curve: Curve
    calls: int = 0
    change_at: int = 0

    def __call__(self, tokens: int) -> float:
        self.calls += 1
        return self.curve(tokens) * (WRONG if self.calls > self.change_at else 1.0)


def texts(pair: str, split: str) -> list[RecordedText]:
    """The recorded texts of a set, in an order that mixes categories and temperatures."""
    found = [
        one
        for one in load(FOLDER / f"{pair}.npz")
        if one.split == split and len(one.answer) >= SHORTEST
    ]
    random.Random(SEED).shuffle(found)
    return found


def says(one: RecordedText) -> list[tuple[int, float]]:
    return list(zip(one.draft_tokens, map(float, one.confidences), strict=True))


def run(
    recorded: Sequence[RecordedText],
    machine: Machine,
    *,
    wrong: bool = False,
    changing: bool = False,
    only_auto: bool = False,
) -> list[Result]:
    """Every text under auto, the fixed lengths and the oracle; the pair's experience grows."""
    known = Acceptance()
    return [
        _result(one, machine, known, wrong=wrong, changing=changing, only_auto=only_auto)
        for one in recorded
    ]


def _result(
    one: RecordedText,
    machine: Machine,
    known: Acceptance,
    *,
    wrong: bool,
    changing: bool,
    only_auto: bool,
) -> Result:
    def target_ms() -> Milliseconds:
        if changing:
            return Changing(machine.target, change_at=len(one.answer) // 4)
        return machine.target

    believed = CostModel(machine.target, {MODEL: machine.draft})
    if wrong:
        believed.target.ms[1:] = [WRONG * ms for ms in believed.target.ms[1:]]
        believed.drafters[MODEL].ms = [WRONG * ms for ms in believed.drafters[MODEL].ms]
    auto = replay(
        AdaptivePolicy(believed, known),
        one.prompt,
        one.answer,
        target_ms(),
        says=says(one),
        draft_ms=machine.draft,
        drafters=[SuffixDrafter()],
    ).ms
    fixed = {0: 0.0}
    for length in () if only_auto else (0, *LENGTHS):
        fixed[length] = replay(
            FixedPolicy(length),
            one.prompt,
            one.answer,
            target_ms(),
            says=says(one),
            draft_ms=machine.draft,
        ).ms
    best = 0.0 if changing or only_auto else oracle(one, machine)
    name = f"{one.prompt_id} at {one.temperature:g}"
    return Result(name, len(one.answer), auto, fixed, best)


def oracle(one: RecordedText, machine: Machine) -> float:
    """The least time in which draft model and suffix could have written the text, if it were
    known before each round how many of their tokens will be accepted."""
    target, draft = machine.target, machine.draft
    count = len(one.answer)
    right = [0] * (count + 1)
    for index in reversed(range(count)):
        if one.draft_tokens[index] == one.answer[index]:
            right[index] = min(right[index + 1] + 1, 16)
    found = suffix_lengths(one)
    least = [0.0] * (count + 2)
    for index in reversed(range(count)):
        room = count - index - 1
        options = [target(1) + least[index + 1]]
        for length in range(1, min(max(right[index], found[index]), room) + 1):
            drafting = 0.0 if length <= found[index] else length * draft(1)
            options.append(drafting + target(1 + length) + least[index + length + 1])
        least[index] = min(options)
    return least[0]


def suffix_lengths(one: RecordedText) -> list[int]:
    """At each position of the answer, how many tokens suffix drafting gets right."""
    drafter = SuffixDrafter()
    tokens = list(one.prompt)
    drafter.begin(0, tokens)
    chooser = Chooser(SamplingParams(), tokens)
    found = []
    for index, token in enumerate(one.answer):
        proposal = drafter.propose([Request(0, tokens, Rule(63), chooser)])[0]
        found.append(common_prefix(proposal.tokens, one.answer[index:]))
        tokens.append(token)
        drafter.accept([Accepted(0, tokens, 1, Proposal(), 0, 0)])
    return found


def summary(results: Sequence[Result]) -> str:
    auto = [one.plain / one.auto for one in results]
    shares = sorted(one.share for one in results)
    long = [one.plain / one.auto for one in results if one.tokens >= LONG]
    known = [one.oracle / one.auto for one in results if one.oracle]
    oracles = f"{statistics.geometric_mean(known):.3f}" if known else "    -"
    return (
        f"{len(results):4} {statistics.geometric_mean(auto):6.3f} "
        f"{statistics.geometric_mean(shares):6.3f} {shares[len(shares) // 20]:6.3f} "
        f"{shares[0]:6.3f} {sum(share >= 0.93 for share in shares) / len(shares):6.1%} "
        f"{min(long):6.3f} {sum(one >= 0.97 for one in long) / len(long):6.1%} {oracles:>6}"
    )


HEADING = (
    "pair          machine   texts   plain  fixed     5 %    min  >=.93  min 64 >=.97  oracle\n"
    "                              auto over plain; over the best fixed setting: mean, 5 % "
    "quantile, least, share of texts at .93;\n"
    "                              of texts of 64 tokens and more, least over plain and share at "
    ".97; over the oracle"
)


CONSTANTS: dict[str, tuple[object, str]] = {
    "LOSS_SHARE": (text, "LOSS_SHARE"),
    "LOSS_START": (text, "LOSS_START"),
    "TEXT_MEMORY": (text, "TEXT_MEMORY"),
    "PRIOR": (acceptance, "PRIOR"),
    "MEMORY": (acceptance, "MEMORY"),
    "OPTIMISM": (acceptance, "OPTIMISM"),
}


@contextmanager
def changed(name: str, factor: float) -> Iterator[None]:
    """A constant of the policy multiplied by `factor`, wherever a module has it by name."""
    from specli.engine.policy import adaptive

    owner, attribute = CONSTANTS[name]
    before = getattr(owner, attribute)
    modules = [one for one in (acceptance, text, adaptive) if hasattr(one, attribute)]
    for module in modules:
        setattr(module, attribute, factor * before)
    try:
        yield
    finally:
        for module in modules:
            setattr(module, attribute, before)


def sensitivity(pairs: Sequence[str], machines: Sequence[str], split: str) -> None:
    """Each constant halved and doubled: mean and worst figures over pairs and machines."""
    print("constant       factor  fixed    5 %  >=.93  >=.97")
    cells = [(texts(pair, split), MACHINES[name]) for pair in pairs for name in machines]
    fixed = [run(recorded, machine) for recorded, machine in cells]
    for name, factor in [("-", 1.0), *((n, f) for n in CONSTANTS for f in (0.5, 2.0))]:
        shares: list[float] = []
        long: list[bool] = []
        for (recorded, machine), results in zip(cells, fixed, strict=True):
            if name == "-":
                autos = [one.auto for one in results]
            else:
                with changed(name, factor):
                    autos = [one.auto for one in run(recorded, machine, only_auto=True)]
            for one, auto in zip(results, autos, strict=True):
                shares.append(min(one.fixed.values()) / auto)
                if one.tokens >= LONG:
                    long.append(one.plain / auto >= 0.97)
        shares.sort()
        print(
            f"{name:14} {factor:6g} {statistics.geometric_mean(shares):6.3f} "
            f"{shares[len(shares) // 20]:6.3f} "
            f"{sum(share >= 0.93 for share in shares) / len(shares):6.1%} "
            f"{sum(long) / len(long):6.1%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=("tune", "report"), default="report", dest="split")
    parser.add_argument("--pair", choices=PAIRS, action="append")
    parser.add_argument("--machine", choices=MACHINES, action="append")
    parser.add_argument("--wrong-costs", action="store_true", help="costs begin 30 %% too high")
    parser.add_argument("--changing", action="store_true", help="slower by 30 %% in the middle")
    parser.add_argument("--worst", type=int, default=0, help="show so many texts")
    parser.add_argument("--sensitivity", action="store_true", help="halve and double constants")
    given = parser.parse_args()
    pairs, machines = given.pair or PAIRS, given.machine or list(MACHINES)
    if given.sensitivity:
        sensitivity(pairs, machines, given.split)
        return
    print(HEADING)
    for pair in pairs:
        recorded = texts(pair, given.split)
        for name in machines:
            results = run(
                recorded, MACHINES[name], wrong=given.wrong_costs, changing=given.changing
            )
            print(f"{pair:13} {name:9} {summary(results)}", flush=True)
            for one in sorted(results, key=lambda found: found.share)[: given.worst]:
                ways = {length: round(one.plain / ms, 2) for length, ms in one.fixed.items()}
                print(f"    {one.name}: {one.plain / one.auto:.3f} of plain, fixed {ways}")


if __name__ == "__main__":
    main()
