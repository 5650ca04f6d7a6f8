from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specli.errors import FetchError
from specli.hub.cache import cache_dir, file_sha256, locked, writing


def test_the_cache_is_in_the_users_cache_folder_unless_a_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    assert cache_dir() == own_cache
    monkeypatch.delenv("SPECLI_CACHE")
    assert cache_dir().name == "specli"
    assert cache_dir().is_absolute()


def test_a_file_appears_only_when_it_was_written_to_the_end(own_cache: Path) -> None:
    path = own_cache / "model.gguf"
    with locked(path), writing(path) as partial:
        partial.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [item.name for item in own_cache.glob("model*")] == ["model.gguf"]


def _write_half(path: Path, error: Exception) -> None:
    with locked(path), writing(path) as partial:
        partial.write_bytes(b"half")
        raise error


def test_a_failed_write_leaves_nothing_behind(own_cache: Path) -> None:
    path = own_cache / "model.gguf"
    with pytest.raises(ValueError, match="stop"):
        _write_half(path, ValueError("stop"))
    assert list(own_cache.glob("model*")) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Permission denied")],
)
def test_errors_of_the_disk_are_explained_and_leave_nothing_behind(
    own_cache: Path, number: int, message: str
) -> None:
    path = own_cache / "model.gguf"
    with pytest.raises(FetchError, match=message) as caught:
        _write_half(path, OSError(number, os.strerror(number)))
    assert "SPECLI_CACHE" in (caught.value.hint or "")
    assert list(own_cache.glob("model*")) == []


def test_a_process_killed_while_writing_leaves_no_file_that_looks_whole(own_cache: Path) -> None:
    path = own_cache / "model.gguf"
    program = (
        "import os, sys; from pathlib import Path; from specli.hub.cache import locked, writing\n"
        "path = Path(sys.argv[1])\n"
        "with locked(path), writing(path) as partial:\n"
        "    partial.write_bytes(b'half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert not path.exists()
    with locked(path), writing(path) as partial:
        partial.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"


def _append_slowly(path: Path, log: Path) -> None:
    with locked(path):
        for _ in range(50):
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")


def test_two_processes_never_hold_the_same_lock(own_cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    workers = [
        context.Process(target=_append_slowly, args=(own_cache / "model", log)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = log.read_text().split()
    assert len(set(lines[:50])) == len(set(lines[50:])) == 1


def test_a_cache_that_cannot_be_written_is_named_with_the_variable_that_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "a-file"
    blocker.touch()
    monkeypatch.setenv("SPECLI_CACHE", str(blocker))
    with pytest.raises(FetchError, match="a-file") as caught, locked(cache_dir() / "model"):
        pass
    assert "SPECLI_CACHE" in (caught.value.hint or "")


def test_a_files_hash_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    first = file_sha256(path)
    assert file_sha256(path) == first
    path.write_bytes(b"three")
    assert file_sha256(path) != first


def test_a_files_hash_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    first = file_sha256(path)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert file_sha256(path) == first
