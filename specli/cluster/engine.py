"""What one worker of a cluster runs: models loaded once, then answers for batches of rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from specli.app.batch import Task, defaults_of, settings_of, with_predictions
from specli.app.feedback import Feedback
from specli.app.prepare import (
    constraint_of,
    loaded_session,
    prepared_setup,
    require_known_tokens,
    sampling_of,
    with_profile,
)
from specli.batch.fields import FieldError
from specli.batch.input import Entry
from specli.batch.prompt import Bad, Prompt, own_prompt, require_unicode
from specli.batch.run import Limits
from specli.cluster.desk import Desk
from specli.errors import SpecliError
from specli.options import Options

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
    `location`. Texts are those of `specli run` with the same options. Several threads may call it
    at once: their prompts share the engine, which then never waits for the last of a batch.
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
        feedback = Feedback(_log.info)
        setup = with_predictions(prepared_setup(chosen, profile, feedback, slots=parallel))
        constraint, sampling = constraint_of(chosen), sampling_of(chosen)
        known = settings or settings_of(setup, chosen, sampling, constraint, Task("-"))
        self._stack = ExitStack()
        session = self._stack.enter_context(loaded_session(setup, feedback))
        require_known_tokens(sampling, session.target_model)
        defaults = defaults_of(setup, chosen, sampling, constraint)
        self._desk = Desk(session, defaults, known, Limits(timeout))

    def __call__(self, batch: Mapping[str, Column]) -> dict[str, list[Any]]:
        """The answers of a batch of rows, in their order."""
        names = list(batch)
        rows = [
            dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)
        ]
        entries = [_entry(index, row) for index, row in enumerate(rows)]
        answers = self._desk.answers(entries)
        return {
            "id": [entry.id if isinstance(entry, Prompt) else "" for entry in entries],
            "record": [answer.record for answer in answers],
            "failure": [answer.failure for answer in answers],
            "location": [entry.location for entry in entries],
        }

    def close(self) -> None:
        """Free the models."""
        self._desk.close()
        self._stack.close()


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
