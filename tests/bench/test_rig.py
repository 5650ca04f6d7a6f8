"""The rig on tiny models: what is loaded, what it learns, and that it stops in time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from specli.bench import rig as rig_module
from specli.bench.halving import Failed
from specli.bench.rig import Rig
from specli.bench.space import PLAIN_SETTING, Machine, Setting
from specli.engine.sequence import GenerationRequest
from specli.errors import MemoryShortError, PromptTooLongError
from specli.session import Session, Setup
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig, Suffix
from tests import tiny_gguf as tiny


def ask(_session: Session, number: int, tokens: int) -> GenerationRequest:
    return GenerationRequest([5, 6, 7, 8 + number % 3], max_tokens=tokens, ignore_end=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("models")
    tiny.write(folder / "target.gguf", tiny.llama_bytes())
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    config = SpeculativeConfig((DraftModel(folder / "draft.gguf"), Suffix()))
    return Setup(folder / "target.gguf", speculative=config)


@pytest.fixture
def auto(base: Setup) -> SpeculativeConfig:
    return base.speculative


@pytest.fixture
def four(base: Setup) -> SpeculativeConfig:
    assert base.draft is not None
    return SpeculativeConfig((base.draft,), FixedLength(4))


@pytest.fixture
def rig(base: Setup) -> Iterator[Rig]:
    with Rig(base, base.target.parent / "records", ask) as rig:
        yield rig


def test_drafting_and_threads_change_without_loading_and_cache_types_load_once(
    rig: Rig, auto: SpeculativeConfig, four: SpeculativeConfig
) -> None:
    assert rig.warm_up(math.inf) is not None
    f32 = Machine(cache_type_draft="f32")
    for setting in (
        PLAIN_SETTING,
        Setting(auto),
        Setting(four),
        Setting(four, Machine(threads=1, threads_draft=2)),
        Setting(four, f32),
        Setting(auto, f32),
        Setting(four),
    ):
        found = rig.measure(setting, 0, math.inf)
        assert isinstance(found, float)
        assert found > 0
    assert rig.loads == 2


def test_where_memory_holds_one_session_the_other_is_closed_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, four: SpeculativeConfig
) -> None:
    live: list[Session] = []

    class Narrow(Session):
        def __init__(self, *given: object) -> None:
            if live:
                raise MemoryShortError("no room for two")
            super().__init__(*given)  # type: ignore[arg-type]
            live.append(self)

        def close(self) -> None:
            live.clear()
            super().close()

    monkeypatch.setattr(rig_module, "Session", Narrow)
    rig.warm_up(math.inf)
    other = Setting(four, Machine(cache_type_draft="f32"))
    assert all(isinstance(rig.measure(s, 0, math.inf), float) for s in (other, PLAIN_SETTING))
    assert rig.loads == 3


def test_a_setting_that_cannot_be_loaded_fails_by_itself(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, four: SpeculativeConfig
) -> None:
    rig.warm_up(math.inf)

    def short(*_given: object) -> Session:
        raise MemoryShortError("no room")

    monkeypatch.setattr(rig_module, "Session", short)
    assert rig.measure(Setting(four, Machine(cache_type_draft="f32")), 0, math.inf) == Failed(
        "no room"
    )


def test_a_prompt_that_does_not_fit_is_no_fault_of_a_setting(
    base: Setup, tmp_path: Path, four: SpeculativeConfig
) -> None:
    def long(_session: Session, _number: int, tokens: int) -> GenerationRequest:
        return GenerationRequest([5] * 4000, max_tokens=tokens)

    with Rig(base, tmp_path, long) as rig, pytest.raises(PromptTooLongError):
        rig.measure(Setting(four), 0, math.inf)


@pytest.mark.slow
def test_a_measurement_ends_at_its_deadline(
    rig: Rig, auto: SpeculativeConfig, four: SpeculativeConfig
) -> None:
    rig.warm_up(math.inf)
    rig.tokens = 200
    for setting in (PLAIN_SETTING, Setting(auto), Setting(four)):
        assert isinstance(rig.measure(setting, 0, math.inf), float)
        assert rig.measure(setting, 0, perf_counter() + 0.001) is None
        assert isinstance(rig.measure(setting, 0, math.inf), float)


def test_warming_up_stops_at_the_deadline(rig: Rig) -> None:
    assert rig.warm_up(perf_counter()) is None
