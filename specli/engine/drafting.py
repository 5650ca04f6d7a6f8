"""Asks drafters for proposals: those that cost nothing always, the others where it may pay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from specli.drafters.protocol import Drafter, Request
from specli.drafters.rule import Rule
from specli.engine.policy.protocol import Costly, Policy, Turn
from specli.engine.sequence import Sequence as Live
from specli.events import Source

Asking = tuple[Live, Turn]
"""A sequence for which tokens may be proposed, and its turn."""


def draft(
    drafters: Sequence[Drafter],
    policy: Policy,
    asking: Sequence[Asking],
    clock: Callable[[], float],
) -> dict[Source, float]:
    """Fill the turns' proposals; returns the milliseconds that each costly drafter took.

    A costly drafter is asked for all its sequences at once, so that they draft in lockstep.
    """
    costly: dict[Source, Drafter] = {}
    for drafter in drafters:
        if drafter.cost.is_free:
            _ask(drafter, [(live, turn, policy.rule(turn)) for live, turn in asking])
        else:
            costly[drafter.name] = drafter
    if not costly:
        return {}
    for live, turn in asking:
        turn.costly = [
            Costly(name, one.cost, one.pending(live.slot, live.tokens))
            for name, one in costly.items()
            if live.request.limits.allows(name)
        ]
    chosen: dict[Source, list[tuple[Live, Turn, Rule]]] = {}
    choices = policy.choose([turn for _live, turn in asking])
    for (live, turn), choice in zip(asking, choices, strict=True):
        if choice is not None:
            turn.asked = next(one for one in turn.costly if one.name == choice.name)
            chosen.setdefault(choice.name, []).append((live, turn, choice.rule))
    took: dict[Source, float] = {}
    for name, asked in chosen.items():
        began = clock()
        _ask(costly[name], asked)
        took[name] = 1000 * (clock() - began)
    return took


def _ask(drafter: Drafter, asked: Sequence[tuple[Live, Turn, Rule]]) -> None:
    asked = [one for one in asked if one[0].request.limits.allows(drafter.name)]
    requests = [
        Request(live.slot, live.tokens, _bounded(rule, live), live.chooser)
        for live, _turn, rule in asked
    ]
    for (_live, turn, _rule), proposal in zip(asked, drafter.propose(requests), strict=True):
        if proposal.error is not None:
            turn.error = proposal.error
        elif proposal:
            turn.proposals.append(proposal)


def _bounded(rule: Rule, live: Live) -> Rule:
    p_min = live.request.limits.p_min
    return replace(rule, p_min=p_min) if p_min > rule.p_min else rule
