"""Requests to the Hub: huggingface_hub's client, token and endpoint, within bounds of our own.

A server is trusted with nothing: not with a length, a rate, a range or an encoding. No response is
decompressed, and a connection that brings too little is broken.
"""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from specli.errors import FetchError, UsageError, shortened

if TYPE_CHECKING:
    import httpx2

PATIENCE = 30.0
"""Seconds in which a connection has to bring something, its headers included."""

LEAST_RATE = 8 << 10
"""Bytes a second: about the speed of a modem."""

MOST_SECONDS = 120.0
"""For what is read into memory: a description, or a part of a header."""

ATTEMPTS = 3
"""Connections for one short answer."""

RETRY_SECONDS = 1.0

_TOKEN = "log in with `hf auth login`, or set HF_TOKEN"


class BusyError(FetchError):
    """The server could not answer now; it may later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The start of a response: the position of its first byte, and its blocks, undecoded."""

    start: int
    blocks: Iterator[bytes]


@dataclass(slots=True)
class _Guard:
    """Breaks a connection that brings less than `LEAST_RATE` over `PATIENCE`.

    The client's own timeout is for each read: a server that sends a byte every few seconds passes
    it for ever.
    """

    broken: bool = False
    _received: int = 0
    _stream: Any = None
    _over: threading.Event = field(default_factory=threading.Event)

    def traced(self, name: str, info: dict[str, Any]) -> None:
        """Called by httpcore for every step of a request: remember the connection."""
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]

    def counted(self, blocks: Iterator[bytes], what: object, late: float) -> Iterator[bytes]:
        for block in blocks:
            self._received += len(block)
            if time.monotonic() > late:
                raise FetchError(
                    f"the Hub takes more than {MOST_SECONDS:.0f} seconds to answer for {what}",
                    hint="try again later, or check HF_ENDPOINT",
                )
            yield block

    def watch(self) -> None:
        while not self._over.wait(PATIENCE):
            if self._received < LEAST_RATE * PATIENCE:
                self.broken = True
                if self._stream is not None:
                    with suppress(OSError):
                        # A thread that waits for it wakes up; closing would not wake it.
                        socket.socket.shutdown(
                            self._stream.get_extra_info("socket"), socket.SHUT_RDWR
                        )
            self._received = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self.watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def _identity() -> dict[str, str]:
    """Who asks, with the user's token where there is one.

    huggingface_hub's own headers would first ask the Hub for a list of other programs' names, and
    write it to a file: a request and a file without our bounds.
    """
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    name = {"User-Agent": f"specli/{version('specli')}"}
    return name if token is None else name | {"Authorization": f"Bearer {token}"}


@contextmanager
def requested(
    url: str,
    what: object,
    start: int = 0,
    end: int | None = None,
    *,
    seconds: float = math.inf,
) -> Iterator[Answer]:
    """Request bytes `start` to `end` of `url`; a server that knows no ranges sends all, from 0 on.

    `what` is named in errors; the body may take so many `seconds`. Raises FetchError for an answer
    that is none, and the client's own errors, which `explained` turns into one.
    """
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    # A connection of its own, so that the guard sees it being made.
    headers = _identity() | {"Accept-Encoding": "identity", "Connection": "close"}
    ranged = bool(start) or end is not None
    if ranged:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    guard = _Guard()
    try:
        with (
            guard.watching(),
            get_session().stream(
                "GET",
                url,
                headers=headers,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                extensions={"trace": guard.traced},
            ) as response,
        ):
            first = _first_byte(response, what, start if ranged else None)
            late = time.monotonic() + seconds
            yield Answer(first, guard.counted(response.iter_raw(), what, late))
    except (httpx2.TransportError, httpx2.StreamError) as error:
        if guard.broken:
            slow = f"it sent less than {LEAST_RATE >> 10} KiB a second for {PATIENCE:.0f} seconds"
            raise httpx2.ReadTimeout(slow) from error
        raise


def _first_byte(response: httpx2.Response, what: object, start: int | None) -> int:
    """The position of the first byte. Raises FetchError for anything but the bytes asked for."""
    status, headers = response.status_code, response.headers
    if status not in (200, 206):
        raise _refusal(what, status, headers.get("X-Error-Code"), headers.get("X-Error-Message"))
    if headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(
            f"the Hub sends {what} compressed, which was not asked for",
            hint="check HF_ENDPOINT and the proxy",
        )
    if status == 200:
        return 0
    sent = re.match(r"bytes (\d{1,19})-", headers.get("Content-Range", ""))
    if start is None or sent is None or int(sent[1]) != start:
        raise FetchError(
            f"the Hub sends another range of {what} than the one asked for",
            hint="check HF_ENDPOINT and the proxy",
        )
    return start


def retried(once: Callable[[], bytes]) -> bytes:
    """A short answer; where the connection breaks, or the server is busy, it is asked for again."""
    import httpx2

    for _attempt in range(ATTEMPTS - 1):
        with suppress(httpx2.TransportError, BusyError):
            return once()
        time.sleep(RETRY_SECONDS)
    return once()


def received(url: str, what: object, most: int) -> bytes:
    """A whole body of at most `most` bytes. Raises as `requested`."""
    body = bytearray()
    with requested(url, what, seconds=MOST_SECONDS) as answer:
        for block in answer.blocks:
            body += block
            if len(body) > most:
                raise FetchError(
                    f"the Hub sends more than {most >> 20} MiB about {what}",
                    hint="check HF_ENDPOINT",
                )
    return bytes(body)


@contextmanager
def explained(what: object) -> Iterator[None]:
    """Turn what the client raises in the block into FetchError."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise FetchError(
            f"{what} is not in the cache, and HF_HUB_OFFLINE prevents downloading it",
            hint="unset HF_HUB_OFFLINE, or choose among the local models: specli models",
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        reason = without_password(str(error)) or type(error).__name__
        raise FetchError(
            f"{endpoint()} could not be reached for {what}: {shortened(reason)}",
            hint="check the network, the proxy and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only "
            "models that are in the cache are used",
        ) from error


def endpoint() -> str:
    """The Hub's address as it may be shown."""
    from huggingface_hub import constants

    return without_password(constants.ENDPOINT)


def without_password(text: str) -> str:
    """A text with addresses that name no user: HF_ENDPOINT may hold a password."""
    return re.sub(r"//[^/\s]*@", "//", text)


def _refusal(what: object, status: int, code: str | None, message: str | None) -> FetchError:
    """What a status means, with the Hub's own code where it gives one."""
    repo = getattr(what, "repo", what)
    if code == "GatedRepo":
        return FetchError(
            f"{repo} is gated: its owner gives access on request",
            hint=f"ask for access at {endpoint()}/{repo}, then {_TOKEN}",
        )
    if code == "RevisionNotFound":
        return FetchError(
            f"{repo} has no revision {getattr(what, 'revision', '')!r}",
            hint="a revision is a branch, a tag or a commit of the repository",
        )
    if code == "EntryNotFound":
        return FetchError(
            f"{what} is not in the repository",
            hint="it may have been moved: see the page of the repository",
        )
    # 401 also means that a repository is missing, unless it says that the token is wrong.
    if code == "RepoNotFound" or (status == 401 and "credentials" not in (message or "")):
        return FetchError(
            f"the Hub has no repository {repo}, or it is private",
            hint=f"check the spelling; for a private one, {_TOKEN}",
        )
    if status in (401, 403):
        return FetchError(f"the Hub refused the token for {repo}", hint=_TOKEN)
    if status == 429:
        return FetchError(
            "too many requests were sent to the Hub", hint=f"wait some minutes, or {_TOKEN}"
        )
    if status == 404:
        return FetchError(
            f"the Hub does not know {what}", hint="check the spelling, and HF_ENDPOINT"
        )
    kind = BusyError if status >= 500 else FetchError
    return kind(
        f"the Hub answered {status} for {what}",
        hint="try again later; downloaded models are kept",
    )


def require_repository(repo: str) -> None:
    """Raises UsageError for a name that no repository can have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(
            f"{repo!r} is not a name that a repository can have",
            hint="names are OWNER/REPO, as in the address of its page",
        ) from error
