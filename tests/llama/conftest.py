"""Tiny models that llama.cpp loads for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from tests import tiny_gguf

Loader = Callable[[bytes], Model]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Loader]:
    """Loads the bytes of a model; the models are closed after the test."""
    loaded: list[Model] = []

    def make(content: bytes) -> Model:
        path = tiny_gguf.write(tmp_path / f"model{len(loaded)}.gguf", content)
        loaded.append(Model(path))
        return loaded[-1]

    yield make
    for model in loaded:
        model.close()


@pytest.fixture
def contexts() -> Iterator[Callable[..., Context]]:
    """Makes contexts of a model; they are closed after the test, before the models."""
    made: list[Context] = []

    def make(model: Model, **options: int | str) -> Context:
        settings = {"n_ctx": 128, "threads": 1, **options}
        made.append(Context(model, ContextOptions(**settings)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for context in made:
        context.close()
