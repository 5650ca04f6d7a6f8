"""A report without a bench: two settings beside plain decoding, on prompts of two categories."""

from __future__ import annotations

from collections.abc import Sequence

from specli.bench.difference import Comparison
from specli.bench.report import (
    PLAIN_NAME,
    VERSION,
    CostCurve,
    MachineFacts,
    ModelFacts,
    PromptFacts,
    Report,
    Run,
    SettingFacts,
)
from specli.bench.statistics import summarised

SPEEDS = {PLAIN_NAME: 40.0, "auto": 60.0, "draft 4": 36.0}
"""Tokens per second; stories run at nine tenths of it."""


def made_run(setting: str, prompt: str, number: int, speed: float) -> Run:
    drafts = setting != PLAIN_NAME
    return Run(
        setting=setting,
        prompt=prompt,
        number=number,
        order=number,
        prompt_n=30,
        prompt_ms=100.0,
        first_token_ms=120.0 + number,
        predicted_n=48,
        predicted_ms=1000 * 48 / speed,
        rounds=16 if drafts else 48,
        rounds_with_proposal=15 if drafts else 0,
        drafted=60 if drafts else 0,
        accepted=32 if drafts else 0,
        accepted_at=(14, 10, 5, 3) if drafts else (),
        by_drafter={"draft": (60, 32)} if drafts else {},
        draft_ms=200.0,
        verify_ms=600.0,
        finish="length",
        output="abc",
        memory=1 << 30,
        compared=Comparison(tokens=48) if drafts else None,
    )


def made_report(
    runs: int = 3,
    categories: Sequence[str] = ("code", "story"),
    settings: Sequence[str] = tuple(SPEEDS),
    *,
    complete: bool = True,
    costs: bool = True,
) -> Report:
    prompts = tuple(PromptFacts(f"{name}-1", name, 30, 1) for name in categories)
    made = tuple(
        made_run(setting, prompt.id, number, SPEEDS[setting] * (1 + number / 50) * factor)
        for number in range(runs)
        for prompt, factor in zip(prompts, [1.0, *[0.9] * len(prompts)], strict=False)
        for setting in settings
    )
    curves = {
        "target": CostCurve((1, 2, 4, 8, 16), (20.0, 26.0, 29.0, 38.0, 54.0)),
        "draft": CostCurve((1, 2, 4), (5.0, 8.0, 12.0)),
    }
    return Report(
        version=VERSION,
        specli="0.1.0",
        created="2026-11-23T03:05:00+00:00",
        seconds=90.0,
        complete=complete,
        machine=MachineFacts("Linux 6.1", "Some Processor", 2, 16 << 30, (), "llama.cpp b1"),
        models=(
            ModelFacts("target", "big.F32.gguf", "F32", 513 << 20, "ab" * 32),
            ModelFacts("draft", "small.Q4_0.gguf", "Q4_0", 90 << 20, "cd" * 32),
        ),
        settings=tuple(
            SettingFacts(name, {"draft": name.removeprefix("draft ")}) for name in settings
        ),
        prompts=prompts,
        runs_wanted=runs,
        predict=48,
        temperature=0.0,
        seed=None,
        peak_memory=1 << 30,
        costs=curves if costs else {},
        runs=made,
        summaries=summarised(made, settings, prompts),
    )
