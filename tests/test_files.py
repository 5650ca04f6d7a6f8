from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from specli.drafters.lookup import load
from specli.errors import SpecliError, UsageError
from specli.files import read_text, read_within, replacing, write_text
from specli.hub.cache import file_sha256
from specli.profiles import profile_files, read_profile

ENDLESS = Path("/dev/zero")
needs_devices = pytest.mark.skipif(not ENDLESS.exists(), reason="needs a device without an end")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="No such file"), replacing(path) as partial:
        partial.with_name("elsewhere").rename(partial)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_disk_that_is_full_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "file") as partial:
        partial.write_text("text")
    assert names(tmp_path) == []


def test_a_link_stays_a_link_to_the_new_content(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_locked_write_takes_the_place_of_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_text("left behind")
    with replacing(tmp_path / "file", locked=True) as partial:
        partial.write_text("new")
    assert names(tmp_path) == ["file"]


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (2 << 20))
    assert len(read_within(path, 2 << 20)) == 2 << 20
    with pytest.raises(OSError, match="more than 1024 KiB"):
        read_within(path, 1 << 20)


@needs_devices
def test_a_device_without_an_end_is_refused_as_a_text_a_profile_and_a_lookup_cache() -> None:
    with pytest.raises(UsageError, match="cannot read /dev/zero: it holds more than 65536 KiB"):
        read_text(ENDLESS)
    with pytest.raises(UsageError, match="holds more than 256 KiB"):
        read_profile(ENDLESS)
    with pytest.raises(UsageError, match="no regular file"):
        load(ENDLESS, 100)


def test_a_pipe_among_the_profiles_is_not_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    os.mkfifo(tmp_path / "profiles" / "waiting.yaml")
    assert "waiting" not in profile_files()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 63, b"g" * 64])
def test_a_damaged_record_of_a_checksum_is_not_believed(
    tmp_path: Path, own_cache: Path, content: bytes
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    right = file_sha256(path)
    (record,) = (own_cache / "hashes").iterdir()
    record.write_bytes(content)
    assert file_sha256(path) == right
    assert record.read_text() == right


def test_a_cache_that_cannot_be_written_costs_a_checksum_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECLI_CACHE", "/dev/null")
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    assert len(file_sha256(path)) == 64


def test_a_write_that_fails_leaves_the_old_file_and_nothing_next_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpecliError, match=r"cannot write .*: No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.json"]
