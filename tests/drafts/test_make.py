"""Drafts made from tiny models: the file, its metadata, and which files are left at the end."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import specli
from specli.drafts import evaluator
from specli.drafts import make as making
from specli.drafts.evaluator import Trial
from specli.drafts.make import MakeOptions, find_made_draft, make_draft, types_to_try
from specli.drafts.score import Agreement, expect
from specli.engine.policy.cost import Curve
from specli.errors import SpecliError, UsageError
from specli.gguf.facts import read_facts
from specli.gguf.header import read_header
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.pairs.check import CheckOptions, check_pair, examine
from tests import tiny_gguf as tiny

Q8_0 = MakeOptions(60, "Q8_0")


def ignore(_task: str, _spent: float, _best: Trial | None) -> None:
    pass


@pytest.fixture
def target(tmp_path: Path, own_cache: Path) -> Path:
    return tiny.write(tmp_path / "target.gguf", tiny.llama_bytes())


def leftovers(folder: Path) -> list[str]:
    found = [p.name for p in folder.rglob("*") if p.suffix in (".gguf", ".part")]
    return sorted(name for name in found if name != "target.gguf")


def test_a_made_draft_has_smaller_weights_and_says_where_it_comes_from(
    target: Path, tmp_path: Path
) -> None:
    output = tmp_path / "draft.gguf"
    result = make_draft(target, Q8_0, output, ignore)
    assert result.path == output
    before, after = read_header(target), read_header(output)
    assert after.model_integer("block_count") == before.model_integer("block_count")
    assert after.tensors["blk.0.attn_q.weight"].type.name == "Q8_0"
    assert after.text("general.name") == "tiny llama draft (Q8_0)"
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert after.text("specli.made_from.sha256") == digest
    assert after.text("specli.made_from.file") == "target.gguf"
    assert after.text("specli.version") == specli.__version__
    assert leftovers(tmp_path) == ["draft.gguf"]
    assert check_pair(examine(before), examine(after), CheckOptions()).compatible
    with Model(output) as model, Context(model, ContextOptions(n_ctx=64, threads=1)) as context:
        row = context.add(0, [5, 6, 7], 0, 1)
        context.decode()
        assert np.isfinite(context.logits(row)).all()


@pytest.mark.parametrize("content", [tiny.gemma3_bytes, tiny.mamba_bytes, tiny.falcon_h1_bytes])
def test_drafts_of_windowed_recurrent_and_hybrid_models_are_made(
    content: Callable[..., bytes], tmp_path: Path, own_cache: Path
) -> None:
    target = tiny.write(tmp_path / "target.gguf", content())
    result = make_draft(target, Q8_0, tmp_path / "draft.gguf", ignore)
    assert result.best.expected.agreement > 0


def test_what_pays_is_kept_where_auto_finds_it(
    target: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 0.0)
    assert find_made_draft(target) is None
    result = make_draft(target, MakeOptions(60, "Q4_0"), None, ignore)
    assert find_made_draft(target) == result.path
    assert result.best.type == "Q4_0"
    renamed = target.rename(target.with_name("target-moved.gguf"))
    assert find_made_draft(renamed) is None
    renamed.rename(target)
    target.write_bytes(tiny.llama_bytes(seed=7))
    assert find_made_draft(target) is None


def test_what_does_not_pay_is_not_written(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 1000.0)
    result = make_draft(target, MakeOptions(60), tmp_path / "draft.gguf", ignore)
    assert result.path is None
    assert len(result.trials) > 1
    assert leftovers(tmp_path) == []


def test_a_spent_budget_ends_the_search_after_the_first_type(target: Path, tmp_path: Path) -> None:
    result = make_draft(target, MakeOptions(0.001), tmp_path / "draft.gguf", ignore)
    assert [trial.type for trial in result.trials] == ["Q4_0"]


def test_candidates_other_than_the_best_are_removed_while_searching(
    target: Path, own_cache: Path
) -> None:
    counts: list[int] = []

    def count(task: str, _spent: float, _best: Trial | None) -> None:
        if task.startswith("trying"):
            counts.append(len(list((own_cache / "candidates").glob("*.gguf"))))

    make_draft(target, MakeOptions(60), None, count)
    assert counts == [0, 1, 1, 1, 1, 1, 1]


def test_trials_are_ranked_by_speed_for_the_latest_cost_of_the_target() -> None:
    # Right less often but cheaper: better where the target is fast.
    right = (Agreement([True] * 40, [0.9] * 40), Curve([1, 2], [10.0, 10.0]))
    cheap = (Agreement([True, True, False, True] * 10, [0.9] * 40), Curve([1, 2], [2.0, 2.0]))
    slow, fast = (Curve([1, 2, 32], [ms, ms, 1.2 * ms]) for ms in (500.0, 12.0))
    trials = [
        Trial(name, 1, cost, expect([agreement], slow, cost), (agreement,))
        for name, (agreement, cost) in (("right", right), ("cheap", cheap))
    ]
    assert [trial.type for trial in evaluator.ranked(trials, slow)] == ["right", "cheap"]
    assert [trial.type for trial in evaluator.ranked(trials, fast)] == ["cheap", "right"]


def test_the_target_is_never_overwritten(target: Path) -> None:
    with pytest.raises(UsageError, match="the target itself"):
        make_draft(target, Q8_0, target, ignore)


def test_two_searches_at_once_are_refused(target: Path, own_cache: Path) -> None:
    own_cache.mkdir()
    with (
        FileLock(own_cache / "candidates.lock"),
        pytest.raises(SpecliError, match="another search") as caught,
    ):
        make_draft(target, Q8_0, None, ignore)
    assert caught.value.hint is not None


@pytest.mark.parametrize("moment", ["recording", "trying"])
def test_an_interrupt_leaves_no_files(target: Path, tmp_path: Path, moment: str) -> None:
    def press(task: str, _spent: float, _best: Trial | None) -> None:
        if task.startswith(moment):
            raise KeyboardInterrupt

    output = tmp_path / "draft.gguf"
    with pytest.raises(KeyboardInterrupt):
        make_draft(target, Q8_0, output, press)
    assert leftovers(tmp_path) == []


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_killed_search_leaves_no_draft_and_the_next_starts_clean(
    target: Path, tmp_path: Path, own_cache: Path
) -> None:
    output = tmp_path / "draft.gguf"
    command = [sys.executable, "-m", "specli", "pair", "make", str(target), "-o", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(Path(specli.__file__).parents[1])}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: any((own_cache / "candidates").glob("*.gguf")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # A child that was just being started may hold the lock a little longer.
    with FileLock(own_cache / "candidates.lock", timeout=60):
        pass
    assert not output.exists()
    stale = own_cache / "candidates" / "stale.gguf"
    stale.write_bytes(b"left behind")
    output.with_name("draft.gguf.part").write_bytes(b"half")
    make_draft(target, Q8_0, output, ignore)
    assert leftovers(tmp_path) == ["draft.gguf"]


def test_only_types_that_make_the_target_smaller_are_tried() -> None:
    facts = read_facts(tiny.header(tiny.llama_bytes()))
    assert types_to_try(facts, None)[:2] == ["Q4_0", "Q8_0"]
    assert "F32" not in types_to_try(facts, None)
    assert types_to_try(facts, "q6_k") == ["Q6_K"]
    with pytest.raises(UsageError, match="no such weight type"):
        types_to_try(facts, "Q99")
    with pytest.raises(UsageError, match="no type that is tried"):
        types_to_try(replace(facts, weight_bytes=facts.parameters // 4), None)
