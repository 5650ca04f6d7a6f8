"""What every command that generates text prepares alike: profile, pair, settings."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from specli.app.feedback import SILENT, Feedback
from specli.app.pairs import automatic_draft
from specli.app.servers import with_servers
from specli.app.template import chosen_template, template_variables
from specli.drafting_settings import placement, speculative_config
from specli.engine.sequence import GenerationRequest
from specli.errors import UsageError
from specli.files import read_text
from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from specli.gguf.heads import MTP, head_kind, read_mtp_layers
from specli.hub.cache import cache_dir
from specli.hub.made import Recipe
from specli.hub.references import resolve
from specli.llama import library
from specli.llama.chat import make_ready
from specli.llama.model import Model as LoadedModel
from specli.llama.quantize import quantize
from specli.option_table import AUTO, OPTIONS
from specli.options import Options
from specli.pairs.heads import mtp_graph
from specli.profiles import Profile, load_profile
from specli.sampling.chooser import GrammarState
from specli.sampling.params import OPTION_NAMES, SamplingParams, sampler_names
from specli.session import Session, Setup
from specli.session.loading import allowed_cores
from specli.speculative import (
    REPLACED_BY_SUFFIX,
    DraftModel,
    FixedLength,
    Head,
    Prediction,
    SpeculativeConfig,
)

DEFAULT_PROFILE = "smollm2"


Constraint = tuple[str | None, str | None]
"""(grammar, JSON schema), at most one of them set."""


def with_profile(options: Options) -> tuple[Options, Profile | None]:
    """The options over the defaults of the profile that applies, those over the user's own, and
    that profile.

    Raises UsageError for a profile that is not there or is wrong.
    """
    profile = chosen_profile(options)
    options = _with_usual_models(options)
    if profile is not None:
        options = options.over(profile.defaults.given())
    settings = {name: value for name, value in options.config.items() if OPTIONS[name].setting}
    return options.over(settings), profile


def _with_usual_models(options: Options) -> Options:
    """With the user's own profile and models where no target is named."""
    if options.profile is not None or options.model is not None:
        return options
    names = ("profile", "model", "model_draft")
    return options.over({name: options.config[name] for name in names if name in options.config})


def chosen_profile(options: Options) -> Profile | None:
    """The profile asked for; without one, the embedded pair's where no target is named either.

    Raises UsageError for a profile that is not there or is wrong.
    """
    options = _with_usual_models(options)
    if options.profile is not None:
        return load_profile(options.profile)
    return load_profile(DEFAULT_PROFILE) if options.model is None else None


Model = str | Recipe | None


def named_models(options: Options, profile: Profile | None) -> tuple[Model, Model]:
    """Target and draft as they are named; another target than the profile's has its own draft."""
    if profile is None or options.model is not None:
        return options.model, options.model_draft
    return profile.target_model, options.model_draft or profile.draft_model


def prepared_setup(
    options: Options,
    profile: Profile | None,
    feedback: Feedback = SILENT,
    *,
    slots: int | None = 1,
    config: SpeculativeConfig | None = None,
) -> Setup:
    """What the options ask for, with every model as a local file, fetched or made if need be.

    `config` replaces what the options say of drafting. Raises UsageError and what `resolve` raises.
    """
    options = with_servers(options)
    target, drafting_model = named_models(options, profile)
    if target is None:
        raise UsageError("no target model was given", hint="name one with -m")
    replaced = [name for name in REPLACED_BY_SUFFIX if name in (options.spec_type or "").split(",")]
    if replaced:
        feedback.note(f"{', '.join(replaced)}: suffix drafting is used instead")
    by_default = config is None and options.spec_type in (None, AUTO)
    if config is None:
        config = chosen_drafting(options, drafting_model)
    elif config.models:
        drafting_model = str(config.models[0].model)
    if options.no_draft:
        config = config.without_model()
    if options.model_draft is not None and not config.models:
        raise UsageError(
            f"a draft model was given ({options.model_draft}), but other flags leave it out",
            hint="drop -md, or the --no-draft, --draft 0 or --spec-type that leaves it out",
        )
    target_file = _local(target, feedback)
    if config.models and drafting_model is not None:
        config = _with_file(config, drafting_model, target_file, feedback)
    elif by_default and not config.models:
        config = _with_own_heads(config, target_file, options, feedback)
    for note in machine_notes(options):
        feedback.note(note)
    file = options.chat_template_file
    template = chosen_template(options.chat_template, file and read_text(file))
    return Setup(
        target=target_file,
        chat_template=template,
        template_variables=template_variables(options, template),
        n_ctx=options.number("ctx_size"),
        flash_attention=options.flash_attn or "auto",
        target_placement=placement(options.given()),
        speculative=config,
        recalibrate=bool(options.recalibrate),
        slots=slots,
        exact=bool(options.exact),
    )


def machine_notes(options: Options) -> Iterator[str]:
    """What the options ask of this machine that it does not have; it works all the same."""
    cores = len(allowed_cores())
    for name in ("threads", "threads_draft"):
        count = options.number(name)
        if count is not None and count > cores:
            yield (
                f"{OPTIONS[name].flag} {count} is more than the number of cores here "
                f"({cores}): such threads wait for each other"
            )
    wanted = [
        OPTIONS[name].flag
        for name in ("gpu_layers", "gpu_layers_draft")
        if getattr(options, name) not in (None, AUTO, 0, -1)
    ]
    if wanted and not library.supports_gpu():
        yield (
            f"{' and '.join(wanted)} without effect: llama.cpp finds no GPU here "
            "(specli doctor says why)"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command that generates text works with; `options` are those over their defaults."""

    options: Options
    profile: Profile | None
    constraint: Constraint
    sampling: SamplingParams
    setup: Setup

    def request(
        self, prompt: list[int], grammar: GrammarState | None = None, **more: Any
    ) -> GenerationRequest:
        """A prompt in tokens as the engine takes it; `more` are fields of a request."""
        return GenerationRequest(
            prompt=prompt,
            max_tokens=max_tokens_of(self.options),
            sampling=self.sampling,
            stops=self.options.stop or (),
            ignore_end=bool(self.options.ignore_eos),
            grammar=grammar,
            **more,
        )


def planned(
    options: Options, feedback: Feedback = SILENT, *, slots: int | None = 1, steady: bool = False
) -> Plan:
    """A plan of what was given, with every model as a local file; `steady` as in `Setup`.

    Raises UsageError and what `resolve` raises.
    """
    library.show_log(options.verbose)
    options, profile = with_profile(options)
    constraint, sampling = constraint_of(options), sampling_of(options)
    if not options.raw:
        make_ready()
    setup = prepared_setup(options, profile, feedback, slots=slots)
    return Plan(options, profile, constraint, sampling, replace(setup, steady=steady))


def loaded_session(setup: Setup, feedback: Feedback = SILENT) -> Session:
    """The models of a set-up in memory, under a view of checking, loading and measuring.

    Raises what `Session` raises.
    """
    with feedback.progress() as report:
        records = cache_dir() / "probes"
        return Session(setup, records, feedback.note, report, skips=feedback.skips)


def _with_file(
    config: SpeculativeConfig, model: str | Recipe, target: Path, feedback: Feedback
) -> SpeculativeConfig:
    """The same with the file of its draft model or head, whichever the file is."""
    if model == AUTO:
        strict = config.draft_model is not None and config.draft_model.strict_vocab
        file = automatic_draft(target, strict_vocab=strict)
        feedback.note(f"using draft model {file.stem}")
    else:
        file = _local(model, feedback)
    config = config.with_model(_drafting_with(file, config.models[0]))
    if config.head is not None:
        feedback.note(f"{file.name} is a head: drafting with {config.head.name}")
    return config


def _with_own_heads(
    config: SpeculativeConfig, target: Path, options: Options, feedback: Feedback
) -> SpeculativeConfig:
    """The same, with the MTP layers in the target's file where it has some that can draft."""
    header = check_file(target)
    mtp = read_mtp_layers(header)
    if mtp is None or options.no_mtp or options.no_draft or options.draft_max == 0:
        return config
    rule = mtp_graph(read_facts(header), mtp)
    if rule.verdict == "fail":
        feedback.note(f"{target.name} has MTP layers, but {rule.detail}")
        return config
    feedback.note(
        f"drafting with {target.name}'s own MTP layers ({rule.detail}); --no-mtp leaves them out"
    )
    # Without a drafter, the lengths that the options ask for were none of anybody's.
    own = speculative_config({**options.given(), "spec_type": MTP})
    heads = (one for one in own.drafters if isinstance(one, Head))
    return own.with_drafters((*heads, *config.drafters))


def _drafting_with(file: Path, asked: DraftModel | Head) -> DraftModel | Head:
    """The drafter that a file is. Raises UsageError where another kind was asked for by name."""
    kind = head_kind(check_file(file))
    if isinstance(asked, Head) and kind != asked.kind:
        what = "a draft model" if kind is None else f"a head for {kind}"
        raise UsageError(
            f"--spec-type {asked.kind} was given, but {file.name} is {what}",
            hint="drop --spec-type: the file's header says what it is",
        )
    return replace(asked, model=file) if kind is None else Head(kind, file, asked.placement)


def chosen_drafting(options: Options, model: str | Recipe | None) -> SpeculativeConfig:
    """The drafters that the options ask for, with `model` as the draft model where one drafts.

    Raises UsageError for what could draft nothing, and for a prediction that cannot be read.
    """
    values = {**options.given(), "model_draft": None if model is None else str(model)}
    if options.prediction is not None:
        values["prediction"] = read_text(options.prediction)
    return speculative_config(values)


def sampling_of(options: Options) -> SamplingParams:
    """The sampling parameters; a seed of -1, or none, is drawn here."""
    given = {
        one.name: value
        for one in fields(SamplingParams)
        if (value := getattr(options, OPTION_NAMES.get(one.name, one.name))) is not None
    }
    if "samplers" in given:
        given["samplers"] = sampler_names(given["samplers"])
    if given.get("dry_breakers") == ("none",):
        given["dry_breakers"] = ()
    if options.seed is None or options.seed < 0:
        given["seed"] = secrets.randbits(32)
    return SamplingParams(**given)


def _local(model: str | Recipe, feedback: Feedback) -> Path:
    with feedback.progress() as report:
        return resolve(model, quantize, report)


def constraint_of(options: Options) -> Constraint:
    """What the text must follow. Raises UsageError for more than one."""
    grammar, schema = options.grammar, options.json_schema
    if sum(given is not None for given in (grammar, options.grammar_file, schema)) > 1:
        raise UsageError(
            "more than one of --grammar, --grammar-file and --json-schema was given",
            hint="a text follows one grammar: give one of them",
        )
    if options.grammar_file is not None:
        return read_text(options.grammar_file), None
    if schema is not None and not schema.lstrip().startswith(("{", "true", "false")):
        return None, read_text(Path(schema))
    return grammar, schema


def max_tokens_of(options: Options) -> int | None:
    """The limit of generated tokens; None without one."""
    return None if options.predict is None or options.predict < 0 else options.predict


def require_known_tokens(sampling: SamplingParams, model: LoadedModel) -> None:
    """Raises UsageError where --logit-bias names a token that the model does not have."""
    for token in sampling.logit_bias:
        if token >= model.vocab.size:
            raise UsageError(
                f"--logit-bias names token {token}, "
                f"but {model.path.name} has only {model.vocab.size}",
                hint=f"ids go from 0 to {model.vocab.size - 1}",
            )


def settings(setup: Setup, sampling: SamplingParams) -> dict[str, object]:
    """What was in force, by the flags' names: defaults of other tools change silently."""
    config = setup.speculative
    lengths = config.policy if isinstance(config.policy, FixedLength) else None
    length: object = "auto" if lengths is None else lengths.draft_max
    proposing = [
        one.name for one in config.drafters if not (isinstance(one, Prediction) and not one.text)
    ]
    return {
        "model": str(setup.target),
        "model_draft": str(config.models[0].model) if config.models else None,
        "exact": setup.exact,
        "draft": length if config.drafters else 0,
        "draft_min": None if lengths is None else lengths.draft_min,
        "draft_p_min": None if lengths is None else lengths.p_min,
        "drafters": proposing,
        "ngram_size": None if config.ngram is None else config.ngram.size_n,
        "ngram_draft": None if config.ngram is None else config.ngram.size_m,
        "temp": sampling.temperature,
        "seed": None if sampling.greedy else sampling.seed,
    }
