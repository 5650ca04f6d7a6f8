"""Metadata that says what a draft was made from."""

from __future__ import annotations

from pathlib import Path

import specli
from specli.hub.cache import file_sha256


def source_metadata(source: Path, name: str) -> dict[str, str | int]:
    """Entries for a file made by this version of specli from `source`, a model called `name`."""
    return {
        "general.base_model.count": 1,
        "general.base_model.0.name": name,
        "specli.made_from.file": source.name,
        "specli.made_from.sha256": file_sha256(source),
        "specli.made_from.size": source.stat().st_size,
        "specli.version": specli.__version__,
    }
