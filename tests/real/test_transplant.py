"""SmolLM2 made foreign, then given its own vocabulary back."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specli.drafts.prompts import PROMPTS
from specli.drafts.transplant import PER_TOKEN, transplant
from specli.gguf.header import Header, read_header
from specli.gguf.writer import write_grafted
from specli.hub.progress import ignore
from specli.hub.references import resolve
from specli.llama.chat import Message, prompt_tokens
from specli.llama.model import Model, ModelOptions
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from tests import tiny_gguf as tiny
from tests.drafts.test_transplant import logits

DROPPED = 3000
TOKENS = "tokenizer.ggml.tokens"

pytestmark = pytest.mark.real


def foreign(source: Path, made: Path, folder: Path) -> Path:
    """The model without its last tokens, all others under other ids."""
    header = read_header(source)
    texts = header.strings(TOKENS) or []
    order = np.random.default_rng(3).permutation(len(texts) - DROPPED)
    names = tiny.write(folder / "names.gguf", tiny.gguf_bytes(shuffled(header, order.tolist())))
    tensors = [
        replace(tensor, shape=(*tensor.shape[:-1], len(order)))
        if tensor.name in PER_TOKEN
        else tensor
        for tensor in header.tensors.values()
    ]
    values = {"llama.vocab_size": len(order)}
    write_grafted(source, names, made, values, tensors)
    with made.open("ab") as file:
        for tensor in header.tensors.values():
            start = header.data_offset + tensor.offset
            data = np.fromfile(source, np.uint8, tensor.size, offset=start)
            if tensor.name in PER_TOKEN:
                data = data.reshape(len(texts), -1)[order].reshape(-1)
            file.write(data.tobytes() + b"\0" * (-len(data) % 32))
    return made


def shuffled(header: Header, order: list[int]) -> dict[str, tiny.Value]:
    texts = header.strings(TOKENS) or []
    types = header.integers("tokenizer.ggml.token_type") or array("i")
    kept = {texts[old] for old in order}
    merges = header.strings("tokenizer.ggml.merges") or []
    fields: dict[str, tiny.Value] = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": header.text("tokenizer.ggml.pre") or "",
        TOKENS: [texts[old] for old in order],
        "tokenizer.ggml.token_type": [types[old] for old in order],
        "tokenizer.ggml.merges": [m for m in merges if m.replace(b" ", b"") in kept],
    }
    for role in ("bos", "eos"):
        key = f"tokenizer.ggml.{role}_token_id"
        fields[key] = order.index(header.integer(key) or 0)
    return fields


def test_a_foreign_twin_with_the_vocabulary_back_says_the_same(tmp_path: Path) -> None:
    profile = load_profile("smollm2")
    assert profile.draft_model is not None
    own = resolve(profile.draft_model, quantize)
    donor = foreign(own, tmp_path / "foreign.gguf", tmp_path)
    made = tmp_path / "made.gguf"
    done = transplant(own, donor, made, ignore)
    assert done.overlap.size - done.overlap.matched == DROPPED
    assert done.averaged > 0.9 * DROPPED
    with Model(own, ModelOptions(vocab_only=True)) as model:
        prompt = prompt_tokens(model, [Message("user", PROMPTS[0])])
    assert max(prompt) < done.overlap.matched, "the prompt holds a dropped token"
    mine, theirs = logits(own, prompt), logits(made, prompt)
    kept = done.overlap.matched
    # The same rows, but the kernels may group them in another way.
    assert np.allclose(mine[:, :kept], theirs[:, :kept], atol=1e-3)
    agrees = mine.argmax(axis=1) == theirs.argmax(axis=1)
    assert agrees.mean() > 0.9
