"""What bad clients do to `specli serve`: requests cut off at random moments, slow readers,
half-open connections, bodies that are too large, and a kill in the middle.

Starts a server, warms it up, and compares its memory and descriptors before and after; at the end
no slot may be busy and the first answer must come again. Prints one line of JSON.

    python scripts/stress_server.py [--requests 1000] -- -m target.gguf -md draft.gguf -np 4
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil

SETTLE_SECONDS = 60


class Server:
    """A server in a process of its own."""

    def __init__(self, arguments: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        command = [sys.executable, "-m", "specli", "serve", "--port", str(self.port), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(self.url + "/health")
                return
            if self.process.poll() is not None:
                sys.exit("the server ended")
            time.sleep(0.2)

    def answer(self, tokens: int = 16) -> str:
        body = {**asked(0), "max_tokens": tokens, "stream": False, "temperature": 0}
        done = httpx.post(self.url + "/v1/chat/completions", json=body, timeout=120)
        done.raise_for_status()
        text = done.json()["choices"][0]["message"]["content"]
        assert isinstance(text, str)
        return text

    def size(self) -> tuple[float, int, int]:
        """Megabytes, descriptors, threads."""
        of = psutil.Process(self.process.pid)
        return round(of.memory_info().rss / 1e6, 1), of.num_fds(), of.num_threads()

    def idle(self) -> bool:
        slots = httpx.get(self.url + "/slots", timeout=30).json()
        return not any(slot["is_processing"] for slot in slots)


def asked(number: int) -> dict[str, object]:
    message = {"role": "user", "content": f"Tell me about the number {number}."}
    return {"messages": [message], "max_tokens": 64, "stream": number % 2 == 0, "temperature": 0.8}


def cancelled(server: Server, number: int) -> None:
    """A request that is given up at a random moment, or finished."""
    patience = random.Random(number).choice([0.005, 0.02, 0.05, 0.2, 1.0])
    body = json.dumps(asked(number)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(patience)
        cut = random.Random(number).random() < 0.2
        client.sendall(head.encode() + (body[: len(body) // 2] if cut else body))
        with suppress(TimeoutError, ConnectionError):
            while client.recv(4096):
                pass


def slow_reader(server: Server, number: int) -> None:
    """Reads one byte, and then nothing for two seconds."""
    body = json.dumps({**asked(number), "stream": True, "logprobs": True}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", server.port))
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        client.recv(1)
        time.sleep(2)


def half_open(server: Server, _number: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localh")
        time.sleep(1)


def too_large(server: Server, _number: int) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(
            server.url + "/v1/chat/completions",
            content=b" " * 10_000_000,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )


def many(act: Callable[[Server, int], None], server: Server, count: int, width: int) -> None:
    with ThreadPoolExecutor(width) as pool:
        list(pool.map(lambda number: act(server, number), range(count)))


def settled(server: Server) -> bool:
    end = time.monotonic() + SETTLE_SECONDS
    while not server.idle():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("serve", nargs="*", help="flags of specli serve")
    given = parser.parse_args()
    server = Server(given.serve)
    first = server.answer()
    # Allocators grow with the first load of each kind.
    many(cancelled, server, given.requests // 5, 16)
    many(slow_reader, server, 8, 8)
    many(too_large, server, 4, 2)
    free = settled(server)
    before = server.size()
    many(cancelled, server, given.requests, 16)
    many(slow_reader, server, 16, 8)
    many(half_open, server, 64, 64)
    many(too_large, server, 10, 2)
    free = settled(server) and free
    after = server.size()
    same = server.answer() == first
    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(cancelled, server, number)
        server.process.kill()
    server.process.wait()
    again = Server(given.serve)
    same = again.answer() == first and same
    again.process.send_signal(signal.SIGTERM)
    code = again.process.wait(60)
    told = {
        "requests": given.requests, "before": before, "after": after, "slots_free": free,
        "same_text": same, "exit_after_sigterm": code,
    }  # fmt: skip
    print(json.dumps(told))
    if not free or not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
