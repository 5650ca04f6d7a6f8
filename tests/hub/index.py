"""A package index on loopback, and wheels to put into it."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


def wheel_bytes(name: str, version: str, files: Mapping[str, bytes]) -> bytes:
    """A wheel that pip accepts, holding `files` (paths inside the package)."""
    folder = name.replace("-", "_")
    info = f"{folder}-{version}.dist-info"
    members = {f"{folder}/{path}": data for path, data in files.items()} | {
        f"{folder}/__init__.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Dist: a-package-that-is-nowhere\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in members.items()
    )
    members[f"{info}/RECORD"] = record.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


class FakeIndex:
    """Serves wheels under /simple/; can cut a download short, or hold it in the middle."""

    def __init__(self) -> None:
        self.wheels: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.cut_at: int | None = None
        self.hold_at: int | None = None
        self.go_on = threading.Event()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, version: str, files: Mapping[str, bytes]) -> None:
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        self.wheels[file] = wheel_bytes(name, version, files)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        place = handler.path.strip("/").split("/")
        if place[0] == "files" and place[1] in self.wheels:
            self._send_wheel(handler, place[1])
            return
        names = [file for file in self.wheels if file.split("-")[0].replace("_", "-") == place[-1]]
        if place[0] != "simple" or not names:
            handler.send_error(404)
            return
        page = "".join(f'<a href="/files/{file}">{file}</a>' for file in names).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    def _send_wheel(self, handler: BaseHTTPRequestHandler, file: str) -> None:
        data = self.wheels[file]
        self.downloads.append(file)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if self.hold_at is not None:
            handler.wfile.write(data[: self.hold_at])
            handler.wfile.flush()
            self.go_on.wait(timeout=30)
            handler.wfile.write(data[self.hold_at :])
        else:
            handler.wfile.write(data[: self.cut_at])
        handler.close_connection = True

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
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
