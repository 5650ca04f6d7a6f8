"""`--rpc`: refused where it must be, and a target on two servers, of which one is killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from specli.app import servers as app_servers
from specli.llama import library, rpc
from specli.options import Options
from tests.cli.conftest import Specli

ROOT = Path(__file__).parents[2]
ALIKE = ["-fa", "off", "-ctk", "f32", "-ctv", "f32", "--ignore-eos", "--draft", "0"]
ANSWERS = 6


@pytest.mark.parametrize("command", [("run", "hello"), ("doctor",), ("tune",), ("bench",)])
def test_a_server_off_loopback_is_refused(specli: Specli, command: tuple[str, ...]) -> None:
    done = specli(*command, "-m", "target.gguf", "--rpc", "192.0.2.1:50052")
    assert (done.code, done.out) == (2, "")
    assert "192.0.2.1:50052 is not on this machine" in done.err
    assert "neither authentication nor encryption" in done.err
    assert "--rpc-insecure" in done.err


def test_actors_of_a_cluster_do_not_share_servers(specli: Specli) -> None:
    done = specli("batch", "-", "-m", "target.gguf", "--ray", "local", "--rpc", "127.0.0.1:1")
    assert done.code == 2
    assert "--rpc shares out one target" in done.err


@pytest.mark.parametrize(
    ("asked", "placed"), [(None, "CUDA0,CUDA1"), ("RPC0", "RPC0"), ("none", "none")]
)
def test_a_draft_stays_on_this_machine_unless_it_is_placed(
    asked: str | None, placed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (("CPU", "cpu", "CPU"), ("CUDA0", "gpu", "CUDA"), ("CUDA1", "gpu", "CUDA"))
    known = [library.Device(name, name, kind, 1, 1, backend) for name, kind, backend in names]
    connected: list[tuple[str, ...]] = []
    monkeypatch.setattr(rpc, "connect", lambda named, insecure: connected.append(named))
    servers = [library.Device("RPC0", "127.0.0.1:1", "gpu", 1, 1, "RPC")]
    monkeypatch.setattr(library, "devices", lambda: known + servers)
    given = Options(rpc=("127.0.0.1:1",), device_draft=asked)
    assert app_servers.with_servers(given).device_draft == placed
    assert connected == [("127.0.0.1:1",)]


def test_a_draft_without_a_gpu_here_stays_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "connect", lambda named, insecure: None)
    monkeypatch.setattr(library, "devices", lambda: [library.Device("CPU", "", "cpu", 1, 1, "CPU")])
    assert app_servers.with_servers(Options(rpc=("127.0.0.1:1",))).device_draft == "none"
    assert app_servers.with_servers(Options()).device_draft is None


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Servers:
    """Two servers on loopback."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.names: list[str] = []
        for _one in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            command = [sys.executable, str(ROOT / "scripts" / "rpc_server.py"), "-p", str(port)]
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            self.names.append(f"127.0.0.1:{port}")
            while not listens(port):
                time.sleep(0.05)

    @property
    def flags(self) -> list[str]:
        return ["--rpc", ",".join(self.names)]

    def close(self) -> None:
        for one in self.processes:
            one.kill()
            one.wait()


@pytest.fixture
def servers(sealed: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        found = Servers()
        stack.callback(found.close)
        yield found


def started(*arguments: str) -> subprocess.Popen[str]:
    # A process of its own: one that lost a server ends.
    command = [sys.executable, "-m", "specli", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )


needs_rpc = pytest.mark.skipif(
    library.RPC not in library.backends(), reason="llama-cpp-python was built without GGML_RPC"
)


@needs_rpc
@pytest.mark.slow
def test_doctor_lists_the_servers_and_their_memory(servers: Servers) -> None:
    told = started("doctor", "--json", "-m", "target.gguf", *servers.flags)
    out, err = told.communicate()
    assert (told.returncode, err) == (0, "")
    build = json.loads(out)["build"]
    remote = [one for one in build["devices"] if one["backend"] == "RPC"]
    assert [one["name"] for one in remote] == ["RPC0", "RPC1"]
    assert [one["description"] for one in remote] == servers.names
    assert all(one["free"] > 0 for one in remote)
    assert build["gpu_offload"]


@needs_rpc
@pytest.mark.slow
def test_a_server_that_is_killed_ends_the_batch_in_a_sentence_and_it_can_go_on(
    servers: Servers, tmp_path: Path
) -> None:
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    undisturbed = tmp_path / "undisturbed.jsonl"
    lines = (json.dumps({"prompt": f"prompt {number}"}) for number in range(ANSWERS))
    prompts.write_text("\n".join(lines))
    command = ["batch", str(prompts), "-m", "long.gguf", "-n", "300", *ALIKE, "-np", "1"]
    whole = started(*command, "-o", str(undisturbed))
    torn = started(*command, "-o", str(answers), *servers.flags)
    while torn.poll() is None and not (answers.exists() and answers.stat().st_size):
        time.sleep(0.01)
    servers.processes[1].send_signal(signal.SIGKILL)
    _out, err = torn.communicate()
    assert torn.returncode == 1, err
    assert f"error: the RPC server {servers.names[1]} ended, or broke off" in err
    assert len(answers.read_text().splitlines()) < ANSWERS
    resumed = started(*command, "-o", str(answers))
    _out, err = resumed.communicate()
    assert resumed.returncode == 0, err
    whole.communicate()
    assert whole.returncode == 0
    texts = [
        {record["id"]: record["text"] for record in map(json.loads, path.read_text().splitlines())}
        for path in (undisturbed, answers)
    ]
    assert len(texts[0]) == ANSWERS
    assert texts[0] == texts[1]
