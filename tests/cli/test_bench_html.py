"""`specli bench --html`: the page of a real bench on tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Specli

BENCH = ("bench", "-m", "target.gguf", "-md", "draft.gguf", "--categories", "maths")


def test_a_bench_is_kept_as_a_page(
    specli: Specli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["specli", *BENCH, "--prompts", "a file.txt"])
    file = tmp_path / "bench.html"
    (tmp_path / "own.txt").write_text("What is two and two?\n")
    done = specli(
        *BENCH[:5], "--prompts", str(tmp_path / "own.txt"),
        "--runs", "1", "-n", "6", "--draft-max", "2", "--html", str(file),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"wrote {file}" in done.err
    text = file.read_text(encoding="utf-8")
    assert text.count("<svg") == 4
    assert "target.gguf" in text
    # What was typed, so that it can be pasted into a shell.
    assert "specli bench -m target.gguf" in text
    assert "--prompts &#39;a file.txt&#39;" in text


def test_nothing_is_measured_where_nothing_could_be_drawn(
    specli: Specli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.bench.html.find_spec", lambda _name: None)
    done = specli(*BENCH, "--html", str(tmp_path / "bench.html"))
    assert done.code == 2
    assert done.out == ""
    assert done.err.splitlines() == [
        "error: --html needs matplotlib, which is not installed",
        "hint: pip install 'specli[bench]', or write only the figures with -o FILE",
    ]


def test_a_page_that_could_not_be_written_is_told_before_measuring(specli: Specli) -> None:
    done = specli(*BENCH, "--html", "no/such/folder/bench.html")
    assert done.code == 2
    assert "there is no folder no/such/folder" in done.err
