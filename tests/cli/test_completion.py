"""What a shell offers after Tab."""

from __future__ import annotations

import pytest

from specli.cli.completion import completer
from specli.options import OPTIONS
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


def test_options_without_words_are_left_to_the_shell_s_own_files() -> None:
    assert completer(OPTIONS["grammar_file"]) is None
    assert completer(OPTIONS["temp"]) is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("_SPECLI_COMPLETE", f"source_{shell}")
    assert "specli" in specli().out
