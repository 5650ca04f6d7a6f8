"""Reports to files and back, and what may be compared with what."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specli.bench.compare import changes, differences
from specli.bench.difference import described
from specli.bench.facts import fingerprint
from specli.bench.report import OVERALL, Report, read_report, to_json
from specli.bench.runs_csv import runs_csv
from specli.engine.replay import Deviation
from specli.errors import UsageError
from specli.files import write_text
from tests.bench.made import measured, report_of


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(measured(lambda setting, _prompt, number: 10.0 + len(setting) + number % 2))


def test_a_report_comes_back_from_its_file(report: Report, tmp_path: Path) -> None:
    runs = list(report.runs)
    runs[1] = replace(runs[1], compared=described([1, 2], [1, 3], None, str))
    path = tmp_path / "report.json"
    whole = replace(report, runs=tuple(runs))
    write_text(path, to_json(whole))
    assert read_report(path) == whole
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.update(version=9), "version 9"),
        (lambda data: data.pop("version"), "version None"),
        (lambda data: data["runs"][0].pop("rounds"), "runs.0.rounds"),
        (lambda data: data["runs"][0].update(predicted_n="12"), "runs.0.predicted_n"),
        (lambda data: data.update(machine=[]), "machine"),
    ],
)
def test_a_file_that_is_no_sound_report_is_told_by_place(
    report: Report, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    data = json.loads(to_json(report))
    change(data)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as raised:
        read_report(path)
    assert said in raised.value.message


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"3"])
def test_anything_else_is_not_a_report(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a report of specli bench"):
        read_report(path)


def test_csv_has_a_row_for_every_run(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(runs_csv(report))))
    assert [int(row["order"]) for row in rows] == list(range(len(report.runs)))
    first, run = rows[0], report.runs[0]
    assert float(first["predicted_per_second"]) == pytest.approx(run.per_second, abs=1e-3)
    assert {row["identical"] for row in rows if row["setting"] == "plain"} == {""}
    assert {row["identical"] for row in rows if row["setting"] == "auto"} == {"True"}


def test_a_bench_differs_in_nothing_from_itself(report: Report) -> None:
    assert differences(report, report) == []
    found = changes(report, report)
    assert {change.ratio for change in found} == {1.0}
    assert [c.setting for c in found if c.category == OVERALL] == ["plain", "auto", "draft 4"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda r: replace(r, machine=replace(r.machine, cpu="Another")), "machine, cpu"),
        (lambda r: replace(r, machine=replace(r.machine, build="newer")), "machine, build"),
        (lambda r: replace(r, models=r.models[:1]), "draft: draft.gguf (bbbbbbbb) and none"),
        (
            lambda r: replace(r, models=(replace(r.models[0], fingerprint="cc"), r.models[1])),
            "target: target.gguf (aaaaaaaa) and target.gguf (cc)",
        ),
    ],
)
def test_another_machine_or_model_is_a_grave_difference(
    report: Report, other: Callable[[Report], Report], said: str
) -> None:
    found = [difference for difference in differences(report, other(report)) if difference.grave]
    assert [said in difference.sentence for difference in found] == [True]


def test_other_prompts_and_lengths_are_told_and_not_grave(report: Report) -> None:
    other = replace(report, predict=64, prompts=report.prompts[:2])
    found = differences(report, other)
    assert [difference.sentence for difference in found] == [
        "tokens per answer: 100 and 64",
        "prompts: 3 and 2, 2 of them the same",
    ]
    assert not any(difference.grave for difference in found)


def test_a_change_beyond_the_noise_is_told_apart(report: Report) -> None:
    def faster(setting: str, prompt: str, number: int) -> float:
        return (2.0 if setting == "auto" else 1.0) * (10.0 + len(setting) + number % 2)

    found = {
        change.setting: change
        for change in changes(report, report_of(measured(faster)))
        if change.category == OVERALL
    }
    assert found["auto"].clear is True
    assert found["auto"].ratio == pytest.approx(2.0)
    assert found["draft 4"].clear is False
    assert found["plain"].clear is None


def test_a_fingerprint_tells_apart_what_begins_alike(tmp_path: Path) -> None:
    contents = {
        "one": b"a" * (3 << 20),
        "end": b"a" * ((3 << 20) - 1) + b"b",
        "longer": b"a" * (3 << 20) + b"a",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert len({fingerprint(tmp_path / name) for name in contents}) == 3


@pytest.mark.parametrize(
    ("ours", "plain", "wrong", "position", "verdict"),
    [
        ([1, 2, 3], [1, 9, 3], None, 1, "kernels"),
        ([1, 2, 3], [1, 9, 3], Deviation(1, 2, 9), 1, "fault"),
        ([1, 2], [1, 2, 3], None, 2, "kernels"),
        ([1, 2], [1, 2], None, 2, "fault"),
    ],
)
def test_a_difference_is_the_kernels_where_a_replay_repeats_it(
    ours: list[int], plain: list[int], wrong: Deviation | None, position: int, verdict: str
) -> None:
    found = described(ours, plain, wrong, str)
    assert (found.identical, found.position, found.verdict) == (False, position, verdict)
    assert f"at token {position}" in found.difference
    assert found.passed == (verdict == "kernels")
