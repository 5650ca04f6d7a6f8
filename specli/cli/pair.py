"""`specli pair`: its commands."""

from __future__ import annotations

import typer

from specli.cli import help_page
from specli.cli.pair_check import check
from specli.cli.pair_find import find
from specli.cli.pair_make import make
from specli.cli.pull import pull_pair

app = typer.Typer(cls=help_page.Group, help="Check, find, make and download pairs of models.")
app.command("check", cls=help_page.Command)(check)
app.command("find", cls=help_page.Command)(find)
app.command("make", cls=help_page.Command)(make)
app.command("pull", cls=help_page.Command)(pull_pair)
