"""What a caller asks the engine for, and the engine's own record of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from specli.engine.text import TextStream
from specli.sampling.chooser import Chooser, GrammarState
from specli.sampling.params import SamplingParams


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request allows its drafters, within what the policy decides.

    Only the drafters in `names` propose (None: all), at most `most` tokens a round (None: no
    bound), none less probable than `p_min`; proposals shorter than `least` are dropped.
    """

    names: frozenset[str] | None = None
    most: int | None = None
    least: int = 0
    p_min: float = 0.0

    def allows(self, name: str) -> bool:
        return self.names is None or name in self.names


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt in tokens and how to continue it.

    `max_tokens` None means until the context is full. `prediction` is text that the answer is
    expected to repeat in part. `speculate` False decodes plainly; `limits` bound what is drafted.
    `exact` insists on a target whose results do not depend on batches. With `margins`, rounds say
    how close each choice was, and with `top_logprobs` (0 or more) how probable it was, and so many
    of the best. Control tokens in `spelled` are part of the text.
    """

    prompt: list[int]
    max_tokens: int | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stops: tuple[str, ...] = ()
    ignore_end: bool = False
    grammar: GrammarState | None = None
    prediction: tuple[int, ...] = ()
    speculate: bool = True
    limits: Limits = UNLIMITED
    margins: bool = False
    exact: bool = False
    top_logprobs: int | None = None
    spelled: frozenset[int] = frozenset()


@dataclass(slots=True)
class Sequence:
    """A live sequence. The last of `tokens` is always still to be decoded by the target."""

    id: int
    slot: int
    request: GenerationRequest
    tokens: list[int]
    cached: int
    """Tokens in the target's cache."""
    reused: int
    """Prompt tokens that were in the cache when the sequence began."""
    chooser: Chooser
    text: TextStream
    prompt_n: int
    drafting: bool = False
    """The prompt is in the cache, but for its last token, and the drafters have seen it."""

    def room(self, n_ctx: int) -> int:
        """Tokens that may still be emitted."""
        room = n_ctx - len(self.tokens)
        if self.request.max_tokens is not None:
            room = min(room, self.request.max_tokens - (len(self.tokens) - self.prompt_n))
        return room
