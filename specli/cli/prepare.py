"""What every command that generates text prepares alike: profile, pair, settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specli.cli.drafting import chosen_drafting
from specli.cli.failures import say
from specli.cli.options import RunOptions
from specli.errors import UsageError
from specli.hub.references import resolve
from specli.llama.model import Model
from specli.llama.quantize import quantize
from specli.profiles import Profile, load_profile
from specli.sampling.params import SamplingParams
from specli.session import Setup
from specli.speculative import DraftModel, FixedLength, Prediction

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
    slots: int | None = 1,
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
    config = chosen_drafting(options, drafting_model)
    if not draft:
        config = config.without_model()
    if options.model_draft is not None and config.draft_model is None:
        raise UsageError(
            f"a draft model was given ({options.model_draft}), but other flags leave it out",
            hint="drop -md, or the --no-draft, --draft 0 or --spec-type that leaves it out",
        )
    target_file = _local(target, quiet=quiet)
    if config.draft_model is not None and drafting_model is not None:
        file = _draft_file(drafting_model, target_file, quiet=quiet)
        config = config.with_model(DraftModel(file, config.draft_model.placement))
    return Setup(
        target=target_file,
        n_ctx=options.ctx_size,
        flash_attention=options.flash_attn or "auto",
        target_placement=options.target_placement(),
        speculative=config,
        recalibrate=recalibrate,
        slots=slots,
    )


def _draft_file(model: str | Recipe, target: Path, *, quiet: bool) -> Path:
    from specli.cli.auto_draft import AUTO, automatic_draft

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
    config, draft = setup.speculative, setup.draft
    lengths = config.policy if isinstance(config.policy, FixedLength) else None
    length: object = "auto" if lengths is None else lengths.draft_max
    proposing = [
        one.name for one in config.drafters if not (isinstance(one, Prediction) and not one.text)
    ]
    return {
        "model": str(setup.target),
        "model_draft": None if draft is None else str(draft.model),
        "draft": length if config.drafters else 0,
        "draft_min": None if lengths is None else lengths.draft_min,
        "draft_p_min": None if lengths is None else lengths.p_min,
        "drafters": proposing,
        "ngram_size": None if config.ngram is None else config.ngram.size_n,
        "ngram_draft": None if config.ngram is None else config.ngram.size_m,
        "temp": sampling.temperature,
        "seed": None if sampling.greedy else sampling.seed,
    }
