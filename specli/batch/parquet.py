"""Rows of a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from specli.errors import UsageError

_ROWS = 256
"""Rows in memory at once, far more than are answered at once."""


@contextmanager
def needing_pyarrow(name: str) -> Iterator[None]:
    """Imports for reading `name`. Raises UsageError where PyArrow is not installed."""
    try:
        yield
    except ImportError:
        raise UsageError(
            f"reading {name} needs PyArrow, which is not installed", hint="pip install pyarrow"
        ) from None


class Table:
    """A Parquet file that is open. Values are those of JSON; what it has no word for is text."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Raises UsageError without PyArrow, and for what is no Parquet file."""
        with needing_pyarrow(name):
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        try:
            self._file: Any = ParquetFile(file)
        except (ArrowException, OSError) as error:
            raise UsageError(
                f"{name} is not a Parquet file: {error}", hint="choose another form with --format"
            ) from None
        self.rows: int = self._file.metadata.num_rows
        self.columns: list[str] = self._file.schema_arrow.names

    def read(self) -> Iterator[dict[str, object]]:
        """Its rows, without the columns that have no value there."""
        for batch in self._file.iter_batches(_ROWS):
            for row in batch.to_pylist():
                filled = {name: value for name, value in row.items() if value is not None}
                yield json.loads(json.dumps(filled, default=_as_text))


def _as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
