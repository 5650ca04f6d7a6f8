"""What --help shows, to whom, and that it fits."""

from __future__ import annotations

import pytest

from specli.option_table import OPTIONS
from tests.cli.conftest import Specli

GENERATING = ("run", "batch", "bench", "tune")


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
@pytest.mark.parametrize("command", GENERATING)
def test_help_fits_its_width_and_nothing_is_cut(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, command: str, flag: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = specli(command, flag).out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width


def test_help_of_run_has_examples_first_and_the_options_that_people_use(specli: Specli) -> None:
    done = specli("run", "--help")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines.index("Examples:") < lines.index("Models:")
    options = [line for line in lines if line.startswith("  -")]
    assert 15 <= len(options) <= 25
    assert "--spec-draft-n-max" not in done.out


def test_help_all_shows_every_option_with_every_spelling(specli: Specli) -> None:
    shown = specli("run", "--help-all").out
    words = set(shown.replace(",", " ").split())
    for name, option in OPTIONS.items():
        if name not in ("budget", "timeout"):
            assert {*option.flags.split(), *option.aliases.split()} <= words, name


@pytest.mark.parametrize("command", [[], ["run"], ["pair", "make"], ["bench"], ["models", "rm"]])
def test_h_is_help(specli: Specli, command: list[str]) -> None:
    assert specli(*command, "-h") == specli(*command, "--help")


@pytest.mark.parametrize("command", [[], ["pair"], ["profile"]])
def test_a_group_without_a_command_shows_its_help_and_fails(
    specli: Specli, command: list[str]
) -> None:
    done = specli(*command)
    assert (done.code, done.out) == (2, "")
    assert done.err == specli(*command, "--help").out


def test_required_arguments_are_named_as_they_are_written(specli: Specli) -> None:
    usage = specli("pair", "check", "--help").out.splitlines()[0]
    assert usage == "Usage: specli pair check [OPTIONS] TARGET DRAFT..."
