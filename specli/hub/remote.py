"""Headers of models, remote ones by HTTP ranges: what a check needs without the weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from specli.errors import FetchError
from specli.gguf.check import check_file, check_metadata, joined
from specli.gguf.cursor import NeedMoreBytes
from specli.gguf.header import Header, parse_header
from specli.hub.http import MOST_SECONDS, explained, requested, retried
from specli.hub.huggingface import HubReference, cached_model, file_url, list_models
from specli.hub.package import PackageReference, fetch_package
from specli.hub.progress import ProgressSink, ignore
from specli.hub.references import locate

if TYPE_CHECKING:
    from specli.hub.quants import HubFile

FIRST_BYTES = 1 << 20
"""Enough for a vocabulary of some ten thousand tokens; larger ones take a second request."""
PART_BYTES = 1 << 16
"""Later parts of a split model carry no vocabulary."""
MOST_HEADER = 256 << 20
"""The largest vocabularies take some 20 MiB; a header says itself how much more it needs."""


def read_model_header(reference: str, report: ProgressSink = ignore) -> Header:
    """The header of a model by reference, all parts of a split one included.

    Of a model on the Hub that is not here yet only the first megabytes are fetched. Raises as
    `locate`, `check_file` and `remote_header` do.
    """
    location = locate(reference)
    if isinstance(location, PackageReference):
        return check_file(fetch_package(location, report))
    if isinstance(location, Path):
        return check_file(location)
    cached = cached_model(location)
    return check_file(cached[0]) if cached else remote_header(location)


def remote_header(reference: HubReference) -> Header:
    """The header of a model on the Hub, its name the reference.

    Raises UsageError when the repository has no such model, FetchError when the Hub cannot be
    reached, ModelFileError for a header that is broken or that llama.cpp would refuse.
    """
    listing = list_models(reference)
    header = joined(
        [
            _header(reference, listing.commit, part, PART_BYTES if index else FIRST_BYTES)
            for index, part in enumerate(reference.choose(listing.models).parts)
        ]
    )
    check_metadata(header)
    return header


def _header(reference: HubReference, commit: str, file: HubFile, wanted: int) -> Header:
    prefix = b""
    while True:
        if wanted > MOST_HEADER:
            raise FetchError(
                f"the header of {reference} would have more than {MOST_HEADER >> 20} MiB",
                hint="download the file by other means and name its path",
            )
        with explained(reference):
            part = partial(_range, reference, commit, file, len(prefix), min(wanted, file.size))
            prefix += retried(part)
        try:
            return parse_header(prefix, file.size, str(reference))
        except NeedMoreBytes as signal:
            wanted = max(signal.needed, 2 * len(prefix))


def _range(reference: HubReference, commit: str, file: HubFile, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a file on the Hub."""
    received = bytearray()
    url = file_url(reference, commit, file)
    with requested(url, reference, start, end, seconds=MOST_SECONDS) as answer:
        for block in answer.blocks:
            received += block
            # A server that knows no ranges sends the file from its start to its end.
            if answer.start + len(received) >= end:
                break
    data = bytes(received[start - answer.start : end - answer.start])
    if len(data) < end - start:
        raise FetchError(
            f"the Hub sent {len(data)} of {end - start} bytes of the header of {reference}",
            hint="try again",
        )
    return data
