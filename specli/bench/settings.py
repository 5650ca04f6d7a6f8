"""Which settings a bench compares, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from specli.bench.report import PLAIN_NAME
from specli.bench.runner import Contender
from specli.bench.space import Drafting
from specli.engine.policy import FixedPolicy
from specli.session import Setup


def plain_contender(setup: Setup) -> Contender:
    """The target alone."""
    return Contender(
        PLAIN_NAME,
        replace(
            setup,
            draft=None,
            ngram=None,
            suffix=False,
            lookup=False,
            lookup_cache=None,
            lookup_static=None,
            tables=(),
            prediction=None,
            policy=FixedPolicy(draft_max=0),
        ),
    )


def contenders(setup: Setup, variants: Iterable[Setup]) -> list[Contender]:
    """Plain decoding, then every variant that drafts, each name once."""
    found = {PLAIN_NAME: plain_contender(setup)}
    for variant in variants:
        if variant.drafts:
            name = setting_name(variant)
            found.setdefault(name, Contender(name, variant))
    return list(found.values())


def setting_name(setup: Setup) -> str:
    """How a set-up drafts, in a few words."""
    drafting = Drafting(
        draft=setup.draft is not None,
        suffix=setup.suffix,
        ngram=setup.ngram,
        policy=setup.policy,
    )
    name = str(drafting) if drafting.drafts else ""
    others = ["lookup"] * setup.lookup + [table.kind for table in setup.tables]
    return " + ".join(part for part in (name, *others) if part)
