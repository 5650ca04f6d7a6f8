"""Inputs that lie in an object store: copied here first, so that all else is as with files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from specli.batch.parquet import needing_pyarrow
from specli.errors import SpecliError, UsageError
from specli.hub.progress import Progress, ProgressSink

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_PIECE = 1 << 20


def is_remote(source: str) -> bool:
    """Whether a name is a URI."""
    return _SCHEME.match(source) is not None


def plain(uri: str) -> str:
    """A URI as messages show it: without its options, which may hold a key."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def fetched(uri: str, folder: Path, report: ProgressSink) -> Path:
    """A copy in `folder` of the object, or of the folder, that PyArrow finds under a URI.

    Raises UsageError without PyArrow or for a store that it does not know, and SpecliError for what
    is not there or cannot be read.
    """
    name = plain(uri)
    with needing_pyarrow(name):
        from pyarrow import ArrowException, fs
    try:
        store, path = fs.FileSystem.from_uri(uri)
    except (ArrowException, ValueError) as error:
        raise UsageError(
            f"cannot read {name}: {error}", hint="PyArrow reads s3://, gs://, abfs:// and hdfs://"
        ) from None
    try:
        return _copied(fs, store, path, folder, lambda n: report(Progress("fetch", name, n, None)))
    except FileNotFoundError:
        raise SpecliError(f"{name} is not there", hint="check its name, and the region") from None
    except (ArrowException, OSError) as error:
        hint = "credentials and regions are those of PyArrow: AWS_ACCESS_KEY_ID, AWS_REGION, …"
        raise SpecliError(f"cannot read {name}: {error}", hint=hint) from None


def _copied(fs: Any, store: Any, path: str, folder: Path, report: Any) -> Path:
    info = store.get_file_info(path)
    files = [info]
    if info.type == fs.FileType.Directory:
        files = store.get_file_info(fs.FileSelector(path, recursive=True))
        files = [one for one in files if one.type == fs.FileType.File]
    elif info.type == fs.FileType.NotFound:
        raise FileNotFoundError(path)
    done = 0
    report(done)
    for one in files:
        inside = one.path.removeprefix(path).strip("/")
        copy = folder / "input" / inside if inside else folder / Path(path).name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with store.open_input_stream(one.path) as stream, copy.open("wb") as file:
            while piece := stream.read(_PIECE):
                file.write(piece)
                done += len(piece)
                report(done)
    return copy if info.type == fs.FileType.File else folder / "input"
