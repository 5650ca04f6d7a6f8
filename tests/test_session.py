"""From files to an engine: what is checked, what is used, and that all of it is freed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from specli import session as session_module
from specli.cli.follow import Silent, follow
from specli.engine.adaptive import AdaptivePolicy
from specli.engine.cost import Curve
from specli.engine.policy import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.errors import (
    DecodeError,
    LoadError,
    MemoryShortError,
    ModelFileError,
    PairIncompatibleError,
    UsageError,
)
from specli.events import Round
from specli.llama import library
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.probe import probe
from specli.session import NgramSettings, Placement, Session, Setup, physical_cores
from tests import tiny_gguf as tiny

FIXED = FixedPolicy(draft_max=3)
PROMPT = [5, 6, 7, 5, 6]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.write(folder / "target.gguf", tiny.llama_bytes())
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    foreign = tiny.bpe_vocabulary().with_token(40, b"foreign")
    tiny.write(folder / "foreign.gguf", tiny.llama_bytes(foreign))
    tiny.write(folder / "mamba.gguf", tiny.mamba_bytes())
    return folder


@pytest.fixture
def setup(models: Path) -> Setup:
    return Setup(models / "target.gguf", models / "draft.gguf", policy=FIXED)


@pytest.fixture
def records(models: Path) -> Path:
    return models / "records"


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


def text(session: Session, **changes: object) -> list[int]:
    request = GenerationRequest(PROMPT, max_tokens=30, ignore_end=True)
    generation, interrupted = follow(session, replace(request, **changes), Silent())  # type: ignore[arg-type]
    assert not interrupted
    return generation.tokens


@pytest.mark.parametrize(
    "drafting",
    [
        {},
        {"draft": None, "ngram": NgramSettings(size=2, draft_max=4)},
        {"ngram": NgramSettings(size=2, draft_max=4)},
        {"policy": None, "suffix": True},
        {"draft": None, "policy": None, "suffix": True},
        {"draft": None},
    ],
    ids=["draft", "ngram", "both", "adaptive", "adaptive without a draft", "none"],
)
def test_every_way_of_drafting_gives_the_same_text(
    setup: Setup, records: Path, drafting: dict[str, object]
) -> None:
    with Session(replace(setup, **drafting), records) as session:  # type: ignore[arg-type]
        assert text(session) == text(session, speculate=False)
        assert len(text(session)) == 30


def arranged_text(session: Session, setup: Setup) -> list[int]:
    engine = session.arranged(setup).engine
    engine.submit(GenerationRequest(PROMPT, max_tokens=30, ignore_end=True))
    return [token for event in engine.run() if isinstance(event, Round) for token in event.tokens]


def test_one_session_compares_several_ways_of_drafting(setup: Setup, records: Path) -> None:
    ways = [
        replace(setup, policy=None, suffix=True),
        replace(setup, draft=None, policy=None),
        replace(setup, draft=None, ngram=NgramSettings(size=2, draft_max=4)),
        setup,
    ]
    with Session(setup, records) as session:
        texts = [arranged_text(session, way) for way in ways]
        assert all(one == text(session) for one in texts)


def test_what_a_comparison_learns_stays_with_it(setup: Setup, records: Path) -> None:
    adaptive = replace(setup, policy=None)
    with Session(adaptive, records) as session:
        assert isinstance(session.policy, AdaptivePolicy)
        before = session.policy.cost.as_dict()
        arranged_text(session, adaptive)
        assert session.policy.cost.as_dict() == before


def test_a_comparison_on_other_models_or_contexts_is_refused(setup: Setup, records: Path) -> None:
    with Session(setup, records) as session, pytest.raises(ValueError, match="only drafters"):
        session.arranged(replace(setup, n_ctx=64))


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
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_given: object) -> None:
        raise DecodeError("measured nothing")

    monkeypatch.setattr(session_module, "measure", fails)
    with counted(monkeypatch) as log, pytest.raises(DecodeError):
        Session(replace(setup, policy=None, recalibrate=True), records)
    assert log[-4:] == ["close Context"] * 2 + ["close Model"] * 2


def test_nothing_is_loaded_for_a_pair_that_cannot_work(
    setup: Setup, models: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as log:
        with pytest.raises(PairIncompatibleError):
            Session(replace(setup, draft=models / "foreign.gguf"), records)
        with pytest.raises(ModelFileError):
            Session(replace(setup, draft=models / "missing.gguf"), records)
        with pytest.raises(MemoryShortError):
            Session(replace(setup, n_ctx=2_000_000_000), records)
    assert log == []


@pytest.mark.parametrize(("asked", "given"), [(None, 256), (0, 256), (64, 64)])
def test_the_context_is_what_was_asked_for_or_the_models_own(
    setup: Setup, records: Path, asked: int | None, given: int
) -> None:
    with Session(replace(setup, n_ctx=asked), records) as session:
        assert session.n_ctx == given
        assert session.target.n_ctx >= given


def test_costs_are_measured_once_and_again_when_asked(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def counting(*given: object) -> object:
        measured.append(given[0])
        return Curve([1, 2, 4], [1.0, 1.5, 2.0])

    monkeypatch.setattr(session_module, "measure", counting)
    adaptive = replace(setup, policy=None)
    counts = []
    for asked in (adaptive, adaptive, replace(adaptive, recalibrate=True)):
        with Session(asked, tmp_path) as session:
            assert isinstance(session.policy, AdaptivePolicy)
        counts.append(len(measured))
    assert counts == [2, 2, 4]


def test_other_threads_have_other_costs_and_the_same_text(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1.0, 2.0, 3.0, 4.0])

    def growing(*_given: object) -> Curve:
        return Curve([1, 2], [next(times)] * 2)

    monkeypatch.setattr(session_module, "measure", growing)
    adaptive = replace(setup, policy=None)
    costs, texts = [], []
    with Session(adaptive, tmp_path) as session:
        for target, draft in ((None, None), (1, 2), (None, None)):
            session.use_threads(target, draft)
            policy = session.arranged(session.setup).policy
            assert isinstance(policy, AdaptivePolicy)
            costs.append(policy.cost.target(1))
            texts.append(arranged_text(session, session.setup))
    assert costs == [2.0, 4.0, 2.0]
    assert texts[0] == texts[1] == texts[2]


def test_costs_measured_on_a_busy_machine_are_told_and_not_kept(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        session_module, "measure", lambda *_given: Curve([1, 2, 4], [1.0, 9.0, 10.0])
    )
    told: list[str] = []
    with Session(replace(setup, policy=None), tmp_path, told.append):
        pass
    assert any("busy" in sentence for sentence in told)
    assert not list(tmp_path.glob("pair-*"))


def test_a_device_that_does_not_exist_is_a_usage_error(setup: Setup, records: Path) -> None:
    with pytest.raises((UsageError, LoadError), match="cuda9"):
        Session(replace(setup, target_placement=Placement(devices=("cuda9",))), records)


def test_a_recurrent_model_says_how_it_is_rolled_back(models: Path, records: Path) -> None:
    with Session(Setup(models / "mamba.gguf", policy=FIXED), records) as session:
        ((name, means),) = session.rollback_means()
    assert name == "target"
    assert means != "cut"


def test_repacked_weights_that_crash_are_left_out_with_a_notice(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        session_module, "probe", lambda *given: replace(probe(*given), repacked=False)
    )
    notices: list[str] = []
    with Session(replace(setup, draft=None), records, notices.append) as session:
        assert len(text(session)) == 30
    (notice,) = notices
    assert "target.gguf" in notice


def test_threads_are_physical_cores_that_the_process_may_use() -> None:
    assert physical_cores() >= 1


def test_models_that_do_not_fit_their_device_are_refused_before_they_are_loaded(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = library.Device("CUDA0", "a GPU", "gpu", (256 << 20) + 100, 8 << 30)
    monkeypatch.setattr(library, "devices", lambda: [gpu])
    monkeypatch.setattr(session_module, "_load", lambda *_given: pytest.fail("loaded"))
    with pytest.raises(MemoryShortError, match=r"the target needs .* on CUDA0 .* are free") as err:
        Session(setup, records)
    assert "-ngl 0 -ngld 0 would fit" in (err.value.hint or "")


def test_an_allocation_that_fails_all_the_same_is_told_with_layers_that_may_fit(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = library.Device("CUDA0", "a GPU", "gpu", 8 << 30, 8 << 30)
    monkeypatch.setattr(library, "devices", lambda: [gpu])

    def short(*_given: object) -> None:
        raise MemoryShortError("llama.cpp could not allocate 9 MiB on CUDA0")

    monkeypatch.setattr(session_module, "_load", short)
    with pytest.raises(MemoryShortError, match="could not allocate 9 MiB on CUDA0") as caught:
        Session(setup, records)
    assert "-ngl 2 would fit (the target has 3 layers" in (caught.value.hint or "")
