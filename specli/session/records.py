"""What is known of a pair on this machine: its costs and what its drafts are worth, kept on disk.

A record belongs to both files, the build of llama.cpp, devices, cache types and threads; when any
of these changes, another record is used. A record that cannot be read is measured anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from specli.engine.calibration import EDGES, Calibration
from specli.engine.cost import CostModel, Curve
from specli.errors import FetchError
from specli.hub.cache import locked, writing

AGED = 0.25
"""What earlier texts count for at the start of a new one: the next may be quite another."""


class _Points(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sizes: list[int]
    ms: list[float]

    def curve(self) -> Curve | None:
        rising = self.sizes == sorted(set(self.sizes))
        sound = len(self.sizes) == len(self.ms) >= 2 and rising and min(self.ms) > 0
        return Curve(self.sizes, self.ms) if sound else None


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: int
    target: _Points
    draft: _Points | None = None
    acceptance: dict[str, list[list[float]]] = {}


_VERSION = 5


def record_path(folder: Path, files: Sequence[Path], circumstances: Sequence[str]) -> Path:
    """The record of these model files under these circumstances."""
    key = list(circumstances)
    for path in files:
        stat = path.stat()
        key.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    return folder / f"pair-{digest}.json"


def load(path: Path) -> tuple[CostModel, Calibration] | None:
    """What the record says; None where there is no sound one."""
    try:
        record = _Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    target = record.target.curve()
    draft = record.draft.curve() if record.draft is not None else None
    if record.version != _VERSION or target is None or (record.draft is not None and not draft):
        return None
    bins = len(EDGES) + 1
    tables = {
        name: table
        for name, table in record.acceptance.items()
        if len(table) == bins and all(len(cell) == 2 and 0 <= cell[0] <= cell[1] for cell in table)
    }
    return CostModel(target, draft), Calibration(tables)


def save(
    path: Path,
    cost: CostModel,
    calibration: Calibration,
    notice: Callable[[str], None] = lambda _text: None,
) -> None:
    """Write the record whole, while other processes may write it too; the last one stays.

    A record that cannot be written costs one `notice`: nothing that was generated is lost by it.
    """
    record = {
        "version": _VERSION,
        **cost.as_dict(),
        "acceptance": {
            name: [[round(value, 4) for value in cell] for cell in table]
            for name, table in calibration.aged(AGED).tables.items()
        },
    }
    try:
        with locked(path), writing(path) as partial:
            partial.write_text(json.dumps(record))
    except FetchError as error:
        notice(f"the costs of this pair are not kept: {error.message}")
