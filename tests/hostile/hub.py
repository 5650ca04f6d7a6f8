"""Answers of a Hub that wants no good: nothing outside the cache, and an end within bounds.

Every file that is opened for writing, made, moved or linked is watched while a case runs.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

from specli.errors import FetchError, ModelFileError, UsageError
from specli.hub.download import pull
from specli.hub.huggingface import HubReference
from specli.hub.remote import remote_header
from tests import tiny_gguf as tiny
from tests.hostile.entry import Entry, require_sentence

REFERENCE = HubReference("someone/Tiny-GGUF", quant="Q4_K_M")
NAME = "Tiny-Q4_K_M.gguf"
CONTENT = tiny.llama_bytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ENDLESS = -1

MOST_DISK = 4 * len(CONTENT) + (1 << 20)
MOST_MEMORY = 200 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: what is said before the body, the body, and how it is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """What Content-Length says; None the truth, ENDLESS none, and the body comes over and over."""
    pause: float = 0.0
    """Seconds between bytes: a server that holds the line."""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What the Hub answers to the question what it has, and to the one for a file's content."""

    about: Reply
    content: tuple[Reply, ...]
    """One after the other; the last again and again."""


def _paths(rng: random.Random) -> Any:
    return rng.choice(
        (
            "/tmp/victim",
            "../../../victim",
            "..",
            "",
            "a/../../b",
            "\x1b[2J",
            "C:\\victim",
            "~/victim",
            "\0",
            "x" * 5000,
            5,
            None,
            ["/victim"],
            {"a": 1},
        )
    )


def _about(rng: random.Random) -> Reply:
    file: dict[str, Any] = {
        "rfilename": NAME,
        "size": len(CONTENT),
        "blobId": "0" * 40,
        "lfs": {"sha256": SHA256, "size": len(CONTENT), "pointerSize": 134},
    }
    info: dict[str, Any] = {"id": REFERENCE.repo, "sha": "1" * 40, "siblings": [file]}
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        change = rng.randrange(8)
        if change == 0:
            info["sha"] = _paths(rng)
        elif change == 1:
            file["lfs"] = rng.choice((None, {}, {"sha256": _paths(rng)}, [], "x"))
        elif change == 2:
            file["rfilename"] = rng.choice((f"{_paths(rng)}/{NAME}", f"../{NAME}", _paths(rng)))
        elif change == 3:
            file["size"] = rng.choice((0, -1, 1, 99, 10**15, 10**30, "5", None, len(CONTENT) + 9))
        elif change == 4:
            info["siblings"] = rng.choice((None, [], [5], {}, [file] * 3, [[file]]))
        elif change == 5:
            stem = NAME.removesuffix(".gguf")
            info["siblings"] = [
                {**file, "rfilename": f"{stem}-{n:05}-of-99999.gguf"} for n in range(1, 3000)
            ]
        elif change == 6:
            info["blob"] = "x" * rng.choice((10, 1 << 20))
        else:
            info = rng.choice(({}, {"sha": "1" * 40}, {"error": "no"}))
            break
    body = json.dumps(info).encode()
    return _sent(rng, rng.choice((body,) * 8 + (b"[" * 200_000, b"<html>", b"null", b"\xff")))


def _sent(rng: random.Random, body: bytes) -> Reply:
    """A body as it should be sent, mostly."""
    kind = rng.randrange(14)
    if kind == 0:
        status = rng.choice((204, 206, 301, 401, 403, 404, 418, 429, 500, 503, 999))
        headers = {"Retry-After": "86400", "X-Error-Code": rng.choice(("GatedRepo", "x\x1b[2J"))}
        return Reply(status, headers, body)
    if kind == 1:
        return Reply(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(1 << 24)))
    if kind == 2:
        return Reply(body=body or b"x", length=ENDLESS)
    if kind == 3:
        return Reply(body=body, pause=0.2)
    if kind == 4:
        return Reply(body=body[: len(body) // 2], length=len(body), cut=True)
    if kind == 5:
        where = rng.choice(
            ("file:///etc/passwd", "http://127.0.0.1:9/x", "/", "", "ftp://a", "//[")
        )
        return Reply(302, {"Location": where})
    if kind == 6:
        return Reply(
            headers={"ETag": f'"../../../../{_paths(rng)}"', "X-Repo-Commit": "/x"}, body=body
        )
    if kind == 7:
        return Reply(headers={"Content-Length": rng.choice(("-1", "x", "9" * 40))}, body=body)
    return Reply(body=body)


def _content(rng: random.Random) -> Reply:
    body = bytearray(CONTENT)
    kind = rng.randrange(6)
    if kind == 0:
        body[rng.randrange(len(body))] ^= 1
    elif kind == 1:
        del body[rng.randrange(len(body)) :]
    elif kind == 2:
        body += bytes(rng.choice((1, 1 << 20)))
    reply = _sent(rng, bytes(body))
    if rng.random() < 0.3:
        start = rng.choice((0, 5, 10**9, -1))
        ranges = {"Content-Range": rng.choice((f"bytes {start}-9/99", "x", f"bytes {start}-"))}
        return Reply(206, ranges, reply.body, reply.length, reply.pause, reply.cut)
    return reply


def make(rng: random.Random) -> Case:
    return Case(_about(rng), tuple(_content(rng) for _ in range(rng.randrange(1, 4))))


class _Watch:
    """What this process writes, seen by an audit hook, which Python cannot take away again."""

    def __init__(self) -> None:
        self.active = False
        self.written: list[str] = []
        sys.addaudithook(self.seen)

    def seen(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            path, mode, flags = given
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if flags else False
            if writes or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._note(path)
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            self._note(given[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._note(given[1])
            if event == "os.rename":
                self._note(given[0])

    def _note(self, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            self.written.append(os.path.realpath(os.fsdecode(path)))


_watch: _Watch | None = None


@contextmanager
def watching() -> Iterator[list[str]]:
    global _watch
    _watch = _watch or _Watch()
    _watch.written = []
    _watch.active = True
    try:
        yield _watch.written
    finally:
        _watch.active = False


class _Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, case: Case) -> None:
        self.case = case
        self.left = list(case.content)
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def do_GET(self) -> None:
        hub = self.server
        if self.path.startswith("/api/"):
            reply = hub.case.about
        else:
            reply = hub.left.pop(0) if len(hub.left) > 1 else hub.left[0]
        self.close_connection = True
        with suppress(OSError):
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value.replace("\0", ""))
        if reply.length != ENDLESS and "Content-Length" not in reply.headers:
            length = len(reply.body) if reply.length is None else reply.length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if reply.pause:
            for byte in reply.body:
                if self.server.over.wait(reply.pause):
                    return
                self.wfile.write(bytes([byte]))
            return
        self.wfile.write(reply.body)
        while reply.length == ENDLESS and not self.server.over.is_set():
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def check(case: Case, folder: Path) -> str:
    from huggingface_hub import constants

    hub = _Hub(case)
    threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{hub.server_port}"
    cache, own = folder / "hub", folder / "specli"
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    environment = {"SPECLI_CACHE": str(own), "NO_PROXY": "127.0.0.1", "HF_TOKEN": "hf_secret"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with (
            patch.dict(os.environ, environment),
            patch.object(constants, "ENDPOINT", url),
            patch.object(constants, "HF_HUB_CACHE", str(cache)),
            patch.object(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template),
            patch("specli.hub.http.PATIENCE", 0.3),
            patch("specli.hub.http.MOST_SECONDS", 1.0),
            patch("specli.hub.remote.MOST_SECONDS", 1.0),
            patch("specli.hub.http.RETRY_SECONDS", 0.0),
            patch("specli.hub.download.RETRY_SECONDS", 0.0),
            patch("specli.hub.download.ATTEMPTS", 2),
            patch("specli.hub.http.ATTEMPTS", 2),
            patch("specli.hub.http.time.sleep", lambda _seconds: None),
            watching() as written,
        ):
            result = _asked()
    finally:
        hub.over.set()
        hub.shutdown()
        hub.server_close()
    real = folder.resolve()
    outside = [one for one in written if not Path(one).is_relative_to(real) and one != os.devnull]
    assert not outside, f"written outside: {outside}"
    assert {one.name for one in folder.iterdir()} <= {"hub", "specli"}
    disk = sum(one.lstat().st_size for one in folder.rglob("*") if one.is_file())
    assert disk <= MOST_DISK, f"{disk} bytes on disk"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown <= MOST_MEMORY, f"{grown >> 20} MiB more memory"
    return result


def _asked() -> str:
    """Pull the model, then read its header from afar."""
    results = []
    for ask in (lambda: pull([REFERENCE])[0][0].read_bytes(), lambda: remote_header(REFERENCE)):
        try:
            got = ask()
        except (FetchError, UsageError, ModelFileError) as error:
            require_sentence(error.message)
            message = f"{error.message} {error.hint}"
            results.append("refused")
        else:
            assert not isinstance(got, bytes) or got == CONTENT
            message = ""
            results.append("fetched")
        assert "hf_secret" not in message
    return " and ".join(dict.fromkeys(results))


ENTRY = Entry(
    "hub",
    make,
    check,
    seeds=(
        Case(Reply(body=b'{"sha": "/victim", "siblings": []}'), (Reply(),)),
        Case(Reply(body=b"x", length=ENDLESS), (Reply(),)),
        Case(Reply(503, {"Retry-After": "86400"}), (Reply(),)),
    ),
    in_ci=30,
    seconds=60,
)
