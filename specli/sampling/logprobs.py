"""How probable the target finds a token, as OpenAI's `logprobs` say it."""

from __future__ import annotations

import math

import numpy as np

from specli.events import TokenLogprob
from specli.llama.decoder import Logits


def logprob(logits: Logits, token: int, best: int) -> TokenLogprob:
    """Of the model's own distribution, as vLLM's `raw_logprobs`; with the `best` tokens.

    `logits` has the size of the vocabulary. Equal logits are ordered by id.
    """
    values = logits.astype(np.float64)
    top = float(values.max())
    total = top + math.log(float(np.exp(values - top).sum()))
    chosen = float(values[token])
    ids = np.argpartition(values, -best)[-best:] if 0 < best < len(values) else np.arange(best)
    ordered = sorted((int(one) for one in ids[: len(values)]), key=lambda one: (-values[one], one))
    return TokenLogprob(
        token=token,
        logprob=chosen - total,
        rank=int(np.count_nonzero(values > chosen)),
        top=[(one, float(values[one]) - total) for one in ordered],
    )
