"""The embedded SmolLM2 pair, fetched and made where this machine does not have it yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from specli.hub.references import resolve
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from specli.session import Session, Setup
from specli.speculative import DraftModel, SpeculativeConfig, Suffix
from tests.real.pair import Pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The default profile's pair, adaptive and with the suffix drafter, as `specli run` has it."""
    profile = load_profile("smollm2")
    assert profile.draft_model is not None
    draft = DraftModel(resolve(profile.draft_model, quantize))
    setup = Setup(
        target=resolve(profile.target_model, quantize),
        speculative=SpeculativeConfig((draft, Suffix())),
    )
    with Session(setup, tmp_path_factory.mktemp("probes")) as session:
        yield Pair(session)
