"""Recorded answers of a tiny pair, replayed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import replay_policy
from replay_policy import Recorded, Replayed, record, replayed, texts_of

from specli.bench.prompts import BenchPrompt
from specli.engine.calibration import Calibration
from specli.engine.cost import CostModel, Curve
from tests import tiny_gguf as tiny

COPY = list(range(10, 40))
COSTS = CostModel(Curve([1, 2, 8], [10.0, 11.0, 14.0]), Curve([1, 2], [2.0, 3.0]))


def recorded(agrees: bool) -> Recorded:
    answer = [token + 100 for token in COPY]
    return Recorded("made up", COPY, answer, [agrees] * len(answer), [0.9] * len(answer))


def played(text: Recorded) -> Replayed:
    return replayed(text, COSTS, Calibration())


def test_a_draft_that_is_always_right_is_followed_and_one_that_never_is_costs_little() -> None:
    right, wrong = played(recorded(agrees=True)), played(recorded(agrees=False))
    assert right.auto > 1.5
    assert right.fixed > 1.5
    assert 0.9 < wrong.auto <= 1.0
    assert (wrong.fixed, wrong.setting) == (1.0, "none")


def test_a_text_that_repeats_its_prompt_gains_without_a_draft_model() -> None:
    copied = replace(recorded(agrees=False), answer=[*COPY, *COPY][5:35])
    alone = replayed(copied, CostModel(COSTS.target), Calibration())
    assert alone.auto > 1.2
    assert alone.fixed == 1.0


def test_the_first_tokens_of_a_long_answer_are_a_text_of_their_own() -> None:
    long = replace(recorded(agrees=True), answer=list(range(100)))
    assert [len(text.answer) for text in texts_of([recorded(agrees=True), long])] == [30, 100, 64]


@pytest.mark.slow
def test_what_is_recorded_of_a_pair_is_kept_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, noise in (("target", 0.0), ("draft", 0.1)):
        tiny.write(tmp_path / f"{name}.gguf", tiny.llama_bytes(noise=noise))
    prompts: Callable[[], list[BenchPrompt]] = lambda: [  # noqa: E731
        BenchPrompt("hello", "question", (("user", "hello"),))
    ]
    monkeypatch.setattr(replay_policy, "shipped_prompts", prompts)
    monkeypatch.setattr(replay_policy, "N_CTX", 128)
    [found] = record(tmp_path / "target.gguf", tmp_path / "draft.gguf", 20)
    assert len(found.answer) == len(found.agrees) == len(found.confidences) <= 20
    assert any(found.agrees)
    saved = tmp_path / "answers.json"
    arguments = ["-m", str(tmp_path / "target.gguf"), "-md", str(tmp_path / "draft.gguf")]
    monkeypatch.setattr("sys.argv", ["replay_policy", *arguments, "-n", "20", "--save", str(saved)])
    replay_policy.main()
    assert json.loads(saved.read_text())["recorded"][0]["answer"] == found.answer
    monkeypatch.setattr("sys.argv", ["replay_policy", "--load", str(saved), "-v"])
    replay_policy.main()
    assert "1 texts" in capsys.readouterr().out
