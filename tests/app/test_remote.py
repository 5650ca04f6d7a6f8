"""Inputs under a URI, by a store that needs no network, and by an S3 server on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from specli.app.remote import fetched, is_remote, plain
from specli.errors import SpecliError, UsageError
from specli.hub.progress import Progress

pytest.importorskip("pyarrow", reason="PyArrow is not installed")


def test_a_uri_is_told_from_a_path() -> None:
    assert is_remote("s3://bucket/in.jsonl")
    assert not is_remote("in.jsonl")
    assert not is_remote("C:/in.jsonl")
    assert not is_remote("folder//in.jsonl")


def test_a_message_shows_neither_keys_nor_options() -> None:
    uri = "s3://key:secret@bucket/in.jsonl?region=x&endpoint_override=127.0.0.1"
    assert plain(uri) == "s3://bucket/in.jsonl"


def test_a_file_is_copied_under_its_name_and_progress_is_told(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("one\n")
    (tmp_path / "here").mkdir()
    told: list[Progress] = []
    copy = fetched((tmp_path / "in.jsonl").as_uri(), tmp_path / "here", told.append)
    assert (copy.name, copy.read_text()) == ("in.jsonl", "one\n")
    assert (told[0].done, told[-1].done) == (0, 4)


def test_a_folder_is_copied_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("one")
    (tmp_path / "in" / "deep" / "b.txt").write_text("two")
    copy = fetched((tmp_path / "in").as_uri(), tmp_path / "here", lambda _progress: None)
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert found == {"a.txt", "deep/b.txt"}


def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpecliError, match=r"none\.jsonl is not there"):
        fetched((tmp_path / "none.jsonl").as_uri(), tmp_path, lambda _progress: None)


def test_a_store_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read nowhere://bucket/x"):
        fetched("nowhere://bucket/x", tmp_path, lambda _progress: None)


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs PyArrow") as caught:
        fetched("s3://bucket/in.jsonl", tmp_path, lambda _progress: None)
    assert caught.value.hint == "pip install pyarrow"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket on an S3 server on loopback, and the options of URIs that lead to it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        for _attempt in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        from pyarrow import fs

        options = f"scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1"
        files, _path = fs.FileSystem.from_uri(f"s3://bucket?{options}&allow_bucket_creation=true")
        files.create_dir("bucket")
        yield files, options
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("moto") is None, reason="moto[server] is not installed")
def test_objects_and_folders_of_s3_are_read(store: Any, tmp_path: Path) -> None:
    files, options = store
    for name in ("in.jsonl", "parts/0.jsonl", "parts/1.jsonl"):
        with files.open_output_stream(f"bucket/{name}") as stream:
            stream.write(f'{{"prompt": "{name}"}}\n'.encode())
    copy = fetched(f"s3://bucket/in.jsonl?{options}", tmp_path / "one", lambda _progress: None)
    assert copy.read_text() == '{"prompt": "in.jsonl"}\n'
    folder = fetched(f"s3://bucket/parts?{options}", tmp_path / "all", lambda _progress: None)
    assert sorted(path.name for path in folder.iterdir()) == ["0.jsonl", "1.jsonl"]
    with pytest.raises(SpecliError, match="s3://bucket/none is not there"):
        fetched(f"s3://bucket/none?{options}", tmp_path, lambda _progress: None)
