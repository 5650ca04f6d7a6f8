from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

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


def test_what_the_hub_calls_a_file_elsewhere_leads_nowhere(hub: FakeHub, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    hub.etag = f"../../../../../../../..{victim}"
    ((path,),) = pull([TINY])
    assert path.read_bytes() == DATA
    assert path.resolve().is_relative_to(Path(constants.HF_HUB_CACHE).resolve())
    assert not victim.exists()


def _changed(info: dict[str, Any], **more: object) -> dict[str, Any]:
    """The description with its files changed."""
    return {**info, "siblings": [{**file, **more} for file in info["siblings"]]}


@pytest.mark.parametrize("commit", ["/victim", "../../../victim", "g" * 40, "0" * 39, 7, None, ""])
def test_a_commit_that_is_none_is_refused(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, commit: object
) -> None:
    hub.describe = lambda info: {**info, "sha": commit}
    with pytest.raises(FetchError, match="as the commit of hf:someone/Tiny-GGUF:Q4_K_M"):
        pull([TINY])
    assert hub.contents() == []


@pytest.mark.parametrize("sha256", ["/victim", "../victim", "0" * 63, "G" * 64, "", None, 7])
def test_a_checksum_that_is_none_is_refused(hub: FakeHub, sha256: object) -> None:
    hub.describe = lambda info: _changed(info, lfs={"sha256": sha256, "size": len(DATA)})
    with pytest.raises(FetchError, match="gives no checksum"):
        pull([TINY])
    assert _blobs() == []


@pytest.mark.parametrize(
    "name",
    [
        "/victim-Q4_K_M.gguf",
        "../victim-Q4_K_M.gguf",
        "a/../../../victim-Q4_K_M.gguf",
        "a//victim-Q4_K_M.gguf",
        "C:\\victim-Q4_K_M.gguf",
        "victim\x1b[31m-Q4_K_M.gguf",
        "a" * 300 + "-Q4_K_M.gguf",
    ],
)
def test_a_file_whose_name_leads_out_of_its_folder_is_refused(hub: FakeHub, name: str) -> None:
    hub.describe = lambda info: {
        **info,
        "siblings": [{**info["siblings"][1], "rfilename": name}],
    }
    with pytest.raises(FetchError, match="no safe path"):
        pull([TINY])
    assert _blobs() == []


@pytest.mark.parametrize("size", [0, -1, "5", True, 1.5, [1]])
def test_a_size_that_is_none_is_refused(hub: FakeHub, size: object) -> None:
    hub.describe = lambda info: _changed(info, size=size)
    with pytest.raises(FetchError, match=r"gives no size|does not answer as a Hub"):
        pull([TINY])
    assert hub.contents() == []


def test_a_file_without_an_end_is_read_up_to_its_size(hub: FakeHub) -> None:
    hub.more = b"more" * 1000
    ((path,),) = pull([TINY])
    assert path.read_bytes() == DATA


def test_a_file_that_is_longer_than_announced_ends_at_its_size(hub: FakeHub) -> None:
    hub.describe = lambda info: _changed(info, size=1000)
    hub.more = b"more" * 1000
    with pytest.raises(FetchError, match="was damaged in transit"):
        pull([TINY])
    assert _blobs() == []


def test_compressed_content_is_refused(hub: FakeHub) -> None:
    hub.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(FetchError, match="compressed, which was not asked for"):
        pull([TINY])


@pytest.mark.parametrize("sent", ["bytes 0-9/99", "bytes 5-", "", "bytes 99999999999999999999-"])
def test_another_range_than_the_one_asked_for_is_refused(hub: FakeHub, sent: str) -> None:
    hub.cuts = [0.5]
    hub.headers = {"Content-Range": sent}
    with pytest.raises(FetchError, match="another range"):
        pull([TINY])


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.hub.http.PATIENCE", 0.2)
    monkeypatch.setattr("specli.hub.download.ATTEMPTS", 2)
    hub.change = lambda block: block[:1]
    hub.pause = 1.0
    with pytest.raises(FetchError, match="sent less than 8 KiB a second"):
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


def test_a_pull_asks_for_the_repository_and_nothing_else(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As in a fresh process: huggingface_hub keeps what it has asked for by itself.
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "asked.json"))
    pull([TINY])
    paths = {request.path for request in hub.requests}
    assert all(REPO in path or path.startswith("/content/") for path in paths), paths
    assert not (tmp_path / "asked.json").exists()


def test_an_older_commit_can_be_named(hub: FakeHub) -> None:
    commit = hub.commit(REPO)
    ((path,),) = pull([HubReference(REPO, file="Tiny-Q8_0.gguf", revision=commit)])
    assert path.read_bytes() == DATA[::-1]
