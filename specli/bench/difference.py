"""Whether a text equals plain decoding's, where it first differs, and whether it may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from specli.engine.replay import Deviation, replay
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.llama.decoder import Decoder, common_prefix
from specli.llama.vocab import Vocab

Verdict = Literal["identical", "kernels", "fault", "unchecked"]
"""`kernels`: computed again in its own batches, the target chooses every token of the text, so the
difference is llama.cpp's. `fault`: it does not. `unchecked`: the text began with a cache of another
one, of which nobody knows the batches."""

Turns = Sequence[tuple[GenerationRequest, Generation]]
"""What was asked, with grammars at their start, and what came of it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`position` counts generated tokens from 0; the fields from it on are None when identical.

    `wrong_at` is the first token that the target does not choose when the text's own batches are
    computed again.
    """

    tokens: int
    verdict: Verdict = "identical"
    position: int | None = None
    speculative: str | None = None
    plain: str | None = None
    wrong_at: int | None = None

    @property
    def identical(self) -> bool:
        return self.verdict == "identical"

    @property
    def passed(self) -> bool:
        return self.verdict != "fault"

    @property
    def difference(self) -> str:
        """The first difference in words."""
        ours, theirs = _quoted(self.speculative), _quoted(self.plain)
        where = f"differs from plain decoding at token {self.position}: {ours} instead of {theirs}"
        match self.verdict:
            case "kernels":
                return f"{where}; the kernels: the same batches computed again give the same text"
            case "unchecked":
                return f"{where}; not checked, because the text began with another one's cache"
            case _:
                return (
                    f"{where}; a fault: the same batches computed again give another text "
                    f"from token {self.wrong_at} on"
                )

    @property
    def sentence(self) -> str:
        same = f"identical to plain decoding, {self.tokens} tokens"
        return f"check: {same if self.identical else self.difference}"

    def as_dict(self) -> dict[str, object]:
        return {"identical": self.identical, **asdict(self)}


def compared(
    turns: Turns, plain: Sequence[Generation], target: Decoder, vocab: Vocab
) -> Comparison:
    """Compare a text with plain decoding's; where they differ, `turns` are replayed on slot 0.

    Nothing else may use the target meanwhile. Raises DecodeError.
    """
    ours = [token for _request, one in turns for token in one.tokens]
    theirs = [token for one in plain for token in one.tokens]
    same_end = [one.finish for _request, one in turns] == [one.finish for one in plain]
    same_text = [one.text for _request, one in turns] == [one.text for one in plain]
    if ours == theirs and same_text and same_end:
        return Comparison(tokens=len(theirs))
    wrong = replay(target, vocab, turns)
    began_elsewhere = any(one.prefilled[:1] not in ([], [0]) for _request, one in turns[:1])
    return described(ours, theirs, wrong, vocab.name, began_elsewhere=began_elsewhere)


def described(
    ours: Sequence[int],
    plain: Sequence[int],
    wrong: Deviation | None,
    name: Callable[[int], str],
    *,
    began_elsewhere: bool = False,
) -> Comparison:
    """The comparison of two texts that differ; `wrong` is what a replay of ours found."""
    position = common_prefix(ours, plain)
    verdict: Verdict = "kernels"
    if wrong is not None:
        verdict = "unchecked" if began_elsewhere else "fault"
    elif list(ours) == list(plain):
        # The same tokens cannot give another text or another end.
        verdict = "fault"
    return Comparison(
        tokens=len(plain),
        verdict=verdict,
        position=position,
        speculative=name(ours[position]) if position < len(ours) else None,
        plain=name(plain[position]) if position < len(plain) else None,
        wrong_at=None if wrong is None else wrong.position,
    )


def _quoted(name: str | None) -> str:
    return "the end" if name is None else repr(name)
