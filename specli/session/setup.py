"""What decides how text is generated, apart from the prompt and the sampling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from specli.speculative import DraftModel, Head, Placement, SpeculativeConfig


@dataclass(frozen=True, slots=True)
class Setup:
    """A target, and how it and its drafters run.

    `n_ctx` is the context of each sequence in tokens, 0 the model's own; `slots` is how many
    sequences run at once, None as many as memory and costs suggest. A draft model's `model` is
    a file here.
    """

    target: Path
    target_placement: Placement = field(default_factory=Placement)
    n_ctx: int | None = None
    flash_attention: str = "auto"
    speculative: SpeculativeConfig = field(default_factory=SpeculativeConfig)
    chat_template: str | None = None
    """Jinja to use in place of the target's own template."""
    template_variables: str = ""
    """Jinja to put before the template."""
    recalibrate: bool = False
    """Measure the costs again, also where they are known."""
    slots: int | None = 1
    steady: bool = False
    """Keep the number of threads whatever other programs do, because texts or speeds are compared:
    past 512 tokens llama.cpp rounds a single row by it."""
    exact: bool = False
    """Compute every row in batches whose results do not depend on the batch; see llama.exact."""

    @property
    def draft(self) -> DraftModel | None:
        return self.speculative.draft_model

    @property
    def own_head(self) -> Head | None:
        """The head that is in the target's own file."""
        head = self.speculative.head
        return head if head is not None and head.model is None else None

    @property
    def files(self) -> tuple[Path, ...]:
        """The target's file, and those of a draft model and of a head where there are such."""
        return (self.target, *(Path(str(one.model)) for one in self.speculative.models))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where each of `files` runs."""
        return (self.target_placement, *(one.placement for one in self.speculative.models))

    @property
    def heads(self) -> tuple[Head | None, ...]:
        """For each of `files` the head that it is; None for a model of its own."""
        models = self.speculative.models
        return (None, *(one if isinstance(one, Head) else None for one in models))

    def with_threads(self, target: int | None, draft: int | None) -> Setup:
        """The same with other thread counts; None is one per physical core."""
        config = self.speculative.with_drafters(
            replace(one, placement=replace(one.placement, threads=draft))
            if isinstance(one, DraftModel | Head)
            else one
            for one in self.speculative.drafters
        )
        return replace(
            self,
            target_placement=replace(self.target_placement, threads=target),
            speculative=config,
        )
