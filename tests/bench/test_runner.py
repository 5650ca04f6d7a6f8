"""Who is measured when, and what one run over tiny models says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.bench.prompts import BenchPrompt
from specli.bench.runner import Bench, Contender, contenders, interleaved
from specli.engine.recalibration import Recalibration
from specli.errors import PromptTooLongError
from specli.session import Session, Setup
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig, Suffix
from tests import tiny_gguf as tiny
from tests.bench.made import PROMPTS, RIVALS, FakeBench

CHAT = BenchPrompt("chat", "multi-turn", (("user", "hello"),), ("and more", "again"))
HELLO = BenchPrompt("hello", "question", (("user", "hello"),))


@given(
    rivals=st.integers(1, 3), prompts=st.integers(1, 3), runs=st.integers(1, 7), stop=st.integers(1)
)
def test_every_setting_meets_every_prompt_and_nobody_is_ahead(
    rivals: int, prompts: int, runs: int, stop: int
) -> None:
    measure = FakeBench(lambda *_: 10.0)
    total = rivals * prompts * runs
    turns = interleaved(RIVALS[:rivals], PROMPTS[:prompts], runs, measure)
    found = list(islice(turns, min(stop, total)))
    counts = Counter((run.setting, run.prompt) for run in found)
    possible = [counts[r.name, p.id] for r in RIVALS[:rivals] for p in PROMPTS[:prompts]]
    assert max(possible) - min(possible) <= 1
    assert [run.order for run in found] == list(range(len(found)))
    assert measure.now == pytest.approx(10.0 * len(found))
    for start in range(0, len(found) - rivals + 1, rivals):
        assert len({(run.prompt, run.number) for run in found[start : start + rivals]}) == 1


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_everybody_is_first_about_as_often(prompts: int) -> None:
    turns = list(interleaved(RIVALS, PROMPTS[:prompts], 6, FakeBench(lambda *_: 10.0)))
    firsts = Counter(run.setting for run in turns[:: len(RIVALS)])
    assert set(firsts.values()) == {6 * prompts // len(RIVALS)}
    of_one = Counter(run.setting for run in turns[:: len(RIVALS)] if run.prompt == PROMPTS[0].id)
    assert set(of_one.values()) == {2}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("models")
    tiny.write(folder / "target.gguf", tiny.llama_bytes())
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    config = SpeculativeConfig((DraftModel(folder / "draft.gguf"), Suffix()))
    setup = Setup(folder / "target.gguf", speculative=config)
    with Session(setup, folder / "records") as session:
        yield session


@pytest.fixture
def rivals(session: Session) -> list[Contender]:
    config = session.setup.speculative
    assert config.draft_model is not None
    return contenders([config, SpeculativeConfig((config.draft_model,), FixedLength(3))])


@pytest.fixture
def bench(session: Session) -> Bench:
    return Bench(session, predict=20)


def test_runs_are_alike_whatever_came_before(bench: Bench, rivals: list[Contender]) -> None:
    """A cache or a text of an earlier run would show in counts: acceptance goes up about tenfold
    where a drafter has seen the answer."""
    fixed = rivals[2]
    first = bench(fixed, HELLO)
    for rival in rivals:
        bench(rival, HELLO)
        bench(rival, CHAT)
    again = bench(fixed, HELLO)
    assert (again.drafted, again.accepted_at) == (first.drafted, first.accepted_at)
    assert (again.output, again.prompt_n) == (first.output, first.prompt_n)


def test_the_figures_of_a_run_agree_with_each_other(bench: Bench, rivals: list[Contender]) -> None:
    for run in interleaved(rivals, [HELLO, CHAT], 1, bench):
        turns = 3 if run.prompt == "chat" else 1
        assert 0 < run.predicted_n <= 20 * turns
        assert run.accepted == sum(run.accepted_at) <= run.drafted
        assert sum(drafted for drafted, _accepted in run.by_drafter.values()) == run.drafted
        assert run.rounds_with_proposal <= run.rounds <= run.predicted_n
        assert run.first_token_ms > 0
        assert run.per_second > 0
        assert (run.drafted > 0) == (run.setting == "draft 3") or run.setting == "auto"


def test_every_setting_writes_plain_decodings_text(bench: Bench, rivals: list[Contender]) -> None:
    runs = list(interleaved(rivals, [HELLO, CHAT], 2, bench))
    compared = bench.compared(runs, rivals[0])
    assert [run.compared is None for run in compared] == [r.setting == "plain" for r in compared]
    assert all(run.compared.identical for run in compared if run.compared is not None)


def test_a_text_that_the_target_does_not_choose_is_a_fault(
    bench: Bench, rivals: list[Contender]
) -> None:
    plain, other = rivals[0], rivals[2]
    runs = [bench(plain, HELLO), replace(bench(other, HELLO), output="changed")]
    key = other.name, "hello", "changed"
    answer = bench._answers[other.name, "hello", runs[0].output]
    turn = copy(answer.turns[0])
    tokens = turn.tokens
    turn.tokens = [*tokens[:4], tokens[4] + 1, *tokens[5:]]
    turn.rounds = [([], [token]) for token in turn.tokens]
    bench._answers[key] = replace(answer, turns=[turn])
    found = bench.compared(runs, plain)[1].compared
    assert found is not None
    assert (found.verdict, found.position, found.wrong_at) == ("fault", 4, 4)
    vocab = bench.session.target_model.vocab
    assert (found.plain, found.speculative) == (vocab.name(tokens[4]), vocab.name(tokens[4] + 1))


def test_a_cache_that_is_kept_spares_prompts_and_changes_no_text(
    session: Session, rivals: list[Contender], monkeypatch: pytest.MonkeyPatch
) -> None:
    reused: list[int] = []
    rollback = session.target.rollback

    def watched(seq: int, length: int) -> None:
        reused.append(length)
        rollback(seq, length)

    monkeypatch.setattr(session.target, "rollback", watched)
    # Measuring costs again would roll back too.
    monkeypatch.setattr(Recalibration, "before_round", lambda _self, _cost: None)
    outputs = {}
    for cache_prompt in (False, True):
        bench = Bench(session, predict=20, cache_prompt=cache_prompt)
        size = bench.prompt_size(HELLO)
        found = []
        for rival in (*rivals, *rivals):
            reused.clear()
            found.append(bench(rival, HELLO))
            # The first call of a run says what of the cache it goes on with.
            spared = cache_prompt and len(found) > 1
            assert reused[0] == (size - 1 if spared else 0)
        outputs[cache_prompt] = [run.output for run in found]
    assert outputs[True] == outputs[False]


def test_runs_without_plain_decoding_beside_them_stay_uncompared(
    bench: Bench, rivals: list[Contender]
) -> None:
    runs = [bench(rivals[1], HELLO)]
    assert bench.compared(runs, rivals[0]) == runs


def test_a_prompt_that_does_not_fit_is_told_before_anything_is_measured(bench: Bench) -> None:
    with pytest.raises(PromptTooLongError, match="tokens"):
        bench.check(BenchPrompt("long", "own", (("user", "hello " * 5000),)))
