"""`specli doctor` on this machine, with a pair, and with a pair that is not on it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

import specli as package
from specli.app.prepare import prepared_setup
from specli.doctor import measure
from specli.doctor.problems import Problem
from specli.doctor.report import DoctorReport, examine
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.hub.cache import cache_dir
from specli.options import Options
from specli.session.costs import costs_record
from specli.session.records import save
from specli.ui.doctor import doctor_view
from tests.cli.conftest import Specli
from tests.doctor.made import cores, machine

COSTS = CostModel(Curve([1, 4], [10.0, 16.0]), {"draft": Curve([1, 2], [1.0, 1.5])})


@pytest.fixture(autouse=True)
def quick(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates from one repeat over little memory, no load, and a cache without costs."""
    monkeypatch.setenv("SPECLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "LARGEST", 1 << 20)
    monkeypatch.setattr(psutil, "getloadavg", lambda: (0.0, 0.0, 0.0))


def test_json_holds_every_part_of_the_report(specli: Specli) -> None:
    done = specli("doctor", "--json", "-m", "target.gguf", "-md", "draft.gguf")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["build"]["specli"] == package.__version__
    assert "CPU" in told["build"]["backends"]
    assert told["machine"]["cores"]["threads"] >= 1
    assert told["rates"]["read_bytes_per_second"] > 0
    assert told["pair"]["roofline"]["target"]["memory_ms"] > 0
    assert told["pair"]["roofline"]["possible"]["speedup"] >= 1
    assert told["pair"]["roofline"]["measured"] is None
    assert {use["name"] for use in told["paths"]} >= {"whole cache", "own profiles"}


def test_measured_costs_of_the_same_pair_are_found_again(specli: Specli) -> None:
    setup = prepared_setup(Options(model="target.gguf", model_draft="draft.gguf"), None)
    record = costs_record(setup, cache_dir() / "probes")
    record.parent.mkdir(parents=True, exist_ok=True)
    save(record, COSTS, Acceptance())
    done = specli("doctor", "--json", "-m", "target.gguf", "-md", "draft.gguf")
    line = json.loads(done.out)["pair"]["roofline"]
    assert line["target_ms"] == {"1": 10.0, "4": 16.0}
    assert line["measured"] == {"speedup": 2.5, "tokens": 4}
    assert line["measured_with_draft"]["speedup"] == pytest.approx(4 * 10 / (16 + 3 * 1))


def test_costs_measured_on_a_busy_machine_give_no_verdict(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = prepared_setup(Options(model="target.gguf", model_draft="draft.gguf"), None)
    record = costs_record(setup, cache_dir() / "probes")
    record.parent.mkdir(parents=True, exist_ok=True)
    disturbed = CostModel(Curve([1, 4], [1047.9, 4800.0]), {"draft": Curve([1, 2], [900.0, 950.0])})
    save(record, disturbed, Acceptance())
    busy = machine(of_cores=cores(physical=2, logical=2, allowed=2, threads=2, load=3.74))
    monkeypatch.setattr("specli.doctor.report.read_machine", lambda: busy)
    done = specli("doctor", "-m", "target.gguf", "-md", "draft.gguf")
    words = " ".join(done.out.split())
    assert "measured no verdict: the measurement was disturbed" in words
    assert "the measured T(1) of 1047.9 ms is" in words
    told = json.loads(specli("doctor", "--json", "-m", "target.gguf", "-md", "draft.gguf").out)
    line = told["pair"]["roofline"]
    assert (line["disturbed"], line["measured"], line["measured_with_draft"]) == (True, None, None)
    assert line["target_ms"]["1"] == 1047.9


def test_an_automatic_draft_is_the_one_that_run_would_take(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.app.pairs.find_made_draft", lambda _: Path("draft.gguf"))
    done = specli("doctor", "--json", "-m", "target.gguf", "-md", "auto")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["pair"]["draft"] == "draft.gguf"


def test_an_automatic_draft_that_is_not_there_is_an_error_with_advice(specli: Specli) -> None:
    done = specli("doctor", "-m", "target.gguf", "-md", "auto")
    assert done.code == 2
    assert "no draft" in done.err
    assert "hint: make one: specli pair make" in done.err


def test_a_token_is_never_printed(specli: Specli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hf_secret@proxy")
    for flags in ([], ["--json"]):
        done = specli("doctor", *flags)
        assert "HF_TOKEN" in done.out
        assert "hf_secret" not in done.out + done.err


def test_without_the_embedded_pair_only_the_machine_is_shown(specli: Specli) -> None:
    done = specli("doctor")
    assert done.code == 0
    assert "not on this machine yet" in done.out
    assert "memory read" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "smollm2"], "is not on this machine yet"),
        (["-m", "org/some-model:Q4_K_M"], "hint: specli pull org/some-model:Q4_K_M"),
        (["-m", "cut.gguf"], "cut.gguf"),
        (["-m", "none.gguf"], "there is no file none.gguf"),
    ],
)
def test_a_named_model_that_is_not_here_or_broken_is_an_error(
    specli: Specli, arguments: list[str], said: str
) -> None:
    done = specli("doctor", *arguments)
    assert done.code == 1
    assert said in done.err
    assert done.out == ""


def shown(report: DoctorReport, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(doctor_view(report))
    return capture.get()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_view_fits_its_terminal_and_keeps_every_figure(width: int) -> None:
    setup = prepared_setup(Options(model="target.gguf", model_draft="draft.gguf"), None)
    busy = cores(allowed=2, quota=1.5, threads=2, load=8)
    report = replace(
        examine("1.2.3", setup),
        machine=machine(gpus=("/dev/nvidia0",), of_cores=busy, cache=None),
        problems=(Problem("something is wrong", "mend it"), Problem("another thing")),
    )
    text = shown(report, width)
    assert max(len(line) for line in text.splitlines()) <= width
    words = " ".join(text.split())
    for figure in ("1.2.3", "2 usable", "CPU time limited to 1.5", "target.gguf", "GFLOP/s"):
        assert figure in words
    assert words.startswith("Not measured yet: ")
    assert "2 problems: ! something is wrong mend it ! another thing" in words


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ([10.0, 16.0], "Drafting can pay here: up to 2.11× the speed of plain decoding"),
        ([10.0, 60.0], "Drafting cannot pay with this pair on this machine."),
    ],
)
def test_the_verdict_comes_first_and_is_that_of_the_table(
    target: list[float], verdict: str
) -> None:
    setup = prepared_setup(Options(model="target.gguf", model_draft="draft.gguf"), None)
    record = costs_record(setup, cache_dir() / "probes")
    record.parent.mkdir(parents=True, exist_ok=True)
    save(record, CostModel(Curve([1, 4], target), COSTS.drafters), Acceptance())
    words = " ".join(shown(examine("1.2.3", setup), 80).split())
    assert words.startswith(verdict)
    figure = "1.00×: drafting cannot pay" if "cannot" in verdict else "2.11×, at 4 tokens"
    assert f"measured, with draft {figure}" in words


def test_a_machine_without_problems_is_said_to_have_none() -> None:
    sound = replace(examine("1.2.3", None), problems=())
    assert "No problems found." in shown(sound, 80)
