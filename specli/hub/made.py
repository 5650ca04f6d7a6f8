"""Models made from other models, kept in the cache: other weight types, fewer blocks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from specli.errors import ModelFileError
from specli.gguf.check import check_file
from specli.gguf.split import parts_of
from specli.hub.cache import cache_dir, file_sha256, locked, writing
from specli.hub.progress import Progress, ProgressSink, ignore, watching

Quantize = Callable[[Path, Path, str, Sequence[int]], None]
"""Writes the second file from the first, with weights of a type, without some blocks."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model made from the model that `source` refers to, with weights of type `quantize`."""

    source: str
    quantize: str
    prune_layers: tuple[int, ...] = ()

    def __str__(self) -> str:
        pruned = f" without blocks {', '.join(map(str, self.prune_layers))}"
        return f"{self.source} as {self.quantize}{pruned if self.prune_layers else ''}"


def made_path(recipe: Recipe, source: Path) -> Path:
    """Where the made model is kept: one name for each source, recipe and version of llama.cpp."""
    key = [
        [file_sha256(part) for part in parts_of(source)],
        recipe.quantize.upper(),
        sorted(recipe.prune_layers),
        version("llama-cpp-python"),
    ]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    # Names of models mostly end in their type, which is another one now.
    stem = re.sub(r"[.-](I?Q\d\w*|B?F16|F32)$", "", source.stem, flags=re.IGNORECASE)
    pruned = "-pruned" if recipe.prune_layers else ""
    return cache_dir() / "made" / f"{stem}.{recipe.quantize.upper()}{pruned}-{digest}.gguf"


def is_whole(path: Path) -> bool:
    """Whether a made file is there and not cut short; a damaged one is made again."""
    try:
        check_file(path)
    except ModelFileError:
        return False
    return True


def make(recipe: Recipe, source: Path, quantize: Quantize, report: ProgressSink = ignore) -> Path:
    """The file made from `source` after `recipe`, from the cache or else made now.

    Raises what `quantize` raises, FetchError when the cache cannot be written.
    """
    path = made_path(recipe, source)
    if is_whole(path):
        return path
    with locked(path):
        if is_whole(path):
            return path
        with writing(path) as partial, watching(partial, "make", path.name, None, report):
            quantize(source, partial, recipe.quantize, list(recipe.prune_layers))
    size = path.stat().st_size
    report(Progress("make", path.name, size, size))
    return path
