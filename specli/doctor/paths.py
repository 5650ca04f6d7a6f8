"""Where specli and its libraries keep files, and the environment variables they read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from specli.hub.cache import cache_dir
from specli.profiles import user_folder

VARIABLES = (
    "SPECLI_CACHE",
    "SPECLI_DEBUG",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "LLAMA_CACHE",
    "LLAMA_CPP_LIB_PATH",
    "OLLAMA_MODELS",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "CMAKE_ARGS",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "NO_COLOR",
)
"""Variables that change what specli does and hold no secret."""

SECRET = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
)
"""Tokens, and addresses that can hold a password: their values are never shown."""

IS_SET = "set"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A file or folder and its size, all files below it included; `bytes` None: not there."""

    name: str
    path: Path
    bytes: int | None


def disk_use() -> list[DiskUse]:
    """The folders in use and their sizes."""
    from huggingface_hub import constants

    cache = cache_dir()
    named = [
        ("models made here", cache / "made"),
        ("models from packages", cache / "packages"),
        ("measured costs", cache / "probes"),
        ("whole cache", cache),
        ("own profiles", user_folder()),
        ("Hugging Face cache", Path(constants.HF_HUB_CACHE)),
        ("Hugging Face token", Path(constants.HF_TOKEN_PATH)),
    ]
    return [DiskUse(name, path, bytes_below(path)) for name, path in named]


def bytes_below(path: Path) -> int | None:
    """Bytes of the files below a folder, links not followed; None if it does not exist."""
    if not path.exists():
        return None
    if path.is_file():
        return path.stat().st_size
    total = 0
    for root, _folders, names in os.walk(path):
        for name in names:
            try:
                # In the Hub's cache a link and its content would count twice.
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total


def relevant_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set and have an effect, those of llama.cpp's backends included."""
    backends = sorted(n for n in environment if n.startswith(("GGML_", "GOMP_", "KMP_")))
    found = {name: environment[name] for name in (*VARIABLES, *backends) if name in environment}
    # An empty token or proxy counts as none, as with the programs that read it.
    return found | {name: IS_SET for name in SECRET if environment.get(name)}
