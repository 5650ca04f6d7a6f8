from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from huggingface_hub import constants, try_to_load_from_cache

from specli.errors import FetchError
from specli.hub.download import pull
from specli.hub.huggingface import HubReference, cached_model
from specli.hub.progress import Progress
from tests.hub.fake_hub import TOKEN, FakeHub

REPO = "someone/Tiny-GGUF"
DATA = bytes(range(256)) * 12288 + b"end"
DIGEST = hashlib.sha256(DATA).hexdigest()
TINY = HubReference(REPO, quant="Q4_K_M")


@pytest.fixture(autouse=True)
def repository(hub: FakeHub) -> None:
    files = {"README.md": b"text", "Tiny-Q4_K_M.gguf": DATA, "Tiny-Q8_0.gguf": DATA[::-1]}
    hub.add(REPO, files)


def _blobs() -> list[str]:
    """What the Hub's cache holds of contents, finished or not."""
    return sorted(path.name for path in Path(constants.HF_HUB_CACHE).rglob("blobs/*"))


def test_a_pulled_file_is_where_every_program_that_uses_the_hubs_cache_looks_for_it() -> None:
    ((path,),) = pull([TINY])
    assert path.read_bytes() == DATA
    assert try_to_load_from_cache(REPO, "Tiny-Q4_K_M.gguf") == str(path)
    assert _blobs() == [DIGEST]


def test_a_second_pull_fetches_nothing_again(hub: FakeHub) -> None:
    first = pull([TINY])
    sent = hub.sent
    assert pull([TINY]) == first
    assert hub.sent == sent


def test_all_parts_of_a_split_model_are_pulled(hub: FakeHub) -> None:
    parts = {f"big-Q8_0-0000{number}-of-00003.gguf": bytes([number]) * 99 for number in (1, 2, 3)}
    hub.add("someone/Big-GGUF", parts)
    (paths,) = pull([HubReference("someone/Big-GGUF", quant="q8_0")])
    assert [path.read_bytes() for path in paths] == list(parts.values())
    assert len({path.parent for path in paths}) == 1


def test_several_models_are_pulled_at_once_with_progress_for_each() -> None:
    seen: list[Progress] = []
    other = HubReference(REPO, file="Tiny-Q8_0.gguf")
    ((first,), (second,)) = pull([TINY, other], seen.append)
    assert first.read_bytes() == second.read_bytes()[::-1] == DATA
    names = {f"{REPO}/Tiny-Q4_K_M.gguf", f"{REPO}/Tiny-Q8_0.gguf"}
    assert {item.name for item in seen} == names
    for name in names:
        fetched = [item.done for item in seen if item.name == name and item.action == "fetch"]
        assert fetched == sorted(fetched)
        assert fetched[0] == 0
        assert fetched[-1] == len(DATA)


def test_a_connection_cut_at_30_percent_is_taken_up_where_it_broke(hub: FakeHub) -> None:
    hub.cuts = [0.3]
    ((path,),) = pull([TINY])
    assert path.read_bytes() == DATA
    first, second = hub.contents()
    assert first.range is None
    assert second.range == f"bytes={round(0.3 * len(DATA))}-"
    assert hub.sent == len(DATA)


def test_a_pull_that_failed_is_resumed_by_the_next_one(hub: FakeHub) -> None:
    hub.cuts = [0.3] * 10
    with pytest.raises(FetchError):
        pull([TINY])
    assert _blobs() == [f"{DIGEST}.incomplete"]
    assert cached_model(TINY) is None
    hub.cuts = []
    ((path,),) = pull([TINY])
    assert path.read_bytes() == DATA
    assert hub.sent == len(DATA)
    assert _blobs() == [DIGEST]


def test_a_server_that_cannot_resume_sends_all_again(hub: FakeHub) -> None:
    hub.cuts = [0.3]
    hub.ranges = False
    ((path,),) = pull([TINY])
    assert path.read_bytes() == DATA


def test_wrong_bytes_never_become_a_file(hub: FakeHub) -> None:
    hub.change = lambda block: block[:-1] + bytes([block[-1] ^ 1])
    with pytest.raises(FetchError, match="was damaged in transit") as caught:
        pull([TINY])
    assert DIGEST in caught.value.message
    assert _blobs() == []
    assert cached_model(TINY) is None
    hub.change = None
    assert pull([TINY])[0][0].read_bytes() == DATA


def test_a_hub_that_contradicts_itself_leaves_no_file(hub: FakeHub) -> None:
    hub.etag = "0" * 64
    hub.cuts = [1.0]

    def change_later(block: bytes) -> bytes:
        return block if len(hub.contents()) == 1 else bytes(len(block))

    hub.change = change_later
    with pytest.raises(FetchError, match="sends another"):
        pull([TINY])
    assert cached_model(TINY) is None


def test_a_damaged_start_of_a_resumed_file_is_noticed(hub: FakeHub) -> None:
    hub.cuts = [0.5] * 10
    with pytest.raises(FetchError):
        pull([TINY])
    (partial,) = Path(constants.HF_HUB_CACHE).rglob("*.incomplete")
    with partial.open("r+b") as file:
        file.write(b"not what was sent")
    hub.cuts = []
    with pytest.raises(FetchError, match="was damaged in transit"):
        pull([TINY])
    assert pull([TINY])[0][0].read_bytes() == DATA


def test_an_unfinished_file_longer_than_the_whole_starts_anew(hub: FakeHub) -> None:
    hub.cuts = [0.5] * 10
    with pytest.raises(FetchError):
        pull([TINY])
    (partial,) = Path(constants.HF_HUB_CACHE).rglob("*.incomplete")
    partial.write_bytes(DATA + b"more")
    hub.cuts = []
    assert pull([TINY])[0][0].read_bytes() == DATA


def test_a_disk_too_small_is_refused_before_anything_is_fetched(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": len(DATA) - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(FetchError, match="the download needs") as caught:
        pull([TINY])
    assert "HF_HUB_CACHE" in (caught.value.hint or "")
    assert hub.contents() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_is_an_error_and_leaves_no_file() -> None:
    blobs = Path(constants.HF_HUB_CACHE) / "models--someone--Tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{DIGEST}.incomplete").symlink_to("/dev/full")
    with pytest.raises(FetchError, match="the disk is full") as caught:
        pull([TINY])
    assert "HF_HUB_CACHE" in (caught.value.hint or "")
    assert cached_model(TINY) is None


def test_one_failing_file_calls_the_others_off_and_is_the_one_reported(hub: FakeHub) -> None:
    hub.add("someone/Other-GGUF", {"Other-Q4_K_M.gguf": DATA + b"1"})
    hub.gated.add("someone/Other-GGUF")
    with pytest.raises(FetchError, match="someone/Other-GGUF is gated"):
        pull([TINY, HubReference("someone/Other-GGUF", quant="Q4_K_M")])


def _pull() -> None:
    # A shell's background job hands down that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pull([TINY])


def test_two_processes_that_pull_the_same_file_fetch_it_once(hub: FakeHub) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_pull) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(hub.contents()) == 1
    assert _blobs() == [DIGEST]


def test_an_interrupted_pull_ends_soon_and_is_resumed(hub: FakeHub) -> None:
    hub.pause = 0.1
    worker = multiprocessing.get_context("spawn").Process(target=_pull)
    worker.start()
    deadline = time.monotonic() + 30
    while hub.sent < len(DATA) // 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    worker.join()
    assert worker.exitcode != 0
    assert _blobs() == [f"{DIGEST}.incomplete"]
    hub.pause = 0.0
    assert pull([TINY])[0][0].read_bytes() == DATA
    assert hub.contents()[-1].range is not None


def test_the_token_goes_to_the_hub_and_not_to_the_content_server(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert pull([TINY])[0][0].read_bytes() == DATA
    assert [request.authorized for request in hub.contents()] == [False]


def test_an_older_commit_can_be_named(hub: FakeHub) -> None:
    commit = hub.commit(REPO)
    ((path,),) = pull([HubReference(REPO, file="Tiny-Q8_0.gguf", revision=commit)])
    assert path.read_bytes() == DATA[::-1]
