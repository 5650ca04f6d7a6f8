"""A grammar that holds from a mark in the text on, as llama.cpp's lazy grammars do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specli.llama.decoder import Logits
from specli.sampling.chooser import Forcing, GrammarState


class Triggered:
    """Allows everything until the text ends with `mark`; from there on `grammar` decides.

    A token that goes on behind the mark leaves the text free: the grammar could not follow it.
    """

    def __init__(self, grammar: GrammarState, mark: str, spell: Callable[[int], bytes]) -> None:
        """`spell` gives the bytes of a token; `mark` is not empty."""
        self._grammar = grammar
        self._mark = mark.encode()
        self._spell = spell
        self._tail = b""
        self._active = False

    def allows(self, token: int) -> bool:
        return not self._active or self._grammar.allows(token)

    def mask(self, logits: Logits) -> Logits:
        return self._grammar.mask(logits) if self._active else logits

    def accept(self, token: int) -> None:
        if self._active:
            self._grammar.accept(token)
            return
        self._tail = (self._tail + self._spell(token))[-len(self._mark) :]
        self._active = self._tail == self._mark

    def forced(self) -> Sequence[int]:
        grammar = self._grammar
        return grammar.forced() if self._active and isinstance(grammar, Forcing) else ()
