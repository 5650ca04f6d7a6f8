"""`specli bench` and `specli bench compare` on tiny models."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from specli.app import bench as benching
from specli.bench.report import VERSION, Report, read_report, to_json
from specli.bench.runner import Bench
from specli.errors import SpecliError
from tests.cli.conftest import Outcome, Specli

PAIR = ["-m", "target.gguf", "-md", "draft.gguf"]
SHORT = ["-n", "6", "--prompts", "prompts.txt"]


@pytest.fixture(autouse=True)
def prompts(sealed: Path) -> None:
    (sealed / "prompts.txt").write_text("hello\nand more\n")
    for written in ("a.json", "b.json", "runs.csv"):
        (sealed / written).unlink(missing_ok=True)


def report(specli: Specli, *arguments: str) -> tuple[Report, Outcome]:
    outcome = specli("bench", *PAIR, *SHORT, "-o", "a.json", *arguments)
    assert outcome.code == 0, outcome.err
    return read_report(Path("a.json")), outcome


def test_a_bench_compares_plain_decoding_with_what_run_would_do(specli: Specli) -> None:
    found, outcome = report(specli, "--runs", "3", "--csv", "runs.csv")
    assert [setting.name for setting in found.settings] == ["plain", "auto"]
    assert found.complete
    assert len(found.runs) == 2 * 2 * 3
    assert {model.role: model.name for model in found.models} == {
        "target": "target.gguf",
        "draft": "draft.gguf",
    }
    assert set(found.costs) == {"target", "draft"}
    summary = found.summary("auto")
    assert summary is not None
    assert (summary.identical, summary.compared) == (6, 6)
    assert summary.speedup is not None
    assert summary.speedup.low is not None
    for said in ("auto", "overall", "6/6", "accepted by position", f"{summary.speedup.value:.2f}"):
        assert said in outcome.out
    with Path("runs.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found.runs)
    assert "wrote a.json" in outcome.err
    assert "12 of 12 runs" in outcome.err


def test_sweeps_are_multiplied_and_auto_stands_alone(specli: Specli) -> None:
    found, outcome = report(
        specli, "--runs", "1", "--draft-max", "auto,2,4", "--draft-p-min", "0,0.5"
    )
    names = [setting.name for setting in found.settings]
    lengths = ["draft 2", "draft 2 p-min 0.5", "draft 4", "draft 4 p-min 0.5"]
    assert names == ["plain", "auto", *lengths]
    assert found.settings[-1].flags["draft_p_min"] == 0.5
    for name in names:
        assert name in outcome.out
    longest = {
        name: len(s.acceptance_per_position) for s in found.summaries for name in [s.setting]
    }
    assert longest["plain"] == 0
    assert 0 < longest["draft 2"] <= 2
    assert longest["draft 4"] <= 4


def test_a_cut_off_alone_has_the_usual_length(specli: Specli) -> None:
    found, _outcome = report(specli, "--runs", "1", "--draft-p-min", "0.3", "-q")
    assert [setting.name for setting in found.settings] == ["plain", "draft 4 p-min 0.3"]


def test_a_target_alone_is_measured_with_what_searches_the_text(specli: Specli) -> None:
    outcome = specli("bench", *PAIR[:2], *SHORT, "--runs", "1", "-q")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "auto, suffix alone" in outcome.out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_report_fits_its_width_and_has_every_figure(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = specli("bench", *PAIR, *SHORT, "--runs", "1", "--draft-max", "2,auto", "-q")
    assert max(map(len, outcome.out.splitlines())) <= width
    assert "…" not in outcome.out.replace(" …", "") or width < 80


def test_ctrl_c_keeps_and_shows_what_is_there(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Bench.__call__

    def interrupted(bench: Bench, *given: object) -> object:
        if given[3] == 5:
            raise KeyboardInterrupt
        return measured(bench, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Bench, "__call__", interrupted)
    outcome = specli("bench", *PAIR, *SHORT, "-o", "a.json")
    assert outcome.code == 130
    found = read_report(Path("a.json"))
    assert (len(found.runs), found.complete) == (5, False)
    assert "5 of 20 in" in outcome.out
    assert all(run.compared is not None for run in found.runs if run.setting == "auto")


def test_ctrl_c_before_the_first_run_leaves_nothing(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "warm_up", interrupted)
    outcome = specli("bench", *PAIR, *SHORT, "-o", "a.json")
    assert (outcome.code, outcome.out) == (130, "")
    assert not Path("a.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--draft-max", "2,0"], "is plain decoding"),
        (["--draft-max", "2,x"], "not 'x'"),
        (["--draft-p-min", "0,1.5"], "--draft-p-min is 1.5"),
        (["--categories", "poem"], "'poem'"),
        (["--prompts", "missing.txt"], "cannot read missing.txt"),
        (["-o", "missing/a.json"], "no folder missing"),
        (["--csv", "."], "is a folder"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_loaded(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    def loading(*_given: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(benching, "loaded_session", loading)
    outcome = specli("bench", *PAIR, *arguments)
    assert outcome.code == 2
    assert said in outcome.err


def test_draft_lengths_need_a_draft_model(specli: Specli) -> None:
    outcome = specli("bench", *PAIR[:2], "--draft-max", "2,4")
    assert outcome.code == 2
    assert "there is none" in outcome.err


def test_two_benches_are_compared_setting_by_setting(specli: Specli) -> None:
    found, _outcome = report(specli, "--runs", "1")
    Path("b.json").write_text(to_json(replace(found, predict=7)))
    outcome = specli("bench", "compare", "a.json", "b.json")
    assert outcome.code == 0
    assert "different tokens per answer: 6 and 7" in outcome.err
    for said in ("plain", "auto", "overall", "+0.0 %"):
        assert said in outcome.out


def test_benches_of_other_machines_are_compared_only_by_force(specli: Specli) -> None:
    found, _outcome = report(specli, "--runs", "1")
    other = replace(found, machine=replace(found.machine, cpu="Another"))
    Path("b.json").write_text(to_json(other))
    refused = specli("bench", "compare", "a.json", "b.json")
    assert refused.code == 2
    assert "machine, cpu" in refused.err
    assert "Another" in refused.err
    forced = specli("bench", "compare", "a.json", "b.json", "--force")
    assert forced.code == 0
    assert "different machine, cpu" in forced.err
    assert "overall" in forced.out


def test_json_prints_the_report_and_nothing_else(specli: Specli, tmp_path: Path) -> None:
    outcome = specli("bench", *PAIR, *SHORT, "--runs", "1", "--json", "-q", "-o", "a.json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == json.loads(Path("a.json").read_text())


def test_what_is_no_report_is_not_compared(specli: Specli, tmp_path: Path) -> None:
    Path("a.json").write_text(json.dumps({"version": VERSION}))
    outcome = specli("bench", "compare", "a.json", "missing.json")
    assert outcome.code == 2
    assert "a.json is not a valid report" in outcome.err


def test_figures_are_shown_even_where_they_cannot_be_kept(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise SpecliError("the disk is full")

    monkeypatch.setattr(benching, "write_text", full)
    outcome = specli("bench", *PAIR, *SHORT, "--runs", "1", "-o", "a.json")
    assert outcome.code == 1
    assert "the disk is full" in outcome.err
    assert "overall" in outcome.out


def test_prompts_stay_in_the_cache_only_where_that_is_asked_for(specli: Specli) -> None:
    fresh, outcome = report(specli, "--runs", "2")
    assert not fresh.cache_prompt
    assert "cached from run to run" not in outcome.out
    cached, outcome = report(specli, "--runs", "2", "--cache-prompt")
    assert cached.cache_prompt
    assert "cached from run to run" in outcome.out
    assert [run.output for run in cached.runs] == [run.output for run in fresh.runs]


def test_knowing_a_pair_is_not_changed_by_measuring_it(specli: Specli) -> None:
    """Else the same bench would start from other knowledge the second time."""
    report(specli, "--runs", "1")
    folder = Path("cache") / "probes"
    before = {path.name: path.read_bytes() for path in folder.glob("pair-*.json")}
    report(specli, "--runs", "1")
    assert before
    assert {path.name: path.read_bytes() for path in folder.glob("pair-*.json")} == before
