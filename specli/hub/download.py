"""Downloads files of the Hub into huggingface_hub's own cache, resumed and checked.

huggingface_hub throws away what an interrupted download has fetched, and over plain HTTP compares
sizes, not checksums. So the bytes are fetched here, with its client, token and endpoint, under
the name of an unfinished blob; only what has the right checksum becomes a blob. The snapshot that
other programs read is then written by huggingface_hub itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from specli.errors import FetchError
from specli.hub.cache import explained_write, file_sha256, locked
from specli.hub.huggingface import HubReference, Listing, explained, list_models, storage_folder
from specli.hub.progress import Action, Progress, ProgressSink, file_size, ignore
from specli.hub.quants import HubFile

WORKERS = 4
ATTEMPTS = 5
"""Connections in a row that may bring nothing before a download fails."""
RETRY_SECONDS = 1.0
BLOCK_BYTES = 1 << 20
LARGEST_OVER_HTTP = 50_000_000_000


class _CancelledError(Exception):
    """Another file's download has failed, or the user has interrupted."""


@dataclass(frozen=True, slots=True)
class _Job:
    reference: HubReference
    commit: str
    file: HubFile

    @property
    def name(self) -> str:
        return f"{self.reference.repo}/{self.file.path}"

    @property
    def blob(self) -> Path:
        return storage_folder(self.reference.repo) / "blobs" / str(self.file.sha256)

    @property
    def partial(self) -> Path:
        return self.blob.with_name(self.blob.name + ".incomplete")

    @property
    def missing(self) -> int:
        """Bytes still to be fetched."""
        return 0 if self.blob.exists() else self.file.size - file_size(self.partial)


def pull(references: Sequence[HubReference], report: ProgressSink = ignore) -> list[list[Path]]:
    """Download models, several files at once; what is there already is not fetched again.

    Returns the files of each model, in order. Raises UsageError when a repository has no such
    file, FetchError when one cannot be fetched, the disk is too small or bytes arrive wrong;
    unfinished files are kept and resumed by the next pull.
    """
    sets = [_jobs(reference, list_models(reference)) for reference in references]
    jobs = list({job.blob: job for jobs in sets for job in jobs}.values())
    _require_space(jobs)
    _run_all(jobs, report)
    paths = [[_snapshot_path(job) for job in jobs] for jobs in sets]
    for reference, jobs in zip(references, sets, strict=True):
        _remember_revision(reference, jobs[0].commit)
    return paths


def _jobs(reference: HubReference, listing: Listing) -> list[_Job]:
    model = reference.choose(listing.models)
    jobs = [_Job(reference, listing.commit, part) for part in model.parts]
    for job in jobs:
        if job.file.sha256 is None:
            raise FetchError(
                f"the Hub gives no checksum for {job.name}",
                hint="download it by other means and name its path",
            )
        if job.file.size > LARGEST_OVER_HTTP:
            raise FetchError(
                f"{job.name} is too large for a plain download",
                hint=f"fetch it with: hf download {reference.repo} {job.file.path}",
            )
    return jobs


def _require_space(jobs: Sequence[_Job]) -> None:
    needed = sum(job.missing for job in jobs)
    if not needed:
        return
    folder = jobs[0].blob.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"{folder} has {free / 1e9:.1f} GB free and the download needs {needed / 1e9:.1f} GB",
            hint="free some space, or set HF_HUB_CACHE to a folder on another disk",
        )


def _run_all(jobs: Sequence[_Job], report: ProgressSink) -> None:
    cancelled = threading.Event()
    for job in jobs:
        report(Progress("fetch", job.name, job.file.size - job.missing, job.file.size))
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(_Download(job, report, cancelled).run) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            cancelled.set()
    # The one that failed first, not those that were then called off.
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, _CancelledError)):
        raise error


class _Download:
    """One file on its way from the Hub to a blob of the cache."""

    def __init__(self, job: _Job, report: ProgressSink, cancelled: threading.Event) -> None:
        self._job = job
        self._report = report
        self._cancelled = cancelled

    def run(self) -> None:
        job = self._job
        with locked(job.blob):
            if job.blob.exists():
                self._tell("fetch", job.file.size)
                return
            with explained_write(job.partial, "HF_HUB_CACHE"), explained(job.reference):
                self._fetch()
                self._verify()
                job.partial.replace(job.blob)

    def _tell(self, action: Action, done: int) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        self._report(Progress(action, self._job.name, done, self._job.file.size))

    def _fetch(self) -> None:
        import httpx2

        failures = 0
        size = file_size(self._job.partial)
        while size != self._job.file.size:
            problem: Exception | None = None
            try:
                self._stream(size)
            except httpx2.TransportError as error:
                problem = error
            before, size = size, file_size(self._job.partial)
            failures = 0 if size > before else failures + 1
            if failures == ATTEMPTS:
                raise problem or FetchError(
                    f"the Hub sends no more than {size} of {self._job.file.size} bytes of "
                    f"{self._job.name}",
                    hint="try again later; received data is kept",
                )
            if size != self._job.file.size and self._cancelled.wait(RETRY_SECONDS):
                raise _CancelledError

    def _stream(self, start: int) -> None:
        """Append to the unfinished file what one connection brings, from byte `start` on."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        job = self._job
        if start > job.file.size:
            start = 0
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with http_stream_backoff(
            "GET",
            hf_hub_url(job.reference.repo, job.file.path, revision=job.commit),
            headers=headers,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            retry_on_exceptions=(),
        ) as response:
            hf_raise_for_status(response)
            if response.status_code != 206:
                start = 0
            with job.partial.open("r+b" if start else "wb") as file:
                file.seek(start)
                for block in response.iter_bytes():
                    file.write(block)
                    self._tell("fetch", file.tell())
                file.flush()
                os.fsync(file.fileno())

    def _verify(self) -> None:
        job, digest, done = self._job, hashlib.sha256(), 0
        with job.partial.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                done += len(block)
                self._tell("verify", done)
        if digest.hexdigest() != job.file.sha256:
            job.partial.unlink()
            raise FetchError(
                f"{job.name} was damaged in transit: its SHA-256 is {digest.hexdigest()}, "
                f"the Hub gives {job.file.sha256}",
                hint="the file was deleted: pull it again",
            )


def _snapshot_path(job: _Job) -> Path:
    """The file's path in the snapshot, made by huggingface_hub, which finds the blob there."""
    from huggingface_hub import hf_hub_download

    with explained_write(job.blob, "HF_HUB_CACHE"), explained(job.reference):
        path = Path(hf_hub_download(job.reference.repo, job.file.path, revision=job.commit))
    # Another file than ours: a copy where links are impossible, or a Hub that contradicts itself.
    if not path.samefile(job.blob) and file_sha256(path) != job.file.sha256:
        path.unlink()
        raise FetchError(
            f"the Hub names one file for {job.name} and sends another",
            hint="pull it again later, or check HF_ENDPOINT",
        )
    return path


def _remember_revision(reference: HubReference, commit: str) -> None:
    """Record which commit a branch or tag points to, as the Hub's cache does, for later runs."""
    if reference.revision == commit:
        return
    ref = storage_folder(reference.repo) / "refs" / reference.revision
    with explained_write(ref, "HF_HUB_CACHE"):
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = ref.with_name(f".{ref.name}.{os.getpid()}.{time.monotonic_ns()}")
        fresh.write_text(commit)
        fresh.replace(ref)
