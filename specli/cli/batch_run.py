"""The body of `specli batch`: from options to records, signals and the last word."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Literal

from rich.console import Console

from specli.batch.ids import Ids, digest
from specli.batch.input import Reading, Source, is_inside, opened
from specli.batch.output import Journal, Output, Stream
from specli.batch.requests import Defaults
from specli.batch.run import Limits, Work, answer_all, validate
from specli.batch.template import Template
from specli.batch.totals import Totals
from specli.cli.collector import freeze_loaded
from specli.cli.output import Sink
from specli.cli.output import print_stderr as say
from specli.cli.prepare import (
    FLAGS,
    Constraint,
    chosen_profile,
    constraint_of,
    prepared_setup,
    require_known_tokens,
    sampling_of,
)
from specli.errors import BatchFailedError, SpecliError, UsageError
from specli.hub.cache import cache_dir
from specli.llama import library
from specli.llama.grammar import gbnf_of_schema
from specli.options import Options
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import Prediction
from specli.ui.batch import BatchView, summary

STANDARD = "-"

MOST_PARALLEL = 256
"""Sequences of one context, by llama.cpp's own limit."""

LONGEST_SETTING = 200
"""Characters of a setting that records repeat; a longer one is named by its hash."""


@dataclass(frozen=True, slots=True)
class Task:
    """What `specli batch` was asked for beside the options."""

    source: str
    output: str = STANDARD
    form: Literal["jsonl", "text", "csv"] | None = None
    template: str | None = None
    column: str | None = None
    parallel: str = "auto"
    in_order: bool = True
    restart: bool = False
    strict: bool = False
    max_failures: int | None = None
    report: Path | None = None


@dataclass(slots=True)
class _Signals:
    """The signal that asks the batch to stop, once one has come."""

    number: int | None = None

    def stopped(self) -> bool:
        return self.number is not None


def run_batch(options: Options, task: Task) -> int:
    """Answer the prompts of the input. Returns the exit code.

    Raises BatchFailedError where some have no answer, and the other errors of specli.errors.
    """
    library.show_log(options.verbose)
    reading = Reading(task.form, None if task.template is None else Template(task.template))
    reading = replace(reading, column=task.column)
    slots = parse_parallel(task.parallel)
    profile = chosen_profile(options)
    if profile is not None:
        options = options.over(profile.defaults.given())
    _require_sense(options, task)
    constraint = constraint_of(options)
    notice = Sink.of(options).note
    signals = _Signals()
    with ExitStack() as stack:
        file = _input(stack, task)
        setup = prepared_setup(options, profile, quiet=options.quiet, slots=slots)
        known = Ids()
        output = _output(stack, task, known)
        sampling = sampling_of(_with_seed(options, output))
        settings = settings_of(setup, options, sampling, constraint, task)
        if isinstance(output, Journal):
            output.require_settings(settings)
        session = stack.enter_context(
            Session(_with_predictions(setup), cache_dir() / "probes", notice)
        )
        require_known_tokens(sampling, session.target_model)
        work = Work(
            source=_source(file, reading, task, signals, notice),
            defaults=_defaults(options, sampling, constraint),
            settings=settings,
            output=output,
            known=known,
            in_order=task.in_order,
            limits=Limits(options.timeout, task.max_failures),
        )
        if task.strict:
            _require_valid(work, session)
            if file is not None:
                file.seek(0)
            work = replace(work, source=_source(file, reading, task, signals, notice))
        if slots is None and sys.stderr.isatty():
            notice(f"{session.slots} prompts at once, by what batches cost here (--parallel)")
        return _answer(work, session, task, signals, quiet=bool(options.quiet))


def parse_parallel(value: str) -> int | None:
    """How many prompts run at once; None where that is left to costs and memory.

    Raises UsageError.
    """
    if value == "auto":
        return None
    if value.isdecimal() and 1 <= int(value) <= MOST_PARALLEL:
        return int(value)
    raise UsageError(
        f"--parallel takes auto or a number from 1 to {MOST_PARALLEL}, not {value!r}",
        hint="such as --parallel 4",
    )


def _require_sense(options: Options, task: Task) -> None:
    """Raises UsageError for what would be noticed too late, or never."""
    if options.raw and options.system:
        raise UsageError("--raw leaves --system out", hint="give one of them")
    if task.column is not None and task.form not in (None, "csv"):
        raise UsageError(
            f"--column is for CSV, not for {task.form}", hint="--template '{NAME}' takes any field"
        )
    if task.report is not None and not task.report.absolute().parent.is_dir():
        raise UsageError(f"--report: no folder {task.report.parent}", hint="make it first")
    if task.restart and task.output == STANDARD:
        raise UsageError("--restart needs an output file", hint="name it with -o")
    if task.output == STANDARD or task.source == STANDARD:
        return
    source, output = Path(task.source), Path(task.output)
    if source.is_dir() and is_inside(output, source):
        raise UsageError(
            f"the output {output} lies in the input {source}, and would become a prompt",
            hint="name a file elsewhere with -o",
        )
    if source.exists() and output.exists() and source.samefile(output):
        raise UsageError(f"{source} is input and output at once", hint="name another with -o")


def _input(stack: ExitStack, task: Task) -> IO[bytes] | None:
    """The file to read, None for a folder. One that is read twice can be read twice."""
    if task.source == STANDARD:
        file: IO[bytes] | None = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    else:
        file = opened(Path(task.source))
        if file is not None:
            stack.enter_context(file)
    if file is not None and task.strict and not file.seekable():
        copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        shutil.copyfileobj(file, copy)
        copy.flush()
        copy.seek(0)
        return copy
    return file


def _source(
    file: IO[bytes] | None,
    reading: Reading,
    task: Task,
    signals: _Signals,
    notice: Callable[[str], None],
) -> Source:
    path = None if task.source == STANDARD else Path(task.source)
    return Source(path, file, reading, called_off=signals.stopped, notice=notice)


def _output(stack: ExitStack, task: Task, known: Ids) -> Output:
    path = Path(task.output)
    if task.output == STANDARD:
        return Stream(sys.stdout.buffer)
    if path.is_dir():
        raise UsageError(f"the output {path} is a folder", hint="name a file with -o")
    if path.exists() and not path.is_file():
        return Stream(stack.enter_context(path.open("wb")))
    return stack.enter_context(Journal(path, known, restart=task.restart))


def _with_seed(options: Options, output: Output) -> Options:
    """The seed that was drawn for the records there are, where none is asked for."""
    drawn = options.seed is None or options.seed < 0
    if drawn and isinstance(output, Journal) and output.settings is not None:
        seed = output.settings.get("seed")
        return options.but(seed=seed) if isinstance(seed, int) else options
    return options


def _with_predictions(setup: Setup) -> Setup:
    """Lines may carry predictions, which are drafted from wherever anything is."""
    config = setup.speculative
    if not config.drafters or config.has(Prediction.kind):
        return setup
    predicting = config.with_drafters((*config.drafters, Prediction("")))
    return replace(setup, speculative=predicting)


def settings_of(
    setup: Setup, options: Options, sampling: SamplingParams, constraint: Constraint, task: Task
) -> dict[str, object]:
    """Everything that decides what answers say, as far as it is set, by the flags' names.

    Who drafts and how many prompts run at once is not among it: a later run may differ there.
    """
    plain = SamplingParams()
    sampled = {
        FLAGS.get(field.name, field.name): value
        for field in fields(SamplingParams)
        if (value := getattr(sampling, field.name)) != getattr(plain, field.name)
    }
    sampled["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    every = {
        "model": setup.target.name,
        "model_bytes": setup.target.stat().st_size,
        "ctx_size": options.number("ctx_size"),
        "cache_type_k": options.cache_type_k,
        "cache_type_v": options.cache_type_v,
        "system": options.system,
        "template": task.template,
        "raw": options.raw,
        "predict": options.predict,
        "stop": list(options.stop or ()),
        "ignore_eos": options.ignore_eos,
        "grammar": constraint[0],
        "json_schema": constraint[1],
        **sampled,
        "seed": sampling.seed,
    }
    return {
        name: _brief(value)
        for name, value in every.items()
        if not (value is None or value is False or value in ([], {}))
    }


def _brief(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST_SETTING:
        return f"blake2b:{digest(value).hex()}"
    return value


def _defaults(options: Options, sampling: SamplingParams, constraint: Constraint) -> Defaults:
    predict = -1 if options.predict is None else options.predict
    grammar, schema = constraint
    return Defaults(
        sampling=sampling,
        max_tokens=None if predict < 0 else predict,
        system=options.system,
        raw=bool(options.raw),
        stops=options.stop or (),
        ignore_end=bool(options.ignore_eos),
        gbnf=grammar if schema is None else gbnf_of_schema(schema),
    )


def _require_valid(work: Work, session: Session) -> None:
    """Raises BatchFailedError where a prompt could not be answered, with all of them told."""
    view = BatchView(Console(stderr=True), Totals(), bar=False)
    count = validate(work, session.engine(), session.target_model, view.failed)
    if count:
        raise BatchFailedError(
            f"{count} of the prompts cannot be answered, and nothing has been generated",
            hint="mend them, or leave --strict out to answer the others",
        )


def _answer(work: Work, session: Session, task: Task, signals: _Signals, *, quiet: bool) -> int:
    """Generate under the view; returns the exit code. Raises BatchFailedError for failures."""
    totals = Totals(expected=work.source.total())
    view = BatchView(Console(stderr=True), totals, bar=not quiet)
    freeze_loaded()
    try:
        with view, _catching(signals):
            answer_all(
                work,
                session.engine(),
                session.target_model,
                session.slots,
                totals,
                view,
                signals.stopped,
            )
    except BatchFailedError:
        _sum_up(totals, quiet=quiet)
        raise
    finally:
        if task.report is not None:
            _write_report(task.report, totals, work, task, signals)
    _sum_up(totals, quiet=quiet)
    if signals.number is not None:
        say(_how_to_go_on(signals.number, task))
        return 128 + signals.number
    if totals.failed:
        raise BatchFailedError(f"{totals.failed} of {totals.seen} prompts failed")
    return 0


def _sum_up(totals: Totals, *, quiet: bool) -> None:
    if not quiet:
        say(summary(totals))


@contextmanager
def _catching(signals: _Signals) -> Iterator[None]:
    """Note the first signal to stop; Ctrl-C again stops at once."""

    def caught(number: int, _frame: object) -> None:
        if signals.number is not None:
            raise KeyboardInterrupt
        signals.number = number

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        # A shell's background job hands down that Ctrl-C is ignored.
        if handler is not signal.SIG_IGN:
            signal.signal(number, caught)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how_to_go_on(number: int, task: Task) -> str:
    name = signal.Signals(number).name
    if task.output == STANDARD:
        return f"stopped by {name}; with -o FILE the same command would go on from here"
    words = [word for word in sys.argv[1:] if word != "--restart"]
    return f"stopped by {name}; to go on: {shlex.join(['specli', *words])}"


def _write_report(path: Path, totals: Totals, work: Work, task: Task, signals: _Signals) -> None:
    stopped = None if signals.number is None else signal.Signals(signals.number).name
    told = {
        "input": task.source,
        "output": task.output,
        **totals.report(),
        "stopped_by": stopped,
        "settings": work.settings,
    }
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise SpecliError(f"cannot write {path}: {error.strerror}") from None
