"""A child process for what comes from elsewhere and may take all time or memory, or crash.

It lives as long as this process and answers one request after the other, each a line of JSON. One
that exceeds a limit is replaced at the next request. It has no environment variables with secrets
in them and can write no file.

Where the system cannot bound a process's memory (macOS, Windows), its time is the only limit. It
ends itself where a request takes more processor time: nobody else would, once this process has been
killed or stopped.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_REPLY = 1 << 30
"""Bytes of a reply."""

_KEPT = ("PATH", "TZ", "LANG", "LC_ALL", "LC_TIME", "SYSTEMROOT", "LD_LIBRARY_PATH")


def search_path() -> str:
    """PYTHONPATH of a child, which must find this very package, also where it is not installed."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
    return os.pathsep.join(filter(None, paths))


class ChildError(Exception):
    """The request was refused; the message is a part of a sentence."""


class Child:
    """Runs `python -m MODULE`, started with the first request. Calls may come from any thread."""

    def __init__(self, module: str, seconds: float) -> None:
        self._module = module
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.close)

    def start(self) -> None:
        """Have the child ready when the first request comes; one that cannot start fails then."""
        with self._lock, suppress(OSError):
            self._running()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply. Raises ChildError where it is an error, or comes too late or never."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            reply = self._answer(line)
        if "error" in reply:
            raise ChildError(reply["error"])
        return reply

    def _answer(self, request: bytes) -> dict[str, Any]:
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
            reply: dict[str, Any] = json.loads(child.stdout.readline(MOST_REPLY))
        except (OSError, ValueError):
            self._stop()
            if late.is_set():
                return {"error": f"it did not end within {self._seconds:g} seconds"}
            return {"error": "it ended the process that tried it"}
        finally:
            timer.cancel()
            timer.join()
        return reply

    def _running(self) -> subprocess.Popen[bytes]:
        # A process that was forked off from this one has a child of its own.
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            self._stop()
            kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
            self._owner = os.getpid()
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**kept, "PYTHONPATH": search_path()},
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


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]], memory: int, seconds: int) -> None:
    """The child's side: answer requests from stdin within `memory` bytes more than there are, each
    within `seconds` of processor time."""
    _limit(memory)
    for line in sys.stdin.buffer:
        _limit_time(seconds)
        try:
            reply = answer(json.loads(line))
        except MemoryError:
            reply = {"error": f"it needs more than {memory >> 20} MiB"}
        except RecursionError:
            reply = {"error": "it is nested too deeply, or calls itself without end"}
        except Exception as error:
            reply = {"error": (str(error) or type(error).__name__)[:1000]}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _limit(memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # macOS has no such file, and does not bound the address space either.
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limit_time(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    # The system counts whole seconds, and the other side's clock should be over first.
    most = int(time.process_time()) + seconds + 2
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
