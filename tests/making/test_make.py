"""Drafts made from tiny models: the file, what it says of itself, what is left when it ends."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import specli
from specli.errors import SpecliError, UsageError
from specli.gguf.facts import read_facts
from specli.gguf.header import Header, read_header
from specli.llama.context import Context, ContextOptions
from specli.llama.model import Model
from specli.making import make as making
from specli.making.make import Wishes, find_made_draft, make_draft, types_to_try
from specli.making.search import Trial
from specli.pairs.check import Setup, check_pair, examine
from tests import tiny_gguf as tiny

LAYERS = 4
WITHOUT_ONE = Wishes(60, "F32", frozenset({1}))


def ignore(_doing: str, _spent: float, _best: Trial | None) -> None:
    pass


@pytest.fixture
def target(tmp_path: Path, own_cache: Path) -> Path:
    shape = tiny.Shape(layers=LAYERS)
    extra: dict[str, tiny.Value] = {"llama.attention.head_count_kv": [2] * LAYERS}
    return tiny.write(tmp_path / "target.gguf", tiny.llama_bytes(shape=shape, extra=extra))


def tensor(header: Header, path: Path, name: str) -> bytes:
    info = header.tensors[name]
    start = header.data_offset + info.offset
    return path.read_bytes()[start : start + info.size]


def leftovers(folder: Path) -> list[str]:
    found = [p.name for p in folder.rglob("*") if p.suffix in (".gguf", ".part")]
    return sorted(name for name in found if name != "target.gguf")


def test_a_made_draft_has_the_other_blocks_and_says_where_it_comes_from(
    target: Path, tmp_path: Path
) -> None:
    output = tmp_path / "draft.gguf"
    found = make_draft(target, WITHOUT_ONE, output, ignore)
    assert found.path == output
    before, after = read_header(target), read_header(output)
    assert after.model_integer("block_count") == LAYERS - 1
    assert list(after.integers("llama.attention.head_count_kv") or ()) == [2, 2, 2]
    for old, new in ((0, 0), (2, 1), (3, 2)):
        for part in ("attn_q.weight", "ffn_down.weight"):
            kept = tensor(after, output, f"blk.{new}.{part}")
            assert kept == tensor(before, target, f"blk.{old}.{part}")
    assert after.text("general.name") == "tiny llama draft (F32, 3 of 4 blocks)"
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert after.text("specli.made_from.sha256") == digest
    assert after.text("specli.made_from.file") == "target.gguf"
    assert after.text("specli.version") == specli.__version__
    assert list(after.integers("specli.dropped_blocks") or ()) == [1]
    assert "without blocks 1" in (after.text("general.description") or "")
    assert leftovers(tmp_path) == ["draft.gguf"]
    assert check_pair(examine(before), examine(after), Setup()).compatible
    with Model(output) as model, Context(model, ContextOptions(n_ctx=64, threads=1)) as context:
        row = context.add(0, [5, 6, 7], 0, 1)
        context.decode()
        assert np.isfinite(context.logits(row)).all()


@pytest.mark.parametrize(
    ("content", "dropped"),
    [
        (tiny.gemma3_bytes, {0, 1}),
        (tiny.mamba_bytes, {2}),
        (tiny.falcon_h1_bytes, {0}),
    ],
    ids=["sliding window", "recurrent", "hybrid"],
)
@pytest.mark.slow
def test_other_kinds_of_models_lose_blocks_and_still_generate(
    content: Callable[..., bytes], dropped: set[int], tmp_path: Path, own_cache: Path
) -> None:
    target = tiny.write(tmp_path / "target.gguf", content(shape=tiny.Shape(layers=LAYERS)))
    output = tmp_path / "draft.gguf"
    found = make_draft(target, Wishes(60, "F32", frozenset(dropped)), output, ignore)
    assert found.best.expected.agreement < 1
    assert read_header(output).model_integer("block_count") == LAYERS - len(dropped)
    with Model(output) as model, Context(model, ContextOptions(n_ctx=64, threads=1)) as context:
        row = context.add(0, [5, 6, 7], 0, 1)
        context.decode()
        assert np.isfinite(context.logits(row)).all()


@pytest.mark.slow
def test_what_pays_is_kept_where_auto_finds_it(
    target: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 0.0)
    assert find_made_draft(target) is None
    found = make_draft(target, Wishes(60, "Q4_0"), None, ignore)
    assert find_made_draft(target) == found.path
    assert found.best.variant.type == "Q4_0"
    renamed = target.rename(target.with_name("target-moved.gguf"))
    assert find_made_draft(renamed) is None
    renamed.rename(target)
    target.write_bytes(tiny.llama_bytes(seed=7))
    assert find_made_draft(target) is None


@pytest.mark.slow
def test_what_does_not_pay_is_told_and_not_written(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 1000.0)
    found = make_draft(target, Wishes(60, None, frozenset({1})), tmp_path / "draft.gguf", ignore)
    assert found.path is None
    assert len(found.trials) > 1
    assert leftovers(tmp_path) == []


def test_blocks_that_cannot_go_are_refused_before_anything_is_tried(
    tmp_path: Path, own_cache: Path
) -> None:
    window = tiny.write(tmp_path / "window.gguf", tiny.gemma3_bytes(shape=tiny.Shape(layers=4)))
    with pytest.raises(UsageError, match="out of step"):
        make_draft(window, WITHOUT_ONE, None, ignore)
    assert not (own_cache / "making").exists()


def test_the_target_is_never_overwritten(target: Path) -> None:
    with pytest.raises(UsageError, match="the target itself"):
        make_draft(target, WITHOUT_ONE, target, ignore)


def test_two_searches_at_once_are_refused(target: Path, own_cache: Path) -> None:
    own_cache.mkdir()
    with (
        FileLock(own_cache / "making.lock"),
        pytest.raises(SpecliError, match="another search") as caught,
    ):
        make_draft(target, WITHOUT_ONE, None, ignore)
    assert caught.value.hint is not None


@pytest.mark.parametrize("moment", ["recording", "trying"])
def test_an_interrupt_leaves_nothing_behind(target: Path, tmp_path: Path, moment: str) -> None:
    def press(doing: str, _spent: float, _best: Trial | None) -> None:
        if doing.startswith(moment):
            raise KeyboardInterrupt

    output = tmp_path / "draft.gguf"
    with pytest.raises(KeyboardInterrupt):
        make_draft(target, WITHOUT_ONE, output, press)
    assert leftovers(tmp_path) == []


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_search_leaves_no_draft_and_the_next_starts_clean(
    target: Path, tmp_path: Path, own_cache: Path
) -> None:
    output = tmp_path / "draft.gguf"
    command = [sys.executable, "-m", "specli", "pair", "make", str(target), "-o", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(Path(specli.__file__).parents[1])}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: any((own_cache / "making").glob("*.gguf")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not output.exists()
    stale = own_cache / "making" / "stale.gguf"
    stale.write_bytes(b"left behind")
    output.with_name("draft.gguf.part").write_bytes(b"half")
    make_draft(target, WITHOUT_ONE, output, ignore)
    assert leftovers(tmp_path) == ["draft.gguf"]


def test_types_that_are_not_smaller_than_the_target_are_left_out() -> None:
    facts = read_facts(read_header(BytesIO(tiny.llama_bytes())))
    assert types_to_try(facts, Wishes(60))[:2] == ["Q4_0", "Q8_0"]
    assert "F32" not in types_to_try(facts, Wishes(60))
    assert types_to_try(facts, Wishes(60, "q6_k")) == ["Q6_K"]
    with pytest.raises(UsageError, match="no weight type"):
        types_to_try(facts, Wishes(60, "Q99"))
