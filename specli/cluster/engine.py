"""What one worker of a cluster runs: models loaded once, then answers for batches of rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from specli.app.batch import Task, defaults_of, settings_of, with_predictions
from specli.app.feedback import Feedback
from specli.app.prepare import (
    constraint_of,
    prepared_setup,
    require_known_tokens,
    sampling_of,
    with_profile,
)
from specli.batch.fields import FieldError
from specli.batch.ids import Ids
from specli.batch.input import Entry
from specli.batch.prompt import Bad, Prompt, own_prompt, require_unicode
from specli.batch.run import Limits, Work, answer_all
from specli.batch.totals import Failure, Totals
from specli.errors import SpecliError
from specli.hub.cache import cache_dir
from specli.options import Options
from specli.session import Session

Column = Sequence[Any]
"""One column of a batch, a NumPy array or a list; missing values are None or NaN."""

PROMPT = "specli_prompt"
"""The column in which `specli batch` sends prompts that it has read itself, as JSON."""

_log = logging.getLogger("specli")


class BatchEngine:
    """Answers batches of rows: the class for `ray.data.Dataset.map_batches`.

    A row has the fields of a line of `specli batch`'s JSON input as columns (`prompt` or
    `messages`, `id`, `max_tokens`, ...). An answer has four columns: `id`, `record` (the line that
    `specli batch` writes, bytes, or None), `failure` (why there is no record, or None) and
    `location`. Texts are those of `specli run` with the same options.
    """

    def __init__(
        self,
        options: Mapping[str, object] | None = None,
        *,
        parallel: int | None = None,
        timeout: float | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Fetch the models where they are not on this machine yet, and load them.

        `options` are those of `specli batch` by their long names with underscores (`model`,
        `model_draft`, `profile`, `predict`, `temp`, `seed`, ...). `parallel` prompts are answered
        at once, None as many as pay here; an answer that takes longer than `timeout` seconds ends.
        `settings` are those that records repeat, None those of the options.

        Raises UsageError, FetchError, ModelFileError, LoadError and MemoryShortError.
        """
        chosen, profile = with_profile(Options(**dict(options or {})))
        setup = prepared_setup(chosen, profile, Feedback(_log.info), slots=parallel)
        constraint, sampling = constraint_of(chosen), sampling_of(chosen)
        self._settings = settings or settings_of(setup, chosen, sampling, constraint, Task("-"))
        self._defaults = defaults_of(chosen, sampling, constraint)
        self._limits = Limits(timeout)
        self._stack = ExitStack()
        self._session = self._stack.enter_context(
            Session(with_predictions(setup), cache_dir() / "probes", _log.info)
        )
        require_known_tokens(sampling, self._session.target_model)
        self._engine = self._session.engine()

    def __call__(self, batch: Mapping[str, Column]) -> dict[str, list[Any]]:
        """The answers of a batch of rows, in their order."""
        names = list(batch)
        rows = [
            dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)
        ]
        entries = [_entry(index, row) for index, row in enumerate(rows)]
        answers = _Answers()
        work = Work(
            source=_Given(entries),
            defaults=self._defaults,
            settings=self._settings,
            output=answers,
            known=Ids(),
            limits=self._limits,
        )
        session = self._session
        answer_all(work, self._engine, session.target_model, session.slots, Totals(), answers)
        found = [(_id(entry), entry.location) for entry in entries]
        return {
            "id": [id_ for id_, _location in found],
            "record": [answers.records.get(id_) for id_, _location in found],
            "failure": [answers.failures.get(location) for _id, location in found],
            "location": [location for _id, location in found],
        }

    def close(self) -> None:
        """Free the models."""
        self._stack.close()


@dataclass(frozen=True, slots=True)
class _Given:
    """Prompts that are there already, as the source of a batch."""

    prompts: Sequence[Entry]

    def entries(self) -> Iterator[Entry]:
        return iter(self.prompts)

    def ready(self) -> bool:
        return True

    def total(self) -> int | None:
        return len(self.prompts)


@dataclass(slots=True)
class _Answers:
    """Takes the records and failures of a batch."""

    records: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def held(self, id_: str) -> bytes | None:  # noqa: ARG002
        return None

    def hold(self, id_: str, record: bytes) -> None:
        pass

    def write(self, id_: str, record: bytes) -> None:
        self.records[id_] = record

    def changed(self, totals: Totals) -> None:
        pass

    def failed(self, failure: Failure) -> None:
        self.failures[failure.location] = failure.reason


def sent(prompt: Prompt) -> str:
    """A prompt as the value of the column `PROMPT`."""
    return json.dumps(asdict(prompt))


def _entry(index: int, row: Mapping[str, Any]) -> Entry:
    if PROMPT in row:
        values = json.loads(row[PROMPT])
        values["messages"] = tuple(map(tuple, values["messages"]))
        values["stop"] = None if values["stop"] is None else tuple(values["stop"])
        return Prompt(**values)
    location = f"row {index + 1} of a batch"
    fields = {name: _plain(value) for name, value in row.items()}
    try:
        prompt = own_prompt(
            location,
            str(index),
            {name: value for name, value in fields.items() if value is not None},
        )
        require_unicode(prompt)
    except SpecliError as error:
        return Bad(location, error.message)
    except FieldError as error:
        return Bad(location, str(error))
    return prompt


def _plain(value: Any) -> object:
    """A value of a column as JSON has it; None for a missing one, which pandas calls NaN."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and value != value else value


def _id(entry: Entry) -> str:
    return entry.id if isinstance(entry, Prompt) else ""
