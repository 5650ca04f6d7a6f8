"""A model as people name it in, a local file out."""

from __future__ import annotations

from pathlib import Path

from specli.errors import ModelFileError, UsageError
from specli.gguf.split import part_name, split_part
from specli.hub.huggingface import PREFIX as HUB_PREFIX
from specli.hub.huggingface import HubReference, cached_model, parse_hub
from specli.hub.local import local_models, named
from specli.hub.made import Quantize, Recipe, is_whole, made_path, make
from specli.hub.package import PREFIX as PACKAGE_PREFIX
from specli.hub.package import PackageReference, cached_package, fetch_package, parse_package
from specli.hub.progress import ProgressSink, ignore

FORMS = (
    "a path to a .gguf file (the first part of a split one)",
    "hf:OWNER/REPO:QUANT",
    "hf:OWNER/REPO/FILE.gguf[@REVISION]",
    "OWNER/REPO:QUANT",
    "package:NAME==VERSION",
    "a name that `specli models` lists",
)


def resolve(model: str | Recipe, quantize: Quantize, report: ProgressSink = ignore) -> Path:
    """The local file of a model, fetched or made where it is not there yet.

    Raises as `fetch` does, and what `quantize` raises.
    """
    if isinstance(model, Recipe):
        return make(model, fetch(model.source, report), quantize, report)
    return fetch(model, report)


def present(model: str | Recipe) -> Path | None:
    """The local file of a model that is here already; None where it would be fetched or made.

    Raises as `locate` does.
    """
    if isinstance(model, Recipe):
        source = present(model.source)
        made = None if source is None else made_path(model, source)
        return made if made is not None and is_whole(made) else None
    location = locate(model)
    if isinstance(location, PackageReference):
        return cached_package(location)
    if isinstance(location, HubReference):
        parts = cached_model(location)
        return parts[0] if parts else None
    return location


def fetch(reference: str, report: ProgressSink = ignore) -> Path:
    """The local file that a reference names, downloaded where it is not there yet.

    What is there is used as it is, without the network. Raises UsageError for a reference of no
    known form, ModelFileError for a file that is not there, FetchError when a download fails.
    """
    location = locate(reference)
    if isinstance(location, PackageReference):
        return fetch_package(location, report)
    if isinstance(location, HubReference):
        from specli.hub.download import pull

        return (cached_model(location) or pull([location], report)[0])[0]
    return location


def locate(reference: str) -> Path | HubReference | PackageReference:
    """Where a reference points: an existing file, or what can be fetched. Fetches nothing.

    Raises UsageError for a reference of no known form, ModelFileError for a file that is not
    there.
    """
    if reference.startswith(PACKAGE_PREFIX):
        return parse_package(reference)
    path = None if reference.startswith(HUB_PREFIX) else _local(reference)
    found = path or parse_hub(reference)
    if found is None:
        raise UsageError(
            f"no such model: {reference!r}", hint="a model is one of: " + "; or ".join(FORMS)
        )
    return found


def _local(reference: str) -> Path | None:
    """The file of a path or of a local model's name. Raises ModelFileError for a missing file."""
    if not reference:
        return None
    try:
        path = Path(reference).expanduser()
        if path.exists():
            return _whole_model(path)
    except RuntimeError as error:
        raise ModelFileError(
            f"{reference!r} starts in the home folder of an unknown user",
            hint="write the whole path",
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{reference[:200]!r} cannot be looked up: {error.strerror}",
            hint="check the path and the permissions of its folders",
        ) from error
    if "/" not in reference and (model := named(reference, local_models())) is not None:
        return model.path
    if reference.endswith(".gguf") or reference.startswith(("/", ".", "~")):
        raise ModelFileError(
            f"there is no file {path}", hint=f"check the path, seen from {Path.cwd()}"
        )
    return None


def _whole_model(path: Path) -> Path:
    """The path, which must be a file and not a later part of a split model."""
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder, not a model file", hint="name a .gguf file inside it"
        )
    part = split_part(path.name)
    if part is not None and part[1] != 1:
        stem, number, count = part
        raise ModelFileError(
            f"{path} is part {number} of {count} of a split model",
            hint=f"name its first part: {path.with_name(part_name(stem, 1, count))}",
        )
    return path
