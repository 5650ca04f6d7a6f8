"""The body of `specli run`: from options to a finished text, its views and its figures."""

from __future__ import annotations

import json
import sys

from specli.cli.collector import freeze_loaded
from specli.cli.compare import Comparison, compare_with_plain
from specli.cli.failures import INTERRUPTED
from specli.cli.follow import Generation, PlainText, Silent, follow
from specli.cli.output import Sink
from specli.cli.output import print_stderr as say
from specli.cli.prepare import (
    Constraint,
    chosen_profile,
    constraint_of,
    prepared_setup,
    require_known_tokens,
    sampling_of,
    settings,
)
from specli.engine.adaptive import AdaptivePolicy
from specli.engine.explain import Explanation, explain
from specli.engine.sequence import GenerationRequest
from specli.errors import CheckFailedError
from specli.hub.cache import cache_dir
from specli.llama import library
from specli.llama.chat import Message, prompt_tokens
from specli.llama.grammar import Grammar, gbnf_of_schema
from specli.options import Options
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup


def generate(options: Options, prompt: str) -> int:
    """Run one prompt and print what was asked for. Returns the exit code.

    Raises the errors of specli.errors.
    """
    library.show_log(options.verbose)
    profile = chosen_profile(options)
    if profile is not None:
        options = options.over(profile.defaults.given())
    constraint = constraint_of(options)
    sampling = sampling_of(options)
    setup = prepared_setup(options, profile, quiet=options.quiet)
    notice = Sink.of(options).note

    with Session(setup, cache_dir() / "probes", notice) as session:
        freeze_loaded()
        for name, means in session.rollback_means():
            notice(f"the {name} keeps a recurrent state: rejected tokens are undone by {means}")
        request = _request(session, options, prompt, sampling, constraint)
        generation, interrupted = _show(session, request, options)
        told = None
        if isinstance(session.policy, AdaptivePolicy):
            told = explain(session.policy, generation.stats)
        checked = None
        if options.check and not interrupted:
            # A grammar has moved on with the first text: the second needs its own.
            again = _request(session, options, prompt, sampling, constraint)
            checked = compare_with_plain(session, again, generation)
    if options.json:
        report = _report(generation, setup, sampling, told, explained=options.explain)
        if checked is not None:
            report["check"] = checked.as_dict()
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
    elif not options.quiet:
        _say_more(told, checked, options)
    if checked is not None and not checked.passed:
        raise CheckFailedError(
            checked.sentence, hint="this is a fault: please report the models and the command"
        )
    return INTERRUPTED if interrupted else 0


def _say_more(told: Explanation | None, checked: Comparison | None, options: Options) -> None:
    """Behind the summary: the explanation where asked for, estimate and advice, the check."""
    from rich.console import Console

    from specli.ui.explain import estimate, explanation

    if told is not None:
        if options.explain:
            Console(stderr=not sys.stdout.isatty()).print(explanation(told))
        for line in (estimate(told), told.advice):
            if line:
                say(line)
    if checked is not None:
        say(checked.sentence)


def _request(
    session: Session,
    options: Options,
    text: str,
    sampling: SamplingParams,
    constraint: Constraint,
) -> GenerationRequest:
    model = session.target_model
    require_known_tokens(sampling, model)
    if options.raw:
        prompt = model.vocab.tokenize(text, add_special=True)
    else:
        messages = [Message("system", options.system)] if options.system else []
        prompt = prompt_tokens(model, [*messages, Message("user", text)])
    predict = -1 if options.predict is None else options.predict
    return GenerationRequest(
        prompt=prompt,
        max_tokens=None if predict < 0 else predict,
        sampling=sampling,
        stops=options.stop or (),
        ignore_end=bool(options.ignore_eos),
        grammar=_grammar(session, constraint),
    )


def _grammar(session: Session, constraint: Constraint) -> Grammar | None:
    gbnf, schema = constraint
    if schema is not None:
        gbnf = gbnf_of_schema(schema)
    return None if gbnf is None else session.grammar(gbnf)


def _show(
    session: Session, request: GenerationRequest, options: Options
) -> tuple[Generation, bool]:
    """Generate under the view that fits where the output goes; (generation, interrupted)."""
    if options.json:
        return follow(session, request, Silent())
    if not sys.stdout.isatty() or options.quiet:
        generation, interrupted = follow(session, request, PlainText())
        if generation.text and not generation.text.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
        if not options.quiet:
            from specli.ui.summary import summary_line

            say(summary_line(generation.stats))
        return generation, interrupted
    from rich.console import Console

    from specli.ui.live import LiveView
    from specli.ui.summary import summary_table

    console = Console()
    with LiveView(console) as view:
        generation, interrupted = follow(session, request, view)
    console.print(summary_table(generation.stats))
    return generation, interrupted


def _report(
    generation: Generation,
    setup: Setup,
    sampling: SamplingParams,
    told: Explanation | None,
    *,
    explained: bool,
) -> dict[str, object]:
    """The JSON object of `--json`: llama-server's names where it has one."""
    report = {
        **generation.stats.report(generation.text, generation.finish),
        "settings": settings(setup, sampling),
    }
    if told is not None:
        report["estimate"] = {
            "plain_ms": round(told.plain_ms, 1),
            "plain_rounds": told.plain_rounds,
            "speedup": None if told.speedup is None else round(told.speedup, 3),
            "advice": told.advice,
        }
        if explained:
            report["explain"] = told.as_dict()
    return report
