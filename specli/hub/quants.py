"""Which file of a repository a quantisation or a name means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from specli.errors import UsageError
from specli.gguf.split import split_part

DEFAULT_QUANT = "Q4_K_M"
"""What llama.cpp's -hf takes where no quantisation is named."""

MOST_LISTED = 20
MOST_COMPARED = 2000
"""Names that are compared with a misspelt one, each in a fraction of a millisecond."""

_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|BF16|FP?16|FP?32|MXFP4\w*|NVFP4))$", re.IGNORECASE
)

HEAD_PREFIXES = ("mtp-", "eagle3-", "dflash-", "dspark-")
"""How llama.cpp names a draft head that is stored beside its target."""
_HEAD_WORD = re.compile(r"(?:^|[-_.])(?:mtp|eagle-?3|dflash|dspark|assistant)(?:[-_.]|$)", re.I)


def may_be_head(path: str) -> bool:
    """Whether a file is named as draft heads are; MTP layers may also be part of a whole model."""
    return _HEAD_WORD.search(PurePosixPath(path).stem) is not None


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; `sha256` is None where the Hub keeps it outside LFS."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model in a repository: one file, or all parts of a split one in order."""

    parts: tuple[HubFile, ...]

    @property
    def path(self) -> str:
        return self.parts[0].path

    @property
    def quant(self) -> str | None:
        """The quantisation that the file's name, or else its folder's, ends in."""
        path = PurePosixPath(self.path)
        part = split_part(path.name)
        for name in (part[0] if part else path.stem, path.parent.name):
            if (match := _QUANT.search(name)) is not None:
                return match[1].upper()
        return None


def models_among(files: Sequence[HubFile]) -> list[HubModel]:
    """The models among the files of a repository, incomplete sets of parts left out."""
    models: list[HubModel] = []
    parts: dict[tuple[str, int], dict[int, HubFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        path = PurePosixPath(file.path)
        # Projectors of images and sound are stored with models and are not models.
        if path.suffix != ".gguf" or path.name.startswith("mmproj"):
            continue
        part = split_part(file.path)
        if part is None:
            models.append(HubModel((file,)))
            continue
        stem, number, count = part
        found = parts.setdefault((stem, count), {})
        found[number] = file
        if len(found) == count and min(found) == 1 and max(found) == count:
            models.append(HubModel(tuple(found[index] for index in range(1, count + 1))))
    return sorted(models, key=lambda model: model.path)


def by_quant(models: Sequence[HubModel], quant: str | None, repo: str) -> HubModel:
    """The one model of a quantisation; None is Q4_K_M, or the only model there is.

    Raises UsageError listing the quantisations that are there.
    """
    if not models:
        raise UsageError(
            f"{repo} holds no GGUF model",
            hint=f"look for a repository of conversions, often called {repo.split('/')[-1]}-GGUF",
        )
    if quant is None and len(models) == 1:
        return models[0]
    wanted = (quant or DEFAULT_QUANT).upper()
    whole = [one for one in models if not PurePosixPath(one.path).name.startswith(HEAD_PREFIXES)]
    found = [model for model in whole or models if model.quant == wanted]
    if len(found) == 1:
        return found[0]
    quants = sorted({model.quant for model in models if model.quant})
    if quants and not found:
        raise UsageError(f"{repo} has no {wanted}", hint=f"there are: {_listed(quants)}")
    problem = f"holds {len(found)} models in {wanted}" if found else f"has no {wanted}"
    files = _listed([f"hf:{repo}/{model.path}" for model in found or models])
    raise UsageError(f"{repo} {problem}", hint=f"name the file: {files}")


def _listed(names: Sequence[str]) -> str:
    """Names for a hint; a repository may hold any number of them."""
    more = len(names) - MOST_LISTED
    shown = ", ".join(names[:MOST_LISTED])
    return f"{shown} and {more} more" if more > 0 else shown


def by_file(models: Sequence[HubModel], file: str, repo: str) -> HubModel:
    """The model that a file is, or is the first part of.

    Raises UsageError listing the files that come close, or all.
    """
    for model in models:
        if file == model.path:
            return model
        if any(file == part.path for part in model.parts):
            raise UsageError(
                f"{file} is a later part of a split model in {repo}",
                hint=f"name its first part: hf:{repo}/{model.path}",
            )
    paths = [model.path for model in models]
    close = difflib.get_close_matches(file, paths[:MOST_COMPARED], n=3) or paths
    raise UsageError(
        f"{repo} has no file {file}", hint=f"there are: {_listed(close) or 'no GGUF files'}"
    )
