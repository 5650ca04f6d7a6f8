"""llama.cpp's own parameters reach it, and what would end the process is refused before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from specli.errors import LoadError, ModelFileError, UsageError
from specli.llama.context import Context
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.llama.probe import probe, tried
from specli.native import Native, native
from tests import tiny_gguf as tiny

TOKENS = [102, 103, 104, 105, 106]
RANK = 2


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "target.gguf", tiny.llama_bytes())


def logits_of(path: Path, parameters: Native, tokens: Sequence[int] = TOKENS) -> np.ndarray:
    """The logits after `tokens`, computed with these parameters."""
    options = ContextOptions(n_ctx=64, threads=1, threads_batch=2, native=parameters)
    with Model(path, ModelOptions(native=parameters)) as model, Context(model, options) as context:
        row = context.add(0, tokens, 0, 1)
        context.decode()
        return context.logits(row).copy()


def adapter(path: Path, scale: float = 1.0, fields: Mapping[str, tiny.Value] | None = None) -> Path:
    """A LoRA for the tiny model that changes one matrix."""
    rng = np.random.default_rng(5)
    tensors = {
        "blk.0.ffn_up.weight.lora_a": rng.standard_normal((RANK, 32)).astype(np.float32) * scale,
        "blk.0.ffn_up.weight.lora_b": rng.standard_normal((64, RANK)).astype(np.float32),
    }
    usual: dict[str, tiny.Value] = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 2.0,
    }
    return tiny.write(path, tiny.gguf_bytes({**usual, **(fields or {})}, tensors))


@pytest.mark.parametrize(
    "settings",
    [
        {"rope_scale": 4.0},
        {"rope_freq_base": 500.0},
        {"rope_scaling": "yarn", "rope_freq_scale": 0.25, "yarn_orig_ctx": 16},
        {"override_kv": ("llama.attention.layer_norm_rms_epsilon=float:0.5",)},
    ],
)
def test_a_parameter_changes_what_is_computed(target: Path, settings: dict[str, object]) -> None:
    assert not np.allclose(logits_of(target, native(settings)), logits_of(target, Native()))


@pytest.mark.parametrize(
    "settings",
    [
        {"load_mode": "none"},
        {"load_mode": "mmap+mlock"},
        {"split_mode": "none", "main_gpu": 0},
        {"tensor_split": "3,1"},
        {"override_tensor": (r"blk\.1\.ffn=CPU",)},
        {"cpu_moe": True, "n_cpu_ffn": 1},
        {"numa": "distribute"},
        {"rope_scale": 1.0},
    ],
)
def test_how_a_model_is_loaded_does_not_change_what_it_says(
    target: Path, settings: dict[str, object]
) -> None:
    assert np.allclose(logits_of(target, native(settings)), logits_of(target, Native()), atol=1e-4)


def test_adapters_add_up_by_their_scale(target: Path, tmp_path: Path) -> None:
    whole, half = adapter(tmp_path / "a.gguf"), adapter(tmp_path / "b.gguf", scale=0.5)
    plain = logits_of(target, Native())
    with_whole = logits_of(target, native({"lora": (str(whole),)}))
    assert not np.allclose(with_whole, plain)
    twice = logits_of(target, native({"lora": (f"{half},{half}",)}))
    scaled = logits_of(target, native({"lora_scaled": (f"{half}:2",)}))
    assert np.allclose(twice, with_whole, atol=1e-3)
    assert np.allclose(scaled, with_whole, atol=1e-3)
    assert np.allclose(logits_of(target, native({"lora_scaled": (f"{whole}:0",)})), plain)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"general.type": "model"}, "no LoRA adapter"),
        ({"general.type": 3}, "general.type is of type"),
        ({"adapter.type": "control"}, "no LoRA adapter"),
        ({"adapter.lora.alpha": 1}, "alpha"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, "activated"),
        ({"general.architecture": "qwen2"}, "mismatch"),
    ],
)
def test_what_is_no_adapter_for_this_model_is_refused(
    target: Path, tmp_path: Path, fields: dict[str, tiny.Value], told: str
) -> None:
    wrong = adapter(tmp_path / "wrong.gguf", fields=fields)
    with pytest.raises((ModelFileError, LoadError), match=told):
        Model(target, ModelOptions(native=native({"lora": (str(wrong),)})))


def directions(path: Path, **changed: np.ndarray) -> Path:
    """A control vector for the tiny model's one layer that takes one."""
    tensors = {"direction.1": np.full(32, 0.5, dtype=np.float32), **changed}
    return tiny.write(path, tiny.gguf_bytes({"general.type": "control_vector"}, tensors))


def test_control_vectors_add_up_by_their_scale_in_the_layers_asked_for(
    target: Path, tmp_path: Path
) -> None:
    path = directions(tmp_path / "v.gguf")
    plain = logits_of(target, Native())
    once = logits_of(target, native({"control_vector": (str(path),)}))
    assert not np.allclose(once, plain)
    doubled = logits_of(target, native({"control_vector_scaled": (f"{path}:2",)}))
    assert not np.allclose(doubled, once)
    twice = logits_of(target, native({"control_vector": (f"{path},{path}",)}))
    assert np.allclose(twice, doubled, atol=1e-4)
    elsewhere = {"control_vector": (str(path),), "control_vector_layer_range": "2,9"}
    assert np.allclose(logits_of(target, native(elsewhere)), plain)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"direction.0": np.zeros(32, dtype=np.float32)}, "has the tensor direction.0"),
        ({"direction.9": np.zeros(32, dtype=np.float32)}, r"direction.1 to direction.2"),
        ({"direction": np.zeros(32, dtype=np.float32)}, "has the tensor direction"),
        ({"direction.1": np.zeros(31, dtype=np.float32)}, "not F32 of 32"),
        ({"direction.1": np.zeros(32, dtype=np.int64)}, "direction.1 is I64"),
    ],
)
def test_what_is_no_control_vector_for_this_model_is_refused(
    target: Path, tmp_path: Path, tensors: dict[str, np.ndarray], told: str
) -> None:
    path = directions(tmp_path / "v.gguf", **tensors)
    with pytest.raises(ModelFileError) as caught:
        Model(target, ModelOptions(native=native({"control_vector": (str(path),)})))
    assert re.search(told, f"{caught.value.message} {caught.value.hint}")
    whole = directions(tmp_path / "whole.gguf").read_bytes()
    short = tiny.write(tmp_path / "short.gguf", whole[:-40])
    with pytest.raises(ModelFileError, match="no whole control vector"):
        Model(target, ModelOptions(native=native({"control_vector": (str(short),)})))


@pytest.mark.parametrize("cut", [10, 200, 900])
def test_a_truncated_adapter_is_refused(target: Path, tmp_path: Path, cut: int) -> None:
    whole = adapter(tmp_path / "a.gguf").read_bytes()
    short = tiny.write(tmp_path / "short.gguf", whole[:-cut])
    with pytest.raises((ModelFileError, LoadError)):
        Model(target, ModelOptions(native=native({"lora": (str(short),)})))


def test_a_buffer_that_does_not_exist_is_named_with_those_that_do(target: Path) -> None:
    with pytest.raises(UsageError, match="the buffer 'CUDA9'") as caught:
        Model(target, ModelOptions(native=native({"override_tensor": ("ffn=CUDA9",)})))
    assert "CPU" in str(caught.value.hint)


def test_metadata_that_ends_llama_cpp_ends_a_child_instead(target: Path, tmp_path: Path) -> None:
    deadly = native({"override_kv": ("llama.block_count=int:100000",)})
    with pytest.raises(ModelFileError, match=r"llama\.cpp cannot use") as caught:
        probe(target, tmp_path, native=deadly)
    assert "`override_kv`" in str(caught.value.hint)
    assert tried(target, tmp_path, deadly) is None


def test_other_parameters_have_a_record_of_their_own(target: Path, tmp_path: Path) -> None:
    probe(target, tmp_path / "records")
    loaded = native({"load_mode": "none", "batch_size": 64})
    assert tried(target, tmp_path / "records", loaded) is not None
    assert tried(target, tmp_path / "records", native({"rope_scale": 2.0})) is None
    assert probe(target, tmp_path / "records", native=native({"rope_scale": 2.0})).repacked


def test_threads_for_batches_stay_when_the_others_change(target: Path) -> None:
    options = ContextOptions(n_ctx=64, n_batch=32, n_ubatch=8, threads=1, threads_batch=2)
    with Model(target) as model, Context(model, options) as context:
        context.use_threads(3)
        from llama_cpp import llama_n_threads, llama_n_threads_batch, llama_n_ubatch

        assert (llama_n_threads(context.handle), llama_n_threads_batch(context.handle)) == (3, 2)
        assert (context.n_batch, llama_n_ubatch(context.handle)) == (32, 8)
