"""llama.cpp's RPC servers, whose devices take layers of a target that one machine cannot hold.

ggml ends the process where a server cannot be reached, speaks another protocol or breaks off. What
can be known before is tried here first; the rest ends in a sentence and exit code 1.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp

from specli.errors import SpecliError, UsageError
from specli.llama import library
from specli.llama.library import RPC, function

SECONDS = 10.0
"""How long a server may take to answer the first message."""

_HELLO = struct.Struct("<BQ24x")
"""Command 14 with its size and what the client can do, nothing beyond TCP."""
_WELCOME = struct.Struct("<Q3B25x")
"""The answer: its size, the protocol's version, and what the server can do."""

_PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""Seconds of silence, seconds between probes, and how many of them may stay unanswered."""

_VOID = ctypes.c_void_p


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


_connected: list[Server] = []


def connect(named: Sequence[str], *, insecure: bool = False) -> None:
    """Make the devices of these servers, each HOST:PORT, devices of this process.

    Raises UsageError for a name that is none, for a server off loopback unless `insecure`, and
    for a llama.cpp without RPC; SpecliError where a server does not answer.
    """
    servers = [one for one in map(_server, named) if one not in _connected]
    for server in servers:
        if not insecure and not _is_loopback(server):
            raise UsageError(
                f"the RPC server {server} is not on this machine, and llama.cpp's RPC protocol has "
                "neither authentication nor encryption: who reaches its port reads prompts and "
                "weights and runs code there",
                hint=f"tunnel it (ssh -L {server.port}:127.0.0.1:{server.port} {server.host}), or "
                "accept it on a network of your own with `rpc_insecure`",
            )
    add = _procedure("ggml_backend_rpc_add_server", _VOID, ctypes.c_char_p)
    for server in servers:
        _greet(server)
    function("ggml_set_abort_callback", _VOID, _VOID)(ctypes.cast(_on_abort, _VOID))
    for server in servers:
        registry = add(str(server).encode())
        if not registry:
            raise SpecliError(f"the RPC server {server} has no devices")
        function("ggml_backend_register", None, _VOID)(registry)
        # A server answers one client at a time: the connection is kept from here on.
        device = function("ggml_backend_reg_dev_get", _VOID, _VOID, ctypes.c_size_t)(registry, 0)
        function("ggml_backend_dev_init", _VOID, _VOID, ctypes.c_char_p)(device, None)
        _notice_silence(server)
        _connected.append(server)


def serve(server: str, device: str = "CPU", threads: int = 1) -> None:
    """Be an RPC server with one device of this process, until it is killed.

    Raises UsageError for a llama.cpp without RPC, and KeyError for a device that is not there.
    """
    handles = library.device_handles([device])
    types = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, _VOID)
    start = _procedure("ggml_backend_rpc_start_server", None, *types)
    start(str(_server(server)).encode(), None, threads, 1, ctypes.cast(handles, _VOID))


def _server(named: str) -> Server:
    host, colon, port = named.rpartition(":")
    if not colon or not host or ":" in host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(
            f"`rpc` takes servers as HOST:PORT, not {named!r}",
            hint="such as `rpc` 127.0.0.1:50052,127.0.0.1:50053",
        )
    return Server(host, int(port))


def _is_loopback(server: Server) -> bool:
    """Whether all that the name stands for is this machine. Raises SpecliError for no name."""
    try:
        found = socket.getaddrinfo(server.host, server.port, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SpecliError(
            f"the RPC server's name {server.host!r} cannot be resolved to an IPv4 address",
            hint="check the name; an address such as 127.0.0.1 does as well",
        ) from None
    return all(ipaddress.ip_address(one[4][0]).is_loopback for one in found)


def _procedure(name: str, restype: Any, *argtypes: Any) -> Any:
    """A function of the RPC backend, which may be a library of its own."""
    library.start()
    registry = function("ggml_backend_reg_by_name", _VOID, ctypes.c_char_p)(RPC.encode())
    if not registry:
        raise UsageError(
            "this llama.cpp was built without RPC",
            hint="CMAKE_ARGS=-DGGML_RPC=on pip install --force-reinstall --no-deps --no-cache-dir "
            f"--no-binary llama-cpp-python llama-cpp-python=={llama_cpp.__version__}",
        )
    find = function("ggml_backend_reg_get_proc_address", _VOID, _VOID, ctypes.c_char_p)
    return ctypes.CFUNCTYPE(restype, *argtypes)(find(registry, name.encode()))


def _greet(server: Server) -> None:
    """Say hello as ggml will. Raises SpecliError where it could not go on from there."""
    try:
        with closing(socket.create_connection((server.host, server.port), SECONDS)) as connection:
            connection.sendall(_HELLO.pack(14, 24))
            with connection.makefile("rb") as stream:
                answer = stream.read(_WELCOME.size)
    except TimeoutError:
        raise SpecliError(
            f"the RPC server {server} did not answer within {SECONDS:g} seconds",
            hint="a server has one client at a time: end the other one, or start a second server",
        ) from None
    except OSError as error:
        raise SpecliError(
            f"the RPC server {server} cannot be reached: {error.strerror or error}",
            hint=f"start it there: ggml-rpc-server -H {server.host} -p {server.port}",
        ) from None
    if len(answer) < _WELCOME.size or _WELCOME.unpack(answer)[0] != _WELCOME.size - 8:
        raise SpecliError(
            f"{server} does not answer as an RPC server of this llama.cpp",
            hint="check the port; a server has to be of the llama.cpp that specli uses "
            f"({llama_cpp.llama_version().decode()})",
        )


def _notice_silence(server: Server) -> None:
    """Have the system probe llama.cpp's connection, which else waits for ever on a lost machine."""
    address = socket.gethostbyname(server.host), server.port
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as one:
            if one.getpeername() != address:
                continue
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for setting, value in _PROBES.items():
                if (number := getattr(socket, setting, None)) is not None:
                    one.setsockopt(socket.IPPROTO_TCP, number, value)


@ctypes.CFUNCTYPE(None, ctypes.c_char_p)
def _on_abort(message: bytes) -> None:
    """ggml is about to end the process: say why, where it is a server's fault, and end it orderly.

    All that was written to files is there; nobody could use the models any more.
    """
    reason = message.decode("utf-8", "replace")
    if "ggml-rpc" not in reason:
        _tell(reason)
        return
    with suppress(Exception):
        sys.stdout.flush()
    named = _lost()
    if "handshake" in reason:
        _tell(f"error: {named} is of another llama.cpp ({reason.split(': ')[-1]})")
    else:
        _tell(f"error: {named} ended, or broke off, while llama.cpp was computing")
        _tell("hint: start it again and repeat the command; a batch goes on where it was")
    os._exit(1)


def _lost() -> str:
    """The servers that take no connection any more; the port of one that was killed may close a
    little later than the connection to it."""
    lost: list[Server] = []
    for _look in range(5):
        lost = [server for server in _connected if not _answers(server)]
        if lost:
            break
        time.sleep(0.1)
    several = len(lost or _connected) > 1
    named = " and ".join(map(str, lost or _connected))
    if several and not lost:
        return f"one of the RPC servers {named}"
    return f"the RPC servers {named}" if several else f"the RPC server {named}"


def _answers(server: Server) -> bool:
    try:
        socket.create_connection((server.host, server.port), 1).close()
    except OSError:
        return False
    return True


def _tell(line: str) -> None:
    # Past Python's streams, which a thread that waits for this one may hold.
    clear = "\r\x1b[?25h\x1b[K" if os.isatty(2) else ""
    with suppress(OSError):
        os.write(2, f"{clear}{line}\n".encode())
