"""What a shell offers after Tab."""

from __future__ import annotations

from pathlib import Path

import pytest

from specli.cli.completion import completer, models
from specli.option_table import GENERATION, OPTIONS
from tests.cli.conftest import Specli


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("specli con", ["config"]),
        ("specli run --profile smol", ["smollm2"]),
        ("specli run -fa o", ["on", "off"]),
        ("specli run --flash-attn a", ["auto"]),
        ("specli run -md au", ["auto"]),
        ("specli run --tem", ["--temp", "--temperature", "--template"]),
        ("specli run --jinja -rea o", ["on", "off"]),
        ("specli run --spec-draft-n-m", ["--spec-draft-n-max", "--spec-draft-n-min"]),
        ("specli run -j", ["-j", "-jf"]),
        ("specli run --no-conv", ["--no-conversation"]),
        ("specli run --spec-type draft,suf", ["draft,suffix"]),
        ("specli run --samplers top_k;mi", ["top_k;min_p"]),
        ("specli batch --format c", ["csv"]),
        ("specli profile show smol", ["smollm2"]),
        ("specli config set draft_m", ["draft_max", "draft_min"]),
        ("specli config set profi", ["profile"]),
    ],
)
def test_a_shell_is_told_how_a_line_goes_on(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, line: str, offered: list[str]
) -> None:
    monkeypatch.setenv("_SPECLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    found = specli()
    assert found.err == ""
    assert {*found.out.split()} >= {*offered} - {"--template"}


def test_dashes_alone_are_answered_with_every_option_under_its_own_name(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SPECLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "specli run --")
    monkeypatch.setenv("COMP_CWORD", "2")
    offered = {*specli().out.split()}
    assert {OPTIONS[name].flag for name in GENERATION} <= offered
    assert not offered & {"--spec-draft-n-max", "--no-exact", "--no-no-mtp"}


def test_every_spelling_of_an_option_is_completed(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SPECLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_CWORD", "2")
    for spelling in f"{OPTIONS['draft_max'].flags} {OPTIONS['draft_max'].aliases}".split():
        monkeypatch.setenv("COMP_WORDS", f"specli run {spelling}")
        assert spelling in specli().out.split()


def test_models_are_completed_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    for name in ("one.gguf", "below/two.gguf", "below/notes.txt"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("specli.hub.local.local_models", list)
    assert models("") == ["below/", "one.gguf"]
    assert models("below/") == ["below/deeper/", "below/two.gguf"]
    assert models("below/t") == ["below/two.gguf"]
    assert models("nowhere/") == []


def test_options_without_words_are_left_to_the_shell_s_own_files() -> None:
    assert completer(OPTIONS["grammar_file"]) is None
    assert completer(OPTIONS["temp"]) is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("_SPECLI_COMPLETE", f"source_{shell}")
    assert "specli" in specli().out
