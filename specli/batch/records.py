"""The lines of a batch's output: how one is written, and what of a file is one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from specli.errors import UsageError

TIMEOUT = "timeout"
"""The finish reason of an answer that took longer than allowed."""

_SHOWN = 60
"""Characters of a setting that a message quotes."""

_BEGIN = b'{"id": "'
_AFTER_ID = b', "text": "'
"""How every record begins."""

_ID = re.compile(rb'\{"id": "(?:[^"\\]|\\.)*(?:"|\\?\Z)')
"""The beginning with the id, which may be cut short."""

Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Record:
    """What a line says of the answer in it."""

    id: str
    hash: int
    settings: Settings
    timed_out: bool


def record_line(id_: str, report: Mapping[str, object], settings: Settings, hash_: str) -> bytes:
    """One answer as a line."""
    record = {"id": id_, **report, "settings": settings, "hash": hash_}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def short_hash(hash_: str) -> int:
    """The part of a request's hash that the table of ids keeps: 64 bits, the lowest one zero."""
    return int(hash_[:16], 16) & ~1


def _record(line: bytes) -> Record | None:
    """None for a line that is not a record."""
    try:
        record = json.loads(line)
        id_, settings = record["id"], record["settings"]
        if isinstance(id_, str) and isinstance(settings, dict):
            timed_out = record.get("finish_reason") == TIMEOUT
            return Record(id_, short_hash(record["hash"]), settings, timed_out)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def required_record(line: bytes, location: str) -> Record:
    """Raises UsageError for a line that is not a record."""
    if (record := _record(line)) is None:
        raise UsageError(
            f"{location} is not a record of specli batch", hint="choose another output with -o"
        )
    return record


def may_be_record(line: bytes) -> bool:
    """Whether a line, perhaps an incomplete one, begins as records do."""
    if len(line) <= len(_BEGIN):
        return _BEGIN.startswith(line)
    found = _ID.match(line)
    if found is None:
        return False
    # Cut within the id nothing follows; else what follows is what records have there.
    return _AFTER_ID.startswith(line[found.end() : found.end() + len(_AFTER_ID)])


def is_whole(line: bytes) -> bool:
    """Whether a line is JSON, which what a kill left of one never is."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def changes(old: Settings, new: Settings) -> str:
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return ", ".join(
        f"{name}: {_shown(old.get(name))}, now {_shown(new.get(name))}" for name in names
    )


def _shown(value: object) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
