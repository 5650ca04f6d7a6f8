"""What llama.cpp would end the process on is refused in words, before it comes to that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from specli.drafters.heads.build import HeadSource, build_head
from specli.drafters.heads.trial import require_usable
from specli.errors import LoadError, ModelFileError, PairIncompatibleError
from specli.gguf.heads import PUBLISHING
from specli.llama import features, staging
from specli.llama.context import Context
from specli.llama.head import HeadContext
from specli.llama.model import Model
from tests import tiny_heads
from tests.drafters.heads.rig import OPTIONS, rigged
from tests.tiny_gguf import Shape
from tests.tiny_heads import SHAPE, Tiny

REDUCED = tiny_heads.eagle3_head(draft_vocabulary=(1, 2, 3))
OUTSIDE = Tiny(REDUCED.fields, {**REDUCED.tensors, "d2t": np.array([1, 2, 100_000])})
OTHER = Shape(layers=4, n_embd=64, heads=8, kv_heads=4, n_ff=128, context=512)


def refused(folder: Path, target: Tiny, head: Tiny, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words), rigged(folder, target, head):
        pass


@pytest.mark.parametrize(
    "head",
    [
        tiny_heads.eagle3_head(target_width=64),
        tiny_heads.dflash_head(shape=OTHER),
        tiny_heads.dspark_head(shape=OTHER),
    ],
    ids=["eagle3", "dflash", "dspark"],
)
def test_a_head_for_another_hidden_size(head: Tiny, tmp_path: Path) -> None:
    words = "made for a hidden size of 64; the target has 128"
    refused(tmp_path, tiny_heads.llama_target(), head, PairIncompatibleError, words)


@pytest.mark.parametrize("layer", [5, -1, 999])
def test_a_layer_that_the_target_does_not_have(layer: int, tmp_path: Path) -> None:
    for make in (tiny_heads.eagle3_head, tiny_heads.dflash_head):
        words = f"layers 0 to 3, but no layer {layer}"
        refused(tmp_path, tiny_heads.llama_target(), make(layers=(1, 2, layer)), LoadError, words)


def test_a_target_that_publishes_no_hidden_states(tmp_path: Path) -> None:
    target = tiny_heads.llama_target(architecture="olmo")
    assert "olmo" not in PUBLISHING
    with pytest.raises(LoadError, match="gives no hidden states of the architecture 'olmo'"):
        features.require((1, 2), str(target.fields["general.architecture"]), SHAPE.layers)


def test_the_output_of_the_last_layer_where_only_its_input_is_published(tmp_path: Path) -> None:
    head = tiny_heads.eagle3_head(layers=(1, 2, 4))
    refused(
        tmp_path, tiny_heads.llama_target(), head, LoadError, "no last hidden states of 'llama'"
    )
    with pytest.raises(LoadError, match="no layer 4"):
        features.require((4,), "llama", SHAPE.layers)
    features.require((4,), "mimo2", SHAPE.layers)


def test_a_build_without_the_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "target.gguf", tmp_path / "head.gguf"
    files[0].write_bytes(tiny_heads.llama_target().bytes())
    files[1].write_bytes(tiny_heads.eagle3_head().bytes())
    with Model(files[0]) as target, Model(files[1]) as head, Context(target, OPTIONS) as context:
        source = HeadSource(head, context, OPTIONS)
        for name in ("set_layer_input", "set_nextn", "target_layers"):
            with monkeypatch.context() as patch:
                patch.setattr(staging, name, None)
                with pytest.raises(LoadError, match="not available in this build"):
                    build_head("draft-eagle3", source)
        assert staging.resolved("llama_no_such_function", "v", "YAXXZ", None) is None


def test_a_dflash2_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "selector_top_k", lambda _model: 4)
    target, head = tiny_heads.llama_target(), tiny_heads.dflash_head()
    refused(tmp_path, target, head, LoadError, "is a DFlash2 head")


def test_a_block_head_without_a_mask_token(tmp_path: Path) -> None:
    head = tiny_heads.dflash_head().without("tokenizer.ggml.mask_token_id")
    refused(tmp_path, tiny_heads.llama_target(), head, LoadError, "no mask token")


def test_a_batch_too_large_for_a_head_that_sees_all_of_it(tmp_path: Path) -> None:
    with rigged(tmp_path, tiny_heads.llama_target(), tiny_heads.dflash_head()) as rig:
        decoder = rig.kind.decoder
        assert isinstance(decoder, HeadContext)
        decoder.n_ubatch = 4
        decoder.add(0, [5] * 5, 0, 0)
        with pytest.raises(Exception, match="larger than 4"):
            decoder.decode()


@pytest.mark.parametrize(
    "broken",
    [
        OUTSIDE,
        tiny_heads.eagle3_head().without("output_norm.weight"),
    ],
    ids=["a token outside of the vocabulary", "a missing tensor"],
)
def test_a_damaged_head_ends_a_child_process_and_not_this_one(broken: Tiny, tmp_path: Path) -> None:
    files = tmp_path / "target.gguf", tmp_path / "head.gguf"
    files[0].write_bytes(tiny_heads.llama_target().bytes())
    files[1].write_bytes(broken.bytes())
    with pytest.raises(ModelFileError, match="cannot draft with"):
        require_usable(files[1], files[0], tmp_path / "records")
    files[1].write_bytes(tiny_heads.eagle3_head().bytes())
    for _again in "ab":
        assert require_usable(files[1], files[0], tmp_path / "records")
