"""Models in repositories of the Hugging Face Hub: how they are named, listed and found again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from specli.errors import FetchError, UsageError
from specli.hub.quants import DEFAULT_QUANT, HubFile, HubModel, by_file, by_quant, models_among

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

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
    """Ask the Hub for the models of a repository. Raises FetchError."""
    from huggingface_hub import HfApi

    try:
        with explained(reference):
            info = HfApi().model_info(
                reference.repo, revision=reference.revision, files_metadata=True
            )
    except (ValueError, KeyError, TypeError) as error:
        raise _no_hub(reference) from error
    if info.sha is None:
        raise _no_hub(reference)
    files = [
        HubFile(found.rfilename, found.size or 0, found.lfs.sha256 if found.lfs else None)
        for found in info.siblings or []
    ]
    return Listing(info.sha, models_among(files))


def _no_hub(reference: HubReference) -> FetchError:
    from huggingface_hub import constants

    return FetchError(
        f"{constants.ENDPOINT} does not answer as a Hub: {reference} was requested",
        hint="check HF_ENDPOINT, and whether the network requires a login first",
    )


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


@contextmanager
def streaming(
    reference: HubReference, commit: str, file: HubFile, start: int, end: int | None = None
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Request a file from byte `start` on: the position of the first byte sent, and the blocks.

    A server that knows no ranges sends the whole file, from 0 on.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    with http_stream_backoff(
        "GET",
        hf_hub_url(reference.repo, file.path, revision=commit),
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        # Its own retries begin a second response inside a block that has seen the first.
        retry_on_exceptions=(),
    ) as response:
        hf_raise_for_status(response)
        yield start if response.status_code == 206 else 0, response.iter_bytes()


@contextmanager
def explained(reference: HubReference) -> Iterator[None]:
    """Turn what huggingface_hub raises in the block into FetchError or UsageError."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise FetchError(
            f"{reference} is not in the cache, and HF_HUB_OFFLINE prevents downloading it",
            hint="unset HF_HUB_OFFLINE, or choose among the local models: specli models",
        ) from error
    except HfHubHTTPError as error:
        raise _explain_status(reference, error) from error
    except LocalEntryNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise _explain_status(reference, cause) from error
        raise _unreachable(reference, constants.ENDPOINT, cause or error) from error
    except (httpx2.TransportError, httpx2.TooManyRedirects) as error:
        raise _unreachable(reference, constants.ENDPOINT, error) from error
    except HFValidationError as error:
        raise UsageError(
            f"{reference.repo!r} is not a name that a repository can have",
            hint="names are OWNER/REPO, as in the address of its page",
        ) from error


def _unreachable(reference: HubReference, endpoint: str, error: BaseException) -> FetchError:
    return FetchError(
        f"{endpoint} could not be reached for {reference}: {error or type(error).__name__}",
        hint="check the network, the proxy and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only models "
        "that are in the cache are used",
    )


_TOKEN = "log in with `hf auth login`, or set HF_TOKEN"


def _explain_status(reference: HubReference, error: HfHubHTTPError) -> FetchError:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, status = reference.repo, error.response.status_code
    if isinstance(error, GatedRepoError):
        return FetchError(
            f"{repo} is gated: its owner gives access on request",
            hint=f"ask for access at {constants.ENDPOINT}/{repo}, then {_TOKEN}",
        )
    if isinstance(error, RepositoryNotFoundError):
        return FetchError(
            f"the Hub has no repository {repo}, or it is private",
            hint=f"check the spelling; for a private one, {_TOKEN}",
        )
    if isinstance(error, RevisionNotFoundError):
        return FetchError(
            f"{repo} has no revision {reference.revision!r}",
            hint="a revision is a branch, a tag or a commit of the repository",
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return FetchError(
            f"{reference} is not in the repository",
            hint="it may have been moved: see the page of the repository",
        )
    if status in (401, 403):
        return FetchError(f"the Hub refused the token for {repo}", hint=_TOKEN)
    if status == 429:
        return FetchError(
            "too many requests were sent to the Hub", hint=f"wait some minutes, or {_TOKEN}"
        )
    return FetchError(
        f"the Hub answered {status} for {reference}",
        hint="try again later; downloaded models are kept",
    )
