"""Chat templates render in a child process with limits: they are programs from a model file.

Jinja's sandbox keeps a template from reaching anything outside, but bounds neither its time nor
its memory. The child lives as long as this process and renders one conversation after the other;
one that exceeds a limit is replaced at the next request. It has no environment variables with
secrets in them and can write no file.

Where the system cannot bound a process's memory (macOS, Windows), its time is the only limit.

    python -m specli.llama.rendering      one JSON request a line on stdin, one reply on stdout
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

SECONDS = 10
MEMORY = 512 << 20
"""Bytes of address space, Python's and Jinja's own 100 MiB included."""

MOST_TEXT = 64 << 20
"""Characters of a conversation; a million tokens are about 4 million."""

_KEPT = ("PATH", "TZ", "LANG", "LC_ALL", "LC_TIME", "SYSTEMROOT", "LD_LIBRARY_PATH")


class RenderError(Exception):
    """A template that could not be applied; the message is a part of a sentence."""


class Renderer:
    """The child process, started with the first request. Its calls may come from any thread."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.close)

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """The text of a template. Raises RenderError."""
        request = json.dumps({"template": template, "variables": variables}).encode() + b"\n"
        with self._lock:
            reply = self._ask(request)
        if "text" not in reply:
            raise RenderError(reply["error"])
        return str(reply["text"])

    def _ask(self, request: bytes) -> dict[str, Any]:
        child = self._running()
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self._seconds, stop)
        timer.start()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(request)
            child.stdin.flush()
            # A character takes at most twelve bytes of JSON.
            line = child.stdout.readline(12 * MOST_TEXT)
            reply: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):
            self._stop()
            if late.is_set():
                return {"error": f"it did not end within {self._seconds:g} seconds"}
            return {"error": "the process that applies it ended"}
        finally:
            timer.cancel()
            timer.join()
        return reply

    def _running(self) -> subprocess.Popen[bytes]:
        # A process that was forked off from this one has a child of its own.
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            self._stop()
            paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
            kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
            self._owner = os.getpid()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "specli.llama.rendering"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                # Ctrl-C in the terminal is not meant for it.
                start_new_session=True,
            )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        with suppress(OSError):
            # Leaving the block closes the pipes and waits.
            child.__exit__(None, None, None)

    def close(self) -> None:
        """End the child; a later request starts another one."""
        with self._lock:
            self._stop()


def _serve() -> None:
    _limit()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            reply = {"text": _rendered(request["template"], request["variables"])}
        except MemoryError:
            reply = {"error": f"it needs more than {MEMORY >> 20} MiB"}
        except RecursionError:
            reply = {"error": "it is nested too deeply, or calls itself without end"}
        except Exception as error:
            reply = {"error": (str(error) or type(error).__name__)[:1000]}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    # macOS does not bound the address space.
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


def _rendered(template: str, variables: dict[str, Any]) -> str:
    pieces, length = [], 0
    for piece in _compiled(template).generate(**variables):
        length += len(piece)
        if length > MOST_TEXT:
            raise RenderError(f"it writes more than {MOST_TEXT >> 20} million characters")
        pieces.append(piece)
    return "".join(pieces)


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """The template in the environment that Transformers gives to chat templates, as
    llama-cpp-python's `Jinja2ChatFormatter` has it."""
    from datetime import datetime

    import jinja2.ext
    import jinja2.parser
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """Transformers' mark of what the assistant wrote, which changes no text."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: jinja2.parser.Parser) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def tojson(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **more)

    def raise_exception(message: str) -> None:
        raise RenderError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


if __name__ == "__main__":
    _serve()
