"""`specli run --compare` and `specli demo`: with and without drafting, in turns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from specli.app import demo as demonstration
from specli.app.race import OwnClock, race
from specli.engine.sequence import GenerationRequest
from specli.session import Session, Setup
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig
from tests.cli.conftest import Specli
from tests.fakes import FakeClock

PAIR = ["-m", "target.gguf", "-md", "draft.gguf"]
LONG = ["-m", "long.gguf", "-md", "long.gguf"]
ANSWER = ["--ignore-eos", "-n", "30", "--draft", "4"]


def test_both_sides_give_the_same_text_and_each_its_own_time(specli: Specli) -> None:
    done = specli("run", *PAIR, *ANSWER, "--compare", "--json", "hello")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["same_text"] is True
    assert told["plain"]["text"] == told["drafted"]["text"]
    assert told["plain"]["timings"]["draft_n"] == 0 < told["drafted"]["timings"]["draft_n"]
    speeds = [told[side]["timings"]["predicted_per_second"] for side in ("plain", "drafted")]
    assert told["speedup"] == pytest.approx(speeds[1] / speeds[0], rel=0.01)


def test_a_pipe_gets_the_text_once_and_the_figures_apart(specli: Specli) -> None:
    done = specli("run", *PAIR, *ANSWER, "--compare", "hello")
    text = specli("run", *PAIR, *ANSWER, "-q", "hello").out
    assert done.out.startswith(text)
    assert "took turns" in done.out + done.err


def test_without_a_drafter_there_is_nothing_to_compare(specli: Specli) -> None:
    done = specli("run", "-m", "target.gguf", "--draft", "0", "--compare", "hello")
    assert done.code == 2
    assert "nothing to compare" in done.err


@pytest.fixture
def pair(models: Path) -> Setup:
    config = SpeculativeConfig((DraftModel(models / "draft.gguf"),), FixedLength(draft_max=4))
    return Setup(models / "target.gguf", speculative=config, slots=2)


def test_a_side_that_is_out_of_time_keeps_what_it_has(pair: Setup, tmp_path: Path) -> None:
    with Session(pair, tmp_path) as session:
        request = GenerationRequest([5, 6, 7], max_tokens=200, ignore_end=True)
        made = race(session, lambda: replace(request), seconds=0.0)
    assert made.plain.tokens == made.drafted.tokens == []
    assert made.speedup is None
    assert not made.interrupted


def test_a_clock_of_one_side_stands_while_the_other_works() -> None:
    time = FakeClock()
    clock = OwnClock(time)
    clock.go()
    time.spend(30)
    clock.stop()
    time.spend(500)
    clock.go()
    time.spend(12)
    assert clock() == pytest.approx(0.042)


@pytest.mark.parametrize("width", [40, 80])
def test_the_demonstration_measures_three_tasks_and_says_what_to_try_next(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(demonstration, "PREDICT", 8)
    monkeypatch.setenv("COLUMNS", str(width))
    done = specli("demo", *LONG)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    live = next(at for at, line in enumerate(lines) if line.startswith("Once more, live"))
    assert max(len(line.rstrip()) for line in lines[:live]) <= width
    for name in ("a question", "a list", "Try next:", "  specli pair find MODEL.gguf"):
        assert any(line.startswith(name) for line in lines), name
    said = " ".join(done.out.split())
    assert any(words in said for words in ("faster than", "as fast as", "does not pay"))


def test_the_demonstration_as_json_has_all_three(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "PREDICT", 8)
    told = json.loads(specli("demo", *LONG, "--json").out)
    assert [one["task"] for one in told] == ["a question", "a function to rewrite", "a list"]
    assert all({"speedup", "plain", "drafted"} <= one.keys() for one in told)


def test_pair_check_measures_the_pair_when_it_is_asked_to(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "PAIR_PREDICT", 8)
    done = specli("pair", "check", "long.gguf", "long.gguf", "--measure")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("Compatible")
    assert any(line.startswith("Measured: ") for line in lines)
    told = json.loads(specli("pair", "check", "long.gguf", "long.gguf", "--measure", "--json").out)
    assert told["speedup"] > 0
