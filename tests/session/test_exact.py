"""`--exact`: texts that depend on neither drafter, length nor width, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specli.engine.sequence import GenerationRequest
from specli.errors import UsageError
from specli.events import Round
from specli.llama import exact
from specli.llama.context import Context
from specli.llama.exact import ExactContext, Rows, find_rows, rounds_by_batch
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import (
    DraftModel,
    FixedLength,
    Head,
    NgramSimple,
    Placement,
    SpeculativeConfig,
    Suffix,
)
from tests.heads_cases import CASES

TOKENS = [10 + (7 * n) % 90 for n in range(60)]


@pytest.fixture
def setup_exact(models: Path, draft: DraftModel) -> Setup:
    config = SpeculativeConfig((draft,), FixedLength(3))
    return Setup(models / "target.gguf", speculative=config, exact=True)


@pytest.fixture
def model(models: Path) -> Iterator[Model]:
    with Model(models / "target.gguf") as loaded:
        yield loaded


class Batches(ExactContext):
    """Remembers the rows of each sequence and the outputs of every batch."""

    def __init__(self, model: Model, n_seq: int = 1) -> None:
        super().__init__(model, ContextOptions(n_ctx=128, n_seq=n_seq, separate_caches=n_seq > 1))
        self.seen: list[tuple[dict[int, int], int]] = []
        self.use(Rows(2, 16, 1.0))
        decode = Context.decode

        def watched(context: Context) -> None:
            rows = [int(seq) for seq in self._seq[: self._count]]
            outputs = int(self._wanted[: self._count].sum())
            self.seen.append(({seq: rows.count(seq) for seq in set(rows)}, outputs))
            decode(context)

        self._watched = watched

    def decode(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Context, "decode", self._watched)
            super().decode()


def test_a_single_row_is_never_decoded(model: Model) -> None:
    with Batches(model) as context:
        context.add(0, TOKENS[:7], 0, 0)
        context.decode()
        context.add(0, [5], 7, 1)
        context.decode()
        context.add(0, [5], 8, 0)
        context.decode()
        assert [rows for rows, _outputs in context.seen] == [{0: 7}, {0: 2}, {0: 2}]
        # The last layers compute rows with outputs only.
        assert [outputs for _rows, outputs in context.seen] == [0, 2, 0]
        assert context.length(0) == 9


def test_every_sequence_has_an_even_number_of_rows_beside_others(model: Model) -> None:
    with Batches(model, n_seq=3) as context:
        context.add(0, [5], 0, 1)
        context.add(2, TOKENS[:5], 0, 5)
        context.add(1, TOKENS[:3], 0, 0)
        context.decode()
        assert context.seen == [({0: 2, 1: 4, 2: 6}, 8)]
        assert [context.length(seq) for seq in range(3)] == [1, 3, 5]


def test_hidden_states_of_several_sequences_are_each_rows_own(model: Model) -> None:
    """llama.cpp computes uneven sequences in parts; the rows have to come back in order."""
    runs = {2: TOKENS[:5], 0: TOKENS[7:8], 1: TOKENS[20:23]}
    with Batches(model, n_seq=3) as context, Batches(model) as alone:
        for one in (context, alone):
            one.want_features([1])
        for seq, tokens in runs.items():
            context.add(seq, tokens, 0, len(tokens) % 2)
        context.decode()
        expected = []
        for tokens in runs.values():
            alone.rollback(0, 0)
            alone.add(0, tokens, 0, 1)
            alone.decode()
            expected += list(alone.features(1).copy())
        assert np.array_equal(context.features(1), np.array(expected))


def test_sizes_that_differ_in_one_bit_of_one_row_are_left_out(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = exact._digests

    def other_from(first: int) -> None:
        def changed(context: Context, chain: Sequence[int], past: int, size: int) -> list[bytes]:
            found = digests(context, chain, past, size)
            return [*found[:-1], b"other"] if size >= first else found

        monkeypatch.setattr(exact, "_digests", changed)

    with ExactContext(model, ContextOptions(n_ctx=768, threads=1)) as context:
        whole = find_rows(context)
        assert whole is not None
        assert whole.most == 62
        other_from(8)
        found = find_rows(context)
        assert found is not None
        assert found.most == 7
        other_from(3)
        assert find_rows(context) is None
        assert context.length(0) == 0


def test_k_quants_are_not_repacked() -> None:
    assert rounds_by_batch({"F32", "Q4_K"})
    assert not rounds_by_batch({"F32", "Q8_0", "Q4_0"})


def generated(
    session: Session, config: SpeculativeConfig, count: int, accepted: list[int] | None = None
) -> list[list[int]]:
    engine = session.engine_for(config)
    found: dict[int, list[int]] = {}
    for number in range(count):
        sampling = SamplingParams(temperature=0.8 * (number % 2), seed=number)
        prompt = [5, 6, 7, *range(20, 22 + 3 * number), 5, 6]
        request = GenerationRequest(prompt, 20, sampling, ignore_end=True, exact=True)
        found[engine.submit(request)] = []
    for event in engine.run():
        if isinstance(event, Round):
            found[event.seq] += event.tokens
            if accepted is not None:
                accepted.append(event.accepted)
    return list(found.values())


def test_texts_are_the_same_with_every_drafter_and_width(
    setup_exact: Setup, draft: DraftModel, records: Path
) -> None:
    ways = [
        SpeculativeConfig(),
        SpeculativeConfig((draft,), FixedLength(3)),
        SpeculativeConfig((NgramSimple(1, 4),), FixedLength(3)),
        SpeculativeConfig((draft, Suffix())),
    ]
    texts = []
    for width in (1, 3):
        with Session(replace(setup_exact, slots=width), records) as session:
            assert session.rows is not None
            texts += [generated(session, way, 5) for way in ways]
    assert all(text == texts[0] for text in texts)


@pytest.mark.parametrize("name", ["eagle3", "mtp"])
def test_texts_are_the_same_with_a_head_at_any_width(name: str, tmp_path: Path) -> None:
    """The head's guesses too: with the target's own states it is right as often beside others."""
    case = CASES[name]
    target, file = tmp_path / "target.gguf", tmp_path / "head.gguf"
    target.write_bytes(case.target.bytes())
    if case.head is not None:
        file.write_bytes(case.head.bytes())
    head = Head(case.kind, file if case.head is not None else None)
    config = SpeculativeConfig((head,), FixedLength(3))
    texts, accepted = [], []
    for width in (1, 3):
        one = Placement(threads=1)
        setup = Setup(target, one, 256, speculative=config, exact=True, slots=width)
        with Session(setup, tmp_path) as session:
            texts.append(generated(session, SpeculativeConfig(), 3))
            counts: list[int] = []
            texts.append(generated(session, config, 3, counts))
            accepted.append(sum(counts))
    assert all(text == texts[0] for text in texts)
    assert accepted[0] == accepted[1] > 10


def test_what_was_found_is_kept(
    setup_exact: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(setup_exact, records) as session:
        first = session.rows
    monkeypatch.delattr("specli.session.exactness.find_rows")
    with Session(setup_exact, records) as session:
        assert session.rows == first


def test_a_model_without_such_sizes_is_refused(
    setup_exact: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.session.exactness.find_rows", lambda _context: None)
    for _time in range(2):
        with pytest.raises(UsageError, match="cannot be kept"):
            Session(setup_exact, tmp_path)


def test_a_recurrent_model_is_refused(models: Path, records: Path) -> None:
    with pytest.raises(UsageError, match="recurrent"):
        Session(Setup(models / "mamba.gguf", exact=True), records)


def test_a_request_cannot_ask_for_what_the_models_are_not_loaded_with(
    setup: Setup, records: Path
) -> None:
    request = GenerationRequest([5, 6], exact=True)
    with Session(setup, records) as session, pytest.raises(UsageError, match="without it"):
        session.engine().submit(request)


def test_logits_of_the_padded_context_are_the_rows_own(model: Model) -> None:
    with Batches(model) as context, Context(model, ContextOptions(n_ctx=128)) as other:
        row = context.add(0, [5], 0, 1)
        context.decode()
        both = other.add(0, [5, 5], 0, 2)
        other.decode()
        assert np.array_equal(context.logits(row), other.logits(both))
