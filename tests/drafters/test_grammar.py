"""Forced tokens are proposed, never rejected, and change no text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.llama.constraint import rules_of
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import FixedLength, Grammar, NgramSimple, SpeculativeConfig, Suffix
from tests import tiny_gguf

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "temperature": {"enum": ["warm", "cold"]},
            "description": {"const": "a rather long constant"},
        },
        "required": ["temperature", "description"],
    }
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("model")
    path: Path = tiny_gguf.write(folder / "target.gguf", tiny_gguf.llama_bytes())
    config = SpeculativeConfig((Suffix(),))
    with Session(Setup(path, speculative=config, slots=2), folder) as loaded:
        yield loaded


def texts(session: Session, config: SpeculativeConfig, *, schema: str | None) -> list[Generation]:
    rules = rules_of(None, schema)
    engine = session.engine_for(config)
    found = {}
    for seed in range(4):
        request = GenerationRequest(
            [5, 6, 7, 8],
            max_tokens=120,
            sampling=SamplingParams(temperature=0.8 * (seed % 2), seed=seed),
            grammar=None if rules is None else session.constrained(rules),
        )
        found[engine.submit(request)] = Generation()
    for event in engine.run():
        found[event.seq].add(event)
    return list(found.values())


def test_what_a_grammar_forces_is_proposed_and_always_accepted(session: Session) -> None:
    plain = texts(session, SpeculativeConfig(), schema=SCHEMA)
    drafted = texts(session, SpeculativeConfig((Grammar(),), FixedLength(4)), schema=SCHEMA)
    assert [one.text for one in drafted] == [one.text for one in plain]
    counts = [one.stats.by_drafter["grammar"] for one in drafted]
    assert all(one.drafted >= 20 and one.accepted == one.drafted for one in counts)
    assert json.loads(drafted[0].text)["description"] == "a rather long constant"


@pytest.mark.parametrize(
    "config", [SpeculativeConfig((Grammar(),)), SpeculativeConfig((Suffix(),))]
)
def test_where_costs_decide_it_is_there_by_itself_and_changes_no_text(
    session: Session, config: SpeculativeConfig
) -> None:
    plain = texts(session, SpeculativeConfig(), schema=SCHEMA)
    drafted = texts(session, config, schema=SCHEMA)
    assert [one.text for one in drafted] == [one.text for one in plain]
    assert "grammar" in {drafter.name for drafter in session.engine_for(config)._drafters}


def test_without_a_grammar_nothing_is_proposed(session: Session) -> None:
    for one in texts(session, SpeculativeConfig((Grammar(),)), schema=None):
        assert one.stats.drafted == 0


def test_lengths_set_by_hand_leave_it_out(session: Session) -> None:
    config = SpeculativeConfig((NgramSimple(3, 8),), FixedLength(4))
    for one in texts(session, config, schema=SCHEMA):
        assert "grammar" not in one.stats.by_drafter
