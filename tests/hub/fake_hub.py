"""The Hub's endpoints on loopback: model info, resolve, and a content server on another origin."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

TOKEN = "hf_the_right_one"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@dataclass
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    range: str | None
    authorized: bool


@dataclass
class Content:
    """A file of a repository; `sha256` may lie about the bytes."""

    path: Path
    sha256: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size


@dataclass
class FakeHub:
    """What the tests set, and what they look at afterwards."""

    folder: Path
    repos: dict[str, dict[str, Content]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    status: int | None = None
    """Answers everything with this status."""
    cuts: list[float] = field(default_factory=list)
    """Shares of the whole file after which the next connections break."""
    ranges: bool = True
    change: Callable[[bytes], bytes] | None = None
    """What the content server does to the bytes it sends."""
    etag: str | None = None
    """What `resolve` answers in place of a file's SHA-256."""
    describe: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """What the Hub does to its description of a repository."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of content in place of the right ones."""
    more: bytes = b""
    """What follows a file's content, over and over, without an end."""
    pause: float = 0.0
    """Seconds between blocks of content."""
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    """Bytes of content sent."""

    def add(self, repo: str, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = self.folder / hashlib.sha256(f"{repo}/{name}".encode()).hexdigest()
            path.write_bytes(data)
            self.add_file(repo, name, path, hashlib.sha256(data).hexdigest())

    def add_file(self, repo: str, name: str, path: Path, sha256: str) -> None:
        self.repos.setdefault(repo, {})[name] = Content(path, sha256)

    def commit(self, repo: str) -> str:
        state = {name: content.sha256 for name, content in self.repos[repo].items()}
        return hashlib.sha1(json.dumps(state).encode()).hexdigest()

    def contents(self) -> list[Request]:
        """The requests that reached the content server."""
        return [request for request in self.requests if request.path.startswith("/content/")]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        authorization = handler.headers.get("Authorization")
        self.requests.append(
            Request(handler.command, path, handler.headers.get("Range"), authorization is not None)
        )
        if self.status is not None:
            _finish(handler, self.status)
        elif path.startswith("/content/"):
            self._send_content(handler, path.split("/")[2])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._model_info(handler, match[1], match[2], authorization)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(handler, match[1], match[2], match[3], authorization)
        else:
            _finish(handler, 404)

    def _refused(
        self, handler: BaseHTTPRequestHandler, repo: str, revision: str | None, token: str | None
    ) -> bool:
        allowed = token == f"Bearer {TOKEN}"
        if token is not None and not allowed:
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            _finish(handler, 401, message)
        elif repo not in self.repos or (repo in self.private and not allowed):
            _finish(handler, 404 if allowed else 401, {"X-Error-Code": "RepoNotFound"})
        elif revision not in (None, "main", self.commit(repo)):
            _finish(handler, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def _model_info(
        self, handler: BaseHTTPRequestHandler, repo: str, revision: str | None, token: str | None
    ) -> None:
        if self._refused(handler, repo, revision, token):
            return
        siblings = [
            {
                "rfilename": name,
                "size": content.size,
                "blobId": "0" * 40,
                "lfs": {"sha256": content.sha256, "size": content.size, "pointerSize": 134},
            }
            for name, content in self.repos[repo].items()
        ]
        info = {"id": repo, "sha": self.commit(repo), "siblings": siblings}
        if self.describe is not None:
            info = self.describe(info)
        _finish(handler, 200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def _resolve(
        self,
        handler: BaseHTTPRequestHandler,
        repo: str,
        revision: str,
        name: str,
        token: str | None,
    ) -> None:
        if self._refused(handler, repo, revision, token):
            return
        if repo in self.gated and token is None:
            _finish(handler, 401, {"X-Error-Code": "GatedRepo"})
            return
        content = self.repos[repo].get(name)
        if content is None:
            _finish(handler, 404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "X-Repo-Commit": self.commit(repo),
            "X-Linked-Size": str(content.size),
            "X-Linked-Etag": f'"{self.etag or content.sha256}"',
            "Location": f"{self.content_url}/content/{content.path.name}",
        }
        _finish(handler, 302, headers)

    def _send_content(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        path = self.folder / name
        size = path.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range") or "")
        start, end = 0, size
        if match and self.ranges:
            start = int(match[1])
            end = min(int(match[2]) + 1, size) if match[2] else size
        cut = round(self.cuts.pop(0) * size) if self.cuts else size
        handler.send_response(206 if match and self.ranges else 200)
        right = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        if not self.more:
            right["Content-Length"] = str(end - start)
        for header, value in (right | self.headers).items():
            handler.send_header(header, value)
        handler.end_headers()
        handler.close_connection = True
        with path.open("rb") as file:
            file.seek(start)
            left = min(end, max(cut, start)) - start
            while left > 0:
                block = file.read(min(left, 1 << 18))
                self.sent += len(block)
                handler.wfile.write(self.change(block) if self.change else block)
                left -= len(block)
                time.sleep(self.pause)
        while self.more:
            self.sent += handler.wfile.write(self.more)

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        port = self._server.server_port
        self.url = f"http://127.0.0.1:{port}"
        # The same server under another name: another origin, as the Hub's content servers are.
        self.content_url = f"http://localhost:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _finish(
    handler: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
