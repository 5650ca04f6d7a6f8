from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from specli.errors import LoadError
from specli.hub import made
from specli.hub.made import Recipe, make
from specli.hub.progress import Progress
from tests import tiny_gguf as tiny


class Quantiser:
    """Remembers what it was asked for and writes a model."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, list[int]]] = []

    def __call__(self, source: Path, made: Path, kind: str, prune: Sequence[int]) -> None:
        self.calls.append((source.read_text(), kind, list(prune)))
        made.write_bytes(tiny.llama_bytes())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "Tiny-135M.Q4_1.gguf"
    path.write_text("weights")
    return path


def test_a_model_is_made_once(source: Path, own_cache: Path) -> None:
    quantise = Quantiser()
    recipe = Recipe("tiny", "Q2_K", (1, 2))
    path = make(recipe, source, quantise)
    assert make(recipe, source, quantise) == path
    assert quantise.calls == [("weights", "Q2_K", [1, 2])]
    assert path.name.startswith("Tiny-135M.Q2_K-pruned-")
    assert path.is_relative_to(own_cache)


def test_a_made_model_that_is_cut_short_is_made_again(source: Path) -> None:
    quantise = Quantiser()
    path = make(Recipe("tiny", "F32"), source, quantise)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    assert make(Recipe("tiny", "F32"), source, quantise) == path
    assert path.read_bytes() == whole


def test_another_type_other_blocks_and_another_source_are_other_files(source: Path) -> None:
    quantise = Quantiser()
    recipes = [Recipe("tiny", "F32"), Recipe("tiny", "Q2_K"), Recipe("tiny", "Q2_K", (3,))]
    paths = [make(recipe, source, quantise) for recipe in recipes]
    source.write_text("other weights")
    paths += [make(recipe, source, quantise) for recipe in recipes]
    assert len(set(paths)) == 6


def test_another_version_of_llama_cpp_makes_its_own_file(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(Recipe("tiny", "F32"), source, Quantiser())
    monkeypatch.setattr(made, "version", lambda _package: "9.9")
    assert make(Recipe("tiny", "F32"), source, Quantiser()) != first


def test_a_failed_making_leaves_no_file(source: Path, own_cache: Path) -> None:
    def fail(source: Path, made: Path, kind: str, prune: Sequence[int]) -> None:
        made.write_text("half")
        raise LoadError("no")

    with pytest.raises(LoadError):
        make(Recipe("tiny", "F32"), source, fail)
    assert list(own_cache.rglob("*.gguf*")) == []


def test_progress_is_told_while_the_file_grows(source: Path) -> None:
    seen: list[Progress] = []
    told = threading.Event()

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.done:
            told.set()

    def slow(source: Path, made: Path, kind: str, prune: Sequence[int]) -> None:
        made.write_bytes(b"12345")
        assert told.wait(timeout=30)
        made.write_bytes(b"1234567890")

    path = make(Recipe("tiny", "F32"), source, slow, report)
    assert Progress("make", path.name, 5, None) in seen
    assert seen[-1] == Progress("make", path.name, 10, 10)


def test_a_split_source_counts_with_all_its_parts(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    second = tmp_path / "m-00002-of-00002.gguf"
    first.write_text("one")
    second.write_text("two")
    before = make(Recipe("m", "F32"), first, Quantiser())
    second.write_text("three")
    assert make(Recipe("m", "F32"), first, Quantiser()) != before
