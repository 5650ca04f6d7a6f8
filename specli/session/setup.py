"""What decides how text is generated, apart from the prompt and the sampling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from specli.speculative import DraftModel, Placement, SpeculativeConfig


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
    def files(self) -> tuple[Path, ...]:
        """The target's file and, where there is one, the draft's."""
        return (self.target,) if self.draft is None else (self.target, Path(self.draft.model))

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where each of `files` runs."""
        own = self.target_placement
        return (own,) if self.draft is None else (own, self.draft.placement)

    def with_threads(self, target: int | None, draft: int | None) -> Setup:
        """The same with other thread counts; None is one per physical core."""
        config = self.speculative
        if self.draft is not None:
            placement = replace(self.draft.placement, threads=draft)
            config = config.with_model(replace(self.draft, placement=placement))
        return replace(
            self,
            target_placement=replace(self.target_placement, threads=target),
            speculative=config,
        )
