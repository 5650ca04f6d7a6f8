"""The sizes of llama.cpp's n-gram kinds, under llama.cpp's names."""

from __future__ import annotations

from typing import Annotated

import typer

from specli.cli.flags import DRAFTING

MOST = 1024
"""llama.cpp's own limit."""


def _size(flag: str, text: str, least: int = 1) -> object:
    return typer.Option(flag, metavar="N", min=least, max=MOST, help=text, rich_help_panel=DRAFTING)


MapKSize = Annotated[
    int | None, _size("--spec-ngram-map-k-size-n", "ngram-map-k: tokens to look up. Default: 12.")
]
MapKDraft = Annotated[
    int | None, _size("--spec-ngram-map-k-size-m", "ngram-map-k: most to draft. Default: 48.")
]
MapK4vSize = Annotated[
    int | None,
    _size("--spec-ngram-map-k4v-size-n", "ngram-map-k4v: tokens to look up. Default: 12."),
]
MapK4vDraft = Annotated[
    int | None, _size("--spec-ngram-map-k4v-size-m", "ngram-map-k4v: most to draft. Default: 48.")
]
MapK4vMinHits = Annotated[
    int | None,
    _size("--spec-ngram-map-k4v-min-hits", "ngram-map-k4v: hits before it drafts. Default: 1."),
]
ModSize = Annotated[
    int | None, _size("--spec-ngram-mod-n-match", "ngram-mod: tokens to look up. Default: 24.")
]
ModDraftMin = Annotated[
    int | None, _size("--spec-ngram-mod-n-min", "ngram-mod: least to draft. Default: 48.", 0)
]
ModDraftMax = Annotated[
    int | None, _size("--spec-ngram-mod-n-max", "ngram-mod: most to draft. Default: 64.", 0)
]
