"""A pair of tiny models, and ways to draft with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from specli.session import Setup
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig
from tests import tiny_gguf as tiny


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.write(folder / "target.gguf", tiny.llama_bytes())
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    foreign = tiny.bpe_vocabulary().with_token(40, b"foreign")
    tiny.write(folder / "foreign.gguf", tiny.llama_bytes(foreign))
    tiny.write(folder / "mamba.gguf", tiny.mamba_bytes())
    tiny.write(folder / "mamba-spm.gguf", tiny.mamba_bytes(tiny.spm_vocabulary()))
    return folder


@pytest.fixture
def draft(models: Path) -> DraftModel:
    return DraftModel(models / "draft.gguf")


@pytest.fixture
def setup(models: Path, draft: DraftModel) -> Setup:
    """The pair with a fixed draft length, for which no costs are measured."""
    return Setup(
        models / "target.gguf", speculative=SpeculativeConfig((draft,), FixedLength(draft_max=3))
    )


@pytest.fixture
def adaptive(models: Path, draft: DraftModel) -> Setup:
    return Setup(models / "target.gguf", speculative=SpeculativeConfig((draft,)))


@pytest.fixture
def records(models: Path) -> Path:
    """Probes that passed stay: the models are the same for all tests."""
    return models / "records"
