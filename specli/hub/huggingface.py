"""Models in repositories of the Hugging Face Hub: how they are named, listed and found again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from specli.errors import FetchError, UsageError, shortened
from specli.hub.cache import SHA256
from specli.hub.http import endpoint, explained, received, require_repository, retried
from specli.hub.quants import DEFAULT_QUANT, HubFile, HubModel, by_file, by_quant, models_among

MOST_METADATA = 32 << 20
"""Bytes of a repository's description; a hundred thousand files need less."""

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_COMPONENT = re.compile(r"(?!\.{1,2}$)[^\\:\x00-\x1f\x7f]{1,200}")
"""A part of a path that stays where it is, on Windows too."""

_LONGEST_PATH = 1024

PREFIX = "hf:"
DEFAULT_REVISION = "main"

_REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_BY_QUANT = re.compile(rf"(?P<repo>{_REPO})(:(?P<quant>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
_BY_FILE = re.compile(rf"(?P<repo>{_REPO})/(?P<file>[^@:]+\.gguf)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A model in a repository, by quantisation or by file; with neither, by llama.cpp's default."""

    repo: str
    quant: str | None = None
    file: str | None = None
    revision: str = DEFAULT_REVISION

    def __str__(self) -> str:
        at = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        if self.file is not None:
            return f"{PREFIX}{self.repo}/{self.file}{at}"
        return f"{PREFIX}{self.repo}{':' + self.quant if self.quant else ''}{at}"

    def choose(self, models: list[HubModel]) -> HubModel:
        """The model that is meant among those of the repository. Raises UsageError."""
        if self.file is not None:
            return by_file(models, self.file, self.repo)
        return by_quant(models, self.quant, self.repo)


@dataclass(frozen=True, slots=True)
class Listing:
    """The models of a repository at one commit."""

    commit: str
    models: list[HubModel]


def parse_hub(reference: str) -> HubReference | None:
    """Read `owner/repo:QUANT`, or after `hf:` also `owner/repo/file.gguf`, both with `@revision`.

    None for a string of another form. Raises UsageError where `hf:` announced this one.
    """
    rest = reference.removeprefix(PREFIX)
    announced = rest != reference
    match = (announced and _BY_FILE.fullmatch(rest)) or _BY_QUANT.fullmatch(rest)
    if match:
        found = {key: value for key, value in match.groupdict().items() if value}
        if not {".", ".."} & set(found.get("revision", "").split("/")):
            return HubReference(**found)
    if announced:
        raise UsageError(
            f"{reference!r} is not the name of a model on the Hub",
            hint="write hf:OWNER/REPO:QUANT or hf:OWNER/REPO/FILE.gguf, either with @REVISION",
        )
    return None


def storage_folder(repo: str) -> Path:
    """Where huggingface_hub keeps a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")


def list_models(reference: HubReference) -> Listing:
    """Ask the Hub for the models of a repository. Raises FetchError, and UsageError for a name
    that no repository can have."""
    from huggingface_hub import constants

    require_repository(reference.repo)
    revision = quote(reference.revision, safe="")
    url = f"{constants.ENDPOINT}/api/models/{reference.repo}/revision/{revision}?blobs=true"
    try:
        with explained(reference):
            info = json.loads(retried(lambda: received(url, reference, MOST_METADATA)))
        commit, files = info["sha"], [_file(found) for found in info["siblings"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError(
            f"{endpoint()} does not answer as a Hub: {reference} was requested",
            hint="check HF_ENDPOINT, and whether the network requires a login first",
        ) from error
    if not (isinstance(commit, str) and COMMIT.fullmatch(commit)):
        raise FetchError(
            f"the Hub names {shortened(commit)!r} as the commit of {reference}, which is none",
            hint="check HF_ENDPOINT",
        )
    return Listing(commit, models_among(files))


def _file(found: dict[str, object]) -> HubFile:
    """A file as the Hub describes it. Raises ValueError for a description that is none."""
    path, size, lfs = found["rfilename"], found.get("size"), found.get("lfs")
    sha256 = lfs["sha256"] if isinstance(lfs, dict) else None
    size = 0 if size is None else size
    if not isinstance(path, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError("not a file")
    return HubFile(path, size, None if sha256 is None else str(sha256))


def require_sound(file: HubFile, reference: HubReference) -> str:
    """The checksum of a file that is about to be written.

    Raises FetchError where the Hub gives none, or names a path that leads out of the cache.
    """
    parts = file.path.split("/")
    if not all(_COMPONENT.fullmatch(part) for part in parts) or len(file.path) > _LONGEST_PATH:
        raise FetchError(
            f"{reference.repo} names {shortened(file.path)!r} as a file, which is no safe path",
            hint="download it by other means and name its path",
        )
    if file.size < 1 or file.sha256 is None or not SHA256.fullmatch(file.sha256):
        raise FetchError(
            f"the Hub gives no {'size' if file.size < 1 else 'checksum'} for "
            f"{reference.repo}/{file.path}",
            hint="download it by other means and name its path",
        )
    return file.sha256


def cached_model(reference: HubReference) -> list[Path] | None:
    """The files of a model, in order, that the Hub's cache holds whole; None when it does not."""
    folder = storage_folder(reference.repo)
    try:
        commit = (folder / "refs" / reference.revision).read_text().strip()
    except OSError:
        commit = reference.revision
    snapshot = folder / "snapshots" / commit
    files = [
        HubFile(path.relative_to(snapshot).as_posix(), path.stat().st_size, None)
        for path in snapshot.rglob("*.gguf")
        if path.exists()
    ]
    models = models_among(files)
    if reference.file is None and reference.quant is None and len(models) == 1:
        # What is here may be one of many in the repository: only the default can be meant.
        reference = replace(reference, quant=DEFAULT_QUANT)
    try:
        model = reference.choose(models)
    except UsageError:
        return None
    return [snapshot / part.path for part in model.parts]


def file_url(reference: HubReference, commit: str, file: HubFile) -> str:
    """Where the Hub serves a file."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(reference.repo, file.path, revision=commit)
