"""Every token of a run: in the terminal, in JSON and as a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from specli.inspection import InspectedRound, InspectedRun, InspectedToken
from specli.ui.inspection_page import page
from tests.bench.chromium import opened
from tests.cli.conftest import Specli

PAIR = ["-m", "target.gguf", "--ignore-eos", "-n", "30", "-md", "draft.gguf", "--draft", "4"]
DRAFT_COLOUR = (0xC9, 0xEF, 0xD9)


def test_json_has_every_token_and_a_file_of_it_gives_the_same_view(
    specli: Specli, tmp_path: Path
) -> None:
    written = specli("run", *PAIR, "--json", "--inspect", "hello")
    told = json.loads(written.out)
    tokens = [token for one in told["rounds"] for token in one["tokens"]]
    assert len(tokens) == told["completion_tokens"] == 30
    rejected = [token for one in told["rounds"] for token in one.get("rejected", [])]
    assert len(rejected) == told["timings"]["draft_n"] - told["timings"]["draft_n_accepted"] > 0
    # Greedy decoding takes the first of the target's choices, and never what it rejects.
    assert {token["rank"] for token in tokens} == {1}
    ranks = [one["rejected"][0].get("rank") for one in told["rounds"] if one.get("rejected")]
    assert min(rank for rank in ranks if rank) > 1
    assert all(0 <= token["confidence"] <= 1 for token in tokens if token["source"] == "draft")
    path = tmp_path / "run.json"
    path.write_text(written.out)
    shown = specli("inspect-run", str(path))
    assert shown.code == 0
    rows = shown.out.splitlines()
    assert sum("draft, rejected" in row for row in rows) == len(rejected)
    assert specli("run", *PAIR, "-q", "--inspect", "hello").err.count("rejected") == 1 + len(
        rejected
    )


def test_json_without_inspect_has_no_ranks(specli: Specli) -> None:
    told = json.loads(specli("run", *PAIR, "--json", "hello").out)
    assert told["rounds"][0]["tokens"][0]["text"]
    assert "rank" not in told["rounds"][0]["tokens"][0]


def test_a_page_is_written_beside_the_text(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    assert specli("run", *PAIR, "--html", str(path), "hello").code == 0
    assert path.read_text().count('class="first"') >= 10


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"text": "", "rounds": [{}]}'])
def test_what_is_no_run_is_refused_in_one_sentence(
    specli: Specli, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    done = specli("inspect-run", str(path))
    assert done.code == 2
    assert "is not a run that can be inspected" in done.err


def made_run() -> InspectedRun:
    """Text that would be markup, a control sequence, and one round of each kind."""
    return InspectedRun(
        text="<b>bold</b>\x1b[31m",
        rounds=[
            InspectedRound(
                draft_ms=1,
                verify_ms=2,
                tokens=[
                    InspectedToken(id=1, text="<b>", source="draft", confidence=0.9, rank=1),
                    InspectedToken(id=2, text='" onload="x', source="target", rank=2),
                ],
                rejected=[InspectedToken(id=3, text="<script>", source="suffix", rank=7)],
            ),
            InspectedRound(
                draft_ms=1,
                verify_ms=2,
                tokens=[InspectedToken(id=4, text="\x1b[31m\n", source="eagle<3>")] * 200,
            ),
        ],
    )


def test_the_page_escapes_what_a_model_writes_and_loads_nothing() -> None:
    html = page(made_run())
    assert "<b>" not in html
    assert "<script>" not in html
    assert '" onload="x' not in html
    assert "eagle<3>" not in html
    assert not re.search(r"https?://|src=|@import|url\(", html)


def test_the_page_shows_its_colours_in_a_browser_without_a_word_on_the_console(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.html"
    path.write_text(page(made_run()))
    seen = opened(path, 800)
    assert seen.console == []
    assert seen.share(DRAFT_COLOUR) > 0
