"""Speculation as one request wants it, in llama.cpp's, vLLM's or specli's spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from specli.batch.speculation import limits_of
from specli.drafting_settings import VLLM_METHODS
from specli.engine.sequence import Limits
from specli.errors import UsageError
from specli.server.errors import wrong
from specli.server.fields import Sampling, Speculative
from specli.speculative import DrafterConfig

Value = TypeVar("Value")


def speculation(
    body: Sampling, drafters: Sequence[DrafterConfig], *, predicts: bool
) -> tuple[bool, Limits]:
    """Whether to draft, and within which limits; `drafters` are those that the server has.

    Raises RequestError for a drafter or a model that the server has not loaded: none is loaded
    because a request asks for it.
    """
    asked = body.speculative or Speculative()
    kinds = asked.drafters
    field = "speculative.type" if kinds is None else "speculative.drafters"
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
    merged = Speculative(
        enabled=asked.enabled,
        drafters=kinds,
        type=asked.type or body.spec_type,
        n_max=most,
        n_min=_first(asked.n_min, body.n_min),
        p_min=_first(asked.p_min, body.p_min),
    )
    try:
        return limits_of(merged, drafters, predicts=predicts)
    except UsageError as error:
        raise wrong(field, error.message) from None


def _first(*values: Value | None) -> Value | None:
    """The first that is given."""
    return next((value for value in values if value is not None), None)
