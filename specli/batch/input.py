"""Prompts from JSON lines, text, CSV, Parquet or a folder of files, each read when needed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Literal

from specli.batch.fields import KNOWN, FieldError
from specli.batch.lines import Lines
from specli.batch.parquet import Table
from specli.batch.prompt import Bad, Prompt, own_prompt, requested_prompt, require_unicode
from specli.batch.template import MissingFieldError, Template
from specli.errors import FaultError, UsageError
from specli.escapes import is_unicode

Kind = Literal["jsonl", "text", "csv", "parquet", "files"]

SUFFIXES: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".parquet": "parquet",
}

LONGEST_CELL = 1 << 24
"""Characters of a CSV cell: an unclosed quote must not read the file to its end."""

MOST_REPORTED = 20
"""Unknown fields to report: lines may use values as field names."""

_COUNTED = 1 << 20


Entry = Prompt | Bad


@dataclass(frozen=True, slots=True)
class _Row:
    """A line before validation: `own` are its fields, `named` those that a template may use."""

    location: str
    id: str
    own: Mapping[str, object]
    named: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read an input; `kind` None decides by the name, then by the first line."""

    kind: Kind | None = None
    template: Template | None = None
    column: str | None = None


class Source:
    """The prompts of one input, in order. They can be read once."""

    def __init__(
        self,
        path: Path | None,
        file: IO[bytes] | None,
        reading: Reading,
        *,
        name: str | None = None,
        called_off: Callable[[], bool] = lambda: False,
        notice: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Prompts of `file`, named `path` (None: standard input), or of the folder `path` if
        `file` is None. `name` is what messages call it instead; `notice` is called once for each
        unknown field. Raises UsageError for a Parquet file that is none."""
        self._path = path
        self._name = name or ("stdin" if path is None else str(path))
        self._file = file
        self._reading = reading
        self._kind = reading.kind or SUFFIXES.get(Path(self._name).suffix.lower())
        self._notice = notice
        self._unused: set[str] = set()
        self._table: Table | None = None
        self._lines: Lines | None = None
        if file is not None and self._kind == "parquet":
            self._table = Table(file, self._name)
        elif file is not None:
            self._lines = Lines(file.fileno(), called_off)

    def ready(self) -> bool:
        """Whether the next prompt is available without waiting."""
        return self._lines is None or self._lines.ready()

    def total(self) -> int | None:
        """The number of prompts; None if it cannot be found quickly."""
        if self._table is not None:
            return self._table.rows
        if self._file is None:
            files = self._files()
            return None if any(map(self._part_kind, files)) else len(files)
        if self._path is None or self._kind == "csv" or not self._path.is_file():
            return None
        with self._path.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_COUNTED), b""))

    def entries(self) -> Iterator[Entry]:
        """Prompts and invalid lines. Raises UsageError for a CSV file without the column."""
        for row in self._rows():
            if isinstance(row, Bad):
                yield row
                continue
            try:
                prompt = self._prompt(row)
                require_unicode(prompt)
                yield prompt
            except (FieldError, MissingFieldError) as error:
                yield Bad(row.location, str(error))
            except RecursionError:
                yield Bad(row.location, "nested too deeply")
            except Exception as error:
                # Whatever is wrong with one line, the next ones are read.
                yield Bad(row.location, FaultError.of(error).message, fault=True)

    def _rows(self) -> Iterator[_Row | Bad]:
        if self._table is not None:
            return self._table_rows(self._table)
        if self._lines is None:
            return self._file_rows()
        lines = iter(self._lines)
        kind = self._kind or ("csv" if self._reading.column is not None else None)
        if kind is None:
            kind, lines = _recognised(lines)
        if kind == "csv":
            return self._csv_rows(lines)
        row = _json_row if kind == "jsonl" else _text_row
        return (row(f"{self._name}:{n}", str(n), line) for n, line in lines if line.strip())

    def _file_rows(self) -> Iterator[_Row | Bad]:
        folder = self._path or Path()
        for path in self._files():
            id_ = path.relative_to(folder).as_posix()
            location = f"{self._name.rstrip('/')}/{id_}"
            if kind := self._part_kind(path):
                yield from self._part_rows(path, kind, location, id_)
                continue
            try:
                content = path.read_bytes()
            except OSError as error:
                yield Bad(location, f"cannot be read: {error.strerror}")
                continue
            # Editors end a file with a newline that is not part of the prompt.
            yield _text_row(location, id_, content.removesuffix(b"\n"))

    def _part_kind(self, path: Path) -> Kind | None:
        """The form of a file of many prompts in a folder; None for a file that is one prompt."""
        kind = self._reading.kind
        if kind not in (None, "text"):
            return kind
        return "parquet" if path.suffix.lower() == ".parquet" else None

    def _part_rows(self, path: Path, kind: Kind, name: str, id_: str) -> Iterator[_Row | Bad]:
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            yield Bad(name, f"cannot be read: {error.strerror}")
            return
        with file:
            part = Source(path, file, replace(self._reading, kind=kind), name=name)
            for row in part._rows():
                yield row if isinstance(row, Bad) else replace(row, id=f"{id_}:{row.id}")

    def _table_rows(self, table: Table) -> Iterator[_Row | Bad]:
        """Columns are fields, as in JSON lines; `--column` names the one that is the prompt."""
        column = self._reading.column
        self._require_columns(table.columns, column)
        for number, row in enumerate(table.read(), 1):
            location = f"{self._name}:{number}"
            if column is None:
                yield _fields_row(location, str(number), row)
            else:
                own = {**row, "prompt": row.get(column)}
                yield _Row(location, str(number), own, {"text": row.get(column), **row})

    def _files(self) -> list[Path]:
        folder = self._path or Path()
        return sorted(
            path
            for path in folder.rglob("*")
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )

    def _csv_rows(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[_Row | Bad]:
        csv.field_size_limit(LONGEST_CELL)
        texts = (line.decode("utf-8", "surrogateescape") + "\n" for _number, line in lines)
        delimiter = "\t" if self._name.lower().endswith(".tsv") else ","
        rows = csv.reader(texts, delimiter=delimiter, strict=True)
        header = _header(rows, self._name)
        column = self._reading.column
        if column is None and self._reading.template is None:
            column = "prompt"
        self._require_columns(header, column)
        while True:
            number = rows.line_num + 1
            location = f"{self._name}:{number}"
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Bad(location, f"not CSV: {error}")
                continue
            if not cells:
                continue
            if len(cells) != len(header):
                yield Bad(location, f"{len(cells)} columns, but the header has {len(header)}")
            elif not all(map(is_unicode, cells)):
                yield Bad(location, "not UTF-8 text")
            else:
                row = dict(zip(header, cells, strict=True))
                # Cells are text, so other settings than the system message come from flags.
                own = {name: row[name] for name in ("id", "system") if row.get(name)}
                named = row
                if column is not None:
                    own["prompt"] = row[column]
                    named = {"text": row[column], **row}
                yield _Row(location, str(number), own, named)

    def _require_columns(self, header: list[str], column: str | None) -> None:
        """Raises UsageError for a missing column, which would be missing in every row."""
        names = [] if column is None else [column]
        if self._reading.template is not None:
            names += [name for name in self._reading.template.names if name != "text" or not column]
        for name in names:
            if name not in header:
                raise UsageError(
                    f"{self._name} has no column {name!r}",
                    hint=f"choose one with --column: {', '.join(header)}",
                )

    def _prompt(self, row: _Row) -> Prompt:
        """Raises FieldError or MissingFieldError for a line that cannot be answered."""
        template = self._reading.template
        if "custom_id" in row.own and "body" in row.own:
            if template is not None:
                raise FieldError("--template does not apply to a request of OpenAI's form")
            return requested_prompt(row.location, row.own)
        if template is None:
            self._report_unknown(row)
            return own_prompt(row.location, row.id, row.own)
        filled = {**row.own, "prompt": template.fill(row.named)}
        return own_prompt(row.location, row.id, filled)

    def _report_unknown(self, row: _Row) -> None:
        """A misspelt field would otherwise be ignored silently."""
        room = MOST_REPORTED - len(self._unused)
        for name in sorted(row.own.keys() - KNOWN - self._unused)[:room]:
            self._unused.add(name)
            self._notice(f"{row.location}: unknown field {name!r} (ignored)")


def _recognised(
    lines: Iterator[tuple[int, bytes]],
) -> tuple[Kind, Iterator[tuple[int, bytes]]]:
    """JSON lines if the first line is an object, else text; and all lines."""
    for number, line in lines:
        if line.strip():
            try:
                is_object = isinstance(json.loads(line), dict)
            except (ValueError, RecursionError):
                is_object = False
            return "jsonl" if is_object else "text", chain([(number, line)], lines)
    return "text", iter(())


def _header(rows: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next(rows, [])
    except csv.Error as error:
        raise UsageError(
            f"{name} is not CSV: {error}", hint="choose another form with --format"
        ) from None
    if len(set(header)) != len(header):
        raise UsageError(f"{name} has two columns of the same name", hint="rename one of them")
    return header


def _json_row(location: str, id_: str, line: bytes) -> _Row | Bad:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Bad(location, f"not JSON: {error}")
    if not isinstance(fields, dict):
        return Bad(location, "not a JSON object")
    return _fields_row(location, id_, fields)


def _fields_row(location: str, id_: str, fields: Mapping[str, object]) -> _Row:
    named = {"text": fields["prompt"], **fields} if "prompt" in fields else fields
    return _Row(location, id_, own=fields, named=named)


def _text_row(location: str, id_: str, line: bytes) -> _Row | Bad:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Bad(location, f"not UTF-8 text (byte {error.start})")
    return _Row(location, id_, own={"prompt": text}, named={"prompt": text, "text": text})


def opened(path: Path) -> IO[bytes] | None:
    """The file to read, None for a folder. Raises UsageError if it cannot be read."""
    if path.is_dir():
        return None
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=f"paths are relative to {Path.cwd()}"
        ) from None


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a file is in a folder or below it."""
    return path.resolve().is_relative_to(folder.resolve())
