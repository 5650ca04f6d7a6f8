"""Recorded answers: what is written is read again, and it is what the engine does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from record_answers import PAIRS, Prompt, read_prompts, record_draft, record_target, sampling_of
from recordings import FOLDER, RecordedText, load, save

from specli.bench.prompts import shipped_prompts
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.session import Session, Setup
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig
from tests import tiny_gguf as tiny

PROMPTS = [
    Prompt("hello-1", "hello", "tune", "hello"),
    Prompt("hello-2", "hello", "report", "hello there, world"),
]
TOKENS = 12


def text(prompt_id: str, answer: list[int]) -> RecordedText:
    sure = [0.5] * len(answer)
    return RecordedText(prompt_id, "list", "tune", 0.8, [1, 2, 3], answer, answer[::-1], sure)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    texts = [text("list-1", [4, 5, 49000]), text("list-2", [6]), text("list-3", [7, 8])]
    save(tmp_path / "pair.npz", texts)
    assert load(tmp_path / "pair.npz") == texts


def test_a_confidence_keeps_three_digits(tmp_path: Path) -> None:
    save(tmp_path / "pair.npz", [replace(text("list-1", [4, 5]), confidences=[0.98765, 1e-3])])
    [read] = load(tmp_path / "pair.npz")
    assert read.confidences == pytest.approx([0.98765, 1e-3], rel=1e-3)


def test_the_agreement_is_the_share_of_tokens_that_the_draft_chooses_too() -> None:
    assert text("list-1", [4, 5, 6]).agreement == pytest.approx(1 / 3)


def test_each_of_ten_categories_is_split_in_halves_without_a_common_prompt() -> None:
    prompts = read_prompts(FOLDER / "prompts.yaml")
    by_split: dict[str, dict[str, int]] = {"tune": {}, "report": {}}
    for prompt in prompts:
        counts = by_split[prompt.split]
        counts[prompt.category] = counts.get(prompt.category, 0) + 1
    assert by_split["tune"] == by_split["report"]
    assert len(by_split["tune"]) == 10
    assert len(prompts) >= 220
    assert len({prompt.text for prompt in prompts}) == len({p.id for p in prompts}) == len(prompts)


def test_no_prompt_is_one_that_specli_or_another_script_measures_on() -> None:
    others = yaml.safe_load((FOLDER.parent / "prompts.yaml").read_text(encoding="utf-8"))
    shipped = {prompt.text for prompt in shipped_prompts()}
    shipped |= {text for texts in others.values() for text in texts if isinstance(text, str)}
    assert not shipped & {prompt.text for prompt in read_prompts(FOLDER / "prompts.yaml")}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_kept_recording_has_every_prompt_at_every_temperature(pair: str) -> None:
    texts = load(FOLDER / f"{pair}.npz")
    prompts = read_prompts(FOLDER / "prompts.yaml")
    expected = [(p.id, p.category, p.split, t) for p in prompts for t in (0.0, 0.8)]
    assert [(t.prompt_id, t.category, t.split, t.temperature) for t in texts] == expected
    assert all(0 < len(t.answer) == len(t.draft_tokens) == len(t.confidences) for t in texts)
    assert all(0 <= c <= 1 for t in texts for c in t.confidences)


def test_answers_and_choices_are_those_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("record_answers.N_CTX", 128)
    target = tiny.write(tmp_path / "target.gguf", tiny.llama_bytes())
    draft = tiny.write(tmp_path / "draft.gguf", tiny.llama_bytes(noise=0.1))
    texts = record_target(target, PROMPTS, TOKENS, slots=3, threads=1)
    sampling = sampling_of(texts, PROMPTS)
    texts = record_draft(draft, texts, sampling, threads=1)
    assert len(texts) == 4
    agreed: set[bool] = set()
    config = SpeculativeConfig((DraftModel(draft),), FixedLength(draft_max=1))
    setup = Setup(target, n_ctx=128, speculative=config)
    with Session(setup, tmp_path) as session:
        for text, params in zip(texts, sampling, strict=True):
            engine = session.engine()
            engine.submit(GenerationRequest(text.prompt, max_tokens=TOKENS, sampling=params))
            answer: list[int] = []
            for event in engine.run():
                if isinstance(event, Round) and event.proposal_sources:
                    place = len(answer)
                    agrees = text.draft_tokens[place] == text.answer[place]
                    assert event.accepted == agrees, f"token {place}"
                    agreed.add(agrees)
                answer += event.tokens if isinstance(event, Round) else []
            assert answer == text.answer
    assert agreed == {True, False}
