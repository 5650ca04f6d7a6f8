from __future__ import annotations

import json
from pathlib import Path

import pytest

from specli.errors import UsageError
from specli.hub.download import pull
from specli.hub.huggingface import HubReference
from specli.hub.local import LocalModel, local_models, named
from specli.hub.references import fetch
from tests.hub.fake_hub import FakeHub


@pytest.fixture(autouse=True)
def home(own_home: Path) -> Path:
    return own_home


def _write(path: Path, data: bytes = b"GGUF model") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_without_any_cache_there_are_no_models() -> None:
    assert local_models() == []


def test_models_are_found_in_every_cache(home: Path, own_cache: Path, hub: FakeHub) -> None:
    _write(own_cache / "packages" / "llm-tiny-1.0" / "tiny.gguf")
    _write(own_cache / "made" / "tiny.F32-0123.gguf")
    _write(home / "llama" / "owner_repo_a-Q8_0.gguf")
    _write(home / ".lmstudio" / "models" / "owner" / "repo" / "b-Q8_0.gguf")
    _write(home / "extra" / "deep" / "c.gguf")
    _ollama(home, "library/llama3.2", "1b", b"GGUF weights")
    hub.add("owner/repo", {"d-Q8_0.gguf": b"GGUF d"})
    pull([HubReference("owner/repo", quant="Q8_0")])

    found = local_models([home / "extra"])
    assert [(model.origin, model.name, model.size) for model in found] == [
        ("folder", "c", 10),
        ("huggingface", "hf:owner/repo/d-Q8_0.gguf", 6),
        ("llama.cpp", "owner_repo_a-Q8_0", 10),
        ("lmstudio", "b-Q8_0", 10),
        ("ollama", "llama3.2:1b", 12),
        ("specli", "package:llm-tiny==1.0", 10),
        ("specli", "tiny.F32-0123", 10),
    ]


def _ollama(home: Path, name: str, tag: str, data: bytes) -> None:
    root = home / "ollama"
    digest = f"{len(data):064x}"
    _write(root / "blobs" / f"sha256-{digest}", data)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"},
    ]
    manifest = root / "manifests" / "registry.ollama.ai" / name / tag
    _write(manifest, json.dumps({"layers": layers}).encode())


def test_every_name_leads_back_to_its_file(home: Path, own_cache: Path) -> None:
    _write(own_cache / "packages" / "llm-tiny-1.0" / "tiny.gguf")
    _write(home / "llama" / "a-Q8_0.gguf")
    _ollama(home, "library/llama3.2", "1b", b"GGUF weights")
    for model in local_models():
        assert fetch(model.name) == model.path
    assert fetch("A-q8_0") == fetch("a-Q8_0.gguf") == home / "llama" / "a-Q8_0.gguf"


def test_lm_studio_is_followed_where_it_has_moved(home: Path, tmp_path: Path) -> None:
    _write(tmp_path / "moved" / "models" / "owner" / "repo" / "m.gguf")
    _write(home / ".lmstudio-home-pointer", f"{tmp_path / 'moved'}\n".encode())
    assert [(model.origin, model.name) for model in local_models()] == [("lmstudio", "m")]


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{}", b'{"layers": 3}', b'{"layers": [{}]}', b'{"layers": []}', b"\xff"],
)
def test_broken_manifests_are_passed_over(home: Path, manifest: bytes) -> None:
    _write(home / "ollama" / "manifests" / "registry" / "library" / "x" / "latest", manifest)
    assert local_models() == []


def test_a_manifest_cannot_point_outside_the_blobs(home: Path) -> None:
    _write(home / "ollama" / "secret.gguf")
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:/../secret.gguf"}
    manifest = home / "ollama" / "manifests" / "registry" / "library" / "x" / "latest"
    _write(manifest, json.dumps({"layers": [layer]}).encode())
    assert local_models() == []


def test_weights_of_ollama_in_another_format_are_passed_over(home: Path) -> None:
    _ollama(home, "library/other", "latest", b"safetensors")
    assert local_models() == []


def test_a_split_model_is_one_model_of_the_size_of_all_parts(home: Path) -> None:
    for number in (1, 2):
        _write(home / "llama" / f"m-0000{number}-of-00002.gguf")
    _write(home / "llama" / "n-00001-of-00002.gguf")
    (model,) = local_models()
    assert [part.name for part in model.parts] == [
        "m-00001-of-00002.gguf",
        "m-00002-of-00002.gguf",
    ]
    assert model.size == 20


def test_a_file_that_two_caches_share_is_listed_once(home: Path) -> None:
    path = _write(home / "llama" / "m.gguf")
    (home / "extra").mkdir()
    (home / "extra" / "link.gguf").symlink_to(path)
    (home / "extra" / "broken.gguf").symlink_to(home / "nowhere")
    assert [model.path for model in local_models([home / "extra"])] == [path]


def test_a_name_that_two_models_have_asks_for_a_path() -> None:
    models = [LocalModel("m", "folder", (Path(place, "m.gguf"),), 1) for place in ("a", "b")]
    with pytest.raises(UsageError, match="2 local models") as caught:
        named("M", models)
    assert str(Path("a", "m.gguf")) in (caught.value.hint or "")
