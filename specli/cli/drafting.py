"""From flags to a drafting configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specli.cli.options import RunOptions
from specli.cli.run import read_text
from specli.speculative import SpeculativeConfig, speculative_config

if TYPE_CHECKING:
    from specli.hub.made import Recipe


def chosen_drafting(options: RunOptions, model: str | Recipe | None) -> SpeculativeConfig:
    """The drafters that the options ask for, with `model` as the draft model where one drafts.

    Raises UsageError for what could draft nothing, and for a prediction that cannot be read.
    """
    values = {**options.given(), "model_draft": None if model is None else str(model)}
    if options.prediction is not None:
        values["prediction"] = read_text(options.prediction)
    return speculative_config(values)
