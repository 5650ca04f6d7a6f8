"""`LLM` on tiny models, away from this machine's caches and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from specli import LLM
from specli.engine.engine import Engine
from specli.events import Finished, FinishReason
from tests import tiny_gguf as tiny

Load = Callable[..., LLM]

LONG_CONTEXT = 16384

EXACT = "exact.yaml"
"""A profile of the pair whose logits do not depend on which requests run side by side: 16-bit
caches round by the shape of a batch."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models; what specli learns of them is kept there too."""
    folder = tmp_path_factory.mktemp("models")
    foreign = tiny.bpe_vocabulary().with_token(40, b"foreign")
    contents = {
        "target": tiny.llama_bytes(),
        "draft": tiny.llama_bytes(noise=0.1),
        "foreign": tiny.llama_bytes(foreign),
        "sentencepiece": tiny.llama_bytes(tiny.spm_vocabulary()),
        "long": tiny.llama_bytes(shape=tiny.Shape(context=LONG_CONTEXT)),
    }
    for name, content in contents.items():
        tiny.write(folder / f"{name}.gguf", content)
    (folder / EXACT).write_text(
        "name: exact\ndescription: the tiny pair\ntarget: target.gguf\ndraft: draft.gguf\n"
        "defaults: {cache_type_k: f32, cache_type_v: f32, flash_attn: 'off'}\n"
    )
    return folder


@pytest.fixture
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models' folder, as the place to work in."""
    monkeypatch.setenv("SPECLI_CACHE", str(folder / "cache"))
    # Child processes must find this very package.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def load(models: Path) -> Iterator[Load]:
    """Loads the exact pair with four draft tokens and two slots, unless arguments say otherwise."""
    with ExitStack() as stack:

        def load(model: str | None = None, **given: Any) -> LLM:
            arguments: dict[str, Any] = {"max_num_seqs": 2, "threads": 1} | given
            if model is None:
                arguments.setdefault("profile", EXACT)
            if not {"profile", "speculative_config"} & given.keys():
                arguments.setdefault("num_speculative_tokens", 4)
                if model is not None:
                    arguments.setdefault("speculative_model", "draft.gguf")
            return stack.enter_context(LLM(model, **arguments))

        yield load


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sequences that were ended early."""
    ended: list[int] = []
    cancel = Engine.cancel

    def noted(engine: Engine, seq: int, reason: FinishReason = "cancelled") -> Finished | None:
        ended.append(seq)
        return cancel(engine, seq, reason)

    monkeypatch.setattr(Engine, "cancel", noted)
    return ended
