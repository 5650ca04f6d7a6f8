"""Replays answers of a real pair through `--draft auto` and every fixed length, without decoding.

The target's greedy answers to the prompts of `specli bench` and what the draft says at each of
their tokens are recorded once; then rounds are played with a virtual clock that runs by measured
costs. A change of the policy shows within seconds, without a busy machine's noise: how much faster
than plain decoding each text would be, how close that is to the best fixed setting of hindsight,
and on how many texts it would be slower than 0.97 of plain decoding. The first tokens of every
answer count as a text of their own, because short answers leave the least time to learn.

Not in it: what Python takes between rounds, and the pauses of a machine.

    python scripts/replay_policy.py -m F32.gguf -md Q4_0.gguf --save answers.json
    python scripts/replay_policy.py --load answers.json [--costs-of OTHER.gguf,DRAFT.gguf] [-v]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter
from replayed import Oracle, replay

from specli.bench.prompts import shipped_prompts
from specli.drafters.suffix import SuffixDrafter
from specli.drafts.recording import Answer, measure_agreement, record_answers
from specli.engine.adaptive import AdaptivePolicy
from specli.engine.calibration import Calibration
from specli.engine.cost import CostModel
from specli.engine.policy import FixedPolicy
from specli.llama.chat import Message, prompt_tokens
from specli.session import Session, Setup
from specli.session.records import AGED
from specli.speculative import DraftModel, SpeculativeConfig, Suffix

LENGTHS = (1, 2, 3, 4, 6, 8, 16)
CUTS = (0.0, 0.5, 0.75)
BRIEF = 64
WRONG = -1
N_CTX = 2048


@dataclass(frozen=True, slots=True)
class Recorded:
    """A prompt, the target's answer, and per token whether the draft says it and how sure."""

    name: str
    prompt: list[int]
    answer: list[int]
    agrees: list[bool]
    confidences: list[float]

    def says(self) -> list[tuple[int, float]]:
        right = zip(self.answer, self.agrees, strict=True)
        tokens = [token if agrees else WRONG for token, agrees in right]
        return list(zip(tokens, self.confidences, strict=True))

    def head(self, length: int) -> Recorded:
        return Recorded(
            f"{self.name}, {length}",
            self.prompt,
            self.answer[:length],
            self.agrees[:length],
            self.confidences[:length],
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """Speed-ups over plain decoding; `fixed` is the best of hindsight, not drafting included."""

    name: str
    auto: float
    fixed: float
    setting: str


def record(target: Path, draft: Path | None, most: int) -> list[Recorded]:
    found = []
    with (
        TemporaryDirectory() as folder,
        Session(_setup(target, draft), Path(folder)) as session,
    ):
        for prompt in shipped_prompts():
            messages = [Message(role, text) for role, text in prompt.messages]
            tokens = prompt_tokens(session.target_model, messages)
            is_end = session.target_model.vocab.is_end
            [answer] = record_answers(session.target, [tokens], is_end, most, float("inf"))
            agrees, confidences = [False] * len(answer.tokens), [0.0] * len(answer.tokens)
            if session.draft is not None:
                said = measure_agreement(session.draft, Answer(tokens, answer.tokens))
                agrees, confidences = list(said.agrees), list(said.confidences)
            found.append(Recorded(prompt.id, tokens, answer.tokens, agrees, confidences))
            print(f"recorded {prompt.id}: {len(answer.tokens)} tokens", file=sys.stderr)
    return found


def _setup(target: Path, draft: Path | None) -> Setup:
    model = () if draft is None else (DraftModel(draft),)
    return Setup(target, n_ctx=N_CTX, speculative=SpeculativeConfig((*model, Suffix())))


def measured_costs(target: Path, draft: Path | None) -> CostModel:
    with TemporaryDirectory() as folder, Session(_setup(target, draft), Path(folder)) as session:
        return session.costs


def replayed(text: Recorded, costs: CostModel, known: Calibration) -> Replayed:
    """`known` is what earlier texts have taught, and learns from this one."""
    plain = len(text.answer) * costs.target(1)

    def model() -> Oracle | None:
        if costs.draft is None:
            return None
        return Oracle(len(text.prompt), text.says(), deepcopy(costs.draft))

    policy = AdaptivePolicy(deepcopy(costs), known)
    told = replay(
        policy,
        text.answer,
        costs.target,
        prompt=text.prompt,
        model=model(),
        cheap=[SuffixDrafter()],
    )
    best, setting = 1.0, "none"
    for length, cut in product(LENGTHS, CUTS) if costs.draft is not None else ():
        fixed = FixedPolicy(length, p_min=cut)
        other = replay(fixed, text.answer, costs.target, prompt=text.prompt, model=model())
        if plain / other.ms > best:
            best, setting = plain / other.ms, f"{length} from {cut:g}"
    return Replayed(text.name, plain / told.ms, best, setting)


def texts_of(recorded: Sequence[Recorded]) -> list[Recorded]:
    short = [one.head(BRIEF) for one in recorded if len(one.answer) > BRIEF]
    return [*recorded, *short]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    parser.add_argument("-n", "--tokens", type=int, default=140)
    parser.add_argument("--save", type=Path, help="keep what was recorded")
    parser.add_argument("--load", type=Path, help="replay what was kept")
    parser.add_argument("--costs-of", help="TARGET[,DRAFT] whose costs to run by instead")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every text")
    given = parser.parse_args()
    if given.load is None and given.model is None:
        parser.error("-m FILE records answers, --load FILE replays them")
    kept: dict[str, object] = {}
    if given.load is not None:
        kept = json.loads(given.load.read_text())
        recorded = TypeAdapter(list[Recorded]).validate_python(kept["recorded"])
        models = [
            Path(str(name)) for name in TypeAdapter(list[str]).validate_python(kept["models"])
        ]
    else:
        recorded = record(given.model, given.model_draft, given.tokens)
        models = [path for path in (given.model, given.model_draft) if path is not None]
    if given.save is not None:
        names = [str(path) for path in models]
        rows = [asdict(one) for one in recorded]
        given.save.write_text(json.dumps({"models": names, "recorded": rows}))
    if given.costs_of is not None:
        models = [Path(name) for name in given.costs_of.split(",")]
    costs = measured_costs(models[0], models[1] if len(models) > 1 else None)
    known, told = Calibration(), []
    for text in texts_of(recorded):
        told.append(replayed(text, costs, known))
        known = known.aged(AGED)
        if given.verbose:
            one = told[-1]
            print(f"{one.name:24} {one.auto:6.3f}   best fixed {one.fixed:6.3f} ({one.setting})")
    auto = [one.auto for one in told]
    shares = [one.auto / one.fixed for one in told]
    print(
        f"{len(told)} texts: {statistics.geometric_mean(auto):.3f} of plain decoding, lowest "
        f"{min(auto):.3f}, {sum(one < 0.97 for one in auto)} below 0.97; of the best fixed "
        f"{statistics.geometric_mean(shares):.3f}, lowest {min(shares):.3f}, "
        f"{sum(one < 0.9 for one in shares)} below 0.9"
    )


if __name__ == "__main__":
    main()
