"""The page of a bench: complete, harmless, alone, and drawn by a browser without a network."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from specli.bench.charts import acceptance_chart, cost_chart, speed_chart, speedup_chart
from specli.bench.html import charts, page
from specli.bench.report import Interval, Report
from specli.errors import UsageError
from tests.bench.chromium import opened
from tests.bench.made_report import made_report

COMMAND = "specli bench --runs 3"
LIGHT_BLUE, LIGHT_ORANGE = (0x0B, 0x62, 0xC4), (0xC4, 0x50, 0x0B)
DARK_BLUE, DARK_PAPER = (0x6C, 0xB0, 0xFF), (0x15, 0x18, 0x1B)


class Tags(HTMLParser):
    """Elements, their ids, their text, and everything that could make a browser load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            if name in ("src", "srcset", "data", "action") or name.endswith("href"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = page(made_report(), COMMAND)
    tags = Tags(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & tags.counts.keys()
    assert tags.addresses, "drawings use their own parts"
    assert all(address.startswith("#") for address in tags.addresses)
    assert "default-src 'none'" in text
    assert not re.findall(r"https?:|@import|@font-face|\bon\w+=", text)
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)", text))


def test_every_part_of_a_drawing_that_is_used_is_there_once() -> None:
    tags = Tags(page(made_report(), COMMAND))
    assert max(tags.ids.values()) == 1
    assert {address[1:] for address in tags.addresses} <= tags.ids.keys()


def test_all_four_charts_are_drawn_with_their_series() -> None:
    found = {chart.title: chart.svg for chart in charts(made_report())}
    assert list(found) == [
        "Speed-up by category",
        "Tokens per second over settings",
        "Acceptance by position",
        "T(k), the time for k tokens in one decode",
    ]
    for svg in found.values():
        assert "var(--series-1)" in svg
        assert not re.search(r"#0101\w\w", svg), "a colour that stands for a variable is left"
    assert "var(--series-2)" in found["Speed-up by category"]


@pytest.mark.parametrize(
    "said",
    [
        COMMAND,
        "big.F32.gguf",
        "small.Q4_0.gguf",
        "Some Processor",
        "2026-11-23 03:05 UTC",
        "llama.cpp b1",
        "1.50 (1.50 to 1.50)",
        "0.90 (0.90 to 0.90)",
        "53.3%",
        "6 of 6",
        "93 67 33 20 %",
        "greedy",
    ],
)
def test_figures_machine_models_and_command_are_told(said: str) -> None:
    assert said in re.sub(r"\s+", " ", page(made_report(), COMMAND))


def test_what_is_not_known_leaves_its_chart_out_and_the_page_whole() -> None:
    alone = made_report(runs=1, settings=("plain",), costs=False)
    assert [chart.title for chart in charts(alone)] == ["Tokens per second over settings"]
    assert "plain decoding" in page(alone, COMMAND)
    assert charts(made_report(runs=0, costs=False)) == []
    assert COMMAND in page(made_report(runs=0, costs=False), COMMAND)


def test_an_interrupted_bench_is_told_to_be_one() -> None:
    assert "was interrupted" in page(made_report(complete=False), COMMAND)
    assert "was interrupted" not in page(made_report(), COMMAND)


def test_two_runs_give_speed_ups_without_an_interval() -> None:
    text = page(made_report(runs=2), COMMAND)
    assert "1.50" in text
    assert "95 % interval 1.50" not in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a & b", "costs $5 or $6", "“ü”"])
def test_names_from_files_are_text_and_nothing_else(name: str) -> None:
    report = made_report(categories=(name, "story"))
    tags = Tags(page(report, f"specli bench {name}"))
    assert "script" not in tags.counts
    # In the table of prompts and that of each setting, and on an axis.
    assert tags.texts.count(name) >= 4


def test_a_setting_without_runs_in_a_category_leaves_a_gap() -> None:
    whole, gap = Interval(1.2, 1.1, 1.3), Interval(0.8, None, None)
    svg = speedup_chart(["code", "story"], {"auto": [whole, None], "draft 4": [gap, gap]})
    assert svg.count("speedup-LineCollection") == 1


@pytest.mark.slow
def test_many_settings_still_have_a_look_of_their_own() -> None:
    names = [f"setting {number}" for number in range(9)]
    one = Interval(1.0, 0.9, 1.1)
    assert all(name in speedup_chart(["code"], {n: [one] for n in names}) for name in names)
    assert all(name in acceptance_chart({n: [0.5] for n in names}) for name in names)
    assert all(name in speed_chart(dict.fromkeys(names, one)) for name in names)


def test_a_target_alone_has_a_cost_curve() -> None:
    svg = cost_chart({1: 10.0, 4: 20.0}, {})
    assert "target, one by one" in svg
    assert "draft model" not in svg


def test_without_the_library_that_draws_the_way_to_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("specli.bench.html.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="needs matplotlib") as raised:
        page(made_report(), COMMAND)
    assert "specli[bench]" in (raised.value.hint or "")
    assert importlib.util.find_spec("matplotlib") is not None


@pytest.fixture(scope="module")
def report() -> Report:
    return made_report(categories=("code", "story", "maths"))


@pytest.fixture
def written(tmp_path: Path, report: Report) -> Path:
    path = tmp_path / "bench.html"
    path.write_text(page(report, COMMAND), encoding="utf-8")
    return path


def test_a_browser_draws_the_charts_and_has_nothing_to_complain_of(written: Path) -> None:
    seen = opened(written, 1200)
    assert seen.console == []
    # Lines and marks are thin: a page without charts has none of their colours.
    assert seen.share(LIGHT_BLUE) > 0.0002
    assert seen.share(LIGHT_ORANGE) > 0.0002


def test_on_a_dark_phone_the_page_is_dark(written: Path) -> None:
    seen = opened(written, 500, dark=True)
    assert seen.console == []
    assert seen.share(DARK_PAPER) > 0.1
    assert seen.share(DARK_BLUE) > 0.0002
    assert seen.share(LIGHT_BLUE) == 0


def test_a_page_that_is_at_fault_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "faulty.html"
    path.write_text("<script>console.error('a fault')</script><img src='https://example.org/x'>")
    seen = opened(path, 600)
    assert any("a fault" in line for line in seen.console)
    assert seen.share(LIGHT_BLUE) == 0
