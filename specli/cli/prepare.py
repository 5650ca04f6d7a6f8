"""What every command that generates text prepares alike: profile, pair, settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specli.cli.drafting import choose_drafting
from specli.cli.failures import say
from specli.cli.options import RunOptions
from specli.cli.run import read_text
from specli.errors import UsageError
from specli.hub.references import resolve
from specli.llama.model import Model
from specli.llama.quantize import quantize
from specli.profiles import Profile, load_profile
from specli.sampling.params import SamplingParams
from specli.session import Setup

if TYPE_CHECKING:
    from specli.hub.made import Recipe

DEFAULT_PROFILE = "smollm2"


def chosen_profile(options: RunOptions, name: str | None) -> Profile | None:
    """The profile asked for; without one, the embedded pair's where no target is named either.

    Raises UsageError for a profile that is not there or is wrong.
    """
    if name is not None:
        return load_profile(name)
    return load_profile(DEFAULT_PROFILE) if options.model is None else None


def prepared_setup(
    options: RunOptions,
    profile: Profile | None,
    *,
    draft: bool = True,
    recalibrate: bool = False,
    quiet: bool = False,
    slots: int = 1,
) -> Setup:
    """What the options ask for, with every model as a local file, fetched or made if need be.

    `draft` False leaves the draft model out. Raises UsageError and what `resolve` raises.
    """
    target: str | Recipe | None = options.model
    drafting_model: str | Recipe | None = options.model_draft
    if profile is not None:
        # Another target than the profile's makes the profile's draft a stranger.
        if target is None and drafting_model is None:
            drafting_model = profile.draft_model
        target = target or profile.target_model
    if target is None:
        raise UsageError("no target model was given", hint="name one with -m")
    drafting = choose_drafting(options)
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
        n_ctx=options.ctx_size,
        flash_attention=options.flash_attn or "auto",
        target_placement=options.target_placement(),
        draft_placement=options.draft_placement(),
        ngram=drafting.ngram,
        suffix=drafting.suffix,
        lookup=drafting.lookup,
        lookup_cache=options.lookup_cache,
        lookup_static=options.lookup_cache_static,
        tables=drafting.tables,
        prediction=None if options.prediction is None else read_text(options.prediction),
        policy=drafting.policy,
        recalibrate=recalibrate,
        slots=slots,
    )


def _draft_file(model: str | Recipe | None, target: Path, *, quiet: bool) -> Path | None:
    from specli.cli.auto_draft import AUTO, automatic_draft

    if model is None:
        return None
    if model != AUTO:
        return _local(model, quiet=quiet)
    draft = automatic_draft(target)
    if not quiet:
        say(f"note: {draft.name} drafts")
    return draft


def _local(model: str | Recipe, *, quiet: bool) -> Path:
    from specli.ui.progress import reporting

    with reporting(quiet=quiet) as report:
        return resolve(model, quantize, report)


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
                *((settings.kind, True) for settings in setup.tables),
                ("prediction", setup.prediction),
            )
            if used
        ],
        "ngram_size": None if setup.ngram is None else setup.ngram.size,
        "ngram_draft": None if setup.ngram is None else setup.ngram.draft_max,
        "temp": sampling.temperature,
        "seed": None if sampling.greedy else sampling.seed,
    }
