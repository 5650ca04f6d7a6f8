"""A grammar that holds from a mark in the text on, as llama.cpp's lazy grammars do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from specli.llama.decoder import Logits
from specli.sampling.chooser import Forcing, GrammarState


class Triggered:
    """Allows everything until the text ends with `mark`; from there on `grammar` decides.

    A token that goes on behind the mark is not allowed: the grammar could not follow it.
    """

    def __init__(self, grammar: GrammarState, mark: str, spell: Callable[[int], bytes]) -> None:
        """`spell` gives the bytes of a token; `mark` is not empty."""
        self._grammar = grammar
        self._mark = mark.encode()
        self._spell = spell
        self._tail = b""
        self._active = False

    def allows(self, token: int) -> bool:
        return self._grammar.allows(token) if self._active else not self._passes(token)

    def mask(self, logits: Logits) -> Logits:
        if self._active:
            return self._grammar.mask(logits)
        masked = logits.copy()
        passing = [token for token in range(len(logits)) if self._passes(token)]
        masked[np.array(passing, dtype=np.int64)] = -np.inf
        return masked

    def _passes(self, token: int) -> bool:
        """Whether the token holds the end of the mark and what follows it."""
        text = self._tail + self._spell(token)
        return -1 < text.find(self._mark) < len(text) - len(self._mark)

    def accept(self, token: int) -> None:
        if self._active:
            self._grammar.accept(token)
            return
        self._tail = (self._tail + self._spell(token))[-len(self._mark) :]
        self._active = self._tail == self._mark

    def forced(self) -> Sequence[int]:
        grammar = self._grammar
        return grammar.forced() if self._active and isinstance(grammar, Forcing) else ()
