"""One prompt, its text, its figures and its check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from specli.app.baseline import measure_plain
from specli.app.compare import Comparison, compare_with_plain
from specli.app.feedback import SILENT, Feedback
from specli.app.follow import Recorder, Silent, View, follow
from specli.app.prepare import (
    Plan,
    loaded_session,
    planned,
    require_known_tokens,
    settings,
)
from specli.engine.explain import Explanation, explain
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.inspection import InspectedRound, inspected, rounds_json
from specli.llama.chat import Message, prompt_tokens, with_system
from specli.llama.constraint import rules_of
from specli.llama.reasoning import Parted, parted
from specli.llama.vocab import Vocab
from specli.option_table import AUTO
from specli.options import Options
from specli.profiles import Profile
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prompt led to. `explanation` is there where costs decided what to draft."""

    generation: Generation
    setup: Setup
    sampling: SamplingParams
    explanation: Explanation | None = None
    check: Comparison | None = None
    interrupted: bool = False
    rounds: Sequence[InspectedRound] = ()
    drew_seed: bool = False
    """Whether the seed of `sampling` matters and was not given."""
    parted: Parted | None = None
    """Reasoning and answer, where they were to be told apart."""

    def report(self, *, explain: bool = False) -> dict[str, object]:
        """The answer as one JSON object: llama-server's names where it has one."""
        generation, explained = self.generation, self.explanation
        report: dict[str, object] = {
            **generation.stats.report(generation.text, generation.finish),
            "settings": settings(self.setup, self.sampling),
        }
        if self.parted is not None:
            report |= {"text": self.parted.answer, "reasoning_content": self.parted.reasoning}
        report["rounds"] = rounds_json(self.rounds)
        if explained is not None:
            whole = explained.as_dict()
            estimate = ("plain_ms", "plain_rounds", "speedup", "advice")
            report["estimate"] = {name: whole[name] for name in estimate}
            if explain:
                report["explain"] = whole
        if self.check is not None:
            report["check"] = self.check.as_dict()
        return report


def run(
    options: Options,
    prompt: str,
    feedback: Feedback = SILENT,
    open_view: Callable[[], AbstractContextManager[View]] = lambda: nullcontext(Silent()),
    deliver: Callable[[Answer], object] = lambda _answer: None,
) -> Answer:
    """Answer one prompt under a view, which is opened once the models are loaded.

    `deliver` is called with the answer before anything is saved or freed, which may fail.

    With `check` the same is generated again without speculation, and compared. Ctrl-C ends it with
    what there is. Raises the errors of specli.errors.
    """
    plan = planned(options, feedback, steady=bool(options.check))
    options, sampling = plan.options, plan.sampling
    with loaded_session(plan.setup, feedback) as session:
        for name, means in session.rollback_means():
            feedback.note(f"the {name} is recurrent: rejected tokens are undone by {means}")
        request = request_of(session, plan, prompt)
        for note in _model_notes(options, plan.profile, session):
            feedback.note(note)
        if options.verbose_prompt:
            feedback.note(_listed(session.target_model.vocab, request.prompt))
        with open_view() as view:
            engine = session.engine()
            recorder = Recorder(view)
            generation, interrupted = follow(session, request, recorder, engine)
            if not (interrupted or options.quiet):
                measure_plain(session, engine, request, generation)
        rounds = inspected(recorder.rounds, session.target_model.vocab.piece)
        explanation = None
        if isinstance(session.policy, AdaptivePolicy):
            explanation = explain(session.policy, generation.stats)
        check = None
        if options.check and not interrupted:
            check = compare_with_plain(
                session, lambda: request_of(session, plan, prompt), generation
            )
        drew_seed = not sampling.greedy and options.seed in (None, -1)
        told_apart = None
        if options.reasoning_format in ("deepseek", AUTO):
            told_apart = parted(generation.text, _written(session.target_model.vocab, request))
        answer = Answer(
            generation,
            plan.setup,
            sampling,
            explanation,
            check,
            interrupted,
            rounds,
            drew_seed,
            told_apart,
        )
        deliver(answer)
    return answer


def _written(vocab: Vocab, request: GenerationRequest) -> str:
    """The end of a prompt, where a template may have begun the reasoning."""
    return "".join(map(vocab.name, request.prompt[-16:]))


def _model_notes(options: Options, profile: Profile | None, session: Session) -> Iterator[str]:
    """What a user may not have thought of: no target, no draft, or no template."""
    drafting = (options.draft_max, options.spec_type, options.no_draft, options.ngram)
    if options.model is None and options.model_draft is not None and profile is not None:
        yield f"no -m was given: the target is that of the profile {profile.name}"
    elif profile is None and drafting == (None,) * 4 and not _drafts(session.setup):
        name = session.setup.target.name
        yield f"no draft model: drafting from the text itself (specli pair find {name})"
    if session.target_model.chat_template is None and not options.raw:
        yield f"{session.setup.target.name} has no chat template: it continues the prompt as text"


def _drafts(setup: Setup) -> bool:
    """Whether a model drafts, of whatever kind."""
    return bool(setup.speculative.models) or setup.own_head is not None


def _listed(vocab: Vocab, tokens: Sequence[int]) -> str:
    """The tokens of a prompt, one a line, with special ones by their names."""
    lines = (f"{token:>8} {vocab.name(token)!r}" for token in tokens)
    return "\n".join([f"the prompt has {len(tokens)} tokens:", *lines])


def request_of(session: Session, plan: Plan, text: str) -> GenerationRequest:
    """A prompt with a plan's settings as the engine takes it. Raises UsageError."""
    model, options = session.target_model, plan.options
    require_known_tokens(plan.sampling, model)
    if options.raw:
        prompt = model.vocab.tokenize(text, add_special=True)
    else:
        prompt = prompt_tokens(model, with_system(options.system, [Message("user", text)]))
    rules = rules_of(*plan.constraint)
    grammar = None if rules is None else session.constrained(rules)
    return plan.request(prompt, grammar, top_logprobs=0 if options.inspect else None)
