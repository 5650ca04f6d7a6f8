"""Engines on loaded models: every way to draft, the same text, and that all of it is freed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from specli.drafters import lookup
from specli.engine.engine import Engine
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.sequence import GenerationRequest
from specli.errors import (
    LoadError,
    MemoryShortError,
    ModelFileError,
    PairIncompatibleError,
    UsageError,
)
from specli.events import Round
from specli.llama.context import Context
from specli.llama.model import Model
from specli.session import Session, Setup
from specli.speculative import (
    DraftModel,
    FixedLength,
    NgramCache,
    NgramSimple,
    Placement,
    Prediction,
    SpeculativeConfig,
    Suffix,
)
from tests import tiny_gguf as tiny

PROMPT = [5, 6, 7, 5, 6]
NGRAM = NgramSimple(2, 4)


def generated(engine: Engine, *, speculate: bool = True) -> list[int]:
    request = GenerationRequest(PROMPT, max_tokens=30, ignore_end=True)
    engine.submit(replace(request, speculate=speculate))
    return [token for event in engine.run() if isinstance(event, Round) for token in event.tokens]


def ways(draft: DraftModel) -> list[SpeculativeConfig]:
    fixed = FixedLength(3)
    return [
        SpeculativeConfig((draft,), fixed),
        SpeculativeConfig((NGRAM,), fixed),
        SpeculativeConfig((draft, NGRAM), fixed),
        SpeculativeConfig((draft, Suffix())),
        SpeculativeConfig((Suffix(), NgramCache())),
        SpeculativeConfig((Prediction("a text"), Suffix())),
        SpeculativeConfig(),
    ]


@pytest.mark.parametrize("number", range(len(ways(DraftModel("")))))
def test_every_way_of_drafting_gives_the_same_text(
    setup: Setup, draft: DraftModel, records: Path, number: int
) -> None:
    with Session(replace(setup, speculative=ways(draft)[number]), records) as session:
        texts = [generated(session.engine(), speculate=speculate) for speculate in (True, False)]
        assert texts[0] == texts[1]
        assert len(texts[0]) == 30


def test_one_session_compares_every_way_of_drafting(
    setup: Setup, draft: DraftModel, records: Path
) -> None:
    with Session(setup, records) as session:
        texts = [generated(session.engine_for(way)) for way in ways(draft)]
        assert all(text == generated(session.engine()) for text in texts)


def test_what_a_comparison_learns_stays_with_it(adaptive: Setup, records: Path) -> None:
    with Session(adaptive, records) as session:
        assert isinstance(session.policy, AdaptivePolicy)
        before = deepcopy(session.policy.cost)
        generated(session.engine_for(adaptive.speculative))
        assert deepcopy(session.policy.cost) == before


def test_a_comparison_with_a_model_that_is_not_loaded_is_refused(
    setup: Setup, models: Path, records: Path
) -> None:
    other = SpeculativeConfig((DraftModel(models / "mamba.gguf"),))
    with Session(setup, records) as session, pytest.raises(ValueError, match="the session's own"):
        session.engine_for(other)


def test_counts_of_a_lookup_cache_are_kept_and_comparisons_leave_them_alone(
    setup: Setup, records: Path, tmp_path: Path
) -> None:
    path = tmp_path / "counts.bin"
    config = SpeculativeConfig((NgramCache(path),))
    asked = replace(setup, speculative=config)
    with Session(asked, records) as session:
        generated(session.engine_for(config))
    assert lookup.load(path, 1 << 20) == {}
    with Session(asked, records) as session:
        text = generated(session.engine())
    assert lookup.load(path, 1 << 20)[tuple(text[:2])]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of what was opened, then of what was closed, in order."""
    log: list[str] = []
    for kind in (Model, Context):
        name, init, close = kind.__name__, kind.__init__, kind.close

        def opened(self: object, *given: object, _name: str = name, _init: object = init) -> None:
            _init(self, *given)  # type: ignore[operator]
            log.append(f"open {_name}")

        def closed(self: object, _name: str = name, _close: object = close) -> None:
            _close(self)  # type: ignore[operator]
            log.append(f"close {_name}")

        monkeypatch.setattr(kind, "__init__", opened)
        monkeypatch.setattr(kind, "close", closed)
    yield log


def test_models_and_contexts_are_closed_once_and_contexts_first(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as log:
        session = Session(setup, records)
        opened = len(log)
        session.close()
        session.close()
    assert log[:opened].count("open Model") == log[:opened].count("open Context") == 2
    assert log[opened:] == ["close Context"] * 2 + ["close Model"] * 2


def test_what_was_loaded_is_freed_when_the_rest_fails(
    setup: Setup, draft: DraftModel, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign.bin"
    lookup.save(foreign, {(1, 2): {100_000: 1}})
    config = SpeculativeConfig((draft, NgramCache(foreign)))
    with counted(monkeypatch) as log, pytest.raises(UsageError, match="another model"):
        Session(replace(setup, speculative=config), records)
    assert log[-4:] == ["close Context"] * 2 + ["close Model"] * 2


def test_nothing_is_loaded_for_a_pair_that_cannot_work(
    setup: Setup, models: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pair(name: str) -> Setup:
        drafter = DraftModel(models / name, strict_vocab=True)
        return replace(setup, speculative=SpeculativeConfig((drafter,)))

    with counted(monkeypatch) as log:
        with pytest.raises(PairIncompatibleError):
            Session(pair("foreign.gguf"), records)
        with pytest.raises(ModelFileError):
            Session(pair("missing.gguf"), records)
        with pytest.raises(MemoryShortError):
            Session(replace(setup, n_ctx=2_000_000_000), records)
    assert log == []


@pytest.mark.parametrize(("draft", "is_right"), [("foreign.gguf", True), ("mamba-spm.gguf", False)])
def test_a_draft_with_another_vocabulary_is_translated_and_that_is_said(
    setup: Setup, models: Path, records: Path, draft: str, is_right: bool
) -> None:
    foreign = SpeculativeConfig((DraftModel(models / draft),), FixedLength(draft_max=3))
    notes: list[str] = []
    with Session(replace(setup, speculative=foreign), records, notes.append) as session:
        vocab = session.target_model.vocab
        prompt = vocab.tokenize("the cat", add_special=True)
        request = GenerationRequest(prompt, 120, ignore_end=True)

        def answer(engine: Engine) -> tuple[list[int], int]:
            engine.submit(request)
            rounds = [event for event in engine.run() if isinstance(event, Round)]
            tokens = [token for one in rounds for token in one.tokens]
            return tokens, sum(one.accepted for one in rounds)

        text, accepted = answer(session.engine())
        assert (accepted > 0) is is_right
        assert text == answer(session.engine_for(SpeculativeConfig()))[0]
        assert len(text) == 120
    assert any(f"{draft} has another vocabulary" in note for note in notes)


@pytest.mark.parametrize(("asked", "given"), [(None, 128), (80, 80), (4096, 512)])
def test_a_draft_that_was_trained_on_less_sees_the_beginning_and_the_end(
    records: Path, tmp_path: Path, asked: int | None, given: int
) -> None:
    shapes = tiny.Shape(context=512), tiny.Shape(context=128)
    target, draft = (
        tiny.write(tmp_path / f"{shape.context}.gguf", tiny.llama_bytes(shape=shape, noise=noise))
        for shape, noise in zip(shapes, (0.0, 0.02), strict=True)
    )
    config = SpeculativeConfig((DraftModel(draft, n_ctx=asked),), FixedLength(4))
    notes: list[str] = []
    with Session(Setup(target, speculative=config), records, notes.append) as session:
        assert session.draft is not None
        assert session.draft.n_ctx == given
        assert any("sees the first tokens" in note for note in notes) == (given < 512)
        request = GenerationRequest([5, 6, 7, 8] * 60, 120, ignore_end=True)

        def answer(engine: Engine) -> tuple[list[int], int]:
            engine.submit(request)
            rounds = [event for event in engine.run() if isinstance(event, Round)]
            tokens = [token for one in rounds for token in one.tokens]
            return tokens, sum(one.accepted for one in rounds)

        text, accepted = answer(session.engine())
        assert text == answer(session.engine_for(SpeculativeConfig()))[0]
        assert len(text) == 120
        assert accepted > 0


@pytest.mark.parametrize(("asked", "given"), [(None, 256), (0, 256), (64, 64)])
def test_the_context_is_what_was_asked_for_or_the_models_own(
    setup: Setup, records: Path, asked: int | None, given: int
) -> None:
    with Session(replace(setup, n_ctx=asked), records) as session:
        assert session.n_ctx == given
        assert session.target.n_ctx >= given


def test_a_device_that_does_not_exist_is_a_usage_error(setup: Setup, records: Path) -> None:
    with pytest.raises((UsageError, LoadError), match="cuda9"):
        Session(replace(setup, target_placement=Placement(devices=("cuda9",))), records)


def test_a_recurrent_model_says_how_it_is_rolled_back(models: Path, records: Path) -> None:
    recurrent = Setup(
        models / "mamba.gguf", speculative=SpeculativeConfig((NGRAM,), FixedLength(3))
    )
    with Session(recurrent, records) as session:
        ((name, means),) = session.rollback_means()
    assert name == "target"
    assert means != "cut"
