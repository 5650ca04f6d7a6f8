"""`specli pair make` as a command, and `--draft-model auto`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specli.hub.cache import cache_dir
from specli.making import make as making
from tests.cli.conftest import Specli

SETTLED = ("--type", "Q8_0", "--drop-layers", "none")


def test_a_settled_draft_is_written_with_its_figures(specli: Specli, tmp_path: Path) -> None:
    draft = tmp_path / "made.gguf"
    done = specli(
        "pair", "make", "long.gguf", "-o", str(draft), "--type", "q8_0", "--keep-layers", "0,2-3"
    )
    assert done.code == 0, done.err
    assert draft.exists()
    header, row = done.out.splitlines()[:2]
    assert header.split() == [
        "type",
        "blocks",
        "left",
        "out",
        "size",
        "ms/token",
        "agrees",
        "speed-up",
    ]
    assert row.split()[:2] == ["Q8_0", "1"]
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
    told = json.loads(done.out)
    assert told["draft"] == str(draft)
    (trial,) = told["trials"]
    assert (trial["type"], trial["dropped"]) == ("Q8_0", [])
    assert trial["bytes"] > 0
    assert 0 <= trial["agreement"] <= 1


def test_nothing_that_pays_is_advice_and_no_error(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PAYS", 1000.0)
    done = specli("pair", "make", "target.gguf", "--type", "Q8_0", "--budget", "1s")
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
        (("--keep-layers", "0", "--drop-layers", "1"), "both given"),
        (("--drop-layers", "x"), "--drop-layers"),
        (("--keep-layers", "0-9"), "block 9 of 2"),
        (("--drop-layers", "0-1"), "no block would be left"),
        (("--type", "Q99"), "no weight type"),
    ],
)
def test_wrong_wishes_are_told_before_the_search(
    flags: tuple[str, ...], said: str, specli: Specli
) -> None:
    done = specli("pair", "make", "target.gguf", *flags)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
