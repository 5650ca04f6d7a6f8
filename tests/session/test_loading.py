"""What fits into memory, found out before it is allocated."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.errors import MemoryShortError
from specli.llama import library
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.probe import probe
from specli.pairs.placement import CacheShape, ModelPlacement, whole_need
from specli.session import Session, Setup, loading
from specli.session import session as session_module
from specli.session.costs import costs_record
from specli.session.loading import check, fitting_slots, require_fit
from specli.session.records import save
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig
from tests import tiny_gguf as tiny


def have(monkeypatch: pytest.MonkeyPatch, ram: int) -> None:
    """A machine with so many bytes free and no GPU."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=ram))
    monkeypatch.setattr(library, "devices", list)


def bytes_of(model: ModelPlacement, n_ctx: int, slots: int) -> int:
    return whole_need(model, CacheShape(n_ctx, slots)).total


@pytest.mark.parametrize(("slots", "fitting"), [(16, 16), (9, 8), (4, 4), (3, 2), (1, 1)])
def test_as_many_sequences_fit_as_memory_holds_with_the_weights(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, slots: int, fitting: int
) -> None:
    checked = check(setup)
    have(monkeypatch, sum(bytes_of(one, checked.n_ctx, slots) for one in checked.placements))
    assert fitting_slots(checked) == fitting


def test_a_draft_s_cache_is_counted_as_long_as_it_is_allocated(
    models: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny.write(tmp_path / "long.gguf", tiny.llama_bytes(shape=tiny.Shape(context=65536)))
    draft = DraftModel(models / "draft.gguf")
    setup = Setup(target, n_ctx=65536, speculative=SpeculativeConfig((draft,), FixedLength(3)))
    shape = CacheShape(65536)
    alone, own = (whole_need(one, shape) for one in check(setup).placements)
    as_long = whole_need(replace(check(setup).placements[1], context=None), shape)
    assert as_long.cache > 100 * own.cache
    needed = alone.cache + alone.scratch + own.cache + own.scratch
    with Session(setup, records) as session:
        assert session.draft is not None
        assert own.cache == session.draft.n_ctx * session.draft.bytes_per_token
    have(monkeypatch, needed)
    require_fit(check(setup), 1)
    have(monkeypatch, needed - 1)
    with pytest.raises(MemoryShortError, match="a context of 65536 tokens needs"):
        require_fit(check(setup), 1)


def test_where_not_even_the_weights_fit_one_sequence_runs(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, 1000)
    assert fitting_slots(check(setup)) == 1


def test_the_number_of_sequences_is_chosen_by_costs_before_their_caches_are_made(
    adaptive: Setup, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four tokens at once take as long as one, eight take four times as long.
    curve = Curve([1, 4, 8, 16], [10.0, 10.0, 40.0, 80.0])
    asked = replace(adaptive, slots=None)
    save(
        costs_record(asked, tmp_path),
        CostModel(curve, {"draft": Curve([1, 2], [1.0, 1.1])}),
        Acceptance(),
    )
    opened: list[int] = []
    real = loading.open_context

    def watched(*given: object, **named: object) -> object:
        opened.append(given[3])  # type: ignore[arg-type]
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(session_module, "open_context", watched)
    with Session(asked, tmp_path) as session:
        assert session.slots == 4
    assert opened == [4, 4]


def test_costs_that_are_not_known_are_measured_with_one_sequence(
    adaptive: Setup, tmp_path: Path
) -> None:
    with Session(replace(adaptive, slots=None), tmp_path) as session:
        assert 1 <= session.slots <= loading.MOST_SLOTS
        assert costs_record(adaptive, tmp_path) in session._costs._known


def test_models_that_do_not_fit_their_device_are_refused_before_they_are_loaded(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = library.Device("CUDA0", "a GPU", "gpu", (256 << 20) + 100, 8 << 30)
    monkeypatch.setattr(library, "devices", lambda: [gpu])
    monkeypatch.setattr(session_module, "load_model", lambda *_given: pytest.fail("loaded"))
    with pytest.raises(MemoryShortError, match=r"the target needs .* on CUDA0 .* are free") as err:
        Session(setup, records)
    assert "-ngl 0 -ngld 0 would fit" in (err.value.hint or "")


def test_an_allocation_that_fails_all_the_same_names_layers_that_may_fit(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = library.Device("CUDA0", "a GPU", "gpu", 8 << 30, 8 << 30)
    monkeypatch.setattr(library, "devices", lambda: [gpu])

    def short(*_given: object, **_named: object) -> None:
        raise MemoryShortError("llama.cpp could not allocate 9 MiB on CUDA0")

    monkeypatch.setattr(session_module, "load_model", short)
    with pytest.raises(MemoryShortError, match="could not allocate 9 MiB on CUDA0") as caught:
        Session(setup, records)
    assert "-ngl 2 would fit (the target has 3 layers" in (caught.value.hint or "")


def test_repacked_weights_that_crash_are_left_out_with_a_notice(
    setup: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loading, "probe", lambda *given, **more: replace(probe(*given, **more), repacked=False)
    )
    notices: list[str] = []
    alone = replace(setup, speculative=setup.speculative.without_model())
    with Session(alone, records, notices.append):
        pass
    (notice,) = notices
    assert "target.gguf" in notice


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be restricted here")
def test_threads_are_no_more_than_the_cores_that_the_process_may_use() -> None:
    code = (
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from specli.session.loading import physical_cores\n"
        "print(physical_cores())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_a_server_has_met_every_size_of_batch_before_the_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny.write(tmp_path / "target.gguf", tiny.llama_bytes())
    sizes: list[int] = []
    decode = Context.decode

    def decoded(self: Context) -> None:
        sizes.append(self._count)
        decode(self)

    class OnServers(Model):
        on_servers = property(lambda _self: True, lambda _self, _found: None)

    monkeypatch.setattr(loading, "Model", OnServers)
    monkeypatch.setattr(Context, "decode", decoded)
    drafting = SpeculativeConfig((DraftModel(target),), FixedLength(2))
    with Session(Setup(target, speculative=drafting, n_ctx=128), tmp_path / "records") as session:
        assert sizes[:17] == list(range(1, 18))
        assert session.target.length(0) == 0
