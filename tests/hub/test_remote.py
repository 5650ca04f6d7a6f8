from __future__ import annotations

from pathlib import Path

import pytest

from specli.errors import FetchError, ModelFileError, UsageError
from specli.gguf.check import check_file
from specli.hub.download import pull
from specli.hub.huggingface import HubReference
from specli.hub.remote import read_model_header, remote_header
from tests.hub.fake_hub import FakeHub
from tests.hub.index import FakeIndex
from tests.tiny_gguf import Typed, bpe_vocabulary, gguf_bytes, llama_bytes, write

REPO = "someone/Tiny-GGUF"
TINY = HubReference(REPO, quant="Q8_0")
LARGE = 250_000_000


def _add_large(hub: FakeHub, name: str, vocabulary: int) -> None:
    """A model of 250 MB, nearly all of it a hole in the file."""
    path = write(hub.folder / name, llama_bytes(bpe_vocabulary().resized(vocabulary)))
    with path.open("r+b") as file:
        file.truncate(LARGE)
    hub.add_file(REPO, name, path, f"{vocabulary:064x}")


def test_a_pair_is_read_from_less_than_a_tenth_of_its_bytes(hub: FakeHub) -> None:
    _add_large(hub, "Target-Q8_0.gguf", 128_000)
    _add_large(hub, "Draft-Q4_K_M.gguf", 50_000)
    target = read_model_header(f"hf:{REPO}:Q8_0")
    draft = read_model_header(f"hf:{REPO}:Q4_K_M")
    assert len(target.strings("tokenizer.ggml.tokens") or []) == 128_000
    assert len(draft.strings("tokenizer.ggml.tokens") or []) == 50_000
    assert target.file_size == draft.file_size == LARGE
    assert 0 < hub.sent <= 0.1 * 2 * LARGE


def test_a_remote_header_says_what_the_local_one_says(hub: FakeHub, tmp_path: Path) -> None:
    data = llama_bytes(bpe_vocabulary())
    hub.add(REPO, {"Tiny-Q8_0.gguf": data})
    remote = remote_header(TINY)
    local = check_file(write(tmp_path / "tiny.gguf", data))
    assert remote.name == f"hf:{REPO}:Q8_0"
    assert (remote.fields, remote.tensors) == (local.fields, local.tensors)
    assert remote.file_size == local.file_size == remote.expected_size


def test_a_model_that_is_here_is_read_here(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": llama_bytes(bpe_vocabulary())})
    pull([TINY])
    hub.requests.clear()
    assert read_model_header(f"hf:{REPO}:Q8_0").architecture == "llama"
    assert hub.requests == []


def test_a_split_model_has_the_tensors_and_sizes_of_all_parts(hub: FakeHub) -> None:
    first = llama_bytes(bpe_vocabulary())
    second = gguf_bytes({"split.no": Typed(2, 1), "split.count": Typed(2, 2)})
    hub.add(REPO, {"m-Q8_0-00001-of-00002.gguf": first, "m-Q8_0-00002-of-00002.gguf": second})
    assert remote_header(TINY).file_size == len(first) + len(second)


def test_a_server_without_ranges_is_read_no_further_than_needed(hub: FakeHub) -> None:
    _add_large(hub, "Target-Q8_0.gguf", 128_000)
    hub.ranges = False
    assert len(remote_header(TINY).strings("tokenizer.ggml.tokens") or []) == 128_000
    assert hub.sent < LARGE


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"<html>no model</html>", b"GGUF" + b"\xff" * 99]
)
def test_what_is_no_model_is_an_error_of_the_file(hub: FakeHub, content: bytes) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": content})
    with pytest.raises(ModelFileError, match="someone/Tiny-GGUF"):
        remote_header(TINY)


def test_a_model_that_llama_cpp_would_refuse_is_refused(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": gguf_bytes({"general.architecture": "llama"})})
    with pytest.raises(ModelFileError):
        remote_header(TINY)


def test_a_connection_that_breaks_is_tried_again(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": llama_bytes(bpe_vocabulary())})
    hub.cuts = [0.01, 0.3]
    assert remote_header(TINY).architecture == "llama"


def test_a_header_that_breaks_off_is_an_error(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": llama_bytes(bpe_vocabulary())})
    hub.cuts = [0.01] * 20
    with pytest.raises(FetchError, match="hf:someone/Tiny-GGUF:Q8_0"):
        remote_header(TINY)


def test_a_quantisation_that_is_not_there_lists_those_that_are(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q4_0.gguf": b"", "Tiny-Q5_0.gguf": b"1"})
    with pytest.raises(UsageError, match="has no Q8_0") as caught:
        read_model_header(f"{REPO}:Q8_0")
    assert caught.value.hint == "there are: Q4_0, Q5_0"


def test_the_header_of_a_package_is_that_of_its_file(index: FakeIndex) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": llama_bytes(bpe_vocabulary())})
    assert read_model_header("package:llm-tiny==1.0").architecture == "llama"
