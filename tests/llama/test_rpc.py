"""RPC servers: which are accepted, and what is said of one that cannot be used or that ends."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from specli.errors import SpecliError, UsageError
from specli.llama import rpc

WELCOME = struct.pack("<Q3B25x", 28, 7, 0, 0)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The servers that llama.cpp is asked to add, of which none has a device."""
    found: list[bytes] = []
    monkeypatch.setattr(rpc, "_procedure", lambda *_types: found.append)
    monkeypatch.setattr(rpc, "SECONDS", 0.3)
    return found


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A server that answers the first message like this and hangs up; with None it never does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(1 << 10)
                # In two parts, as ggml sends it.
                connection.sendall((answer or b"")[:8])
                time.sleep(0.02)
                connection.sendall((answer or b"")[8:])

        thread = threading.Thread(target=serve)
        if answer is not None:
            thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        if answer is not None:
            thread.join()


@pytest.mark.parametrize("named", ["", "host", "host:", ":50052", "host:0", "host:65536", "::1:80"])
def test_what_names_no_server_is_refused(named: str) -> None:
    with pytest.raises(UsageError, match="`rpc` takes servers as HOST:PORT"):
        rpc.connect([named])


def test_a_server_off_loopback_is_refused_with_the_reason(added: list[bytes]) -> None:
    with pytest.raises(UsageError, match="neither authentication nor encryption") as refused:
        rpc.connect(["192.0.2.1:50052"])
    assert "ssh -L 50052:127.0.0.1:50052 192.0.2.1" in (refused.value.hint or "")
    assert added == []


def test_a_server_off_loopback_is_tried_where_that_is_allowed(
    added: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    greeted: list[rpc.Server] = []
    monkeypatch.setattr(rpc, "_greet", greeted.append)
    with pytest.raises(SpecliError, match=r"192\.0\.2\.1:50052 has no devices"):
        rpc.connect(["192.0.2.1:50052"], insecure=True)
    assert greeted == [rpc.Server("192.0.2.1", 50052)]
    assert added == [b"192.0.2.1:50052"]


def test_a_name_that_stands_for_nothing_is_told(added: list[bytes]) -> None:
    with pytest.raises(SpecliError, match=r"'no\.such\.invalid' cannot be resolved"):
        rpc.connect(["no.such.invalid:50052"])


def test_a_build_without_rpc_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "RPC", "no such backend")
    with pytest.raises(UsageError, match="built without RPC") as refused:
        rpc.connect(["127.0.0.1:50052"])
    assert "CMAKE_ARGS=-DGGML_RPC=on pip install" in (refused.value.hint or "")


def test_a_server_that_is_not_there_is_told_before_llama_cpp_is_asked(added: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        server = f"127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(SpecliError, match=f"{server} cannot be reached") as refused:
        rpc.connect([server])
    assert refused.value.exit_code == 1
    assert "ggml-rpc-server -H 127.0.0.1 -p" in (refused.value.hint or "")
    assert added == []


def test_a_server_with_another_client_is_not_waited_for(added: list[bytes]) -> None:
    with listening(None) as server, pytest.raises(SpecliError, match="did not answer within 0"):
        rpc.connect([server])
    assert added == []


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2, WELCOME[:8]])
def test_another_kind_of_server_is_told_apart(answer: bytes, added: list[bytes]) -> None:
    with listening(answer) as server, pytest.raises(SpecliError, match="does not answer as an RPC"):
        rpc.connect([server])
    assert added == []


def test_a_server_that_says_hello_is_handed_to_llama_cpp(added: list[bytes]) -> None:
    with listening(WELCOME) as server, pytest.raises(SpecliError, match="has no devices"):
        rpc.connect([server])
    assert added == [server.encode()]


def ended(message: str) -> subprocess.CompletedProcess[str]:
    """What is left of a process in which ggml ends the process from a thread of its own."""
    program = f"""
import ctypes, threading
from specli.llama import rpc
rpc._procedure = lambda *_types: lambda _server: None
rpc._greet = lambda _server: None
try:
    rpc.connect(["127.0.0.1:9"])
except Exception:
    rpc._connected.append(rpc.Server("127.0.0.1", 9))
print("written before")
stop = rpc.function("ggml_abort", None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
thread = threading.Thread(target=stop, args=(b"{message}", 566, b"it broke off"))
thread.start()
thread.join()
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_server_that_ends_while_computing_ends_the_process_in_a_sentence() -> None:
    done = ended("ggml-rpc.cpp")
    assert (done.returncode, done.stdout) == (1, "written before\n")
    assert done.stderr.splitlines() == [
        "error: the RPC server 127.0.0.1:9 ended, or broke off, while llama.cpp was computing",
        "hint: start it again and repeat the command; a batch goes on where it was",
    ]


def test_what_else_ends_llama_cpp_is_told_in_its_own_words() -> None:
    done = ended("ggml-cpu.c")
    assert done.returncode == -6
    assert "ggml-cpu.c:566: it broke off" in done.stderr
