"""What is known of a pair on this machine, kept on disk: costs, and how often drafters are right.

A record belongs to both files, the build of llama.cpp, devices, cache types and threads; when any
of these changes, another record is used. A record that cannot be read is measured anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from specli.engine.policy.acceptance import BINS, Acceptance, Track
from specli.engine.policy.cost import CostModel, Curve
from specli.errors import FetchError
from specli.hub.cache import locked, writing

_Count = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Counts = Annotated[list[_Count], Field(min_length=BINS, max_length=BINS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Points(_Strict):
    sizes: list[int]
    ms: list[float]
    per_context: _Count = 0.0

    def curve(self) -> Curve | None:
        rising = self.sizes == sorted(set(self.sizes))
        sound = len(self.sizes) == len(self.ms) >= 2 and rising and min(self.ms) > 0
        return Curve(self.sizes, self.ms, per_context=self.per_context) if sound else None


class _Track(_Strict):
    accepted: _Counts
    seen: _Counts
    first: _Counts
    further: _Counts

    def track(self) -> Track:
        judged = [[min(a, n), n] for a, n in zip(self.accepted, self.seen, strict=True)]
        return Track(judged, self.first, self.further)


class _Record(_Strict):
    version: int
    target: _Points
    drafters: dict[str, _Points] = {}
    acceptance: dict[str, _Track] = {}


_VERSION = 7


def record_path(
    folder: Path, files: Sequence[Path], circumstances: Sequence[str], kind: str = "pair"
) -> Path:
    """The record of these model files under these circumstances."""
    stats = [(path.resolve(), path.stat()) for path in files]
    key = [*circumstances, *(f"{at} {stat.st_size} {stat.st_mtime_ns}" for at, stat in stats)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    return folder / f"{kind}-{digest}.json"


def load(path: Path) -> tuple[CostModel, Acceptance] | None:
    """What the record says; None where there is no sound one."""
    record = read_record(path, _Record)
    if record is None:
        return None
    target = record.target.curve()
    drafters = {name: points.curve() for name, points in record.drafters.items()}
    if record.version != _VERSION or target is None or None in drafters.values():
        return None
    known = {name: curve for name, curve in drafters.items() if curve is not None}
    tracks = {name: track.track() for name, track in record.acceptance.items()}
    return CostModel(target, known), Acceptance(tracks)


def save(
    path: Path,
    cost: CostModel,
    acceptance: Acceptance,
    notice: Callable[[str], None] = lambda _text: None,
) -> None:
    """Write the record of a pair as `write_record` does."""
    record = _Record(
        version=_VERSION,
        target=_points(cost.target),
        drafters={name: _points(curve) for name, curve in cost.drafters.items()},
        acceptance={name: _track(track) for name, track in acceptance.tracks.items()},
    )
    write_record(path, record, "the costs of this pair", notice)


R = TypeVar("R", bound=BaseModel)


def read_record(path: Path, kind: type[R]) -> R | None:
    """A record; None where there is none that can be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(path: Path, record: BaseModel, what: str, notice: Callable[[str], None]) -> None:
    """Write a record whole, while other processes may write it too; the last one stays.

    A record that cannot be written costs one `notice`: nothing that was generated is lost by it.
    """
    try:
        with locked(path), writing(path) as partial:
            partial.write_text(record.model_dump_json())
    except FetchError as error:
        notice(f"{what} are not kept: {error.message}")


def _points(curve: Curve) -> _Points:
    ms = [round(one, 4) for one in curve.idle_ms]
    return _Points(sizes=curve.sizes, ms=ms, per_context=curve.per_context)


def _track(track: Track) -> _Track:
    accepted, seen = zip(*track.judged, strict=True)
    counts = {"accepted": accepted, "seen": seen, "first": track.first, "further": track.further}
    rounded = {name: [round(one, 4) for one in of_each] for name, of_each in counts.items()}
    return _Track(**rounded)
