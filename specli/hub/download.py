"""Downloads files of the Hub into huggingface_hub's own cache, resumed and checked.

huggingface_hub throws away what an interrupted download has fetched, and over plain HTTP compares
sizes, not checksums. So the bytes are fetched here, with its client, token and endpoint, under
the name of an unfinished blob; only what has the right checksum becomes a blob, and the snapshot
that other programs read links to it. Every path is made of parts that have been checked.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from specli.errors import FetchError
from specli.files import PARTIAL_SUFFIX
from specli.hub.cache import explained_write, locked, writing
from specli.hub.http import BusyError, explained, requested
from specli.hub.huggingface import (
    HubReference,
    file_url,
    list_models,
    require_sound,
    storage_folder,
)
from specli.hub.progress import Action, Progress, ProgressSink, file_size, ignore
from specli.hub.quants import HubFile

WORKERS = 4
ATTEMPTS = 5
"""Connections in a row that may bring nothing before a download fails."""
RETRY_SECONDS = 1.0
LEAST_PROGRESS = 1 << 18
"""Bytes, or all that is missing: a connection that brings less counts as one that failed."""
BLOCK_BYTES = 1 << 20
LARGEST_OVER_HTTP = 50_000_000_000


class _CancelledError(Exception):
    """Another file's download has failed, or the user has interrupted."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A file to be downloaded."""

    reference: HubReference
    commit: str
    file: HubFile

    @property
    def name(self) -> str:
        return f"{self.reference.repo}/{self.file.path}"

    @property
    def blob(self) -> Path:
        sha256 = require_sound(self.file, self.reference)
        return storage_folder(self.reference.repo) / "blobs" / sha256

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
    sets = [_jobs(reference) for reference in references]
    jobs = list({job.blob: job for jobs in sets for job in jobs}.values())
    _require_space(jobs)
    _run_all(jobs, report)
    paths = [[_snapshot_path(job) for job in jobs] for jobs in sets]
    for jobs in sets:
        _remember_revision(jobs[0])
    return paths


def _jobs(reference: HubReference) -> list[_Job]:
    listing = list_models(reference)
    jobs = [
        _Job(reference, listing.commit, part) for part in reference.choose(listing.models).parts
    ]
    for job in jobs:
        require_sound(job.file, reference)
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
    folder = next(folder for folder in jobs[0].blob.parents if folder.exists())
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


@dataclass(frozen=True, slots=True)
class _Download:
    """One file on its way from the Hub to a blob of the cache."""

    job: _Job
    sink: ProgressSink
    cancelled: threading.Event

    def run(self) -> None:
        job = self.job
        with locked(job.blob):
            if job.blob.exists():
                self.report("fetch", job.file.size)
                return
            with explained_write(job.partial, "HF_HUB_CACHE"), explained(job.reference):
                self.fetch()
                self.verify()
                job.partial.replace(job.blob)

    def report(self, action: Action, done: int) -> None:
        if self.cancelled.is_set():
            raise _CancelledError
        self.sink(Progress(action, self.job.name, done, self.job.file.size))

    def fetch(self) -> None:
        import httpx2

        job, failures = self.job, 0
        while (size := file_size(job.partial)) != job.file.size:
            problem: Exception | None = None
            try:
                self.append(size if size < job.file.size else 0)
            except (httpx2.TransportError, BusyError) as error:
                problem = error
            received = file_size(job.partial)
            enough = min(LEAST_PROGRESS, job.file.size - size)
            failures = 0 if received >= size + enough else failures + 1
            if failures == ATTEMPTS:
                raise problem or FetchError(
                    f"the Hub sends no more than {received} of {job.file.size} bytes of {job.name}",
                    hint="try again later; received data is kept",
                )
            if received != job.file.size and self.cancelled.wait(RETRY_SECONDS):
                raise _CancelledError

    def append(self, start: int) -> None:
        """Write what one connection brings, from byte `start` on, up to the file's size."""
        job = self.job
        url = file_url(job.reference, job.commit, job.file)
        with (
            requested(url, job.reference, start) as answer,
            job.partial.open("r+b" if answer.start else "wb") as file,
        ):
            file.seek(answer.start)
            left = job.file.size - answer.start
            for block in answer.blocks:
                file.write(block[:left])
                left -= len(block)
                self.report("fetch", file.tell())
                if left <= 0:
                    break
            file.flush()
            os.fsync(file.fileno())

    def verify(self) -> None:
        job, digest, done = self.job, hashlib.sha256(), 0
        with job.partial.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                done += len(block)
                self.report("verify", done)
        if digest.hexdigest() != job.file.sha256:
            job.partial.unlink()
            raise FetchError(
                f"{job.name} was damaged in transit: its SHA-256 is {digest.hexdigest()}, "
                f"the Hub gives {job.file.sha256}",
                hint="the file was deleted: pull it again",
            )


def _snapshot_path(job: _Job) -> Path:
    """The file's path in the snapshot, which links to the blob as huggingface_hub has it."""
    path = storage_folder(job.reference.repo) / "snapshots" / job.commit / job.file.path
    with explained_write(path, "HF_HUB_CACHE"):
        if path.exists() and path.samefile(job.blob):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
        try:
            try:
                fresh.symlink_to(os.path.relpath(job.blob, path.parent))
            except OSError:
                # Windows allows links of this kind to few.
                fresh.hardlink_to(job.blob)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return path


def _remember_revision(job: _Job) -> None:
    """Record which commit a branch or tag points to, as the Hub's cache does, for later runs."""
    if job.reference.revision != job.commit:
        ref = storage_folder(job.reference.repo) / "refs" / job.reference.revision
        with locked(ref), writing(ref, "HF_HUB_CACHE") as partial:
            partial.write_text(job.commit)
