"""A batch: from options to records and a report."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import IO, Literal, Protocol

from specli.app.feedback import Feedback
from specli.app.prepare import (
    Constraint,
    constraint_of,
    loaded_session,
    max_tokens_of,
    prepared_setup,
    require_known_tokens,
    sampling_of,
    with_profile,
)
from specli.app.remote import fetched, is_remote, plain
from specli.batch.ids import Ids, digest
from specli.batch.input import Reading, Source, is_inside, opened
from specli.batch.output import Journal, Output, Stream
from specli.batch.requests import Defaults
from specli.batch.run import Limits, Watcher, Work, answer_all, validate
from specli.batch.template import Template
from specli.batch.totals import Failure, Totals
from specli.errors import BatchFailedError, UsageError
from specli.files import write_text
from specli.llama import library
from specli.llama.constraint import rules_of
from specli.native import DECIDING
from specli.option_table import AUTO
from specli.option_values import written
from specli.options import Options
from specli.sampling.params import OPTION_NAMES, SamplingParams
from specli.session import Setup
from specli.speculative import Prediction

STANDARD = "-"
"""stdin or stdout."""

LONGEST_SETTING = 200
"""Characters of a setting that records repeat; a longer one is named by its hash."""


@dataclass(frozen=True, slots=True)
class Task:
    """The options of `specli batch` itself."""

    source: str
    output: str = STANDARD
    form: Literal["jsonl", "text", "csv", "parquet"] | None = None
    template: str | None = None
    column: str | None = None
    parallel: int | str = AUTO
    """Prompts at once; `auto` leaves it to memory and measured costs."""
    unordered: bool = False
    restart: bool = False
    strict: bool = False
    max_failures: int | None = None
    report: Path | None = None


class Attendant(Protocol):
    """Shows the progress of a batch, and stops it."""

    def stopped(self) -> bool: ...

    @property
    def stopped_by(self) -> str | None:
        """The name of the signal that stopped it."""

    def failed(self, failure: Failure) -> None:
        """A prompt that cannot be answered, found before anything is generated."""

    def answering(self, totals: Totals, slots: int) -> AbstractContextManager[Watcher]:
        """Opened once the models are loaded; `totals` go on counting, `slots` run at once."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What `-` stands for."""

    stdin: Callable[[], IO[bytes]]
    stdout: Callable[[], IO[bytes]]


Elsewhere = Callable[[Work, Options, Task, Totals, Attendant], None]
"""Answers a batch on other machines; the options have the seed."""


def answer_batch(
    options: Options,
    task: Task,
    streams: Streams,
    feedback: Feedback,
    attendant: Attendant,
    elsewhere: Elsewhere | None = None,
) -> Totals:
    """Answer the prompts of the input, and write the report that was asked for.

    Raises BatchFailedError after too many failures and with `strict` for prompts that cannot be
    answered, and the other errors of specli.errors.
    """
    library.show_log(options.verbose)
    template = None if task.template is None else Template(task.template)
    reading = Reading(task.form, template, column=task.column)
    given = options
    options, profile = with_profile(options)
    _require_sense(options, task)
    constraint = constraint_of(options)
    with ExitStack() as stack:
        path = _path(stack, task, feedback)
        file = _input(stack, path, task, streams)
        slots = None if isinstance(task.parallel, str) else task.parallel
        setup = with_predictions(prepared_setup(options, profile, feedback, slots=slots))
        known = Ids()
        output = _output(stack, task, known, streams)
        sampling = sampling_of(_with_seed(options, output))
        settings = settings_of(setup, options, sampling, constraint, task)
        if isinstance(output, Journal):
            output.require_settings(settings)
        name = plain(task.source) if is_remote(task.source) else None
        stop, note = attendant.stopped, feedback.note
        source = partial(Source, path, file, reading, name=name, called_off=stop, notice=note)
        work = Work(
            source=source(),
            defaults=defaults_of(setup, options, sampling, constraint),
            settings=settings,
            output=output,
            known=known,
            in_order=not task.unordered,
            limits=Limits(options.timeout, task.max_failures),
            stopped=attendant.stopped,
        )
        totals = Totals(expected=work.source.total())
        if elsewhere is not None:
            if task.strict:
                raise UsageError(
                    "--strict needs the model here, and --ray loads it elsewhere",
                    hint="leave one of them out",
                )
            with _report(work, task, totals, attendant):
                elsewhere(work, given.but(seed=sampling.seed), task, totals, attendant)
            return totals
        session = stack.enter_context(loaded_session(setup, feedback))
        require_known_tokens(sampling, session.target_model)
        if task.strict:
            count = validate(work, session.engine(), session.target_model, attendant.failed)
            if count:
                raise BatchFailedError(
                    f"{count} of the prompts cannot be answered, and nothing has been generated",
                    hint="correct them, or leave --strict out to answer the others",
                )
            if file is not None:
                file.seek(0)
            work = replace(work, source=source())
        with (
            _report(work, task, totals, attendant),
            attendant.answering(totals, session.slots) as watcher,
        ):
            engine, model = session.engine(), session.target_model
            answer_all(work, engine, model, session.slots, totals, watcher)
        return totals


def _require_sense(options: Options, task: Task) -> None:
    """Raises UsageError for what would be noticed too late, or never."""
    if options.raw and options.system:
        raise UsageError("--raw leaves --system out", hint="give one of them")
    if task.column is not None and task.form not in (None, "csv", "parquet"):
        raise UsageError(
            f"--column is for CSV and Parquet, not for {task.form}",
            hint="--template '{NAME}' takes any field",
        )
    if task.report is not None and not task.report.absolute().parent.is_dir():
        raise UsageError(f"--report: no folder {task.report.parent}", hint="make it first")
    if is_remote(task.output):
        raise UsageError(
            f"records are appended to a file on this machine, not to {plain(task.output)}",
            hint="name a file with -o, and copy it there when the batch is done",
        )
    if task.restart and task.output == STANDARD:
        raise UsageError("--restart needs an output file", hint="name it with -o")
    if task.output == STANDARD or task.source == STANDARD or is_remote(task.source):
        return
    source, output = Path(task.source), Path(task.output)
    if source.is_dir() and is_inside(output, source):
        raise UsageError(
            f"the output {output} is inside the input {source}, and would become a prompt",
            hint="name a file elsewhere with -o",
        )
    if source.exists() and output.exists() and source.samefile(output):
        raise UsageError(f"{source} is input and output at once", hint="name another with -o")


def _path(stack: ExitStack, task: Task, feedback: Feedback) -> Path | None:
    """Where the input lies on this machine, None for stdin."""
    if task.source == STANDARD:
        return None
    if not is_remote(task.source):
        return Path(task.source)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="specli-"))
    with feedback.progress() as report:
        return fetched(task.source, Path(folder), report)


def _input(stack: ExitStack, path: Path | None, task: Task, streams: Streams) -> IO[bytes] | None:
    """The file to read, None for a folder. One that is read twice can be read twice."""
    if path is None:
        file: IO[bytes] | None = streams.stdin()
    elif file := opened(path):
        stack.enter_context(file)
    twice = task.strict or task.form == "parquet"
    if file is not None and twice and not file.seekable():
        copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        shutil.copyfileobj(file, copy)
        copy.flush()
        copy.seek(0)
        return copy
    return file


def _output(stack: ExitStack, task: Task, known: Ids, streams: Streams) -> Output:
    path = Path(task.output)
    if task.output == STANDARD:
        return Stream(streams.stdout())
    if path.is_dir():
        raise UsageError(f"the output {path} is a folder", hint="name a file with -o")
    if path.exists() and not path.is_file():
        return Stream(stack.enter_context(path.open("wb")))
    return stack.enter_context(Journal(path, known, restart=task.restart))


def _with_seed(options: Options, output: Output) -> Options:
    """With the seed that was drawn for the records there are, where none is given."""
    drawn = options.seed is None or options.seed < 0
    kept = output.settings if isinstance(output, Journal) else None
    seed = kept.get("seed") if kept and drawn else None
    return options.but(seed=seed) if isinstance(seed, int) else options


def with_predictions(setup: Setup) -> Setup:
    """With a drafter for the predictions that lines may have, unless nothing is drafted."""
    config = setup.speculative
    if config.drafters and not config.has(Prediction.kind):
        config = config.with_drafters((*config.drafters, Prediction("")))
    return replace(setup, speculative=config)


def settings_of(
    setup: Setup, options: Options, sampling: SamplingParams, constraint: Constraint, task: Task
) -> dict[str, object]:
    """Everything that decides what answers say, as far as it is set, by the flags' names.

    Who drafts and how many prompts run at once is not among it: a later run may differ there.
    """
    usual = SamplingParams()
    sampled = {
        OPTION_NAMES.get(field.name, field.name): value
        for field in fields(SamplingParams)
        if (value := getattr(sampling, field.name)) != getattr(usual, field.name)
    }
    sampled["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    every = {
        "model": os.fsencode(setup.target.name).decode("utf-8", "backslashreplace"),
        "model_bytes": setup.target.stat().st_size,
        "ctx_size": options.number("ctx_size"),
        "cache_type_k": options.cache_type_k,
        "cache_type_v": options.cache_type_v,
        "system": options.system,
        "template": task.template,
        "raw": options.raw,
        **{name: written(getattr(options, name)) for name in DECIDING},
        "chat_template": setup.template_variables + (setup.chat_template or "") or None,
        "predict": options.predict,
        "stop": list(options.stop or ()),
        "ignore_eos": options.ignore_eos,
        "grammar": constraint[0],
        "json_schema": constraint[1],
        **sampled,
        "seed": sampling.seed,
        "exact": setup.exact,
    }
    return {
        name: f"blake2b:{digest(value).hex()}"
        if isinstance(value, str) and len(value) > LONGEST_SETTING
        else value
        for name, value in every.items()
        if not (value is None or value is False or value in ([], {}))
    }


def defaults_of(
    setup: Setup, options: Options, sampling: SamplingParams, constraint: Constraint
) -> Defaults:
    return Defaults(
        sampling=sampling,
        max_tokens=max_tokens_of(options),
        system=options.system,
        raw=bool(options.raw),
        stops=options.stop or (),
        ignore_end=bool(options.ignore_eos),
        rules=rules_of(*constraint),
        drafters=setup.speculative.drafters,
    )


@contextmanager
def _report(work: Work, task: Task, totals: Totals, attendant: Attendant) -> Iterator[None]:
    """Write the report that was asked for, however the batch ends."""
    try:
        yield
    finally:
        if task.report is not None:
            report = {
                "input": task.source,
                "output": task.output,
                **totals.report(),
                "stopped_by": attendant.stopped_by,
                "settings": work.settings,
            }
            text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
            write_text(task.report, text)
