"""A draft head's context: batches that carry hidden states, and the hidden states that come out."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from specli.errors import DecodeError
from specli.llama import features, library, staging
from specli.llama.context import Context, point
from specli.llama.model import Model
from specli.llama.opening import ContextOptions

States = NDArray[np.float32]
"""Hidden states, one row for each token."""


class HeadContext(Context):
    """A context whose batches may hold hidden states of `width` floats. Close it before the
    target's."""

    def __init__(
        self, model: Model, options: ContextOptions, width: int, *, causal: bool = True
    ) -> None:
        """Allocate the cache. Raises LoadError where llama.cpp cannot, or has no such heads.

        Without `causal`, every token of a batch sees all others of its sequence.
        """
        staging.require("drafting with a head", staging.set_nextn, staging.nextn_of_row)
        super().__init__(model, options)
        self.hidden_size = model.state_size
        self.n_ubatch: int = llama_cpp.llama_n_ubatch(self.handle)
        self._causal = causal
        self._states = np.zeros((self.n_batch, width), dtype=np.float32)
        # Embeddings without tokens have four positions each: time, height, width and none.
        self._sections: NDArray[np.int32] | None = None
        if llama_cpp.llama_model_rope_type(model.handle) == llama_cpp.LLAMA_ROPE_TYPE_MROPE:
            self._sections = np.zeros(4 * self.n_batch, dtype=np.int32)
        # Whatever the model's own layers are, a head's attend.
        self.rollback_means, self.max_rollback = "cut", None
        staging.set_nextn(self._address, True, True)
        llama_cpp.llama_set_causal_attn(self.handle, causal)

    def use_layer(self, layer: int) -> None:
        """Compute with this one of several MTP layers from the next batch on."""
        staging.require("drafting with several MTP layers", staging.set_nextn_layer_offset)
        staging.set_nextn_layer_offset(self._address, layer)

    def add_states(
        self,
        seq: int,
        states: States,
        position: int,
        tokens: Sequence[int] | None = None,
        outputs: int = 0,
    ) -> int:
        """Append hidden states, each with its token where the head takes one; see `Decoder.add`.

        In a batch either all rows have states or none, and either all have tokens or none.
        """
        start = self._count
        row = self.add(seq, [0] * len(states) if tokens is None else tokens, position, outputs)
        self._states[start : self._count] = states
        if start == 0:
            point(self._batch, "embd", self._states)
            if tokens is None:
                point(self._batch, "token", None)
        return row

    def decode(self) -> None:
        """Run the batch and empty it; see `Decoder.decode`."""
        if not self._causal and self._count > self.n_ubatch:
            # llama.cpp ends the process there.
            raise DecodeError(f"a batch of {self._count} tokens is larger than {self.n_ubatch}")
        if self._batch.embd and not self._batch.token and self._sections is not None:
            sections, count = self._sections[: 4 * self._count], self._count
            sections[: 3 * count] = np.tile(self._position[:count], 3)
            sections[3 * count :] = 0
            point(self._batch, "pos", sections)
        try:
            super().decode()
        finally:
            point(self._batch, "embd", None)
            point(self._batch, "token", self._token)
            point(self._batch, "pos", self._position)

    def encode(self, states: States) -> States:
        """The head's encoding of hidden states, shape (rows, hidden size). Raises DecodeError.

        A view that the next batch overwrites. llama.cpp keeps room for the logits of every row,
        though it computes none, so a batch of many rows takes much memory.
        """
        states = np.ascontiguousarray(states)
        batch = llama_cpp.llama_batch()
        batch.n_tokens = len(states)
        point(batch, "embd", states)
        begin = perf_counter_ns()
        status = llama_cpp.llama_encode(self.handle, batch)
        llama_cpp.llama_synchronize(self.handle)
        self.native_ns += perf_counter_ns() - begin
        address = staging.nextn(self._address) if status == 0 else None
        if not address:
            raise DecodeError(
                f"llama.cpp failed to encode hidden states with {self.model.path} "
                f"(status {status}): {library.log_errors()}"
            )
        return features.floats(address, len(states) * self.hidden_size).reshape(len(states), -1)

    def state(self, row: int) -> States:
        """The hidden state of a batch row that has logits: a view, valid until the next batch."""
        address = staging.nextn_of_row(self._address, row)
        if not address:
            raise DecodeError(f"llama.cpp has no hidden state for row {row} of the batch")
        return features.floats(address, self.hidden_size)


def target_layers(head: Model) -> list[int]:
    """The layers of the target whose inputs a head reads. Raises LoadError where this build of
    llama.cpp does not say."""
    staging.require("drafting with a head", staging.target_layers, staging.target_layers_count)
    layers = staging.target_layers(head.handle)
    return [layers[index] for index in range(staging.target_layers_count(head.handle))]
