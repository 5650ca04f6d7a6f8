"""Grammars in llama.cpp's GBNF."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from specli.errors import UsageError
from specli.llama import library
from specli.llama.decoder import Logits
from specli.llama.grammar_trial import require_harmless
from specli.llama.vocab import Vocab

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Grammar:
    """The state of a grammar along one text: which tokens may come next."""

    def __init__(self, vocab: Vocab, gbnf: str, root: str = "root") -> None:
        """Raises UsageError, with llama.cpp's reason, when the grammar does not parse."""
        library.start()
        self._handle: Any = None
        require_harmless(gbnf, root)
        library.forget_log()
        with library.holding_stderr() as written:
            handle = llama_cpp.llama_sampler_init_grammar(
                vocab.handle, gbnf.encode(), root.encode()
            )
            reason = _reason(written())
        if not handle:
            raise UsageError(
                f"the grammar does not parse: {reason}",
                hint=f"it must be GBNF with a rule called {root!r}",
            )
        self._handle = handle
        self._all = np.zeros(vocab.size, dtype=_CANDIDATE)
        self._ids = np.arange(vocab.size, dtype=np.int32)
        self._one = np.zeros(1, dtype=_CANDIDATE)

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        self._one["id"][0] = token
        self._one["logit"][0] = 1.0
        self._apply(self._one)
        return bool(self._one["logit"][0] == 1.0)

    def mask(self, logits: Logits) -> NDArray[np.float32]:
        """A copy of `logits` with -inf for every token that may not come next."""
        self._all["id"] = self._ids
        self._all["logit"] = logits
        self._apply(self._all)
        masked = np.full(len(self._ids), -np.inf, dtype=np.float32)
        masked[self._all["id"]] = self._all["logit"]
        return masked

    def accept(self, token: int) -> None:
        """Move on by a token that `allows` has allowed; any other would end the process."""
        llama_cpp.llama_sampler_accept(self._handle, token)

    def _apply(self, candidates: NDArray[Any]) -> None:
        data = ctypes.cast(candidates.ctypes.data, ctypes.POINTER(llama_cpp.llama_token_data))
        array = llama_cpp.llama_token_data_array(data, len(candidates), -1, False)
        llama_cpp.llama_sampler_apply(self._handle, ctypes.byref(array))

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            llama_cpp.llama_sampler_free(handle)


def _reason(printed: str) -> str:
    """Why llama.cpp refused a grammar: the first line that its parser printed, which goes to
    stderr and is followed by the whole grammar, or else what it logged."""
    first = printed.partition("\n")[0].rpartition("error parsing grammar: ")[2].strip()
    if first.endswith(" at"):
        first += " the end"
    return first or library.log_errors()
