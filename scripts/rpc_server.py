"""An RPC server of llama.cpp, of the installed bindings: a device of this machine for specli --rpc.

    python scripts/rpc_server.py -p 50052
    python scripts/rpc_server.py -p 50052 -d Vulkan0
    python scripts/rpc_server.py -p 50052 --delay 5      answers 5 ms later, as over a network

It listens on loopback, like llama.cpp's own `ggml-rpc-server`; -H is for a network on which
everybody may read prompts and run code on this machine, because RPC has no authentication. The
bindings need RPC (CMAKE_ARGS=-DGGML_RPC=on). It serves one client at a time, until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from specli.errors import SpecliError
from specli.llama import library, rpc


def serve(host: str, port: int, device: str, threads: int) -> None:
    try:
        rpc.serve(f"{host}:{port}", device, threads)
    except KeyError:
        known = ", ".join(one.name for one in library.devices())
        sys.exit(f"no such device: {device}; there are {known}")
    except SpecliError as error:
        sys.exit(f"{error.message}; {error.hint}")
    # llama.cpp's function comes back only where it cannot listen.
    sys.exit(f"cannot listen on {host}:{port}")


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass bytes on, so many seconds later."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    data = b"first"
    while data:
        data = await reader.read(1 << 20)
        waiting.put_nowait((loop.time() + seconds, data))
    await delivering


async def delayed(host: str, port: int, behind: int, seconds: float) -> None:
    """Pass bytes on to a server and back, each so many seconds later in either direction."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            others = await asyncio.open_connection("127.0.0.1", behind)
        except OSError:
            # Not there yet, or not any more.
            writer.close()
            return
        for one in (writer, others[1]):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            await asyncio.gather(
                carry(reader, others[1], seconds), carry(others[0], writer, seconds)
            )
        for one in (writer, others[1]):
            one.close()

    server = await asyncio.start_server(accepted, host, port)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-H", "--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, default=50052)
    parser.add_argument("-d", "--device", default="CPU")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--delay", type=float, help="milliseconds in each direction, for trials")
    given = parser.parse_args()
    if given.delay is None:
        serve(given.host, given.port, given.device, given.threads)
    with socket.create_server(("127.0.0.1", 0)) as free:
        behind = free.getsockname()[1]
    command = [sys.executable, __file__, "-p", str(behind), "-d", given.device]
    server = subprocess.Popen([*command, "-t", str(given.threads)])

    def end(_signal: int, _frame: object) -> None:
        server.kill()
        os._exit(0)

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end)
    asyncio.run(delayed(given.host, given.port, behind, given.delay / 1000))


if __name__ == "__main__":
    main()
