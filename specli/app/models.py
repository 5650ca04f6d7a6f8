"""The models on this machine: a list of them, and how to be rid of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specli.errors import UsageError
from specli.hub.local import (
    LocalModel,
    local_models,
    named,
    remove_model,
    require_removable,
    unfinished_downloads,
)
from specli.hub.progress import file_size


@dataclass(frozen=True, slots=True)
class Models:
    """What is here, and what interrupted downloads have left."""

    found: list[LocalModel]
    unfinished: list[Path]

    @property
    def bytes(self) -> int:
        return sum(model.size for model in self.found)

    @property
    def unfinished_bytes(self) -> int:
        return sum(map(file_size, self.unfinished))

    def report(self) -> dict[str, object]:
        """The list as `--json` prints it."""
        return {
            "models": [
                {
                    "name": model.name,
                    "origin": model.origin,
                    "bytes": model.size,
                    "files": [str(part) for part in model.parts],
                }
                for model in self.found
            ]
        }


def models_here(folders: Sequence[Path]) -> Models:
    """Every model in the known caches and below `folders`."""
    return Models(local_models(folders), unfinished_downloads())


def removable(names: Sequence[str]) -> Models:
    """The models of these names. Raises UsageError for one that is not here, or not specli's."""
    here = local_models()
    found = []
    for name in names:
        model = named(name, here)
        if model is None:
            raise UsageError(f"no model here is called {name!r}", hint="specli models lists them")
        require_removable(model)
        found.append(model)
    return Models(found, [])


def remove(models: Models) -> None:
    """Remove their files. Raises UsageError as `removable`."""
    for model in models.found:
        remove_model(model)
