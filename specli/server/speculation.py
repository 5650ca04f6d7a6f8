"""Speculation as one request wants it, in llama.cpp's, vLLM's or specli's spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from specli.engine.sequence import Limits
from specli.events import PREDICTION
from specli.server.errors import RequestError, wrong
from specli.server.fields import Sampling, Speculative
from specli.speculative import KINDS, VLLM_METHODS, DrafterConfig

Value = TypeVar("Value")

_WORDS = ("auto", "all", "default")
"""Names that mean every drafter of the server."""


def speculation(
    body: Sampling, drafters: Sequence[DrafterConfig], *, predicts: bool
) -> tuple[bool, Limits]:
    """Whether to draft, and within which limits; `drafters` are those that the server has.

    Raises RequestError for a drafter or a model that the server has not loaded: none is loaded
    because a request asks for it.
    """
    given = body.speculative
    asked = given if isinstance(given, Speculative) else Speculative()
    on = asked.enabled if given is None or isinstance(given, Speculative) else given
    kinds = asked.drafters
    field = "speculative.drafters"
    type_ = asked.type or body.spec_type
    if kinds is None and type_ is not None:
        kinds, field = [name.strip() for name in type_.split(",")], "speculative.type"
    most = _first(asked.n_max, body.n_max)
    vllm = body.speculative_config
    if vllm is not None:
        if vllm.model is not None and vllm.method in (None, "draft_model"):
            raise wrong(
                "speculative_config.model", "the draft model is chosen when the server starts"
            )
        if vllm.method is not None:
            kinds, field = [VLLM_METHODS.get(vllm.method, vllm.method)], "speculative_config.method"
        most = _first(vllm.num_speculative_tokens, most)
    if kinds == ["none"] or kinds == [] or most == 0:
        return False, Limits()
    names = None if kinds is None else _names(kinds, drafters, field)
    if names is not None and predicts:
        names |= {PREDICTION}
    p_min = _first(asked.p_min, body.p_min) or 0.0
    return on, Limits(names, most, _first(asked.n_min, body.n_min) or 0, p_min)


def _names(
    kinds: list[str], drafters: Sequence[DrafterConfig], field: str
) -> frozenset[str] | None:
    """The names of these kinds of drafters."""
    loaded = {one.kind: one.name for one in drafters}
    names = {one.name: one.name for one in drafters}
    found = set()
    for kind in kinds:
        if kind in _WORDS:
            return None
        name = names.get(kind) or loaded.get(KINDS.get(kind, kind))
        if name is None:
            raise RequestError(
                400,
                f"{field}: this server has no drafter {kind[:40]!r}; it has: "
                + (", ".join(names) or "none"),
                param=field,
            )
        found.add(name)
    return frozenset(found)


def _first(*values: Value | None) -> Value | None:
    """The first that is given."""
    return next((value for value in values if value is not None), None)
