"""What a pair costs: measured once, kept, and never a reason to lose a text."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.hub.progress import Progress
from specli.session import Session, Setup
from specli.session import costs as costs_module
from specli.session.costs import costs_record
from specli.session.records import load, save

KNOWN = CostModel(
    Curve([1, 2, 4], [900.0, 950.0, 1000.0]), {"draft": Curve([1, 2], [100.0, 110.0])}
)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nothing would be kept."""
    monkeypatch.setattr(costs_module, "undisturbed", lambda _curve: True)


def target_ms(session: Session) -> float:
    return session.costs.target(1)


def test_costs_on_record_are_used_and_measured_again_when_asked(
    adaptive: Setup, records: Path, tmp_path: Path
) -> None:
    save(costs_record(adaptive, tmp_path), KNOWN, Acceptance())
    with Session(adaptive, tmp_path) as session:
        assert target_ms(session) == 900.0
    with Session(replace(adaptive, recalibrate=True), tmp_path) as session:
        assert target_ms(session) < 900.0


def test_other_threads_have_costs_of_their_own(adaptive: Setup, tmp_path: Path) -> None:
    single = adaptive.with_threads(1, 2)
    save(costs_record(adaptive, tmp_path), KNOWN, Acceptance())
    save(costs_record(single, tmp_path), CostModel(Curve([1, 2], [500.0, 600.0])), Acceptance())
    found = []
    with Session(adaptive, tmp_path) as session:
        for target, draft in ((None, None), (1, 2), (None, None)):
            session.use_threads(target, draft)
            found.append(target_ms(session))
    assert found == [900.0, 500.0, 900.0]


def test_costs_measured_on_a_busy_machine_cost_a_notice_and_are_not_kept(
    adaptive: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = Curve([1, 2, 4], [1.0, 9.0, 10.0])
    monkeypatch.setattr(costs_module, "measure", lambda *_given: disturbed)
    notices: list[str] = []
    with Session(adaptive, tmp_path, notices.append):
        pass
    assert any("busy" in sentence for sentence in notices)
    assert not list(tmp_path.glob("pair-*"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes of pytest-xdist ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("idle", "interruptible")
def test_ctrl_c_skips_the_measuring_where_somebody_may_skip_it(
    adaptive: Setup, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    notices: list[str] = []

    def report(progress: Progress) -> None:
        if progress == Progress("measure", "target.gguf", 3, 13) and progress not in steps:
            signal.raise_signal(signal.SIGINT)
        steps.append(progress)

    with Session(adaptive, tmp_path, notices.append, report, skips=True) as session:
        assert session.costs.target.sizes == [1, 2, 4]
    (notice,) = notices
    assert notice == (
        "measuring was skipped after 3 of 13 batch sizes; the next run measures again"
    )
    assert not list(tmp_path.glob("pair-*"))


def test_loading_says_how_far_it_is(setup: Setup, tmp_path: Path) -> None:
    steps: list[Progress] = []
    with Session(setup, tmp_path, report=steps.append):
        pass
    checked = [step.name for step in steps if step.action == "check"]
    assert checked == ["target.gguf", "draft.gguf"]
    loaded = [step for step in steps if step.action == "load" and step.name == "target.gguf"]
    assert [loaded[0].done, loaded[-1].done] == [0, loaded[-1].total]


def test_processes_that_save_at_once_all_succeed_and_leave_one_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    notices: list[str] = []

    def write(_number: int) -> None:
        for _ in range(10):
            save(path, KNOWN, Acceptance(), notices.append)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    known = load(path)
    assert known is not None
    assert known[0].target(1) == 900.0
    assert notices == []
    assert [one.name for one in tmp_path.glob("pair*")] == ["pair.json"]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_record_that_cannot_be_written_costs_one_notice(
    adaptive: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    notices: list[str] = []
    session = Session(replace(adaptive, recalibrate=True), tmp_path, notices.append)
    before = sorted(tmp_path.iterdir())
    with session:
        notices.clear()

        def fails(_path: Path, *_given: object, **_more: object) -> int:
            raise OSError(number, "it cannot be written")

        monkeypatch.setattr(Path, "write_text", fails)
    (notice,) = notices
    assert "costs of this pair are not kept" in notice
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("damage", ["", "[]", '{"version": 5}', "\x00"])
def test_a_record_that_is_damaged_is_measured_anew(
    adaptive: Setup, tmp_path: Path, damage: str
) -> None:
    path = costs_record(adaptive, tmp_path)
    save(path, KNOWN, Acceptance())
    path.write_text(damage)
    with Session(adaptive, tmp_path) as session:
        assert target_ms(session) < 900.0
    assert json.loads(path.read_text())["target"]["ms"]
