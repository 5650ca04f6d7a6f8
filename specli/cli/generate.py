"""The body of `specli run`: from options to a finished text, its views and its figures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specli.cli.compare import Comparison, compare_with_plain
from specli.cli.drafting import choose_drafting
from specli.cli.failures import INTERRUPTED, say
from specli.cli.follow import Generation, PlainText, Silent, follow
from specli.cli.options import RunOptions
from specli.cli.run import read_text
from specli.engine.adaptive import AdaptivePolicy
from specli.engine.explain import Explanation, explain
from specli.engine.sequence import GenerationRequest
from specli.errors import CheckFailedError, UsageError
from specli.hub.cache import cache_dir
from specli.hub.references import resolve
from specli.llama import library
from specli.llama.chat import Message, prompt_tokens
from specli.llama.grammar import Grammar, gbnf_of_schema
from specli.llama.quantize import quantize
from specli.profiles import Profile, load_profile
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup

if TYPE_CHECKING:
    from specli.hub.made import Recipe

DEFAULT_PROFILE = "smollm2"


@dataclass(frozen=True, slots=True)
class Task:
    """What `specli run` was asked for beside the options."""

    prompt: str
    raw: bool = False
    stops: tuple[str, ...] = ()
    ignore_end: bool = False
    grammar: str | None = None
    json_schema: str | None = None
    profile: str | None = None
    draft: bool = True
    recalibrate: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    explain: bool = False
    check: bool = False


def generate(options: RunOptions, task: Task) -> int:
    """Run one prompt and print what was asked for. Returns the exit code.

    Raises the errors of specli.errors.
    """
    library.show_log(task.verbose)
    profile = _profile(options, task)
    if profile is not None:
        options = options.over(profile)
    sampling = options.sampling()
    setup = _setup(options, task, profile)

    def notice(text: str) -> None:
        if not task.quiet:
            say(f"note: {text}")

    with Session(setup, cache_dir() / "probes", notice) as session:
        for name, means in session.rollback_means():
            notice(f"the {name} keeps a recurrent state: rejected tokens are undone by {means}")
        request = _request(session, options, task, sampling)
        generation, interrupted = _show(session, request, task)
        told = None
        if isinstance(session.policy, AdaptivePolicy):
            told = explain(session.policy, generation.stats)
        checked = None
        if task.check and not interrupted:
            # A grammar has moved on with the first text: the second needs its own.
            again = _request(session, options, task, sampling)
            checked = compare_with_plain(session, again, generation)
    if task.as_json:
        report = _report(generation, setup, sampling, told, explained=task.explain)
        if checked is not None:
            report["check"] = checked.as_dict()
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
    elif not task.quiet:
        _say_more(told, checked, task)
    if checked is not None and not checked.passed:
        raise CheckFailedError(
            checked.sentence, hint="this is a fault: please report the models and the command"
        )
    return INTERRUPTED if interrupted else 0


def _say_more(told: Explanation | None, checked: Comparison | None, task: Task) -> None:
    """Behind the summary: the explanation where asked for, estimate and advice, the check."""
    from rich.console import Console

    from specli.ui.explain import estimate, explanation

    if told is not None:
        if task.explain:
            Console(stderr=not sys.stdout.isatty()).print(explanation(told))
        for line in (estimate(told), told.advice):
            if line:
                say(line)
    if checked is not None:
        say(checked.sentence)


def _profile(options: RunOptions, task: Task) -> Profile | None:
    if task.profile is not None:
        return load_profile(task.profile)
    return load_profile(DEFAULT_PROFILE) if options.model is None else None


def _setup(options: RunOptions, task: Task, profile: Profile | None) -> Setup:
    target: str | Recipe | None = options.model
    draft: str | Recipe | None = options.model_draft
    if profile is not None:
        # Another target than the profile's makes the profile's draft a stranger.
        if target is None and draft is None:
            draft = profile.draft_model
        target = target or profile.target_model
    if target is None:
        raise UsageError("no target model was given", hint="name one with -m")
    drafting = choose_drafting(options)
    if options.model_draft is not None and not (task.draft and drafting.draft):
        raise UsageError(
            f"a draft model was given ({options.model_draft}), but other flags leave it out",
            hint="drop -md, or the --no-draft, --draft 0 or --spec-type that leaves it out",
        )
    if draft is None and options.spec_type is not None and drafting.draft and task.draft:
        raise UsageError(
            f"--spec-type {options.spec_type} needs a draft model", hint="name one with -md"
        )
    if not (task.draft and drafting.draft):
        draft = None
    return Setup(
        target=_local(target, task),
        draft=None if draft is None else _local(draft, task),
        n_ctx=options.ctx_size,
        flash_attention=options.flash_attn or "auto",
        target_placement=options.target_placement(),
        draft_placement=options.draft_placement(),
        ngram=drafting.ngram,
        suffix=drafting.suffix,
        lookup=drafting.lookup,
        lookup_cache=options.lookup_cache,
        prediction=None if options.prediction is None else read_text(options.prediction),
        policy=drafting.policy,
        recalibrate=task.recalibrate,
    )


def _local(model: str | Recipe, task: Task) -> Path:
    from specli.ui.progress import reporting

    with reporting(quiet=task.quiet) as report:
        return resolve(model, quantize, report)


def _request(
    session: Session, options: RunOptions, task: Task, sampling: SamplingParams
) -> GenerationRequest:
    model = session.target_model
    for token in sampling.logit_bias:
        if token >= model.vocab.size:
            raise UsageError(
                f"--logit-bias names token {token}, "
                f"but {model.path.name} has only {model.vocab.size}",
                hint=f"ids go from 0 to {model.vocab.size - 1}",
            )
    if task.raw:
        prompt = model.vocab.tokenize(task.prompt, add_special=True)
    else:
        messages = [Message("system", options.system)] if options.system else []
        prompt = prompt_tokens(model, [*messages, Message("user", task.prompt)])
    predict = -1 if options.predict is None else options.predict
    return GenerationRequest(
        prompt=prompt,
        max_tokens=None if predict < 0 else predict,
        sampling=sampling,
        stops=task.stops,
        ignore_end=task.ignore_end,
        grammar=_grammar(session, task),
    )


def _grammar(session: Session, task: Task) -> Grammar | None:
    gbnf = task.grammar
    if task.json_schema is not None:
        gbnf = gbnf_of_schema(task.json_schema)
    return None if gbnf is None else session.grammar(gbnf)


def _show(session: Session, request: GenerationRequest, task: Task) -> tuple[Generation, bool]:
    """Generate under the view that fits where the output goes; (generation, interrupted)."""
    if task.as_json:
        return follow(session, request, Silent())
    if not sys.stdout.isatty() or task.quiet:
        generation, interrupted = follow(session, request, PlainText())
        if generation.text and not generation.text.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
        if not task.quiet:
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
    stats = generation.stats
    report: dict[str, object] = {
        "text": generation.text,
        "finish_reason": generation.finish,
        "prompt_tokens": stats.prompt_n,
        "completion_tokens": stats.predicted_n,
        "timings": stats.timings(),
        "speculation": stats.speculation(),
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


def settings(setup: Setup, sampling: SamplingParams) -> dict[str, object]:
    """What was in force, by the flags' names: defaults of other tools change silently."""
    policy = setup.policy
    return {
        "model": str(setup.target),
        "model_draft": None if setup.draft is None else str(setup.draft),
        "draft": "auto" if policy is None else policy.draft_max,
        "draft_min": None if policy is None else policy.draft_min,
        "draft_p_min": None if policy is None else policy.p_min,
        "drafters": [
            name
            for name, used in (
                ("draft", setup.draft),
                ("ngram", setup.ngram),
                ("suffix", setup.suffix),
                ("lookup", setup.lookup),
                ("prediction", setup.prediction),
            )
            if used
        ],
        "ngram_size": None if setup.ngram is None else setup.ngram.size,
        "ngram_draft": None if setup.ngram is None else setup.ngram.draft_max,
        "temp": sampling.temperature,
        "seed": None if sampling.greedy else sampling.seed,
    }
