"""Models that are on this machine already, in specli's cache and in those of other programs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from specli.errors import UsageError
from specli.gguf.header import MAGIC
from specli.hub.cache import cache_dir
from specli.hub.huggingface import DEFAULT_REVISION, HubReference
from specli.hub.progress import file_size
from specli.hub.quants import HubFile, models_among

Origin = Literal["specli", "huggingface", "llama.cpp", "lmstudio", "ollama", "folder"]

_OLLAMA_MODEL = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine. `name` is what may be typed for it; `size` in bytes, all parts."""

    name: str
    origin: Origin
    parts: tuple[Path, ...]
    size: int

    @property
    def path(self) -> Path:
        return self.parts[0]


def local_models(folders: Sequence[Path] = ()) -> list[LocalModel]:
    """Every model in the known caches and below `folders`, each file once.

    A file that several caches link to is named after the first of them.
    """
    found: dict[Path, LocalModel] = {}
    every = chain(
        _specli(),
        _huggingface(),
        _plain("llama.cpp", [_llama_cpp_folder()]),
        _plain("lmstudio", _lmstudio_folders()),
        _ollama(),
        _plain("folder", folders),
    )
    for model in every:
        found.setdefault(model.path.resolve(), model)
    return sorted(found.values(), key=lambda model: (model.origin, model.name.lower()))


def named(name: str, models: Iterable[LocalModel]) -> LocalModel | None:
    """The model of a name, or of a file name with or without .gguf; None where there is none.

    Raises UsageError when several models have it.
    """
    wanted = name.lower()
    found = [
        model
        for model in models
        if wanted in (model.name.lower(), model.path.name.lower(), model.path.stem.lower())
    ]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} local models are named {name!r}",
            hint="name one by its path: " + ", ".join(str(model.path) for model in found),
        )
    return found[0] if found else None


def _specli() -> Iterator[LocalModel]:
    for path in sorted((cache_dir() / "packages").glob("*/*.gguf")):
        name, _dash, version = path.parent.name.rpartition("-")
        yield _model(f"package:{name}=={version}", "specli", (path,))
    for path in sorted((cache_dir() / "made").glob("*.gguf")):
        yield _model(path.stem, "specli", (path,))


def _huggingface() -> Iterator[LocalModel]:
    """Models in the snapshots of the Hub's cache, newest commit of each branch first."""
    for folder in sorted(_hub_cache().glob("models--*--*")):
        owner, _dashes, repo = folder.name.removeprefix("models--").partition("--")
        main = _read(folder / "refs" / "main")
        for snapshot in sorted((folder / "snapshots").glob("*"), key=lambda one: one.name != main):
            for parts in _models_below(snapshot):
                file = parts[0].relative_to(snapshot).as_posix()
                revision = DEFAULT_REVISION if snapshot.name == main else snapshot.name
                name = str(HubReference(f"{owner}/{repo}", file=file, revision=revision))
                yield _model(name, "huggingface", parts)


def _plain(origin: Origin, folders: Iterable[Path]) -> Iterator[LocalModel]:
    for folder in folders:
        for parts in _models_below(folder):
            yield _model(parts[0].stem, origin, parts)


def _ollama() -> Iterator[LocalModel]:
    for root in _ollama_folders():
        for path in sorted((root / "manifests").rglob("*")):
            digest = _ollama_digest(path)
            if digest is None:
                continue
            blob = root / "blobs" / digest.replace(":", "-")
            if _is_gguf(blob):
                labels = path.relative_to(root / "manifests").parts
                name = f"{'/'.join(labels[1:-1]).removeprefix('library/')}:{labels[-1]}"
                yield _model(name, "ollama", (blob,))


def _ollama_digest(manifest: Path) -> str | None:
    """The digest of the weights that a manifest names; None where it is no such thing."""
    if not manifest.is_file():
        return None
    try:
        layers = json.loads(manifest.read_bytes())["layers"]
        digests = [layer["digest"] for layer in layers if layer["mediaType"] == _OLLAMA_MODEL]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    valid = [digest for digest in digests if re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest))]
    return valid[0] if valid else None


def _model(name: str, origin: Origin, parts: tuple[Path, ...]) -> LocalModel:
    return LocalModel(name, origin, parts, sum(file_size(part) for part in parts))


def _models_below(folder: Path) -> Iterator[tuple[Path, ...]]:
    """The files of each model below a folder, links to files included."""
    files = [
        HubFile(path.relative_to(folder).as_posix(), 0, None)
        for path in folder.rglob("*.gguf")
        if path.is_file()
    ]
    for model in models_among(files):
        yield tuple(folder / part.path for part in model.parts)


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _llama_cpp_folder() -> Path:
    given = os.environ.get("LLAMA_CACHE")
    return Path(given) if given else user_cache_path("llama.cpp", appauthor=False, opinion=False)


def _lmstudio_folders() -> list[Path]:
    # LM Studio notes here where its home was moved to; the last is where it was before 2025.
    moved = _read(Path.home() / ".lmstudio-home-pointer")
    home = Path(moved) if moved else Path.home() / ".lmstudio"
    return [home / "models", Path.home() / ".cache/lm-studio/models"]


def _ollama_folders() -> list[Path]:
    given = os.environ.get("OLLAMA_MODELS")
    if given:
        return [Path(given)]
    # The second is the home of the service that Ollama's installer sets up on Linux.
    return [Path.home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]


def unfinished_downloads() -> list[Path]:
    """What pulls that were interrupted have left to be resumed."""
    return sorted(_hub_cache().glob("models--*/blobs/*.incomplete"))


_OTHERS = {
    "llama.cpp": "remove the file yourself: {path}",
    "lmstudio": "remove it in LM Studio",
    "ollama": "use: ollama rm {name}",
    "folder": "remove the file yourself: {path}",
}


def require_removable(model: LocalModel) -> None:
    """Raise UsageError for a model that another program keeps, saying how it is removed there."""
    hint = _OTHERS.get(model.origin)
    if hint is not None:
        raise UsageError(
            f"{model.name} is kept by {model.origin}, not by specli",
            hint=hint.format(path=model.path, name=model.name),
        )


def remove_model(model: LocalModel) -> None:
    """Remove a model's files, in the Hub's cache also the contents that nothing else links to.

    Raises UsageError as `require_removable` does.
    """
    require_removable(model)
    for part in model.parts:
        content = part.resolve()
        part.unlink()
        if content == part or not content.exists():
            continue
        snapshots = content.parent.parent / "snapshots"
        if not any(link.resolve() == content for link in snapshots.rglob(f"*{part.suffix}")):
            content.unlink()
