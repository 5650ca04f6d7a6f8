"""`specli pair`: its commands."""

from __future__ import annotations

import typer

from specli.cli.pair_check import check
from specli.cli.pair_find import find
from specli.cli.pair_make import make
from specli.cli.pull import pull_pair

app = typer.Typer(help="Check, find, make and download pairs of models.", no_args_is_help=True)
app.command("check")(check)
app.command("find")(find)
app.command("make")(make)
app.command("pull")(pull_pair)
