"""Man pages say what --help-all says, in a form that man takes without a warning."""

from __future__ import annotations

import shutil
import subprocess
import tomllib

import pytest
from cli_docs import MANUALS, commands, files
from man_pages import manual

from specli.cli.help_page import Page, Row
from specli.option_table import GENERATION, OPTIONS

PAGES = {path.name: text for path, text in files().items() if path.parent == MANUALS}


def shown(source: str) -> str:
    """A page as a terminal shows it, without bold; fails on any warning."""
    made = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=500n"],
        input=source, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stderr == ""
    return made.stdout


def test_every_command_has_a_page() -> None:
    names = {one.path.replace(" ", "-") for one in commands()}
    assert {*PAGES} == {f"{name}.1" for name in names}
    assert {"specli.1", "specli-run.1", "specli-pair-check.1"} <= {*PAGES}


def test_an_installation_puts_them_where_man_looks() -> None:
    project = tomllib.loads((MANUALS.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"] == {"docs/man": "share/man/man1"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_shown_without_a_warning(name: str) -> None:
    assert "NAME" in shown(PAGES[name])


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_the_page_of_run_has_every_spelling_of_every_option() -> None:
    words = {*shown(PAGES["specli-run.1"]).replace(",", " ").split()}
    for name in GENERATION:
        assert {*OPTIONS[name].flags.split(), *OPTIONS[name].aliases.split()} <= words, name


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_text_that_looks_like_a_request_stays_text() -> None:
    page = Page("x", ["A thing. .so file"], [".sh -c 'a\\n'"], {"S": [Row("-x", "'é …")]}, "")
    text = shown(manual("x", page, []))
    for part in (".so file", ".sh -c 'a\\n'", "'é …"):
        assert part in text
