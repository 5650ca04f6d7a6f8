"""Sizes read from a header, held against what llama.cpp reports for the loaded model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from specli.errors import ModelFileError
from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import read_header
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Typed, Value

MODELS: dict[str, Callable[[], bytes]] = {
    "grouped-query attention": tiny.llama_bytes,
    "full attention": lambda: tiny.llama_bytes(shape=tiny.Shape(kv_heads=4, layers=3)),
    # Of a window's cache llama.cpp saves only what lies inside it, so this one holds all tokens.
    "sliding window": lambda: tiny.gemma3_bytes(shape=tiny.Shape(window=128)),
    "recurrent": tiny.mamba_bytes,
    "hybrid": tiny.falcon_h1_bytes,
}


def facts_of(content: bytes) -> ModelFacts:
    return read_facts(tiny.header(content))


def llama_facts(extra: dict[str, Value], architecture: str = "llama") -> ModelFacts:
    return facts_of(tiny.llama_bytes(architecture=architecture, extra=extra))


@pytest.mark.parametrize("name", MODELS)
def test_sizes_are_those_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", MODELS[name]())
    facts = read_facts(read_header(path))
    with Model(path) as model:
        assert facts.parameters == model.parameters
        assert facts.weight_bytes == model.size
        assert facts.layers == model.layers
        assert facts.context_length == model.context_length
        assert facts.is_recurrent == model.is_recurrent
        assert (facts.window > 0) == (llama_cpp.llama_model_n_swa(model.handle) > 0)
        assert facts.vocabulary == model.vocab.size


@pytest.mark.parametrize("name", MODELS)
def test_cache_bytes_are_those_that_llama_cpp_saves(name: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", MODELS[name]())
    facts = read_facts(read_header(path))
    sizes = []
    with Model(path) as model, Context(model, ContextOptions(n_ctx=256, threads=1)) as context:
        for start in (0, 40):
            context.add(0, list(range(10, 50)), start, 1)
            context.decode()
            sizes.append(llama_cpp.llama_state_seq_get_size(context.handle, 0))
    per_token = (sizes[1] - sizes[0]) / 40
    # Each token's position and sequence are saved too, once for each of at most three caches.
    assert facts.kv_bytes_per_token() <= per_token <= facts.kv_bytes_per_token() + 3 * 16
    fixed = sizes[0] - 40 * per_token
    assert facts.state_bytes <= fixed <= facts.state_bytes + 512


def test_cache_types_change_the_bytes_per_token() -> None:
    facts = facts_of(tiny.llama_bytes())
    assert facts.kv_bytes_per_token("f32", "f32") == 2 * facts.kv_bytes_per_token()
    assert facts.kv_bytes_per_token("q8_0", "f16") == 32 * 34 / 32 + 32 * 2


def test_mixtures_of_experts_count_what_one_token_passes_through() -> None:
    expert = np.zeros((8, 16, 32), np.float32)
    content = tiny.gguf_bytes(
        {
            **tiny.bpe_vocabulary().fields(),
            "general.architecture": "llama",
            "llama.block_count": 1,
            "llama.context_length": 64,
            "llama.embedding_length": 32,
            "llama.expert_count": 8,
            "llama.expert_used_count": 2,
        },
        {"blk.0.ffn_up_exps.weight": expert, "output.weight": np.zeros((10, 32), np.float32)},
    )
    facts = facts_of(content)
    assert facts.parameters == expert.size + 320
    assert facts.active_parameters == expert.size // 4 + 320
    assert facts.active_bytes == 4 * (expert.size // 4 + 320)


def test_an_embedding_that_is_only_looked_up_is_not_read_for_a_token() -> None:
    facts = facts_of(tiny.llama_bytes())
    assert facts.weight_bytes - facts.active_bytes == 320 * 32 * 4


@pytest.mark.parametrize(
    ("extra", "elements"),
    [
        ({"llama.attention.head_count_kv": [2, 0]}, (16, 16)),
        ({"llama.attention.key_length": 24}, (96, 32)),
        ({"llama.attention.key_length_mla": 8, "llama.attention.key_length": 40}, (160, 0)),
        ({"llama.attention.shared_kv_layers": 1}, (16, 16)),
        ({"llama.full_attention_interval": 2}, (16, 16)),
        ({"llama.full_attention_interval": 0}, (32, 32)),
        (
            {
                "llama.attention.sliding_window_pattern": Typed(tiny.ARRAY, [True, False], 7),
                "llama.attention.key_length_swa": 4,
                "llama.attention.value_length_swa": 2,
            },
            (24, 20),
        ),
    ],
)
def test_cache_layouts_of_other_architectures(
    extra: dict[str, Value], elements: tuple[int, int]
) -> None:
    facts = llama_facts(extra)
    assert (facts.k_elements, facts.v_elements) == elements


@pytest.mark.parametrize(
    ("extra", "state"),
    [
        ({"llama.wkv.head_size": 8}, 4 * 32 * (8 + 2) * 2),
        ({"llama.shortconv.l_cache": 3, "llama.attention.head_count_kv": [0, 2]}, 4 * 32 * 2),
        (
            {
                "llama.ssm.conv_kernel": 4,
                "llama.ssm.inner_size": 64,
                "llama.ssm.state_size": 16,
                "llama.full_attention_interval": 2,
            },
            4 * (3 * 64 + 64 * 16),
        ),
    ],
)
def test_recurrent_state_of_other_architectures(extra: dict[str, Value], state: int) -> None:
    assert llama_facts(extra).state_bytes == state


def test_the_quantisation_is_named_by_the_file_or_by_most_of_its_bytes() -> None:
    assert llama_facts({"general.file_type": 15}).quantisation == "Q4_K_M"
    assert llama_facts({"general.file_type": 4711}).quantisation == "F32"
    assert llama_facts({}).quantisation == "F32"


def test_a_missing_size_is_named() -> None:
    vocabulary = replace(tiny.bpe_vocabulary(), extra={"llama.context_length": 0})
    with pytest.raises(ModelFileError, match=r"has no context_length"):
        facts_of(tiny.llama_bytes(vocabulary))


def test_a_list_shorter_than_the_layers_is_refused() -> None:
    with pytest.raises(ModelFileError, match="1 entries for 2 layers"):
        llama_facts({"llama.attention.head_count": [4]})
    with pytest.raises(ModelFileError, match="not an array of integers"):
        llama_facts({"llama.attention.head_count": [float("nan"), 4.0]})
