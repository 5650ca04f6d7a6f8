"""`specli pair make` as a command, and `--draft-model auto`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specli.drafts import make as making
from specli.hub.cache import cache_dir
from tests.cli.conftest import Specli

SETTLED = ("--type", "Q8_0")


def test_a_draft_of_a_given_type_is_written_with_its_figures(
    specli: Specli, tmp_path: Path
) -> None:
    draft = tmp_path / "made.gguf"
    done = specli("pair", "make", "long.gguf", "-o", str(draft), "--type", "q8_0")
    assert done.code == 0, done.err
    assert draft.exists()
    header, row = done.out.splitlines()[:2]
    assert header.split() == ["type", "size", "ms/token", "agrees", "speed-up"]
    assert row.split()[0] == "Q8_0"
    assert f": {draft}" in done.out
    assert f"--draft-model {draft}" in done.out.splitlines()[-1]
    assert "trying Q8_0" in done.err or "timing the target" in done.err
    checked = specli("pair", "check", "long.gguf", str(draft))
    assert checked.code == 0
    assert "Compatible" in checked.out


def test_json_holds_what_was_tried(specli: Specli, tmp_path: Path) -> None:
    draft = tmp_path / "made.gguf"
    done = specli("pair", "make", "target.gguf", "-o", str(draft), *SETTLED, "--json")
    assert done.code == 0, done.err
    assert done.err == ""
    result = json.loads(done.out)
    assert result["draft"] == str(draft)
    (trial,) = result["trials"]
    assert trial["type"] == "Q8_0"
    assert trial["bytes"] > 0
    assert 0 <= trial["agreement"] <= 1


def test_where_nothing_pays_the_command_advises_and_succeeds(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 1000.0)
    done = specli("pair", "make", "target.gguf", "--budget", "1s")
    assert done.code == 0
    assert "No draft made from this target pays: best candidate" in done.out
    assert "specli run -m target.gguf --no-draft" in done.out
    assert not list(cache_dir().rglob("*.draft-*.gguf"))


def test_auto_takes_the_draft_that_was_made(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 0.0)
    made = specli("pair", "make", "target.gguf", *SETTLED, "--json")
    path = Path(json.loads(made.out)["draft"])
    try:
        done = specli("run", "-m", "target.gguf", "--draft-model", "auto", "-n", "4", "hello")
        assert done.code == 0, done.err
        assert f"note: using draft model {path.stem}" in done.err
    finally:
        path.unlink()


def test_auto_without_a_draft_names_the_command_that_makes_one(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPECLI_CACHE", str(tmp_path / "empty"))
    done = specli("run", "-m", "target.gguf", "-md", "auto", "hello")
    assert done.code == 2
    error, hint = done.err.splitlines()
    assert error.startswith("error: no draft that fits is here")
    assert "specli pair make" in hint


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--budget", "soon"), "--budget"),
        (("--budget", "0"), "--budget"),
        (("--type", "Q99"), "no such weight type"),
    ],
)
def test_wrong_options_are_refused_before_the_search(
    flags: tuple[str, ...], said: str, specli: Specli
) -> None:
    done = specli("pair", "make", "target.gguf", *flags)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
