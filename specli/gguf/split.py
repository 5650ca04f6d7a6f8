"""Names of split models: NAME-00001-of-00003.gguf and so on."""

from __future__ import annotations

import re
from pathlib import Path

_SPLIT = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")


def split_part(name: str) -> tuple[str, int, int] | None:
    """(stem, number from 1, count) of a part's file name; None for a model in one file."""
    match = _SPLIT.match(name)
    if match is None:
        return None
    return match["stem"], int(match["number"]), int(match["count"])


def part_name(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05d}-of-{count:05d}.gguf"


def parts_of(path: Path) -> list[Path]:
    """All files of the model that `path` is the first part, or the whole, of."""
    part = split_part(path.name)
    if part is None:
        return [path]
    stem, _number, count = part
    return [path.with_name(part_name(stem, number, count)) for number in range(1, count + 1)]
