"""What one answer of many allows its drafters."""

from __future__ import annotations

from collections.abc import Sequence

from specli.batch.fields import Speculative
from specli.engine.sequence import UNLIMITED, Limits
from specli.errors import UsageError
from specli.events import PREDICTION
from specli.speculative import KINDS, DrafterConfig

_EVERY = ("auto", "all", "default")
"""Names that mean every drafter there is."""


def limits_of(
    asked: Speculative, drafters: Sequence[DrafterConfig], *, predicts: bool
) -> tuple[bool, Limits]:
    """Whether to draft, and within which limits.

    `predicts`: there is a prediction, which then drafts too. Raises UsageError for a drafter that
    is not among `drafters`.
    """
    kinds = asked.drafters
    if kinds is None and asked.type is not None:
        kinds = asked.type.split(",")
    if not asked.enabled or asked.n_max == 0 or kinds in ([], ["none"]):
        return False, UNLIMITED
    names = None if kinds is None else drafter_names(kinds, drafters)
    if names is not None and predicts:
        names |= {PREDICTION}
    return True, Limits(names, asked.n_max, asked.n_min or 0, asked.p_min or 0.0)


def drafter_names(kinds: Sequence[str], drafters: Sequence[DrafterConfig]) -> frozenset[str] | None:
    """The names of these kinds of drafters; None for all. Raises UsageError for one that is not
    among `drafters`."""
    names = {one.kind: one.name for one in drafters} | {one.name: one.name for one in drafters}
    found = set()
    for kind in map(str.strip, kinds):
        if kind in _EVERY:
            return None
        name = names.get(kind) or names.get(KINDS.get(kind, kind))
        if name is None:
            there = ", ".join(one.name for one in drafters) or "none"
            raise UsageError(f"no drafter {kind[:40]!r} is loaded; there are: {there}")
        found.add(name)
    return frozenset(found)
