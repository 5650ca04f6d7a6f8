"""What every command that generates text prepares alike: profile, pair, settings."""

from __future__ import annotations

import secrets
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from specli.cli.drafting import choose_drafting, replaced_kinds
from specli.cli.output import print_stderr as say
from specli.errors import UsageError
from specli.hub.references import resolve
from specli.llama.model import Model
from specli.llama.quantize import quantize
from specli.options import ALL, AUTO, Options
from specli.profiles import Profile, load_profile
from specli.sampling.params import SamplingParams
from specli.session import Placement, Setup

if TYPE_CHECKING:
    from specli.hub.made import Recipe

DEFAULT_PROFILE = "smollm2"

FLAGS = {"temperature": "temp", "penalty_last_n": "repeat_last_n"}
"""Sampling parameters whose options have other names."""
SAMPLING_FIELDS = [field.name for field in fields(SamplingParams)]


def chosen_profile(options: Options) -> Profile | None:
    """The profile asked for; without one, the embedded pair's where no target is named either.

    Raises UsageError for a profile that is not there or is wrong.
    """
    if options.profile is not None:
        return load_profile(options.profile)
    return load_profile(DEFAULT_PROFILE) if options.model is None else None


def prepared_setup(
    options: Options,
    profile: Profile | None,
    *,
    quiet: bool = False,
) -> Setup:
    """What the options ask for, with every model as a local file, fetched or made if need be.

    Raises UsageError and what `resolve` raises.
    """
    draft = not options.no_draft
    target: str | Recipe | None = options.model
    drafting_model: str | Recipe | None = options.model_draft
    if profile is not None:
        # Another target than the profile's invalidates the profile's draft.
        if target is None and drafting_model is None:
            drafting_model = profile.draft_model
        target = target or profile.target_model
    if target is None:
        raise UsageError("no target model was given", hint="name one with -m")
    drafting = choose_drafting(options)
    replaced = replaced_kinds(options)
    if replaced and not quiet:
        say(f"note: {', '.join(replaced)}: suffix drafting is used instead")
    if options.model_draft is not None and not (draft and drafting.draft):
        raise UsageError(
            f"a draft model was given ({options.model_draft}), but other flags leave it out",
            hint="drop -md, or the --no-draft, --draft 0 or --spec-type that leaves it out",
        )
    if drafting_model is None and options.spec_type is not None and drafting.draft and draft:
        raise UsageError(
            f"--spec-type {options.spec_type} needs a draft model", hint="name one with -md"
        )
    if not (draft and drafting.draft):
        drafting_model = None
    target_file = _local(target, quiet=quiet)
    return Setup(
        target=target_file,
        draft=_draft_file(drafting_model, target_file, quiet=quiet),
        n_ctx=options.number("ctx_size"),
        flash_attention=options.flash_attn or "auto",
        target_placement=target_placement(options),
        draft_placement=draft_placement(options),
        ngram=drafting.ngram,
        suffix=drafting.suffix,
        lookup=drafting.lookup,
        lookup_cache=options.lookup_cache,
        prediction=None if options.prediction is None else read_text(options.prediction),
        policy=drafting.policy,
        recalibrate=bool(options.recalibrate),
    )


def target_placement(options: Options) -> Placement:
    """Where the target runs, and with what."""
    return Placement(
        gpu_layers=_layers(options.number("gpu_layers")),
        devices=_devices(options.device),
        threads=options.number("threads"),
        type_k=options.cache_type_k or "f16",
        type_v=options.cache_type_v or "f16",
    )


def draft_placement(options: Options) -> Placement:
    """The same for the draft model, which has the target's threads where it has none itself."""
    return Placement(
        gpu_layers=_layers(options.number("gpu_layers_draft")),
        devices=_devices(options.device_draft),
        threads=options.number("threads_draft") or options.number("threads"),
        type_k=options.cache_type_k_draft or "f16",
        type_v=options.cache_type_v_draft or "f16",
    )


def _layers(given: int | str | None) -> int | None:
    """llama.cpp's number of layers: -1 is all, None leaves the choice to specli."""
    return -1 if given == ALL else given  # type: ignore[return-value]


def _devices(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip()) if names else ()


def sampling_of(options: Options) -> SamplingParams:
    """The sampling parameters; a seed of -1, or none, is drawn here."""
    seed = options.seed
    given = {
        parameter: value
        for parameter in SAMPLING_FIELDS
        if (value := getattr(options, FLAGS.get(parameter, parameter))) is not None
    }
    if seed is None or seed < 0:
        given["seed"] = secrets.randbits(32)
    return SamplingParams(**given)


def _draft_file(model: str | Recipe | None, target: Path, *, quiet: bool) -> Path | None:
    from specli.cli.auto_draft import automatic_draft

    if model is None:
        return None
    if model != AUTO:
        return _local(model, quiet=quiet)
    draft = automatic_draft(target)
    if not quiet:
        say(f"note: using draft model {draft.stem}")
    return draft


def _local(model: str | Recipe, *, quiet: bool) -> Path:
    from specli.ui.progress import reporting

    with reporting(quiet=quiet) as report:
        return resolve(model, quantize, report)


def read_text(path: Path) -> str:
    """The text of a file. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=f"check the path, seen from {Path.cwd()}"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from None


Constraint = tuple[str | None, str | None]
"""(grammar, JSON schema), at most one of them set."""


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


def require_known_tokens(sampling: SamplingParams, model: Model) -> None:
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
