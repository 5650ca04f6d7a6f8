"""Runs and reports as a bench would make them, without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from specli.bench.difference import Comparison
from specli.bench.prompts import BenchPrompt
from specli.bench.report import (
    VERSION,
    CostCurve,
    MachineFacts,
    ModelFacts,
    PromptFacts,
    Report,
    Run,
    SettingFacts,
)
from specli.bench.runner import Contender, contenders, interleaved
from specli.bench.statistics import summarised
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig, Suffix

PROMPTS = [
    BenchPrompt("question-1", "question", (("user", "Why?"),)),
    BenchPrompt("question-2", "question", (("user", "How?"),)),
    BenchPrompt("story-1", "story", (("user", "Tell me."),), ("And then?",)),
]
DRAFT = DraftModel("draft.gguf")
AUTO = SpeculativeConfig((DRAFT, Suffix()))
RIVALS = contenders([AUTO, SpeculativeConfig((DRAFT,), FixedLength(4))])
NAMES = [rival.name for rival in RIVALS]

Speed = Callable[[str, str, int], float]
"""(setting, prompt, turn) to tokens per second."""


@dataclass
class FakeBench:
    """Speeds that are known, on a clock that only runs move. Implements `runner.Measure`."""

    speed: Speed
    tokens: int = 100
    now: float = 0.0
    compared: Comparison = field(default_factory=lambda: Comparison(100))

    def __call__(self, contender: Contender, prompt: BenchPrompt, number: int, order: int) -> Run:
        seconds = self.tokens / self.speed(contender.name, prompt.id, number)
        began, self.now = self.now, self.now + seconds
        drafts = contender.name != "plain"
        return Run(
            setting=contender.name,
            prompt=prompt.id,
            number=number,
            order=order,
            prompt_n=10,
            prompt_ms=50.0,
            first_token_ms=60.0 + 10 * number,
            predicted_n=self.tokens,
            predicted_ms=1000 * (self.now - began),
            rounds=50 if drafts else self.tokens,
            rounds_with_proposal=40 if drafts else 0,
            drafted=100 if drafts else 0,
            accepted=50 if drafts else 0,
            accepted_at=(30, 20) if drafts else (),
            by_drafter={"draft": (100, 50)} if drafts else {},
            draft_ms=1.0,
            verify_ms=2.0,
            finish="length",
            output="0123456789abcdef",
            memory=1 << 20,
            compared=self.compared if drafts else None,
        )


def measured(speed: Speed, runs: int = 5, prompts: Sequence[BenchPrompt] = PROMPTS) -> list[Run]:
    return list(interleaved(RIVALS, prompts, runs, FakeBench(speed)))


def report_of(runs: Sequence[Run], prompts: Sequence[BenchPrompt] = PROMPTS) -> Report:
    facts = tuple(PromptFacts(p.id, p.category, 10, 1 + len(p.further)) for p in prompts)
    return Report(
        version=VERSION,
        specli="0.0.0",
        created="2026-01-01T00:00:00+00:00",
        seconds=12.5,
        complete=True,
        machine=MachineFacts("Linux", "A processor", 2, 8 << 30, (), "a build"),
        models=(
            ModelFacts("target", "target.gguf", "F32", 1000, "aa" * 32),
            ModelFacts("draft", "draft.gguf", "Q4_0", 100, "bb" * 32),
        ),
        settings=tuple(SettingFacts(name, {"draft": "auto", "seed": None}) for name in NAMES),
        prompts=facts,
        runs_wanted=5,
        predict=100,
        temperature=0.0,
        seed=None,
        peak_memory=1 << 30,
        costs={"target": CostCurve((1, 2), (10.0, 12.5))},
        runs=tuple(runs),
        summaries=summarised(runs, NAMES, facts),
    )
